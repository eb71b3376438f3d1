"""The two streams of a session, motion and rendering, and what flows between them.

Audio and controls go into the motion stream in the order of the media clock; its frames of motion
go to the renderer as far as the client and the renderer keep up. In live pacing motion that
cannot be rendered in time is dropped here, before it costs anything; in burst pacing it waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from gateway.bell import Bell
from gateway.credits import DropReason, FrameWindow, MotionQueue, PendingFrame, block_of
from gateway.limits import SessionLimits
from gateway.listening import MAX_JITTER_MS, ListeningTrack
from gateway.meter import SessionMeter
from gateway.outbox import Outbox
from gateway.resume import SessionSnapshot
from gateway.stages import named_stage
from gateway.timeline import FrameMarks
from gateway.values import (
    Event,
    EventType,
    Frame,
    Motion,
    Pacing,
    PlayedAudio,
    ResumeRequest,
    SessionSettings,
)
from parlante.aio import closing
from parlante.clock import Clock
from parlante.errors import InternalError
from parlante.fleet.motion_log import MotionLog
from parlante.ports import Motion as MotionPort
from parlante.ports import Renderer
from parlante.types import (
    DEFAULT_DELAY_BUDGET_MS,
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    AudioChunk,
    Controls,
    ControlUpdate,
    Float32Array,
    Int16Array,
    ListeningChunk,
    MotionBlock,
    MotionInput,
    RenderedFrame,
)

__all__ = ["Pipeline"]

MAX_WAITING_MESSAGES: Final = 2048
_DROP_NOTICE_INTERVAL_US: Final = 1_000_000
_MIN_PENDING_FRAMES: Final = 4
_LATE_FRAMES_PER_LATENESS: Final = 4  # at 2 s of lateness a frame every 0.5 s
# Frames that may wait beside a block. A client that holds back wants what is fresh; a renderer that
# stalls for a moment, as on a busy machine, may catch up.
_SLACK_FRAMES: Final = {
    DropReason.NO_CREDIT: 2,
    DropReason.SLOW_READER: 2,
    DropReason.SLOW_RENDERER: 8,
}
_HINTS: Final = {
    DropReason.NO_CREDIT: "PlaybackReports are late",
    DropReason.SLOW_READER: "the client reads too slowly",
    DropReason.SLOW_RENDERER: "the server is short of time",
}


class Pipeline:
    """Runs motion and rendering of one session.

    Args:
        settings: Of the session.
        limits: Bounds.
        delay_ms: Algorithmic delay of the session's motion; 0 = not known.
        outbox: Where frames, motion and notices of drops go.
        bell: Of the session.
        clock: Of the session.
        meter: Of the session.
        resumed: The state that the session goes on from; None for a new one.
        request: How its client goes on with it.

    Attributes:
        delay_ms: Algorithmic delay of the session's motion; 0 = not known.
        num_dropped: Frames dropped since the start of the session.
    """

    def __init__(
        self,
        settings: SessionSettings,
        limits: SessionLimits,
        *,
        delay_ms: int,
        outbox: Outbox,
        bell: Bell,
        clock: Clock,
        meter: SessionMeter,
        resumed: SessionSnapshot | None = None,
        request: ResumeRequest | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._outbox = outbox
        self._bell = bell
        self._clock = clock
        self._meter = meter
        self._is_live = settings.pacing is Pacing.LIVE
        self._motion_config = replace(settings.motion_config(), emit_checkpoints=settings.resumable)
        self.delay_ms = delay_ms
        # The limit is for the default budget; frames of a longer one are that much later by design.
        extra_ms = max(0, self.delay_ms - DEFAULT_DELAY_BUDGET_MS)
        self._max_lateness_us = (limits.max_lateness_ms + extra_ms) * 1000
        self.window = FrameWindow(
            max_in_flight=settings.max_frames_in_flight if self._is_live else 0,
            max_unsent=limits.max_unsent_frames,
            last_seq=request.last_seq if request else 0,
        )
        self._inputs: deque[MotionInput] = deque()
        self._listening = ListeningTrack(settings.sample_rate_hz)
        self._inputs_closed = False
        self._marks = FrameMarks(settings.sample_rate_hz)
        self._num_committed_samples = 0
        self._num_generated = 0
        self._waiting = MotionQueue(_MIN_PENDING_FRAMES)
        self._motion_ended = False
        self._rendering: deque[PendingFrame] = deque()
        self._num_rendered = 0
        self.num_dropped = 0
        self._last_notice_us: int | None = None
        self._last_late_us = 0
        self._motion_asked_us = self._renderer_asked_us = clock.monotonic_us()
        self._log = MotionLog(self._motion_config)
        self._first_frame = self._first_motion_frame = 0
        if resumed is not None and request is not None:
            self._go_on(resumed, request)

    def _go_on(self, resumed: SessionSnapshot, request: ResumeRequest) -> None:
        """Take up a session where another gateway left it."""
        rate_hz = self._settings.sample_rate_hz
        self._motion_config = replace(
            self._motion_config, controls=resumed.controls, resume_state=resumed.checkpoint
        )
        self._log = MotionLog.resumed(
            self._motion_config,
            next_frame=resumed.next_frame,
            checkpoint_sample=resumed.checkpoint_sample,
        )
        for item in resumed.pending:
            self._inputs.append(item)
            self._log.append(item)
        position = resumed.timeline.position_sample
        self._listening = ListeningTrack(
            rate_hz, begin_ms=position * 1000 // rate_hz + MAX_JITTER_MS
        )
        self._marks = FrameMarks(rate_hz, resumed.frame_utterances)
        self._num_committed_samples = position
        self._num_generated = resumed.next_frame
        self._num_rendered = request.last_seq
        # What the client has not got and cannot get any more. The point's count may hold frames
        # that are rendered again, and miss some that were lost with the server.
        first = max(request.next_frame, resumed.next_frame)
        self.num_dropped = 0 if self._settings.no_frames else max(0, first - request.last_seq)
        self._first_frame = request.next_frame
        self._first_motion_frame = request.next_motion_frame

    @property
    def motion_log(self) -> MotionLog:
        """What the motion stream was told since its last checkpoint; for resumable sessions."""
        return self._log

    @property
    def frame_utterances(self) -> Mapping[int, str]:
        """Utterances of the frames whose motion is not there yet."""
        return self._marks.known

    # --- in ----------------------------------------------------------------------------------

    def mark(self, audio: PlayedAudio) -> None:
        """Note which utterance sounds in the frames of committed audio."""
        self._marks.record(audio)

    def push_audio(self, start_sample: int, samples: Int16Array) -> None:
        """Hand committed audio to the motion stream."""
        self._push(AudioChunk(start_sample=start_sample, samples=samples))
        self._num_committed_samples = start_sample + len(samples)
        self._bell.ring()

    def push_listening(self, samples: Int16Array) -> None:
        """Hand the user's voice, heard until now, to the motion stream; the oldest may be dropped.

        The motion stream counts the media clock's samples, which live pacing commits up to a frame
        ahead of now.
        """
        rate_hz = self._settings.sample_rate_hz
        now_us = self._clock.monotonic_us() - self._meter.start_us
        num_dropped = self._listening.push(samples, now_us * rate_hz // 1_000_000)
        self._meter.listening_dropped(num_dropped, rate_hz)
        self._bell.ring()

    def push_controls(self, controls: Controls) -> None:
        """Let controls hold from the first frame of motion that is not made yet."""
        self._push(ControlUpdate(controls=controls))
        self._bell.ring()

    def _push(self, item: MotionInput) -> None:
        self._inputs.append(item)
        if self._settings.resumable:
            self._log.append(item)

    def close_inputs(self) -> None:
        """Note that the media clock has ended."""
        self._inputs_closed = True
        self._bell.ring()

    @property
    def motion_lag_ms(self) -> int:
        """Committed audio whose motion is not there yet, without the model's own delay."""
        num_frames = self._num_committed_samples * FRAME_RATE_HZ // self._settings.sample_rate_hz
        lag_us = (num_frames - self._num_generated) * FRAME_DURATION_US
        return lag_us // 1000 - self.delay_ms

    @property
    def num_inputs(self) -> int:
        """Audio and controls that the motion stream has not taken yet."""
        return len(self._inputs)

    # --- the two streams ---------------------------------------------------------------------

    async def run_motion(self, motion: MotionPort) -> None:
        """Run the motion stream to its end."""
        with named_stage("motion"):
            async with (
                closing(self._take_inputs()) as inputs,
                closing(motion.stream(self._motion_config, inputs)) as blocks,
            ):
                async for block in blocks:
                    await self._accept(block)
        if not self._inputs_closed:
            raise InternalError("the motion stream ended before its audio did")
        self._motion_ended = True
        self._bell.ring()

    async def run_renderer(self, renderer: Renderer, avatar_key: str) -> None:
        """Run the render stream to its end."""
        config = replace(
            self._settings.render_config(avatar_key),
            frame_deadline_ms=self._limits.frame_deadline_ms if self._is_live else 0,
        )
        with named_stage("renderer"):
            async with (
                closing(self._take_motion()) as motion,
                closing(renderer.stream(config, motion)) as frames,
            ):
                async for frame in frames:
                    self._deliver(frame)
        if self._rendering or not self._motion_ended:
            raise InternalError("the render stream ended before its motion did")

    async def _take_inputs(self) -> AsyncIterator[MotionInput]:
        while True:
            await self._bell.until(self._may_take_input)
            # Listening first: frames are made from what is there when their audio comes.
            item = self._listening.take() or (self._inputs.popleft() if self._inputs else None)
            if item is None:
                return
            if not isinstance(item, ListeningChunk):
                self._motion_asked_us = self._clock.monotonic_us()
            self._bell.ring()
            yield item

    def _may_take_input(self) -> bool:
        return bool(self._inputs) or self._inputs_closed or self._listening.num_queued > 0

    async def _take_motion(self) -> AsyncIterator[MotionBlock]:
        while True:
            await self._bell.until(self._may_render)
            if not self._waiting:
                return
            self._drop_late()
            frames = self._waiting.take(self.window.num_free)
            if not frames:
                continue
            if not self._rendering:
                self._renderer_asked_us = self._clock.monotonic_us()
            self.window.take(len(frames))
            self._rendering.extend(frames)
            self._bell.ring()
            yield block_of(frames)

    def _may_render(self) -> bool:
        if self._waiting:
            return self.window.num_free > 0
        return self._motion_ended

    # --- between and after -------------------------------------------------------------------

    async def _accept(self, block: MotionBlock) -> None:
        """Take a block of motion: report it, queue it for the renderer."""
        if block.start_frame != self._num_generated:
            raise InternalError(
                f"motion must go on at frame {self._num_generated}; got {block.start_frame}"
            )
        self._num_generated += len(block.values)
        if self._settings.resumable:
            self._log.accept(block)
        self._meter.item_took("motion", self._motion_asked_us)
        frames = [
            self._accept_row(block.start_frame + offset, row)
            for offset, row in enumerate(block.values)
        ]
        if not self._is_live:
            await self._bell.until(self._has_room)
        frames = [frame for frame in frames if frame.frame_index >= self._first_frame]
        if frames and not self._settings.no_frames:
            self._waiting.put(frames)
            if self._is_live:
                blocker = self.window.blocker()
                self._note_dropped(self._waiting.drop_excess(_SLACK_FRAMES[blocker]), blocker)
        self._bell.ring()

    def _has_room(self) -> bool:
        return self._waiting.has_room and self._outbox.num_lasting < MAX_WAITING_MESSAGES

    def _accept_row(self, frame_index: int, values: Float32Array) -> PendingFrame:
        utterance_id = self._marks.take(frame_index)
        if self._settings.return_motion and frame_index >= self._first_motion_frame:
            motion = Motion(
                media_offset_us=frame_index * FRAME_DURATION_US,
                values=values,
                idle=not utterance_id,
            )
            self._outbox.put(motion, self._clock.monotonic_us())
        return PendingFrame(frame_index=frame_index, values=values, utterance_id=utterance_id)

    def _deliver(self, rendered: RenderedFrame) -> None:
        """Queue a rendered frame for the client."""
        if not self._rendering or self._rendering[0].frame_index != rendered.frame_index:
            raise InternalError(f"the renderer gave frame {rendered.frame_index} out of turn")
        pending = self._rendering.popleft()
        self._meter.item_took("renderer", self._renderer_asked_us)
        self._renderer_asked_us = self._clock.monotonic_us()
        if rendered.is_left_out:
            self.window.lost()
            self._note_dropped([pending], DropReason.SLOW_RENDERER)
            self._bell.ring()
            return
        self.window.rendered()
        self._num_rendered += 1
        frame = Frame(
            seq=self._num_rendered,
            media_offset_us=pending.frame_index * FRAME_DURATION_US,
            rendered=rendered,
            utterance_id=pending.utterance_id,
            num_dropped=self.num_dropped,
        )
        self._outbox.put(frame, self._clock.monotonic_us())

    def _drop_late(self) -> None:
        """Skip rendering while motion is late, so that it can catch up.

        The later it is, the fewer frames are still shown; but some are, so that the picture never
        stands still.
        """
        if not self._is_live:
            return
        now_us = self._clock.monotonic_us()
        media_us = now_us - self._meter.start_us
        oldest_us = media_us - self._max_lateness_us
        late = self._waiting.drop_late(oldest_us // FRAME_DURATION_US)
        if late and not self._waiting:
            lateness_us = media_us - late[-1].frame_index * FRAME_DURATION_US
            if now_us - self._last_late_us >= lateness_us // _LATE_FRAMES_PER_LATENESS:
                self._last_late_us = now_us
                self._waiting.put_back(late.pop())
        self._note_dropped(late, DropReason.SLOW_RENDERER)

    def _note_dropped(self, frames: list[PendingFrame], reason: DropReason) -> None:
        if not frames:
            return
        self.num_dropped += len(frames)
        self._meter.frames_dropped(len(frames), reason)
        now_us = self._clock.monotonic_us()
        if (
            self._last_notice_us is None
            or now_us - self._last_notice_us >= _DROP_NOTICE_INTERVAL_US
        ):
            self._last_notice_us = now_us
            notice = Event(
                type=EventType.FRAMES_DROPPED,
                media_offset_us=frames[0].frame_index * FRAME_DURATION_US,
                utterance_id=frames[0].utterance_id,
                detail=f"{self.num_dropped} frames so far; {_HINTS[reason]}",
            )
            self._outbox.put(notice, now_us)
