"""The encoders on synthetic heads that they were not trained on: errors, leaks, and who is who.

Axis letters: N pictures, C channels, K measures, D length of a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.face_codes import READ_CHANNELS, READ_MEASURES
from parlante.models.face_coefficients import measure_face
from parlante.models.face_reader import FaceReader, Reading
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.training.encoders.augment import make_move, moved
from parlante.training.encoders.batches import HeadData
from parlante.training.encoders.probes import FRAMES_PER_KIND, PROBE_KINDS
from parlante.types import Float32Array

__all__ = ["Correctness", "Leaks", "Recognition", "judge_errors", "judge_leaks", "judge_people"]

Float64Array = npt.NDArray[np.float64]

ANGLES: Final = ("yaw", "pitch", "roll", "gaze yaw", "gaze pitch")
OPEN_EYES: Final = 0.3  # blinks beyond this say nothing of the gaze
MIN_PRESENCE: Final = 0.5  # of the tracker
_BATCH: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Correctness:
    """How far off one output is.

    Motion is what changes within a head: correlation and gain are taken after each head's mean.

    Attributes:
        error: Mean absolute error; degrees, shares or IOD.
        correlation: With the truth, within heads.
        gain: Slope over the truth, within heads.
    """

    error: float
    correlation: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """How much a code moves when it should not; standard deviations within a head, means of heads.

    Attributes:
        pose_deg: Of errors of yaw and pitch when only the expression changes.
        gaze_deg: Of errors of the gaze when only the head turns.
        channels: Of the named dynamics when only the head turns.
        channels_moved: The same when the expression changes, to compare.
        channels_by_gaze: The same when only the eyes turn, without channels of the lids.
    """

    pose_deg: float
    gaze_deg: float
    channels: float
    channels_moved: float
    channels_by_gaze: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """Whether a picture's code finds another picture of the same head among those of all heads.

    Attributes:
        found: Share of pictures that do.
        chance: Of codes that say nothing.
        likeness_same: Mean product of two codes of one head.
        likeness_other: Of two heads.
        found_by_dynamics: As `found`, by the code of the dynamics: the less, the less it says who.
    """

    found: float
    chance: float
    likeness_same: float
    likeness_other: float
    found_by_dynamics: float


def read_all(reader: FaceReader, data: HeadData) -> Reading:
    """Read all pictures."""
    parts = list(_readings(reader, data))
    names = Reading.__slots__
    return Reading(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def _readings(reader: FaceReader, data: HeadData) -> Iterator[Reading]:
    move = make_move()
    for start in range(0, len(data), _BATCH):
        rows = range(start, min(start + _BATCH, len(data)))
        crops = [moved(data.images[data.head[row]][data.frame[row]], move) for row in rows]
        yield reader.read_crops(crops, [0.0] * len(crops))


def judge_errors(
    reading: Reading, data: HeadData, tracked: Float64Array
) -> dict[str, tuple[Correctness, Correctness | None]]:
    """Errors by output: of the encoders, and of the tracker where it measures the same.

    Args:
        reading: Of all pictures.
        data: The truth.
        tracked: float64 [N, 5 + K] of `track_all`, NaN where the tracker saw nothing.
    """
    seen = np.concatenate([np.degrees(reading.pose), np.degrees(reading.gaze)], axis=1)
    true = np.concatenate([np.degrees(data.angles), np.degrees(data.gaze)], axis=1)
    is_open = _is_open(data)
    out: dict[str, tuple[Correctness, Correctness | None]] = {}
    for column, name in enumerate((*ANGLES, *READ_MEASURES)):
        in_measures = column - len(ANGLES)
        values = (
            (seen[:, column], true[:, column])
            if in_measures < 0
            else (reading.measures[:, in_measures], data.measures[:, in_measures])
        )
        rows = np.isfinite(tracked[:, column])
        rows &= is_open if name.startswith("gaze") else True
        ours, theirs = (
            _compare(each[rows], values[1][rows], data.head[rows])
            for each in (values[0], tracked[:, column])
        )
        out[name] = (ours, theirs)
    for column, name in enumerate(READ_CHANNELS):
        values = reading.channels[:, column], data.channels[:, column]
        out[f"channel {name}"] = (_compare(*values, data.head), None)
    return out


def _is_open(data: HeadData) -> npt.NDArray[np.bool_]:
    blinks = [READ_CHANNELS.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    return np.asarray(data.channels[:, blinks].max(axis=1) < OPEN_EYES)


def _compare(
    seen: npt.NDArray[np.floating],
    true: npt.NDArray[np.floating],
    head: npt.NDArray[np.int64],
) -> Correctness:
    error = float(np.abs(seen - true).mean())
    moved_seen, moved_true = (_without_means(values, head) for values in (seen, true))
    spread = float(moved_seen.std() * moved_true.std())
    if spread < 1e-12:
        return Correctness(error=error, correlation=0.0, gain=0.0)
    return Correctness(
        error=error,
        correlation=float(np.corrcoef(moved_seen, moved_true)[0, 1]),
        gain=float(np.polyfit(moved_true, moved_seen, 1)[0]),
    )


def _without_means(values: npt.NDArray[np.floating], head: npt.NDArray[np.int64]) -> Float64Array:
    out = values.astype(np.float64)
    for each in np.unique(head):
        out[head == each] -= out[head == each].mean()
    return out


def track_all(tracker: FaceTracker, data: HeadData, landmarks: Float32Array) -> Float64Array:
    """What the landmark tracker measures of all pictures: float64 [N, 5 + K].

    Args:
        tracker: The tracker.
        data: The pictures.
        landmarks: float32 [N, 478, 3], true ones, where it begins.
    """
    out = np.full((len(data), len(ANGLES) + len(READ_MEASURES)), np.nan)
    for row, points in enumerate(landmarks):
        rgb = np.ascontiguousarray(data.images[data.head[row]][data.frame[row]])
        face = tracker.landmarks(rgb, FaceLandmarks(points=points, presence=1.0), num_passes=2)
        if face.presence >= MIN_PRESENCE:
            out[row] = _as_tracked(face.points)
    return out


def _as_tracked(points: Float32Array) -> Float64Array:
    from parlante.training.videos.measures import MEASURE_INDEX, measure

    face = measure_face(points)
    angles = (face.yaw_rad, face.pitch_rad, face.roll_rad, face.gaze_yaw_rad, face.gaze_pitch_rad)
    values = measure(points)
    rest = [values[MEASURE_INDEX[name]] for name in READ_MEASURES]
    return np.array([*np.degrees(angles), *rest])


def judge_leaks(reading: Reading, data: HeadData) -> Leaks:
    """Leaks, from heads of `sample_probes`."""
    kind = np.minimum(data.frame // FRAMES_PER_KIND, len(PROBE_KINDS) - 1)
    is_open = _is_open(data)
    pose_error = np.degrees(reading.pose - data.angles)[:, :2]
    gaze_error = np.degrees(reading.gaze - data.gaze)
    lids = [i for i, name in enumerate(READ_CHANNELS) if name.startswith("eye")]
    rest = [i for i in range(len(READ_CHANNELS)) if i not in lids]

    def spread(values: npt.NDArray[np.floating], name: str, *, eyes: bool = False) -> float:
        rows = kind == PROBE_KINDS.index(name)
        rows &= is_open if eyes else True
        heads = [values[rows & (data.head == head)] for head in np.unique(data.head)]
        return float(np.mean([v.std(axis=0).mean() for v in heads if len(v) > 2]))

    return Leaks(
        pose_deg=spread(pose_error, "expression"),
        gaze_deg=spread(gaze_error, "pose", eyes=True),
        channels=spread(reading.channels, "pose"),
        channels_moved=spread(reading.channels, "expression"),
        channels_by_gaze=spread(reading.channels[:, rest], "gaze"),
    )


def judge_people(reading: Reading, data: HeadData) -> Recognition:
    """Whether codes find another picture of the same head."""
    same = data.head[:, None] == data.head[None]
    itself = np.eye(len(data), dtype=np.bool_)
    likeness = reading.identity @ reading.identity.T
    code = reading.dynamics - reading.dynamics.mean(axis=0)
    code = code / np.maximum(np.linalg.norm(code, axis=1, keepdims=True), 1e-6)
    return Recognition(
        found=_found(likeness, same, itself),
        chance=float((same & ~itself).sum() / (~itself).sum()),
        likeness_same=float(likeness[same & ~itself].mean()),
        likeness_other=float(likeness[~same].mean()),
        found_by_dynamics=_found(code @ code.T, same, itself),
    )


def _found(
    likeness: npt.NDArray[np.floating], same: npt.NDArray[np.bool_], itself: npt.NDArray[np.bool_]
) -> float:
    nearest = np.where(itself, -np.inf, likeness).argmax(axis=1)
    return float(same[np.arange(len(same)), nearest].mean())
