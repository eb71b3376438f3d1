"""A session's line to its server, whichever that is: it goes on at another one by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any, Final

from parlante.client.link import Link, OpenCall, Progress, is_recoverable
from parlante.client.messages import (
    Audio,
    Event,
    EventType,
    Frame,
    MotionSample,
    SessionInfo,
    SessionItem,
    item_from_proto,
    session_info_from_proto,
)
from parlante.client.replay import ReplayLog
from parlante.client.stall import StallWatch
from parlante.client.succession import Succession
from parlante.errors import Expired, Overloaded, ParlanteError, Unavailable
from parlante.types import FrameEncoding
from parlante.v1 import gateway_pb2

__all__ = ["Line"]

logger = logging.getLogger(__name__)

STALLED: Final = "SERVER_STALLED"
DRAINING: Final = "DRAINING"
_LOOK_INTERVAL_S: Final = 0.05
# A server that goes away sends frames until another one does; so many are left to it, which is what
# a session needs to begin elsewhere.
_OVERLAP_FRAMES: Final = 8
# For the last of them to come, when the next server is ready.
_OVERLAP_WAIT_S: Final = 0.1
# A server ends sessions whose client says nothing for minutes (300 s unless it is told otherwise).
_KEEP_ALIVE_S: Final = 20.0


class Line:
    """Sends and reads the messages of a session.

    The next server's call is opened while the present one still goes on, if it does: when it says
    that it goes away, or says nothing for too long. What is sent meanwhile goes to both; of what
    both send, the session gets one. H.264 streams end before the next begins: a frame of theirs
    needs those before it.

    Args:
        open_call: Gives a way to a server.
        config: Of the session.

    Attributes:
        info: What the server made of the configuration; set by `start`.
        num_resumed: How often the session went on at another server.
        is_awaited: True while somebody waits for what comes: so long the session is kept alive,
            also where there are no frames that are reported.
    """

    info: SessionInfo

    def __init__(self, open_call: OpenCall, config: gateway_pb2.SessionConfig) -> None:
        self.num_resumed = 0
        self.is_awaited = False
        self._last_sent_s = time.monotonic()
        self._open_call = open_call
        self._config = config
        self._link = Link(open_call)
        self._log = ReplayLog()
        self._progress = Progress()
        self._stall_watch = StallWatch()
        self._succession: Succession | None = None
        self._taken_over: deque[gateway_pb2.ConverseResponse] = deque()
        self._acknowledged: list[str] = []  # interrupts that a server before has acknowledged
        self._last_reported_seq = self._last_reported_us = 0
        self._is_finished = False
        self._is_lost = False
        self._has_ended = False  # the present call
        self._is_dry = False  # it ran dry in time that is not the next one's
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self, *, timeout_s: float) -> None:
        """Open the session; the line must be closed even when that fails."""
        self._link.outbox.preload([gateway_pb2.ConverseRequest(config=self._config)])
        started = await self._link.start(timeout_s=timeout_s)
        self.info = session_info_from_proto(started)
        if self._config.resumable:
            # An inline portrait is replaced by its name; a picture behind is not sent back.
            own, self._config = self._config, started.config
            self._config.background.CopyFrom(own.background)

    # --- sending -------------------------------------------------------------------------------

    async def put(self, request: gateway_pb2.ConverseRequest) -> bool:
        """Send a message, waiting for room; False when the session is over."""
        self._log.note(request)
        self._last_sent_s = time.monotonic()
        if self._succession is not None and self._succession.link is not None:
            self._succession.link.outbox.preload([request])  # the present server's pace counts
        if await self._link.outbox.put(request):
            return True
        # The call is over. If the session goes on elsewhere, what was noted is sent there.
        return self._progress.point is not None and not self._is_lost

    def report(self, frame: Frame) -> None:
        """Free the credits of all frames up to one."""
        if self._config.max_frames_in_flight > 0:
            self._last_reported_seq = frame.seq
            self._last_reported_us = frame.media_offset_us
            self._stall_watch.heard()
            self._last_sent_s = time.monotonic()
            self._link.report(frame.seq, frame.media_offset_us)

    def finish(self) -> None:
        """Send nothing more. Idempotent."""
        self._is_finished = True
        self._link.outbox.close()
        if self._succession is not None and self._succession.link is not None:
            self._succession.link.outbox.close()

    async def aclose(self) -> None:
        """End the session at once and free what it holds; nothing may be reading. Idempotent."""
        self._is_lost = True
        self._abandon()
        await self._link.aclose()
        if self._leaving:
            await asyncio.wait(self._leaving)

    # --- reading -------------------------------------------------------------------------------

    async def read(self) -> SessionItem | None:
        """Read what is new; None at the end of the session.

        Raises:
            ParlanteError: What ended the session.
        """
        self._stall_watch.heard()  # our own reader may have taken its time
        while True:
            message = self._taken_over.popleft() if self._taken_over else await self._next()
            if message is None:
                return None
            item = self._take(message)
            if item is not None:
                return item

    async def _next(self) -> gateway_pb2.ConverseResponse | None:
        """Read the next answer, of whichever server has the session."""
        while not self._taken_over:
            self._keep_alive()
            following = self._link.following()
            waits: set[asyncio.Task[Any]] = {following}
            if self._succession is not None and not self._succession.done.done():
                waits.add(self._succession.done)
            await asyncio.wait(waits, timeout=_LOOK_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
            try:
                if self._may_switch():
                    self._switch()
                elif following.done():
                    return self._link.take_following()
                else:
                    self._look_for_stall()
            except ParlanteError as error:
                await self._go_on(error)
        return self._taken_over.popleft()

    def _keep_alive(self) -> None:
        now_s = time.monotonic()
        if self.is_awaited and now_s - self._last_sent_s > _KEEP_ALIVE_S:
            self._last_sent_s = now_s
            self._link.keep_alive()

    def _take(self, message: gateway_pb2.ConverseResponse) -> SessionItem | None:
        """Give what is new of an answer."""
        self._stall_watch.heard()
        if message.WhichOneof("message") == "resume_point":
            self._progress.take_point(message.resume_point)
            self._log.acknowledge(message.resume_point)
            if self._is_dry:  # the point that belongs to it
                self._is_dry = False
                self._abandon()
                self._seek(DRAINING, num_awaited=_OVERLAP_FRAMES)
            elif message.resume_point.go_away and self._may_overlap:
                self._seek(DRAINING, num_awaited=_OVERLAP_FRAMES)
            return None
        item = item_from_proto(message, self.info)
        if self._is_left_to_next(item):
            assert self._succession is not None
            self._succession.held.append(message)
            return None
        if isinstance(item, Event) and item.type is EventType.AUDIO_UNDERRUN:
            self._is_dry = self._is_before_next(item.media_offset_us)
        if isinstance(item, Frame):
            if self._succession is not None and self._succession.reason == STALLED:
                self._abandon()  # it was only slow
            item = self._numbered(item)
        if item is None or self._is_acknowledged(item) or not self._progress.is_new(item):
            return None
        return item

    def _is_left_to_next(self, item: SessionItem | None) -> bool:
        """Tell whether an item of the present server is of the time that the next one begins at."""
        return (
            self._succession is not None
            and self._succession.begin_us > 0
            and isinstance(item, Frame | Audio | MotionSample)
            and item.media_offset_us >= self._succession.begin_us
        )

    def _is_before_next(self, media_offset_us: int) -> bool:
        """Tell whether the present server, which goes away, still had the session then.

        If it ran dry there, it keeps what comes late for the next one; and the one that is being
        made ready does not know: it has what came late, and plays it where nobody hears it. So
        another one begins with the state of now.
        """
        succession = self._succession
        return (
            succession is not None
            and succession.reason == DRAINING
            and media_offset_us < succession.begin_us
        )

    def _numbered(self, frame: Frame) -> Frame | None:
        """Give a frame in the session's numbering; None if it came by another link before."""
        if frame.media_offset_us < self._progress.next_frame_us:
            self._skip(self._link, frame.seq, frame.media_offset_us)
            return None
        is_first = not self._link.is_numbered
        frame = self._link.numbered(frame, expected_seq=self._progress.last_seq + 1)
        if is_first and self._last_reported_seq:
            self._link.report(self._last_reported_seq, self._last_reported_us)
        return frame

    def _is_acknowledged(self, item: SessionItem) -> bool:
        """Tell whether an interrupt has been acknowledged by the server before this one."""
        if not isinstance(item, Event) or item.type is not EventType.INTERRUPTED:
            return False
        if self._succession is not None:
            self._succession.acknowledged.append(item.utterance_id)
        if item.utterance_id not in self._acknowledged:
            return False
        self._acknowledged.remove(item.utterance_id)
        return True

    # --- going on elsewhere --------------------------------------------------------------------

    def _look_for_stall(self) -> None:
        """Look for another server when frames that must come do not.

        Raises:
            Unavailable: SERVER_STALLED, and there is no other one.
        """
        if self._succession is None and self._is_stalled():
            self._stall_watch.stalled()
            self._seek(STALLED, num_awaited=0)
        elif (
            self._succession is not None
            and self._succession.reason == STALLED
            and self._succession.error is not None
        ):
            raise Unavailable(
                "nothing came from the server for too long, and no other one takes the session",
                reason=STALLED,
            )

    def _is_stalled(self) -> bool:
        """Tell whether frames are missed; a server without credits has none to send."""
        max_in_flight = self._config.max_frames_in_flight
        is_waiting_for_us = 0 < max_in_flight <= self._progress.last_seq - self._last_reported_seq
        return (
            self._may_go_on
            and self._progress.last_seq > 0
            and not is_waiting_for_us
            and self._stall_watch.is_too_long
        )

    @property
    def _may_go_on(self) -> bool:
        return self._progress.point is not None and not self._log.has_overflowed

    @property
    def _may_overlap(self) -> bool:
        is_whole = self.info.encoding is not FrameEncoding.H264 and not self._config.no_frames
        return self._may_go_on and is_whole

    def _seek(self, reason: str, *, num_awaited: int) -> Succession:
        """Begin to look for the next server, unless one is being looked for."""
        if self._succession is None:
            gives_outputs = not self._config.no_frames or self._config.return_motion

            def make_link() -> Link:
                return self._make_link(succession, num_awaited)

            self._succession = succession = Succession(
                make_link,
                shows_readiness=self._shows_readiness if gives_outputs else None,
                reason=reason,
            )
        return self._succession

    def _make_link(self, succession: Succession, num_awaited: int) -> Link:
        held, succession.held = succession.held, []  # for an attempt that came to nothing
        self._taken_over.extend(held)
        num_awaited += sum(message.WhichOneof("message") == "frame" for message in held)
        # Not to the one that hangs or goes away, as long as it has the session: it might be asked
        # again because the others have not come up yet, and have one session more.
        link = Link(self._open_call, avoid="" if self._has_ended else self._link.target)
        resume, messages = self._progress.resume_from(self._log, num_awaited=num_awaited)
        succession.begin_us = resume.next_frame_offset_us if num_awaited else 0
        config = gateway_pb2.SessionConfig()
        config.CopyFrom(self._config)
        config.resume.CopyFrom(resume)
        link.outbox.preload([gateway_pb2.ConverseRequest(config=config), *messages])
        if self._is_finished:
            link.outbox.close()
        return link

    def _shows_readiness(self, link: Link, message: gateway_pb2.ConverseResponse) -> bool:
        """Tell whether a message is what the session has not got yet from the present server."""
        match message.WhichOneof("message"):
            case "frame":
                if message.frame.media_offset_us >= self._progress.next_frame_us:
                    return True
                self._skip(link, message.frame.seq, message.frame.media_offset_us)
                return False
            case "motion":
                is_behind = message.motion.media_offset_us < self._progress.next_motion_us
                return self._config.no_frames and not is_behind
            case _:
                return False

    def _skip(self, link: Link, last_frame_seq: int, media_offset_us: int) -> None:
        if self._config.max_frames_in_flight > 0:
            link.skip(last_frame_seq, media_offset_us)

    def _may_switch(self) -> bool:
        """True when the next server is ready, and this one has sent what is left to it."""
        succession = self._succession
        if succession is None or succession.ready_s is None:
            return False
        if time.monotonic() - succession.ready_s > _OVERLAP_WAIT_S or not succession.messages:
            return True
        first = succession.messages[-1]
        if first.WhichOneof("message") == "frame":
            return first.frame.media_offset_us <= self._progress.next_frame_us
        if first.WhichOneof("message") == "motion":
            return first.motion.media_offset_us <= self._progress.next_motion_us
        return True

    def _switch(self) -> None:
        """Go on at the next server, which is ready."""
        assert self._succession is not None
        succession, self._succession = self._succession, None
        self._is_dry = False
        lost, self._link = self._link, succession.take()
        self._has_ended = False
        self._acknowledged = succession.acknowledged
        self._taken_over.extend(succession.messages)
        self.num_resumed += 1
        logger.info("session resumed", extra={"reason": succession.reason})
        self._leave(lost)

    async def _go_on(self, error: ParlanteError) -> None:
        """Go on elsewhere after `error` ended the call, or raise it."""
        if not self._may_go_on or not is_recoverable(error):
            raise error
        self._link.outbox.close()
        self._has_ended = True
        succession = self._seek(error.reason, num_awaited=0)
        await asyncio.wait({succession.done})
        if succession.ready_s is not None:
            self._switch()
        elif isinstance(succession.error, Unavailable | Overloaded | Expired):
            raise error from succession.error
        else:
            raise succession.error or error

    def _abandon(self) -> None:
        """Stop looking for another server."""
        succession, self._succession = self._succession, None
        if succession is not None:
            self._taken_over.extend(succession.held)
            self._leave(succession)

    def _leave(self, what: Link | Succession) -> None:
        """Close what is not needed any more; frames must not wait for it."""
        leaving = asyncio.create_task(what.aclose(), name="leave-server")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
