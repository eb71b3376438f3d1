"""How far a run is that may have to end by the clock."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Which step of the whole run a step counts as, by number and by the clock.

    Args:
        num_steps: Of the run.
        max_minutes: From now on; None: only steps count.
    """

    def __init__(self, num_steps: int, max_minutes: float | None) -> None:
        self._num_steps = num_steps
        self._seconds = None if max_minutes is None else 60.0 * max_minutes
        self._started = time.monotonic()

    def place(self, step: int) -> int:
        """The step itself, or that of a run that would be as far as the clock is."""
        if self._seconds is None:
            return step
        done = (time.monotonic() - self._started) / self._seconds
        return max(step, min(round(done * self._num_steps), self._num_steps - 1))
