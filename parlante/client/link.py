"""One call of a session, and what its successor must know to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from parlante.aio import aclose, cancel_and_wait
from parlante.client.messages import Audio, Event, EventType, Frame, MotionSample, SessionItem
from parlante.client.outbox import Outbox
from parlante.client.replay import ReplayLog
from parlante.errors import Expired, InternalError, ParlanteError, Unavailable
from parlante.rpc.calls import end_call, responses_of
from parlante.types import FRAME_DURATION_US
from parlante.v1 import gateway_pb2

__all__ = ["Link", "OpenCall", "Progress", "StartCall", "Way", "is_recoverable"]

_OUTBOX_CAPACITY: Final = 16
_MAX_SEEN_EVENTS: Final = 512
# Events that an utterance has once; a server that takes over may tell them again.
_ONCE: Final = frozenset({EventType.UTTERANCE_STARTED, EventType.UTTERANCE_FINISHED})


class ConverseCall(Protocol):
    """The part of a gRPC stream call that a session uses; `responses_of` reads it."""

    def cancel(self) -> bool: ...

    def add_done_callback(self, callback: Callable[[object], None]) -> None: ...


StartCall = Callable[[AsyncIterator[gateway_pb2.ConverseRequest]], ConverseCall]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to a gateway.

    Attributes:
        target: The gateway, or a load balancer before it.
        start_call: Starts a call there.
        close: Frees what the way holds.
    """

    target: str
    start_call: StartCall
    close: Callable[[], Awaitable[None]]


# Gives a way to a gateway, to another one than a target if there is one.
OpenCall = Callable[[str], Way]


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
        """Note an item; False for one that came before, by this link or by another one."""
        match item:
            case Frame():
                if item.media_offset_us < self.next_frame_us:
                    return False
                self.last_seq, self.num_dropped = item.seq, item.dropped_frame_count
                self.next_frame_us = item.media_offset_us + FRAME_DURATION_US
            case MotionSample():
                if item.media_offset_us < self.next_motion_us:
                    return False
                self.next_motion_us = item.media_offset_us + FRAME_DURATION_US
            case Audio():
                if item.start_sample < self.next_audio_sample:
                    return False
                self.next_audio_sample = item.start_sample + len(item.samples)
            case Event(type=EventType.GO_AWAY):
                return self.point is None  # else the session goes on by itself
            case Event() if item.type in _ONCE:
                key = (item.type, item.utterance_id)
                if key in self.seen:
                    return False
                self.seen[key] = None
                if len(self.seen) > _MAX_SEEN_EVENTS:
                    del self.seen[next(iter(self.seen))]
        return True

    def resume_from(
        self, log: ReplayLog, *, num_awaited: int
    ) -> tuple[gateway_pb2.ResumeFrom, list[gateway_pb2.ConverseRequest]]:
        """Make what a resumed session begins with: where it goes on, and what is sent again.

        Args:
            log: What was sent.
            num_awaited: Frames that the present server is still expected to send; the next one
                begins after them.
        """
        assert self.point is not None
        replay = log.replay(self.point)
        resume = gateway_pb2.ResumeFrom(
            resume_token=self.point.resume_token,
            elapsed_us=int((time.monotonic() - self.point_s) * 1e6),
            last_frame_seq=self.last_seq + num_awaited,
            next_frame_offset_us=self.next_frame_us + num_awaited * FRAME_DURATION_US,
            next_motion_offset_us=self.next_motion_us,
            next_audio_sample=self.next_audio_sample,
            replayed_message_count=len(replay.messages),
            repeated_message_count=replay.num_repeated,
            dropped_frame_count=self.num_dropped,
        )
        return resume, list(replay.messages)


class Link:
    """One call.

    A server numbers frames on from what it was told; where another one sent more or fewer of them
    meanwhile, the numbers are moved by as many.

    Args:
        open_call: Gives a way to a gateway.
        avoid: Target that it is not to lead to; "" for any.

    Attributes:
        target: Where it leads; "" before it starts.
    """

    def __init__(self, open_call: OpenCall, *, avoid: str = "") -> None:
        self.outbox = Outbox(capacity=_OUTBOX_CAPACITY)
        self.target = ""
        self._open_call = open_call
        self._avoid = avoid
        self._close: Callable[[], Awaitable[None]] | None = None
        self._call: ConverseCall | None = None
        self._responses: AsyncIterator[gateway_pb2.ConverseResponse] | None = None
        self._following: asyncio.Task[gateway_pb2.ConverseResponse | None] | None = None
        self._shift: int | None = None  # ours minus the server's
        self._last_seq = 0  # of the server

    async def start(self, *, timeout_s: float) -> gateway_pb2.SessionStarted:
        """Open the call and read its first answer; the outbox holds the config already."""
        way = self._open_call(self._avoid)
        self.target, self._close = way.target, way.close
        self._call = way.start_call(self.outbox.requests())
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

    def following(self) -> asyncio.Task[gateway_pb2.ConverseResponse | None]:
        """Give the read that is under way, or begin one; `take_following` gives its result."""
        if self._following is None:
            self._following = asyncio.create_task(self.read())
        return self._following

    def take_following(self) -> gateway_pb2.ConverseResponse | None:
        """Give the answer that has been read; None at the end of the session."""
        assert self._following is not None
        following, self._following = self._following, None
        return following.result()

    @property
    def is_numbered(self) -> bool:
        """True once its numbers are known, with the first frame."""
        return self._shift is not None

    def numbered(self, frame: Frame, *, expected_seq: int) -> Frame:
        """Give a frame in the session's numbering, in which it would be `expected_seq`."""
        self._last_seq = max(self._last_seq, frame.seq)
        if self._shift is None:
            self._shift = expected_seq - frame.seq
        if not self._shift:
            return frame
        return replace(
            frame,
            seq=frame.seq + self._shift,
            dropped_frame_count=frame.dropped_frame_count - self._shift,
        )

    def skip(self, last_frame_seq: int, media_offset_us: int) -> None:
        """Give the credit back of a frame that the session has already, in the server's numbering.

        Else a server that is behind another one by all its credits would send nothing any more.
        """
        self._last_seq = max(self._last_seq, last_frame_seq)
        self.outbox.report(
            gateway_pb2.PlaybackReport(
                last_frame_seq=last_frame_seq, media_offset_us=media_offset_us
            )
        )

    def report(self, last_seq: int, media_offset_us: int) -> None:
        """Free the credits of all frames up to one, in the session's numbering."""
        last_frame_seq = min(last_seq - (self._shift or 0), self._last_seq)
        if last_frame_seq > 0:
            self.outbox.report(
                gateway_pb2.PlaybackReport(
                    last_frame_seq=last_frame_seq, media_offset_us=media_offset_us
                )
            )

    def keep_alive(self) -> None:
        """Say that there is a client, and nothing else."""
        self.outbox.report(gateway_pb2.PlaybackReport())

    async def aclose(self) -> None:
        """End the call and free what it holds. Idempotent."""
        self.outbox.close()
        if self._call is not None:
            end_call(self._call)
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
