"""When a process gives its streams away: before it stops, or because an operator asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Literal, TypeVar

from parlante.aio import cancel_and_wait, closing

__all__ = ["DRAINING", "EMPTIED", "OVERLAP_S", "Leaving", "Lifecycle"]

T = TypeVar("T")

DRAINING: Final = "DRAINING"
EMPTIED: Final = "EMPTIED"
# Time for a caller to lease a slot elsewhere and have an avatar made ready there. A stream that is
# given away ends sooner, as its caller leaves when it is ready.
OVERLAP_S: Final = 1.0


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

    async def until_leaving(
        self,
        items: AsyncIterator[T],
        give_notice: Callable[[str], Awaitable[None]] | None = None,
    ) -> AsyncIterator[T]:
        """Give items, and close them in the end.

        Args:
            items: What the stream is about.
            give_notice: Called with the reason when the stream is to leave; items go on for
                `OVERLAP_S` then. None: the stream leaves at once.

        Raises:
            Leaving: The stream is to leave.
        """
        leaving = asyncio.ensure_future(self._leaving.wait())
        following: asyncio.Task[T] | None = None
        async with closing(items) as source:
            try:
                while True:
                    following = following or asyncio.ensure_future(_next(source))
                    await asyncio.wait((following, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if following.done():
                        done, following = following, None
                        try:
                            item = done.result()
                        except _EndOfItems:
                            return
                        yield item
                    if not leaving.done():
                        continue
                    if give_notice is None:
                        raise Leaving(self.reason)
                    await give_notice(self.reason)
                    give_notice = None
                    leaving = asyncio.ensure_future(_overlap())
            finally:
                await cancel_and_wait(*[task for task in (leaving, following) if task is not None])


async def _overlap() -> Literal[True]:
    await asyncio.sleep(OVERLAP_S)
    return True


class _EndOfItems(Exception):
    """The items are over; a task cannot carry StopAsyncIteration."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _EndOfItems from None
