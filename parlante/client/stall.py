"""When a server that says nothing is taken to hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["STALL_S", "StallWatch"]

# Frames come every 40 or 80 ms, and a server that hangs is to be left within a second, in which
# another one has to begin. One that is only slow is not helped by a client that runs away, so the
# patience doubles with every stall that follows another soon.
STALL_S: Final = 0.4
_MEMORY_S: Final = 30.0


class StallWatch:
    """Watches a server's silence.

    Args:
        now_s: Monotonic time, seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._last_heard_s = now_s()
        self._num_stalls = 0
        self._last_stall_s = 0.0

    def heard(self) -> None:
        """Note a sign of life, or a wait that is not the server's fault."""
        self._last_heard_s = self._now_s()

    def stalled(self) -> None:
        """Note that the silence has been taken for a stall."""
        self._num_stalls = self._num_recent + 1
        self._last_stall_s = self._now_s()

    @property
    def is_too_long(self) -> bool:
        """True when the silence has lasted longer than is to be expected."""
        patience_s: float = STALL_S * 2**self._num_recent
        return self._now_s() - self._last_heard_s > patience_s

    @property
    def _num_recent(self) -> int:
        """Stalls one soon after the other, the last of them not long ago."""
        is_recent = self._now_s() - self._last_stall_s < _MEMORY_S
        return self._num_stalls if is_recent else 0
