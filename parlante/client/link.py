"""One call of a session, and what its successor must know to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from parlante.aio import aclose, cancel_and_wait
from parlante.client.messages import Audio, Event, EventType, Frame, MotionSample, SessionItem
from parlante.client.outbox import Outbox
from parlante.client.replay import ReplayLog
from parlante.errors import Expired, InternalError, ParlanteError, Unavailable
from parlante.rpc.calls import responses_of
from parlante.types import FRAME_DURATION_US
from parlante.v1 import gateway_pb2

__all__ = ["Link", "OpenCall", "Progress", "StartCall", "is_recoverable"]

_OUTBOX_CAPACITY: Final = 16
_MAX_SEEN_EVENTS: Final = 512


class ConverseCall(Protocol):
    """The part of a gRPC stream call that a session uses; `responses_of` reads it."""

    def cancel(self) -> bool: ...

    def add_done_callback(self, callback: Callable[[object], None]) -> None: ...


StartCall = Callable[[AsyncIterator[gateway_pb2.ConverseRequest]], ConverseCall]
# Gives a way to a gateway, and what closes it again.
OpenCall = Callable[[], tuple[StartCall, Callable[[], Awaitable[None]]]]


@dataclass(slots=True)
class Progress:
    """What a session has got so far; the server of its next link must not send it twice."""

    point: gateway_pb2.ResumePoint | None = None
    point_s: float = 0.0
    last_seq: int = 0
    num_dropped: int = 0
    next_frame_us: int = 0
    next_motion_us: int = 0
    next_audio_sample: int = 0
    seen: dict[tuple[EventType, str], None] = field(default_factory=dict)

    def take_point(self, point: gateway_pb2.ResumePoint) -> None:
        """Note where the session could go on."""
        self.point, self.point_s = point, time.monotonic()

    def is_new(self, item: SessionItem) -> bool:
        """Note an item; False for one that came before."""
        match item:
            case Frame():
                self.last_seq, self.num_dropped = item.seq, item.dropped_frame_count
                self.next_frame_us = item.media_offset_us + FRAME_DURATION_US
            case MotionSample():
                self.next_motion_us = item.media_offset_us + FRAME_DURATION_US
            case Audio():
                self.next_audio_sample = item.start_sample + len(item.samples)
            case Event(type=EventType.UTTERANCE_STARTED | EventType.UTTERANCE_FINISHED):
                key = (item.type, item.utterance_id)
                if key in self.seen:
                    return False
                self.seen[key] = None
                if len(self.seen) > _MAX_SEEN_EVENTS:
                    del self.seen[next(iter(self.seen))]
            case Event(type=EventType.GO_AWAY):
                return self.point is None  # else the session goes on by itself
        return True

    def resume_from(
        self, log: ReplayLog
    ) -> tuple[gateway_pb2.ResumeFrom, list[gateway_pb2.ConverseRequest]]:
        """Make what a resumed session begins with: where it goes on, and what is sent again."""
        assert self.point is not None
        replay = log.replay(self.point)
        resume = gateway_pb2.ResumeFrom(
            resume_token=self.point.resume_token,
            elapsed_us=int((time.monotonic() - self.point_s) * 1e6),
            last_frame_seq=self.last_seq,
            next_frame_offset_us=self.next_frame_us,
            next_motion_offset_us=self.next_motion_us,
            next_audio_sample=self.next_audio_sample,
            replayed_message_count=len(replay.messages),
            repeated_message_count=replay.num_repeated,
            dropped_frame_count=self.num_dropped,
        )
        return resume, list(replay.messages)


class Link:
    """One call.

    Args:
        open_call: Gives a way to a gateway.
    """

    def __init__(self, open_call: OpenCall) -> None:
        self.outbox = Outbox(capacity=_OUTBOX_CAPACITY)
        self._open_call = open_call
        self._close: Callable[[], Awaitable[None]] | None = None
        self._call: ConverseCall | None = None
        self._responses: AsyncIterator[gateway_pb2.ConverseResponse] | None = None
        self._following: asyncio.Task[gateway_pb2.ConverseResponse | None] | None = None

    async def start(self, *, timeout_s: float) -> gateway_pb2.SessionStarted:
        """Open the call and read its first answer; the outbox holds the config already."""
        start_call, self._close = self._open_call()
        self._call = start_call(self.outbox.requests())
        self._call.add_done_callback(lambda _: self.outbox.close())
        self._responses = responses_of(self._call)
        try:
            async with asyncio.timeout(timeout_s):
                first = await self.read()
        except TimeoutError:
            raise Expired(
                f"the session did not start within {timeout_s:g} s; "
                "check that the server is reachable and ready",
                reason="SESSION_START_TIMEOUT",
            ) from None
        if first is None or first.WhichOneof("message") != "session_started":
            raise InternalError("the server's first answer must be session_started")
        return first.session_started

    async def read(self) -> gateway_pb2.ConverseResponse | None:
        """Read an answer; None at the end of the session."""
        assert self._responses is not None
        return await anext(self._responses, None)

    async def read_watched(
        self, is_stalled: Callable[[], bool], *, interval_s: float
    ) -> gateway_pb2.ConverseResponse | None:
        """Read an answer; asks now and then whether the server stalls.

        Raises:
            Unavailable: SERVER_STALLED.
        """
        self._following = asyncio.ensure_future(self.read())
        while not (await asyncio.wait((self._following,), timeout=interval_s))[0]:
            if is_stalled():
                raise Unavailable(
                    "nothing came from the server for too long; the session goes on elsewhere",
                    reason="SERVER_STALLED",
                )
        return self._following.result()

    async def aclose(self) -> None:
        """End the call and free what it holds. Idempotent."""
        self.outbox.close()
        if self._call is not None:
            self._call.cancel()
        if self._following is not None:
            await cancel_and_wait(self._following)
        if self._responses is not None:
            await aclose(self._responses)
        if self._close is not None:
            close, self._close = self._close, None
            await close()


def is_recoverable(error: ParlanteError) -> bool:
    """Tell whether a session that an error ended may go on elsewhere."""
    if isinstance(error, InternalError):  # as a process that dies in the middle of a message
        return error.reason == InternalError.default_reason and "error_id" not in error.metadata
    return isinstance(error, Unavailable)
