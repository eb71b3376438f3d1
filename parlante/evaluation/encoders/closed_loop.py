"""Known motion is put onto a portrait, looked at, driven by, and compared with what was put in.

What is compared are measures that the renderer's own rig gives, for the motion that was put in and
for the one that came out, so that no tracker judges itself. Axis letters: T frames at 25 Hz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.driving.observe import Watcher
from parlante.driving.retarget import retarget
from parlante.driving.timeline import to_frames
from parlante.errors import InvalidInput
from parlante.media.video_file import Picture
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.face_codes import READ_MEASURES
from parlante.models.face_coefficients import canonicalize
from parlante.models.face_mesh import NUM_SKIN_LANDMARKS
from parlante.models.face_reader import FaceReader, Reading
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.training.videos.following import follow
from parlante.training.videos.measures import BROWS, LIPS_AND_BROWS, MEASURE_INDEX, shape_of
from parlante.types import FRAME_RATE_HZ, MOTION_INDEX, Float32Array, Uint8Array

__all__ = ["LOOP_MEASURES", "Agreement", "LoopScores", "agree", "judge_loop", "told_measures"]

Float64Array = npt.NDArray[np.float64]

OPEN_LIDS: Final = 0.3  # of a blink's way; beyond, nothing is seen of the gaze
LOOP_MEASURES: Final = (
    "aperture", "mouth width", "smile", "jaw", "brows", "lids", "yaw", "pitch", "roll",
    "gaze yaw", "gaze pitch",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one measure that came out follows what was put in.

    Attributes:
        correlation: Of both over time.
        gain: Slope of what came out over what was put in.
        error: Mean absolute difference; IOD, rad, or shares of a lid's way.
    """

    correlation: float
    gain: float
    error: float


def told_measures(avatar: PreparedAvatar, motion: Float32Array) -> dict[str, Float64Array]:
    """What motion [T, 60] tells a portrait's face to do: [T] by name of `LOOP_MEASURES`."""
    rest = _face(avatar, np.zeros_like(motion[0]))
    shapes = np.stack([_face(avatar, row) for row in motion]) - rest
    shape = dict(zip(LIPS_AND_BROWS, shapes.T, strict=True))
    brows = [values for name, values in shape.items() if name.startswith("brow")]
    column = {name: motion[:, index].astype(np.float64) for name, index in MOTION_INDEX.items()}
    lips = 0.5 * (shape["upper_lip_y"] + shape["lower_lip_y"])
    return {
        "aperture": shape["lower_lip_y"] - shape["upper_lip_y"],
        "mouth width": shape["mouth_width"],
        "smile": lips - 0.5 * (shape["corner_left_y"] + shape["corner_right_y"]),
        "jaw": shape["chin_y"],
        "brows": -np.mean(brows, axis=0),
        "lids": 0.5 * (column["eyeBlinkLeft"] + column["eyeBlinkRight"]),
        "yaw": column["headYaw"],
        "pitch": column["headPitch"],
        "roll": column["headRoll"],
        "gaze yaw": column["gazeYaw"],
        "gaze pitch": column["gazePitch"],
    }


def _face(avatar: PreparedAvatar, motion: Float32Array) -> Float64Array:
    """Measures of lips and brows of the portrait's face under one frame's dynamics."""
    at_rest = avatar.mesh.vertices
    moved = avatar.rig.displace(motion, at_rest)[:NUM_SKIN_LANDMARKS]
    _, rotation = canonicalize(at_rest[:NUM_SKIN_LANDMARKS])
    face = (moved - avatar.mesh.centre).astype(np.float64) @ rotation / avatar.mesh.iod_px
    return shape_of(face)


def agree(
    told: Mapping[str, Float64Array], found: Mapping[str, Float64Array]
) -> dict[str, Agreement]:
    """Compare by name, the gaze where eyes are open.

    Offsets count as errors, but neither in correlation nor in gain.
    """
    out = {}
    is_open = told["lids"] < OPEN_LIDS
    for name, values in told.items():
        rows = is_open if name.startswith("gaze") else np.ones_like(is_open)
        wanted, seen = values[rows], found[name][rows]
        spread = float(wanted.std() * seen.std())
        correlation = float(np.corrcoef(wanted, seen)[0, 1]) if spread > 1e-12 else 0.0
        out[name] = Agreement(
            correlation=correlation,
            gain=float(np.polyfit(wanted, seen, 1)[0]) if wanted.std() > 1e-9 else 0.0,
            error=float(np.abs(seen - wanted).mean()),
        )
    return out


def seen_measures(values: Float64Array) -> dict[str, Float64Array]:
    """The same of what was measured [T, K] in pictures, in the order of `MEASURES`."""
    column = {name: values[:, index] for name, index in MEASURE_INDEX.items()}
    lips = 0.5 * (column["upper_lip_y"] + column["lower_lip_y"])
    return {
        "aperture": column["lower_lip_y"] - column["upper_lip_y"],
        "mouth width": column["mouth_width"],
        "smile": lips - 0.5 * (column["corner_left_y"] + column["corner_right_y"]),
        "jaw": column["chin_y"],
        "brows": -np.mean([column[name] for name in BROWS], axis=0),
        "lids": -0.5 * (column["eye_ratio_left"] + column["eye_ratio_right"]),
        "yaw": column["yaw"],
        "pitch": column["pitch"],
        "roll": column["roll"],
        "gaze yaw": column["gaze_yaw"],
        "gaze pitch": column["gaze_pitch"],
    }


def read_measures(reading: Reading, tracked: Float64Array) -> Float64Array:
    """Measures [T, K] with all that the encoders read in the place of the tracker's."""
    out = tracked.copy()
    for name in READ_MEASURES:
        out[:, MEASURE_INDEX[name]] = reading.measure(name)
    for index, name in enumerate(("yaw", "pitch", "roll")):
        out[:, MEASURE_INDEX[name]] = reading.pose[:, index]
    for index, name in enumerate(("gaze_yaw", "gaze_pitch")):
        out[:, MEASURE_INDEX[name]] = reading.gaze[:, index]
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoopScores:
    """One portrait.

    Attributes:
        tracked: What the tracker measures in the pictures, by name of `LOOP_MEASURES`; gains are
            units of its measures by those of the rig.
        read: What the encoders read.
        driven: What `parlante drive` makes of it by landmarks alone.
        driven_with: What it makes of it with the encoders.
        identity: Mean product of identity codes of two frames.
        strips: Frames as they were, as driven by landmarks, and as driven with the encoders.
    """

    tracked: Mapping[str, Agreement]
    read: Mapping[str, Agreement]
    driven: Mapping[str, Agreement]
    driven_with: Mapping[str, Agreement]
    identity: float
    strips: Sequence[Sequence[Uint8Array]]


class _Keeper:
    """Keeps what a reader reads."""

    def __init__(self, reader: FaceReader) -> None:
        self._reader = reader
        self.kept: list[Reading] = []

    def read(self, rgb: Uint8Array, points: Float32Array) -> Reading:
        """Read one face."""
        self.kept.append(self._reader.read(rgb, points))
        return self.kept[-1]


def judge_loop(
    avatar: PreparedAvatar,
    motion: Float32Array,
    *,
    decoder: Decoder,
    tracker: FaceTracker,
    reader: FaceReader,
    shown: Sequence[int] = (),
) -> LoopScores:
    """Put motion onto a portrait, and look at it.

    Args:
        avatar: The portrait.
        motion: float32 [T, 60].
        decoder: Draws.
        tracker: Looks.
        reader: Looks too.
        shown: Frames to keep pictures of.
    """
    told = told_measures(avatar, motion)
    keeper = _Keeper(reader)
    plain, with_reader = Watcher(), Watcher(keeper)

    def see(rgb: Uint8Array, mesh: FaceLandmarks | None) -> None:
        if mesh is None:
            raise InvalidInput("the tracker lost a rendered face", reason="NO_FACE")
        plain.see(rgb, mesh)
        with_reader.see(rgb, mesh)

    pictures = (
        Picture(index / FRAME_RATE_HZ, decoder.render(avatar, row))
        for index, row in enumerate(motion)
    )
    track = follow(tracker, pictures, seen=see)
    reading = Reading(
        **{n: np.concatenate([getattr(r, n) for r in keeper.kept]) for n in Reading.__slots__}
    )
    driven = [
        retarget(to_frames(watcher.observation(track))).values for watcher in (plain, with_reader)
    ]
    courses = (motion, *driven)
    likeness = reading.identity @ reading.identity.T
    return LoopScores(
        tracked=agree(told, seen_measures(track.values)),
        read=agree(told, seen_measures(read_measures(reading, track.values))),
        driven=agree(told, told_measures(avatar, driven[0])),
        driven_with=agree(told, told_measures(avatar, driven[1])),
        identity=float(likeness[~np.eye(len(likeness), dtype=np.bool_)].mean()),
        strips=[[decoder.render(avatar, course[frame]) for frame in shown] for course in courses],
    )
