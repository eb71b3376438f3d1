"""A face over time: what the encoder's tracker sees in a video, on a 25 Hz timeline.

The tracker knows nothing of the motion generator and its labels. Axis letter: T frames at 25 Hz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput
from parlante.evaluation.clip import VideoFrame, read_frames
from parlante.models import face_mesh
from parlante.models.face_coefficients import canonicalize, measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.types import FRAME_RATE_HZ

__all__ = [
    "MEASURES",
    "FaceCurves",
    "FloatArray",
    "correlation",
    "measure_landmarks",
    "track_video",
    "tracked_curves",
]

FloatArray = npt.NDArray[np.float64]

_OUTER_LIPS: Final = (0, 17)  # middle of the upper lip's upper edge, of the lower lip's lower edge
MEASURES: Final = (
    "aperture",
    "mouth_width",
    "lip_height",
    "jaw",
    "brow_height",
    "eye_ratio",
    "yaw_deg",
    "pitch_deg",
    "roll_deg",
    "gaze_yaw_deg",
    "gaze_pitch_deg",
    "iris",
    "x_px",
    "y_px",
    "iod_px",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceCurves:
    """The measures of one face, float64 [T] each; lengths in inter-ocular distances (IOD) or px.

    Attributes:
        aperture: Distance of the inner lips.
        mouth_width: Distance of the mouth's corners.
        lip_height: Distance of the outer lips' middles.
        jaw: From the base of the nose to the chin.
        brow_height: Brows above the corners of their eyes, mean of both.
        eye_ratio: Lid opening by the width of the eye, mean of both.
        yaw_deg: Head turn, + = the nose moves towards image right.
        pitch_deg: Head nod, + = down.
        roll_deg: Head tilt, + = clockwise in the image.
        gaze_yaw_deg: Eye in head, + = towards image right.
        gaze_pitch_deg: Eye in head, + = down.
        iris: Place of the irises between the corners of their eyes, 0 = image left, 1 = right.
        x_px: Middle of the outer eye corners in the picture.
        y_px: Middle of the outer eye corners in the picture.
        iod_px: Distance of the outer eye corners, turned to the front.
        tracked: bool [T], False where the face was lost and the curves are bridged.
        source_fps: Frame rate of the video, Hz.
        source_frames: Frames of the video.
        source_frames_lost: Those in which no face was found.
    """

    aperture: FloatArray
    mouth_width: FloatArray
    lip_height: FloatArray
    jaw: FloatArray
    brow_height: FloatArray
    eye_ratio: FloatArray
    yaw_deg: FloatArray
    pitch_deg: FloatArray
    roll_deg: FloatArray
    gaze_yaw_deg: FloatArray
    gaze_pitch_deg: FloatArray
    iris: FloatArray
    x_px: FloatArray
    y_px: FloatArray
    iod_px: FloatArray
    tracked: npt.NDArray[np.bool_]
    source_fps: float = float(FRAME_RATE_HZ)
    source_frames: int = 0
    source_frames_lost: int = 0

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.tracked)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.num_frames / FRAME_RATE_HZ

    @property
    def head_deg(self) -> FloatArray:
        """Yaw, pitch and roll, [T, 3]."""
        return np.stack([self.yaw_deg, self.pitch_deg, self.roll_deg], axis=1)


def track_video(path: Path, tracker: FaceTracker) -> FaceCurves:
    """Follow the largest face through a video.

    Raises:
        InvalidInput: VIDEO_UNREADABLE, or NO_FACE where fewer than two frames show one.
    """
    times_s: list[float] = []

    def pictures() -> Iterator[VideoFrame]:
        for frame in read_frames(path):
            times_s.append(frame.time_s)
            yield frame

    rows = [measure_landmarks(face) for face in tracker.track(frame.rgb for frame in pictures())]
    if sum(row is not None for row in rows) < 2:
        raise InvalidInput(
            f"{path.name} shows no face in {len(rows)} frames; give a video of one talking face",
            reason="NO_FACE",
            field="video",
        )
    return tracked_curves(times_s, rows)


def tracked_curves(
    times_s: Iterable[float], rows: Sequence[Mapping[str, float] | None]
) -> FaceCurves:
    """Bring measures at any times to 25 Hz.

    Args:
        times_s: When each row was seen, rising.
        rows: A value per name in `MEASURES`, or None where the face was lost.
    """
    at_s = np.fromiter(times_s, np.float64)
    found = np.array([row is not None for row in rows])
    seen = [row for row in rows if row is not None]
    frame_s = float(np.median(np.diff(at_s)))
    # Half a frame of grace: rounding must not cost the last one.
    grid_s = np.arange(int((at_s[-1] + frame_s / 2) * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    nearest = np.clip(np.searchsorted(at_s, grid_s - frame_s / 2), 0, len(at_s) - 1)
    return FaceCurves(
        **{
            name: np.interp(grid_s, at_s[found], np.array([row[name] for row in seen]))
            for name in MEASURES
        },
        tracked=found[nearest],
        source_fps=1.0 / frame_s,
        source_frames=len(rows),
        source_frames_lost=int(np.sum(~found)),
    )


def measure_landmarks(landmarks: FaceLandmarks | None) -> dict[str, float] | None:
    """Give a value per name in `MEASURES`; None where no face was found."""
    if landmarks is None:
        return None
    face, _ = canonicalize(landmarks.points)
    measures = measure_face(landmarks.points)
    upper, lower = face[list(_OUTER_LIPS), :2]
    return {
        "aperture": measures.aperture,
        "mouth_width": measures.mouth_width,
        "lip_height": float(np.linalg.norm(lower - upper)),
        "jaw": measures.jaw_distance,
        "brow_height": measures.brow_height,
        "eye_ratio": (measures.eye_ratio_left + measures.eye_ratio_right) / 2,
        "yaw_deg": float(np.degrees(measures.yaw_rad)),
        "pitch_deg": float(np.degrees(measures.pitch_rad)),
        "roll_deg": float(np.degrees(measures.roll_rad)),
        "gaze_yaw_deg": float(np.degrees(measures.gaze_yaw_rad)),
        "gaze_pitch_deg": float(np.degrees(measures.gaze_pitch_rad)),
        "iris": _iris_place(face),
        "x_px": measures.x_px,
        "y_px": measures.y_px,
        "iod_px": measures.iod_px,
    }


def _iris_place(face: npt.NDArray[np.float32]) -> float:
    places = []
    for corners, iris in (
        (face_mesh.RIGHT_EYE_CORNERS, face_mesh.RIGHT_IRIS[0]),
        (face_mesh.LEFT_EYE_CORNERS[::-1], face_mesh.LEFT_IRIS[0]),
    ):
        left, right = face[list(corners), 0]
        places.append((face[iris, 0] - left) / max(right - left, 1e-6))
    return float(np.mean(places))


def correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Pearson's correlation; None where one of the two does not move."""
    if len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])
