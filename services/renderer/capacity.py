"""How many sessions a renderer can take, by what it has measured, and who gets in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from parlante import telemetry
from parlante.errors import Overloaded
from parlante.types import FRAME_RATE_HZ

__all__ = ["Admission", "RateMeter", "Struggle"]

# Of what a saturated server makes; the rest absorbs bursts and what the measurement is off.
HEADROOM: Final = 0.85
RETRY_AFTER_MS: Final = 2000
MAX_LATE_SHARE: Final = 0.02
_LATE_WINDOW_S: Final = 3.0
_MIN_LATE_FRAMES: Final = 2
_WINDOW_S: Final = 0.5  # of busy time
_NEW_WEIGHT: Final = 0.3  # of the newest window in the running mean
_RECOVERY_S: Final = 30.0


class RateMeter:
    """The frame rate that a server can keep up, in frames per second.

    Frames per second of busy time. While more frames wait all the time that is the limit; otherwise
    it is a lower bound, as fuller batches may go faster, and only raises the estimate. A low
    estimate returns to what was measured at the start: the machine may have had other work to do.

    Args:
        now_s: A monotonic clock, seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._calibrated_hz = 0.0
        self._estimate_hz = 0.0
        self._estimated_s = now_s()
        self._num_frames = 0
        self._busy_s = 0.0
        self._is_saturated = True

    def calibrate(self, rate_hz: float) -> None:
        """Set what was measured without other load."""
        self._calibrated_hz = self._estimate_hz = rate_hz
        self._estimated_s = self._now_s()

    @property
    def rate_hz(self) -> float:
        """The estimate now."""
        share = min(1.0, (self._now_s() - self._estimated_s) / _RECOVERY_S)
        lag_hz = max(0.0, self._calibrated_hz - self._estimate_hz)
        return self._estimate_hz + share * lag_hz

    def note(self, num_frames: int, busy_s: float, *, saturated: bool) -> None:
        """Count frames that came out.

        Args:
            num_frames: How many.
            busy_s: Time with work since the last call.
            saturated: Whether further frames wait.
        """
        self._num_frames += num_frames
        self._busy_s += busy_s
        self._is_saturated &= saturated
        if self._busy_s < _WINDOW_S:
            return
        newest_hz = self._num_frames / self._busy_s
        if self._is_saturated or newest_hz > self.rate_hz:
            self._estimate_hz = (1 - _NEW_WEIGHT) * self.rate_hz + _NEW_WEIGHT * newest_hz
            self._estimated_s = self._now_s()
        self._num_frames, self._busy_s, self._is_saturated = 0, 0.0, True


class Struggle:
    """Tells whether frames with a deadline have lately been late.

    Args:
        now_s: A monotonic clock, seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._done: deque[tuple[float, bool]] = deque(maxlen=8192)

    def note(self, *, late: bool) -> None:
        """Count a frame that had a deadline."""
        self._done.append((self._now_s(), late))

    @property
    def is_on(self) -> bool:
        """True while too many of the last seconds' frames were late."""
        oldest_s = self._now_s() - _LATE_WINDOW_S
        while self._done and self._done[0][0] < oldest_s:
            self._done.popleft()
        num_late = sum(late for _, late in self._done)
        return num_late >= max(_MIN_LATE_FRAMES, MAX_LATE_SHARE * len(self._done))


class Admission:
    """Lets in as many streams as the measured frame rate can carry.

    Args:
        rate_hz: Frames per second that can be made.
        struggle: While it is on nobody is let in, whatever the rate promises.
    """

    def __init__(self, rate_hz: Callable[[], float], struggle: Struggle) -> None:
        self._rate_hz = rate_hz
        self._struggle = struggle
        self.num_held = 0

    @property
    def capacity(self) -> int:
        """Streams of 25 frames per second that fit; one is always tried."""
        return max(1, int(self._rate_hz() * HEADROOM / FRAME_RATE_HZ))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Count a stream for the length of a with block; raises `Overloaded`."""
        capacity = self.capacity
        if self.num_held >= capacity:
            raise self._refusal(f"it holds the {capacity} streams that its measured speed allows")
        if self.num_held and self._struggle.is_on:
            raise self._refusal("frames of the streams it holds are late")
        self.num_held += 1
        try:
            yield
        finally:
            self.num_held -= 1

    def _refusal(self, why: str) -> Overloaded:
        telemetry.metrics().streams_refused.add(1, {telemetry.ATTRIBUTE_STAGE: "renderer"})
        return Overloaded(
            f"the renderer takes no further stream now: {why}; try again later",
            reason="RENDERER_FULL",
            metadata={"capacity": str(self.capacity)},
            retry_after_ms=RETRY_AFTER_MS,
        )
