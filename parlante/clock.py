"""Clocks: what a session waits on. Real time in service, virtual time in tests."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol

__all__ = ["Clock", "RealClock", "VirtualClock"]


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def monotonic_us(self) -> int:
        """Give the time since an arbitrary origin, in microseconds; it never goes back."""
        ...

    async def sleep_until_us(self, deadline_us: int) -> None:
        """Return once `monotonic_us` has reached `deadline_us`; at once if it has."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def monotonic_us(self) -> int:
        """Give the time since an arbitrary origin, in microseconds."""
        return time.monotonic_ns() // 1000

    async def sleep_until_us(self, deadline_us: int) -> None:
        """Return once the clock has reached `deadline_us`; at once if it has."""
        # Event loop timers may fire a little early (clock resolution): look again.
        while (remaining_us := deadline_us - self.monotonic_us()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(remaining_us / 1e6)


class VirtualClock:
    """A clock that moves only when it is told to, for tests.

    Args:
        settle_rounds: Rounds of the event loop that tasks get before time moves on. More for
            longer chains of tasks.
    """

    def __init__(self, settle_rounds: int = 40) -> None:
        self._now_us = 0
        self._settle_rounds = settle_rounds
        self._order = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def monotonic_us(self) -> int:
        """Give the virtual time in microseconds, from 0."""
        return self._now_us

    async def sleep_until_us(self, deadline_us: int) -> None:
        """Return once `advance_us` has moved the clock to `deadline_us`."""
        if deadline_us <= self._now_us:
            return
        waker = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (deadline_us, self._order, waker))
        await waker

    async def advance_us(self, duration_us: int) -> None:
        """Move the clock on, waking sleepers in order and letting other tasks run in between."""
        end_us = self._now_us + duration_us
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_us:
            deadline_us, _, waker = heapq.heappop(self._sleepers)
            self._now_us = max(self._now_us, deadline_us)
            if not waker.done():
                waker.set_result(None)
                await self.settle()
        self._now_us = end_us

    async def settle(self) -> None:
        """Let tasks run that need no time to pass."""
        for _ in range(self._settle_rounds):
            await asyncio.sleep(0)
