"""From a track to clean segments at 25 Hz: cut where it is bad, bridge what is short, smooth.

Axis letters: T frames (25 Hz), K measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import savgol_filter

from parlante.training.videos.following import Flaw, Track
from parlante.training.videos.measures import MEASURE_INDEX, POSE
from parlante.types import FRAME_RATE_HZ

__all__ = ["MIN_SEGMENT_FRAMES", "Loss", "Segment", "cut_segments"]

Float64Array = npt.NDArray[np.float64]

MAX_GAP_FRAMES: Final = 3
MIN_SEGMENT_FRAMES: Final = 75  # 3 s
_MAX_STEP_S: Final = 0.09  # between pictures that are interpolated
# A picture of a face that is no video: nothing of it moves by more than the tracker's noise.
STILL_APERTURE: Final = 0.004  # IOD
STILL_YAW_RAD: Final = 0.003
_SMOOTHING: Final = (5, 2)  # window and order; keeps closures of two frames
_POSE_SMOOTHING: Final = (9, 2)  # heads have nothing above 4 Hz

REASONS: Final = {
    Flaw.NO_FACE: "no face",
    Flaw.DOUBTFUL: "doubtful face",
    Flaw.PROFILE: "turned away",
    Flaw.TOO_SMALL: "face too small",
    Flaw.CUT_OFF: "face cut off by the picture's edge",
}
TOO_SHORT: Final = "shorter than 3 s"
STILL: Final = "nothing moves"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stretch of one shot in which the face is good throughout.

    Attributes:
        start_frame: On the 25 Hz clock of the video.
        values: float64 [T, K], smoothed, in the order of `MEASURES`.
        raw: float64 [T, K], before smoothing.
    """

    start_frame: int
    values: Float64Array
    raw: Float64Array

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.values)

    @property
    def end_frame(self) -> int:
        """One after the last frame."""
        return self.start_frame + self.num_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A stretch that is not used, in seconds of the video, and why."""

    start_s: float
    end_s: float
    reason: str


def cut_segments(track: Track) -> tuple[list[Segment], list[Loss]]:
    """Resample a track to 25 Hz by its time stamps and cut it into good segments.

    Returns:
        Segments in order, and what was left out.
    """
    values, reasons, shots = _resample(track)
    good = np.array([not reason for reason in reasons], bool)
    bridged = _bridge(good, shots)
    segments: list[Segment] = []
    losses: list[Loss] = []
    for start, end in _runs(bridged, shots):
        part = _fill(values[start:end], good[start:end])
        if end - start < MIN_SEGMENT_FRAMES:
            losses.append(_loss(start, end, TOO_SHORT))
        elif _is_still(part):
            losses.append(_loss(start, end, STILL))
        else:
            segments.append(Segment(start, _smooth(part), part))
    losses += _bad_stretches(bridged, reasons)
    return segments, sorted(losses, key=lambda loss: loss.start_s)


def _resample(track: Track) -> tuple[Float64Array, list[str], npt.NDArray[np.int32]]:
    """Values [T, K], why a frame is bad ("" if it is good), and shots [T] on the 25 Hz clock."""
    times = track.times_s
    num_frames = int(np.floor(times[-1] * FRAME_RATE_HZ + 1e-6)) + 1 if len(times) else 0
    ticks = np.arange(num_frames) / FRAME_RATE_HZ
    after = np.clip(np.searchsorted(times, ticks - 1e-6), 0, max(0, len(times) - 1))
    before = np.maximum(after - 1, 0)
    # A tick on a picture needs that one alone.
    before = np.where(np.abs(times[after] - ticks) < 1e-3, after, before) if num_frames else before
    span = times[after] - times[before] if num_frames else ticks
    share = np.where(span > 0, (ticks - times[before]) / np.maximum(span, 1e-9), 0.0)
    nearest = np.where(share < 0.5, before, after)
    values = (1 - share)[:, None] * track.values[before] + share[:, None] * track.values[after]
    same_shot = track.shots[before] == track.shots[after]
    # Across a cut the nearer picture counts alone.
    values = np.where(same_shot[:, None], values, track.values[nearest])
    flaws = np.where(
        same_shot, np.maximum(track.flaws[before], track.flaws[after]), track.flaws[nearest]
    )
    reasons = [REASONS.get(Flaw(int(flaw)), "") for flaw in flaws]
    for index in np.flatnonzero(span > _MAX_STEP_S):
        reasons[index] = reasons[index] or "pictures missing"
    return values, reasons, track.shots[nearest]


def _bridge(good: npt.NDArray[np.bool_], shots: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Count short gaps between good frames of one shot as good."""
    out = good.copy()
    for start, end in _runs(~good, np.zeros_like(shots)):
        inner = start > 0 and end < len(good) and shots[start - 1] == shots[end]
        if inner and end - start <= MAX_GAP_FRAMES:
            out[start:end] = True
    return out


def _runs(mask: npt.NDArray[np.bool_], groups: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
    """Stretches [start, end) of True within one group each."""
    runs = []
    start: int | None = None
    for index in range(len(mask) + 1):
        ends = (
            index == len(mask) or not mask[index] or (index and groups[index] != groups[index - 1])
        )
        if start is not None and ends:
            runs.append((start, index))
            start = None
        if index < len(mask) and mask[index] and start is None:
            start = index
    return runs


def _fill(values: Float64Array, good: npt.NDArray[np.bool_]) -> Float64Array:
    """Interpolate over the frames that are not good."""
    at = np.flatnonzero(good)
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, at, column[at]) for column in values.T], axis=1)


def _is_still(values: Float64Array) -> bool:
    lips = values[:, MEASURE_INDEX["lower_lip_y"]] - values[:, MEASURE_INDEX["upper_lip_y"]]
    yaw = values[:, MEASURE_INDEX["yaw"]]
    return bool(lips.std() < STILL_APERTURE and yaw.std() < STILL_YAW_RAD)


def _smooth(values: Float64Array) -> Float64Array:
    """Light smoothing without delay (Savitzky and Golay, 1964); heads a little more than lips."""
    out = np.asarray(savgol_filter(values, *_SMOOTHING, axis=0, mode="nearest"))
    pose = slice(0, len(POSE))
    out[:, pose] = savgol_filter(values[:, pose], *_POSE_SMOOTHING, axis=0, mode="nearest")
    return out


def _bad_stretches(bridged: npt.NDArray[np.bool_], reasons: list[str]) -> list[Loss]:
    losses: list[Loss] = []
    for start, end in _runs(~bridged, np.zeros(len(bridged), np.int32)):
        inside = [reason for reason in reasons[start:end] if reason]
        losses.append(_loss(start, end, max(sorted(set(inside)), key=inside.count)))
    return losses


def _loss(start: int, end: int, reason: str) -> Loss:
    return Loss(start_s=start / FRAME_RATE_HZ, end_s=end / FRAME_RATE_HZ, reason=reason)
