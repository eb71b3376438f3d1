"""What a session still has to send: a bounded queue beside a slot for the latest playback report.

Reports do not queue behind audio: the server needs them to go on sending, and a reader must never
wait for a writer (both sides waiting to write is a deadlock).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from parlante.v1 import gateway_pb2

__all__ = ["Outbox"]


class Outbox:
    """Requests on their way to the server; one event loop, one reader.

    Args:
        capacity: Requests that may wait before `put` waits, >= 1.
    """

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[gateway_pb2.ConverseRequest] = deque()
        self._report: gateway_pb2.PlaybackReport | None = None
        self._closed = False
        self._work = asyncio.Event()  # something to send, or closed
        self._room = asyncio.Event()  # below capacity, or closed
        self._room.set()

    async def put(self, request: gateway_pb2.ConverseRequest) -> bool:
        """Queue a request, waiting for room; False when the outbox is closed instead."""
        while not self._closed and len(self._items) >= self._capacity:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            return False
        self._items.append(request)
        self._work.set()
        return True

    def preload(self, requests: Iterable[gateway_pb2.ConverseRequest]) -> None:
        """Queue requests at once, however many; for the beginning of a call."""
        self._items.extend(requests)
        self._work.set()

    def report(self, report: gateway_pb2.PlaybackReport) -> None:
        """Put a later playback report in place of one that has not been sent yet."""
        last_frame_seq = self._report.last_frame_seq if self._report is not None else 0
        if not self._closed and report.last_frame_seq >= last_frame_seq:
            self._report = report
            self._work.set()

    def close(self) -> None:
        """Take nothing more; what is queued is still sent. Idempotent."""
        self._closed = True
        self._work.set()
        self._room.set()

    async def requests(self) -> AsyncIterator[gateway_pb2.ConverseRequest]:
        """Give requests as they come, reports first, until the outbox is closed and empty."""
        while True:
            if self._report is not None:
                report, self._report = self._report, None
                yield gateway_pb2.ConverseRequest(playback=report)
            elif self._items:
                item = self._items.popleft()
                self._room.set()
                yield item
            elif self._closed:
                return
            else:
                self._work.clear()
                await self._work.wait()
