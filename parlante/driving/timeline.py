"""From the driver's pictures to frames at 25 Hz: nothing late, no closure lost, gaps eased over.

Axis letters: N pictures, T frames (25 Hz), K measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import savgol_filter

from parlante.driving.observe import Observation
from parlante.training.videos.following import Flaw
from parlante.training.videos.measures import LIPS, MEASURE_INDEX, POSE
from parlante.types import FRAME_RATE_HZ

__all__ = ["Frames", "to_frames"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Window and order (Savitzky and Golay, 1964): without delay; heads have nothing above 4 Hz.
POSE_SMOOTHING: Final = (9, 2)
FACE_SMOOTHING: Final = (5, 2)  # keeps closures of two frames
CLOSER_IOD: Final = 0.01  # a picture with lips this much nearer counts for its frame alone
MAX_BRIDGE_FRAMES: Final = 10  # over which a lost face is interpolated
EASE_FRAMES: Final = 10  # to rest and back, in longer losses
_LIDS: Final = ("eye_ratio_left", "eye_ratio_right")
# Flaws that spoil lips and eyes but leave the head's pose.
_POSE_ONLY: Final = (Flaw.PROFILE, Flaw.CUT_OFF)
_LOST: Final = (Flaw.NO_FACE, Flaw.DOUBTFUL)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """A driver at 25 Hz.

    Attributes:
        values: float64 [T, K], smoothed, in the order of `MEASURES`.
        raw: float64 [T, K], before smoothing.
        sides: float64 [T, 2], of `Observation`.
        shots: int32 [T], counts up at every cut.
        pose_share: float64 [T], how far the head is believed, 0 in the middle of long losses.
        face_share: float64 [T], the same of lips, brows and eyes.
        lost: bool [T], no face was there.
    """

    values: Float64Array
    raw: Float64Array
    sides: Float64Array
    shots: npt.NDArray[np.int32]
    pose_share: Float64Array
    face_share: Float64Array
    lost: BoolArray

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.values)


def to_frames(observation: Observation) -> Frames:
    """Bring an observation to 25 Hz by its time stamps."""
    track = observation.track
    times_s = track.times_s
    step_s = float(np.median(np.diff(times_s)))
    # Half a picture of grace: rounding must not cost the last frame.
    num_frames = int((times_s[-1] + step_s / 2) * FRAME_RATE_HZ) + 1
    grid_s = np.arange(num_frames) / FRAME_RATE_HZ
    nearest = _nearest(times_s, grid_s)
    finite = np.isfinite(track.values).all(1)
    pose_good = finite & ~np.isin(track.flaws, _LOST)
    face_good = pose_good & ~np.isin(track.flaws, _POSE_ONLY)
    if face_good.sum() < 2:
        face_good = pose_good
    shots = track.shots[nearest]
    raw = np.empty((num_frames, track.values.shape[1]))
    pose = slice(0, len(POSE))
    raw[:, pose] = _interpolate(times_s, track.values[:, pose], pose_good, track.shots, grid_s)
    rest = slice(len(POSE), raw.shape[1])
    raw[:, rest] = _interpolate(times_s, track.values[:, rest], face_good, None, grid_s)
    _keep_closures(raw, times_s, track.values, face_good, grid_s)
    sides = _interpolate(times_s, observation.sides, face_good, None, grid_s)
    return Frames(
        values=_smooth(raw, shots),
        raw=raw,
        sides=savgol_filter(sides, *FACE_SMOOTHING, axis=0, mode="nearest"),
        shots=shots,
        pose_share=_share(pose_good[nearest]),
        face_share=_share(face_good[nearest]),
        lost=~pose_good[nearest],
    )


def _nearest(times_s: Float64Array, grid_s: Float64Array) -> npt.NDArray[np.intp]:
    """Index of the picture nearest to each frame."""
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return after - (grid_s - times_s[after - 1] <= times_s[after] - grid_s)


def _interpolate(
    times_s: Float64Array,
    values: Float64Array,
    good: BoolArray,
    shots: npt.NDArray[np.int32] | None,
    grid_s: Float64Array,
) -> Float64Array:
    """Values at other times, from good pictures; across a cut the nearer one counts alone."""
    at_s, seen = times_s[good], values[good]
    out = np.stack([np.interp(grid_s, at_s, column) for column in seen.T], axis=1)
    if shots is None:
        return out
    after = np.clip(np.searchsorted(at_s, grid_s), 1, len(at_s) - 1)
    before = after - 1
    own = shots[good]
    torn = own[before] != own[after]
    nearer = np.where(grid_s - at_s[before] <= at_s[after] - grid_s, before, after)
    out[torn] = seen[nearer[torn]]
    return out


def _keep_closures(
    raw: Float64Array,
    times_s: Float64Array,
    values: Float64Array,
    good: BoolArray,
    grid_s: Float64Array,
) -> None:
    """Let lids and lips be as shut as the shuttest picture within half a frame.

    A frame between two pictures of 30 per second is a mean of both, and a mean of open and shut is
    neither.
    """
    lids = [MEASURE_INDEX[name] for name in _LIDS]
    lips = [MEASURE_INDEX[name] for name in LIPS]
    upper, lower = (MEASURE_INDEX[name] for name in ("upper_lip_y", "lower_lip_y"))
    reach_s = 0.5 / FRAME_RATE_HZ
    first = np.searchsorted(times_s, grid_s - reach_s, side="right")
    last = np.searchsorted(times_s, grid_s + reach_s, side="right")
    for frame, (start, end) in enumerate(zip(first, last, strict=True)):
        near = np.arange(start, end)[good[start:end]]
        if not len(near):
            continue
        raw[frame, lids] = np.minimum(raw[frame, lids], values[near][:, lids].min(0))
        apertures = values[near, lower] - values[near, upper]
        least = int(apertures.argmin())
        if apertures[least] < raw[frame, lower] - raw[frame, upper] - CLOSER_IOD:
            raw[frame, lips] = values[near[least], lips]


def _smooth(raw: Float64Array, shots: npt.NDArray[np.int32]) -> Float64Array:
    out = np.asarray(savgol_filter(raw, *FACE_SMOOTHING, axis=0, mode="nearest"))
    pose = slice(0, len(POSE))
    out[:, pose] = raw[:, pose]
    for shot in np.unique(shots):
        rows = np.flatnonzero(shots == shot)
        if len(rows) >= POSE_SMOOTHING[0]:
            out[rows, pose] = savgol_filter(
                raw[rows, pose], *POSE_SMOOTHING, axis=0, mode="nearest"
            )
    return out


def _share(good: BoolArray) -> Float64Array:
    """1 where frames are good or short gaps are bridged; eases to 0 and back in longer ones."""
    out = np.ones(len(good))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~good, [False]]).astype(np.int8)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start <= MAX_BRIDGE_FRAMES and start > 0 and end < len(good):
            continue
        frames = np.arange(start, end)
        into = frames - start + 1.0 if start > 0 else np.full(end - start, np.inf)
        back = end - frames if end < len(good) else np.full(end - start, np.inf)
        depth = np.minimum(into, back) / EASE_FRAMES
        out[start:end] = 0.5 + 0.5 * np.cos(np.pi * np.minimum(depth, 1.0))
    return out
