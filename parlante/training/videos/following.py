"""Follow one face through a video: where it is, where it is lost, and where the shot changes.

Axis letters: N pictures, K measures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from parlante.media.video_file import Picture
from parlante.models.face_detection import FaceDetection
from parlante.models.face_tracker import NUM_MESH_POINTS, FaceLandmarks, FitsFaces, fit_largest
from parlante.training.videos.measures import MEASURE_INDEX, MEASURES, measure
from parlante.types import Float32Array, Uint8Array

__all__ = ["FaceSource", "Flaw", "Track", "follow"]

Float64Array = npt.NDArray[np.float64]

MIN_SCORE: Final = 0.6
MIN_PRESENCE: Final = 0.8  # below, the mesh lies on half a face, or on a hand before it
MAX_YAW_RAD: Final = 0.6  # 34 degrees: the far corner of the mouth begins to hide
MAX_PITCH_RAD: Final = 0.6
MIN_IOD_PX: Final = 30.0  # below, a lip is a pixel or two
MIN_INSIDE: Final = 0.97  # share of the mesh that lies in the picture
CHECK_EVERY: Final = 25  # pictures after which the detector is asked whether the face is there
# A shot change: thumbnails differ by this share of full scale, and by so much more than lately.
CUT_CHANGE: Final = 0.08
CUT_CONTRAST: Final = 4.0
# What no head does between two pictures, IOD and a factor of size.
JUMP_IOD: Final = 0.5
JUMP_SIZE: Final = 1.25
_THUMBNAIL_PX: Final = (32, 18)
_MEMORY: Final = 12  # pictures that tell how much change is usual


class Flaw(IntEnum):
    """Why a picture is not used; 0 is a good one."""

    NONE = 0
    NO_FACE = 1
    DOUBTFUL = 2
    PROFILE = 3
    TOO_SMALL = 4
    CUT_OFF = 5


class FaceSource(FitsFaces, Protocol):
    """The part of `FaceTracker` that following needs."""

    def detect(self, rgb: Uint8Array, *, min_score: float = ...) -> list[FaceDetection]:
        """Find all faces, best first."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A face through a video.

    Attributes:
        times_s: float64 [N], of the pictures, rising.
        values: float64 [N, K] in the order of `MEASURES`; NaN where there is no face.
        flaws: uint8 [N], a `Flaw` each.
        shots: int32 [N], counts up at every shot change or jump to another face.
    """

    times_s: Float64Array
    values: Float64Array
    flaws: npt.NDArray[np.uint8]
    shots: npt.NDArray[np.int32]


def follow(
    faces: FaceSource,
    pictures: Iterable[Picture],
    *,
    seen: Callable[[Uint8Array, FaceLandmarks | None], None] | None = None,
) -> Track:
    """Follow the largest face, anew after every shot change and loss.

    Args:
        faces: Tracker.
        pictures: In order of time.
        seen: Called with every picture and its mesh, for whoever measures more than `MEASURES`.
    """
    previous: FaceLandmarks | None = None
    last: Float64Array | None = None
    cuts = _CutFinder()
    times, values, flaws, shots = [], [], [], []
    shot, age = 0, 0
    for picture in pictures:
        if cuts.is_cut(picture.rgb):
            previous, last, shot = None, None, shot + 1
        previous = _next(faces, picture.rgb, previous, check=age % CHECK_EVERY == CHECK_EVERY - 1)
        age += 1
        if seen is not None:
            seen(picture.rgb, previous)
        row = np.full(len(MEASURES), np.nan)
        flaw = Flaw.NO_FACE
        if previous is None:
            age = 0
        else:
            row = measure(previous.points)
            flaw = _flaw(row, previous, picture.rgb)
            if last is not None and _jumps(last, row):
                shot += 1
            last = row
        times.append(picture.time_s)
        values.append(row)
        flaws.append(flaw)
        shots.append(shot)
    return Track(
        np.array(times),
        np.array(values).reshape(-1, len(MEASURES)),
        np.array(flaws, np.uint8),
        np.array(shots, np.int32),
    )


def _next(
    faces: FaceSource, rgb: Uint8Array, previous: FaceLandmarks | None, *, check: bool
) -> FaceLandmarks | None:
    """The face in the next picture, or None."""
    if previous is not None:
        previous = faces.landmarks(rgb, previous)
        if previous.presence < MIN_PRESENCE / 2:
            previous = None
    if previous is not None and not check:
        return previous
    found = faces.detect(rgb, min_score=MIN_SCORE)
    if previous is not None and any(_is_same(face, previous) for face in found):
        return previous
    return fit_largest(faces, rgb, found)


def _is_same(face: FaceDetection, mesh: FaceLandmarks) -> bool:
    box = (face.box_px[:2] + face.box_px[2:]) / 2
    points = mesh.points[:NUM_MESH_POINTS, :2]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return float(np.linalg.norm(box - centre)) < 0.4 * mesh.size_px


def _flaw(row: Float64Array, mesh: FaceLandmarks, rgb: Uint8Array) -> Flaw:
    if mesh.presence < MIN_PRESENCE or not np.isfinite(row).all():
        return Flaw.DOUBTFUL
    if row[MEASURE_INDEX["iod_px"]] < MIN_IOD_PX:
        return Flaw.TOO_SMALL
    yaw, pitch = row[MEASURE_INDEX["yaw"]], row[MEASURE_INDEX["pitch"]]
    if abs(yaw) > MAX_YAW_RAD or abs(pitch) > MAX_PITCH_RAD:
        return Flaw.PROFILE
    inside = _inside(mesh.points[:NUM_MESH_POINTS, :2], rgb)
    return Flaw.CUT_OFF if inside < MIN_INSIDE else Flaw.NONE


def _inside(points: Float32Array, rgb: Uint8Array) -> float:
    """Share of points [N, 2] that lie in the picture."""
    height, width = rgb.shape[:2]
    return float(((points >= 0) & (points <= (width - 1, height - 1))).all(axis=1).mean())


def _jumps(before: Float64Array, after: Float64Array) -> bool:
    x, y, size = (MEASURE_INDEX[name] for name in ("x_px", "y_px", "iod_px"))
    way = np.hypot(after[x] - before[x], after[y] - before[y]) / max(before[size], 1e-6)
    growth = after[size] / max(before[size], 1e-6)
    return bool(way > JUMP_IOD or not 1 / JUMP_SIZE < growth < JUMP_SIZE)


class _CutFinder:
    """Tells shot changes by how much a thumbnail differs from the one before."""

    def __init__(self) -> None:
        self._before: Float32Array | None = None
        self._changes: deque[float] = deque(maxlen=_MEMORY)

    def is_cut(self, rgb: Uint8Array) -> bool:
        small = cv2.resize(rgb, _THUMBNAIL_PX, interpolation=cv2.INTER_AREA)
        thumbnail = small.astype(np.float32) / np.float32(255.0)
        before, self._before = self._before, thumbnail
        if before is None:
            return False
        change = float(np.abs(thumbnail - before).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CUT_CHANGE, CUT_CONTRAST * usual)
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut
