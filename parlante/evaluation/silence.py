"""Silence: where it is in the sound, and whether the mouth is shut in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.evaluation.clip import SOUND_RATE_HZ
from parlante.evaluation.lips import shut_below
from parlante.evaluation.tracking import FaceCurves
from parlante.types import FRAME_RATE_HZ, Float32Array

__all__ = ["Activity", "SilenceTally", "find_speech", "judge_silence"]

_HOP: Final = SOUND_RATE_HZ // 100
_SPEECH_BELOW_PEAK_DB: Final = 35.0
_ABOVE_NOISE_DB: Final = 8.0
_LOUD_HALF_DB: Final = 15.0
_NOTHING_DB: Final = -75.0  # below full scale; no voice is that quiet
_SMOOTHING_HOPS: Final = 5
MIN_PAUSE_S: Final = 0.4  # shorter ones are plosives and breath between words
MIN_SPEECH_S: Final = 0.1  # shorter ones are clicks
MARGIN_S: Final = 0.12  # lips may still close and already open


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """When there is speech.

    Attributes:
        level_db: float64 [N] at 100 Hz, dB below full scale.
        speech: bool [N] at 100 Hz; pauses shorter than `MIN_PAUSE_S` count as speech.
    """

    level_db: npt.NDArray[np.float64]
    speech: npt.NDArray[np.bool_]

    def speaking_frames(self, num_frames: int) -> npt.NDArray[np.bool_]:
        """bool [T]: speech at the time of the frame."""
        at = np.minimum(np.arange(num_frames) * 100 // FRAME_RATE_HZ, len(self.speech) - 1)
        return self.speech[at]

    def pauses(self) -> list[tuple[float, float]]:
        """Start and end of each pause, s, those at the ends of the sound included."""
        return [(a / 100, b / 100) for a, b in _runs(~self.speech)]


@dataclass(frozen=True, slots=True)
class SilenceTally:
    """What adds up over videos.

    Attributes:
        frames: Frames well inside silence.
        shut: Those in which the mouth is shut.
        delays_ms: After the end of each stretch of speech, until the mouth is shut.
        never_shut: How many of these ended with the pause, the mouth still open.
    """

    frames: int = 0
    shut: int = 0
    delays_ms: tuple[float, ...] = ()
    never_shut: int = 0

    def __add__(self, other: SilenceTally) -> SilenceTally:
        return SilenceTally(
            self.frames + other.frames,
            self.shut + other.shut,
            self.delays_ms + other.delays_ms,
            self.never_shut + other.never_shut,
        )

    @property
    def shut_share(self) -> float | None:
        """Share of the silent frames with the mouth shut; None where there are none."""
        return self.shut / self.frames if self.frames else None

    def delay_ms(self, percentile: float) -> float | None:
        """A percentile of the delays; None where nobody stops speaking."""
        return float(np.percentile(self.delays_ms, percentile)) if self.delays_ms else None


def find_speech(sound: Float32Array) -> Activity:
    """Tell speech from silence by loudness.

    Speech is within 35 dB of the loud parts (95th percentile), and 8 dB above the quietest
    tenth where the recording is noisy.

    Args:
        sound: float32 [S] at 16 kHz.
    """
    padded = np.pad(sound, (0, max(-len(sound) % _HOP, _HOP - len(sound))))
    power = np.square(padded.astype(np.float64)).reshape(-1, _HOP).mean(axis=1)
    kernel = np.ones(_SMOOTHING_HOPS) / _SMOOTHING_HOPS
    level_db = 10.0 * np.log10(np.convolve(power, kernel, "same") + 1e-10)
    loud_db = float(np.percentile(level_db, 95))
    noise_db = float(np.percentile(level_db, 10))
    limit_db = max(loud_db - _SPEECH_BELOW_PEAK_DB, noise_db + _ABOVE_NOISE_DB)
    # A recording without a pause has no noise to measure: never cut into its loud half.
    limit_db = max(min(limit_db, loud_db - _LOUD_HALF_DB), _NOTHING_DB)
    speech = level_db > limit_db
    return Activity(level_db, _without_short_runs(speech))


def judge_silence(curves: FaceCurves, activity: Activity) -> SilenceTally:
    """See whether the mouth is shut where nothing is heard, and how soon.

    A frame is well inside silence when no speech is within 120 ms of it. The delay runs from the
    end of speech to the first time at which the aperture is below `shut_below`, to a fraction of
    a frame; it is 0 for lips that are shut already, and as long as the pause for lips that never
    shut in it. Pauses shorter than 0.4 s, as at the end of a video, have no delay.
    """
    limit = shut_below(curves.aperture)
    shut = curves.aperture < limit
    silent = np.zeros(curves.num_frames, bool)
    delays: list[float] = []
    never = 0
    for start_s, end_s in activity.pauses():
        # Nobody speaks before the sound begins or after it ends: no margin there.
        from_s = start_s + MARGIN_S if start_s > 0 else 0.0
        last = end_s >= len(activity.speech) / 100
        first, stop = _span(from_s, curves.seconds if last else end_s - MARGIN_S, curves)
        silent[first:stop] = True
        if start_s > 0 and end_s - start_s >= MIN_PAUSE_S:
            delay_s = _delay_s(curves, limit, start_s, curves.seconds if last else end_s)
            if delay_s is None:
                never += 1
                delay_s = end_s - start_s
            delays.append(1000.0 * delay_s)
    silent &= curves.tracked
    return SilenceTally(int(silent.sum()), int((silent & shut).sum()), tuple(delays), never)


def _delay_s(curves: FaceCurves, limit: float, start_s: float, end_s: float) -> float | None:
    """Time from `start_s` until the aperture falls below `limit`; None if not before `end_s`."""
    first, stop = _span(start_s, end_s, curves)
    below = np.flatnonzero(curves.aperture[first:stop] < limit)
    if not below.size:
        return None
    at = first + int(below[0])
    time_s = at / FRAME_RATE_HZ
    if at > 0 and curves.aperture[at - 1] > limit:
        before, after = curves.aperture[at - 1], curves.aperture[at]
        time_s -= (limit - after) / (before - after) / FRAME_RATE_HZ
    return max(0.0, float(time_s) - start_s)


def _span(start_s: float, end_s: float, curves: FaceCurves) -> tuple[int, int]:
    first = int(np.ceil(start_s * FRAME_RATE_HZ - 1e-6))
    stop = int(np.floor(end_s * FRAME_RATE_HZ + 1e-6))
    return min(first, curves.num_frames), min(max(stop, first), curves.num_frames)


def _without_short_runs(speech: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill pauses inside speech that are short, then drop sounds that are short."""
    cleaned = speech.copy()
    for start, stop in _runs(~cleaned):
        if start > 0 and stop < len(cleaned) and stop - start < 100 * MIN_PAUSE_S:
            cleaned[start:stop] = True
    for start, stop in _runs(cleaned):
        if stop - start < 100 * MIN_SPEECH_S:
            cleaned[start:stop] = False
    return cleaned


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
