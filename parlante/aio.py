"""Small asyncio tools: ending tasks, a bounded channel, closing iterators in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")

__all__ = ["Channel", "ChannelClosed", "aclose", "cancel_and_wait", "closing", "first_error"]


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return once all have ended; their results and errors are dropped.

    A cancellation of the caller still gets through, after the tasks have ended.
    """
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while any(not task.done() for task in pending):
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks it as retrieved
    if cancelled is not None:
        raise cancelled


async def aclose(iterator: AsyncIterable[Any]) -> None:
    """Close an async generator now; other iterators have nothing to close."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


@asynccontextmanager
async def closing(iterator: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Give `iterator` and close it on the way out, whatever happens in between.

    Without this a generator that is left early keeps its resources until it is collected.
    """
    try:
        yield iterator
    finally:
        await aclose(iterator)


def first_error(
    group: BaseExceptionGroup[BaseException], preferred: type[BaseException]
) -> BaseException:
    """Give the first error of a group that is of a class, or else the first of all."""
    errors = list(_leaves(group))
    return next((error for error in errors if isinstance(error, preferred)), errors[0])


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for item in error.exceptions for leaf in _leaves(item)]
    return [error]


class ChannelClosed(Exception):
    """The channel was closed before this item was put."""


class Channel(Generic[T]):
    """A bounded first-in first-out queue that can end.

    `put` waits for room (back-pressure). After `close` readers get what is queued and then the
    end. Any number of writers and readers on one event loop.

    Args:
        capacity: Items that may wait, >= 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be >= 1; got {capacity}")
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._closed = False
        self._wakers: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: T) -> None:
        """Append an item, waiting for room; raises `ChannelClosed` once the channel has ended."""
        while not self._closed and len(self._items) >= self._capacity:
            await self._wait_for_change()
        if self._closed:
            raise ChannelClosed
        self._items.append(item)
        self._wake()

    async def get(self) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            StopAsyncIteration: The channel was closed and is empty.
        """
        while not self._items and not self._closed:
            await self._wait_for_change()
        if not self._items:
            raise StopAsyncIteration
        item = self._items.popleft()
        self._wake()
        return item

    def close(self) -> None:
        """End the channel after what is queued; idempotent."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> Channel[T]:
        return self

    async def __anext__(self) -> T:
        return await self.get()

    async def _wait_for_change(self) -> None:
        waker = asyncio.get_running_loop().create_future()
        self._wakers.add(waker)
        try:
            await waker
        finally:
            self._wakers.discard(waker)

    def _wake(self) -> None:
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)
