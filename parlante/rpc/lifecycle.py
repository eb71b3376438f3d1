"""When a process gives its streams away: before it stops, or because an operator asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeVar

from parlante.aio import cancel_and_wait, closing

__all__ = ["DRAINING", "EMPTIED", "Leaving", "Lifecycle"]

T = TypeVar("T")

DRAINING: Final = "DRAINING"
EMPTIED: Final = "EMPTIED"


class Leaving(Exception):
    """A stream is to go on at another replica; `args[0]` is why."""


class Lifecycle:
    """Shared by a server, which begins the drain, and its servicers, whose streams leave.

    Attributes:
        serving: True once the server is warmed up.
        draining: Set when the process begins to stop.
        reason: Why streams leave; "" while they need not.
    """

    def __init__(self) -> None:
        self.serving = False
        self.draining = asyncio.Event()
        self.reason = ""
        self._leaving = asyncio.Event()

    def drain(self) -> None:
        """Begin to stop: every stream leaves, and those to come leave at once. Idempotent."""
        self.serving = False
        self.reason = DRAINING
        self.draining.set()
        self._leaving.set()

    def empty(self) -> None:
        """Let the streams of now leave; those to come may stay."""
        if self.draining.is_set():
            return
        self.reason = EMPTIED
        self._leaving.set()
        self._leaving = asyncio.Event()

    @property
    def leaving(self) -> asyncio.Event:
        """Set when the streams of now are to leave."""
        return self._leaving

    async def until_leaving(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """Give items, and close them in the end.

        Raises:
            Leaving: The stream is to leave.
        """
        leaving = asyncio.create_task(self._leaving.wait())
        following: asyncio.Task[T] | None = None
        async with closing(items) as source:
            try:
                while not leaving.done():
                    following = asyncio.ensure_future(_next(source))
                    await asyncio.wait((following, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        break
                    try:
                        item = following.result()
                    except _EndOfItems:
                        return
                    yield item
                raise Leaving(self.reason)
            finally:
                await cancel_and_wait(*[task for task in (leaving, following) if task is not None])


class _EndOfItems(Exception):
    """The items are over; a task cannot carry StopAsyncIteration."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _EndOfItems from None
