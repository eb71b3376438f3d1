"""One live conversation: client messages in, frames, audio and events out, through three ports.

The tasks of a session share its state and one bell: the reader applies what the client says, the
pacer commits audio as the media clock advances, motion and rendering run the streams of the
stages, the sender empties the outbox, and the watch ends a session that breaks its limits. The
first of them to fail ends all; nothing outlives `Session.run`.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.bell import Bell
from gateway.limits import SessionLimits, frame_size_within
from gateway.meter import SessionMeter
from gateway.opening import find_avatar, started_message
from gateway.outbox import Outbox
from gateway.pipeline import MAX_WAITING_MESSAGES, Pipeline
from gateway.resume import ResumeSealer
from gateway.resume_points import ResumePoints, leaving_error, open_token
from gateway.stages import Stages, named_stage
from gateway.steering import SteeringQueue
from gateway.timeline import Step, Timeline, frame_start_sample
from gateway.values import (
    EndUtterance,
    Event,
    EventType,
    Frame,
    Interrupt,
    Listening,
    Pacing,
    Playback,
    PlayedAudio,
    ResumeRequest,
    SessionInput,
    SessionOutput,
    SessionSettings,
    Speech,
    Steer,
)
from gateway.watchdog import Watchdog
from parlante.aio import first_error
from parlante.clock import Clock
from parlante.errors import FailedPrecondition, InvalidInput, Overloaded, ParlanteError
from parlante.rpc.lifecycle import OVERLAP_S
from parlante.types import FRAME_DURATION_US, FRAME_RATE_HZ, Controls

__all__ = ["Send", "Session"]

Send = Callable[[SessionOutput], Awaitable[None]]

_MAX_WAITING_UTTERANCES: Final = 256  # bounds memory; no client in its right mind has as many
# Reports of a client that sent a burst of audio lie behind it in the same stream: read on to them.
_STARVED_AHEAD_FACTOR: Final = 6
_RETRY_AFTER_MS: Final = 1000
_BLOCK_MS: Final = 80  # of motion; the rest of its delay is look-ahead


class Session:
    """One conversation.

    Args:
        settings: What the client asks for.
        stages: The ports.
        clock: Time.
        limits: Bounds.
        sealer: Makes resume points of live sessions that want them; None makes none.
        request: Goes on with a session that was elsewhere.

    Raises:
        InvalidInput: BAD_RESUME_TOKEN.
        FailedPrecondition: RESUME_EXPIRED or RESUME_STATE_MISMATCH.
    """

    def __init__(
        self,
        settings: SessionSettings,
        stages: Stages,
        *,
        clock: Clock,
        limits: SessionLimits,
        sealer: ResumeSealer | None = None,
        request: ResumeRequest | None = None,
    ) -> None:
        is_resumable = settings.resumable and sealer is not None and settings.pacing is Pacing.LIVE
        settings = replace(settings, resumable=is_resumable)
        self._request = request
        self._resumed = open_token(settings, sealer, request) if request else None
        self.id = self._resumed.session_id if self._resumed else f"session-{uuid.uuid4().hex[:20]}"
        self._settings = settings
        self._stages = stages
        self._clock = clock
        self._limits = limits
        self._is_live = settings.pacing is Pacing.LIVE
        self._bell = Bell()
        self._outbox = Outbox(self._bell)
        self._meter = SessionMeter(clock, is_live=self._is_live)
        self._pipeline = Pipeline(
            settings,
            limits,
            delay_ms=stages.motion.delay_ms(settings.motion_config()),
            outbox=self._outbox,
            bell=self._bell,
            clock=clock,
            meter=self._meter,
            resumed=self._resumed,
            request=request,
        )
        prebuffers = {
            "prebuffer_ms": limits.prebuffer_ms if self._is_live else 0,
            "prebuffer_timeout_ms": limits.prebuffer_timeout_ms if self._is_live else 0,
        }
        if self._resumed is None:
            self._timeline = Timeline(settings.sample_rate_hz, **prebuffers)
        else:
            self._timeline = Timeline.restored(
                self._resumed.timeline, settings.sample_rate_hz, **prebuffers
            )
        self._points = ResumePoints(
            sealer if is_resumable else None,
            self.id,
            settings,
            timeline=self._timeline,
            pipeline=self._pipeline,
            resumed=self._resumed,
            request=request,
        )
        self._timeline.hold_until_sample = self._points.first_sample
        self._must_leave = False
        self._leave_us: int | None = None  # when the session ends after its good-bye
        self._steering = SteeringQueue(
            settings.sample_rate_hz,
            ahead_samples=0 if self._is_live else self._num_ahead_samples,
        )
        self._watchdog = Watchdog(limits, self._outbox, self._meter, clock, is_live=self._is_live)

    async def run(self, inputs: AsyncIterator[SessionInput], send: Send) -> None:
        """Hold the conversation until the client half-closed and all has been sent.

        Args:
            inputs: What the client says after its configuration; its end is the half-close.
            send: Sends one message; may wait as long as the client does not read.

        Raises:
            ParlanteError: What ended the session.
        """
        with named_stage("encoder"):
            avatar = await find_avatar(
                self._settings, self._stages.encoder, clock=self._clock, meter=self._meter
            )
        size_px = frame_size_within(self._settings.render_config(avatar.key), avatar, self._limits)
        frames = not self._settings.no_frames
        async with self._stages.admitted(avatar.key, frames=frames) as stages:
            self._points.begin(avatar.key)
            self._meter.start_us = self._clock.monotonic_us() - self._points.elapsed_us
            started = started_message(
                self.id,
                self._settings,
                avatar,
                delay_ms=self._pipeline.delay_ms,
                limits=self._limits,
                size_px=size_px,
            )
            await send(started)
            try:
                async with asyncio.TaskGroup() as tasks:
                    watch = tasks.create_task(self._watchdog.run())
                    tasks.create_task(self._read(inputs))
                    tasks.create_task(self._pace_live() if self._is_live else self._pace_burst())
                    tasks.create_task(self._produce(stages, avatar.key))
                    await self._send_all(send)
                    if self._must_leave:
                        raise leaving_error()
                    watch.cancel()
            except BaseExceptionGroup as group:
                raise first_error(group, ParlanteError) from None

    def go_away(self, detail: str) -> None:
        """Tell the client to finish and to connect again, or to go on elsewhere at once."""
        if self._points.is_on:
            self._must_leave = True  # at the next frame
            return
        self._put_go_away(detail)

    def _put_go_away(self, detail: str) -> None:
        self._put(
            Event(
                type=EventType.GO_AWAY,
                media_offset_us=self._timeline.offset_us(self._timeline.position_sample),
                detail=detail,
            )
        )

    def abort(self, error: ParlanteError) -> None:
        """End the session with an error, soon."""
        self._watchdog.abort(error)

    # --- from the client ---------------------------------------------------------------------

    async def _read(self, inputs: AsyncIterator[SessionInput]) -> None:
        while True:
            await self._bell.until(self._may_read)
            self._watchdog.client_awaited()
            try:
                message = await anext(inputs)
            except StopAsyncIteration:
                break
            self._watchdog.client_heard()
            if not isinstance(message, Playback):  # those are not sent again
                self._points.message_came()
            self._apply(message)
            self._bell.ring()
        self._watchdog.client_heard()
        self._timeline.close()
        self._pipeline.window.waive_credits()
        self._bell.ring()

    def _may_read(self) -> bool:
        max_ahead_ms = self._limits.max_audio_ahead_ms
        if self._pipeline.window.is_starved:
            max_ahead_ms *= _STARVED_AHEAD_FACTOR
        return (
            self._timeline.num_queued * 1000 < max_ahead_ms * self._settings.sample_rate_hz
            and self._timeline.num_utterances < _MAX_WAITING_UTTERANCES
            and self._outbox.num_lasting < MAX_WAITING_MESSAGES
            and self._pipeline.num_inputs < MAX_WAITING_MESSAGES
            and not self._must_steer_first()
        )

    def _must_steer_first(self) -> bool:
        """Tell whether burst pacing, in which nothing is lost, must first apply some controls.

        Only if the queued audio goes on behind their time: for others reading would wait in vain.
        """
        until_sample = self._steering.full_until_sample
        if self._is_live or until_sample is None:
            return False
        frame_index = until_sample * FRAME_RATE_HZ // self._settings.sample_rate_hz
        # One for the rounding, one that is whole: with it the clock steps past that time.
        return self._timeline.end_frame > frame_index + 2

    def _apply(self, message: SessionInput) -> None:
        match message:
            case Speech():
                self._timeline.push(message)
                self._meter.audio_came(self._timeline.num_queued, self._settings.sample_rate_hz)
            case Listening():
                self._listen(message)
            case Steer():
                self._steer(message)
            case EndUtterance(utterance_id=utterance_id):
                self._timeline.end(utterance_id)
            case Interrupt(utterance_id=utterance_id):
                since_us = self._clock.monotonic_us()
                self._steering.cut(self._timeline.spans(utterance_id))
                for event in self._timeline.interrupt(utterance_id):
                    self._put(event)
                self._put_point(force=True)
                self._meter.interrupted(since_us)
            case Playback(last_frame_seq=last_frame_seq):
                self._pipeline.window.report(last_frame_seq)

    def _listen(self, listening: Listening) -> None:
        """Let the avatar hear what the user says; there is no "now" in burst pacing."""
        if not self._is_live:
            raise FailedPrecondition(
                "listening audio is placed where it arrives in time, and PACING_BURST has no time; "
                "open a session with PACING_LIVE",
                reason="LISTENING_NEEDS_LIVE",
                field="listening",
            )
        self._pipeline.push_listening(listening.samples)

    def _steer(self, steer: Steer) -> None:
        """Pass controls on now, or keep them until the audio of their frame is committed."""
        if steer.apply_offset_us < 0:
            raise InvalidInput(
                f"apply_offset_us must be >= 0; got {steer.apply_offset_us}; 0 means now",
                reason="CONTROL_OUT_OF_RANGE",
                field="control.apply_offset_us",
            )
        frame_index = -(-steer.apply_offset_us // FRAME_DURATION_US)
        begin_sample = frame_start_sample(frame_index, self._settings.sample_rate_hz)
        if self._is_live and begin_sample <= self._timeline.position_sample:
            self._pipeline.push_controls(steer.controls)
            return
        # In a burst "now" is behind the audio that came before, however fast it goes.
        behind_sample = 0 if self._is_live else self._timeline.end_sample
        self._steering.put(frame_index, steer.controls, behind_sample=behind_sample)

    # --- the media clock ---------------------------------------------------------------------

    async def _pace_live(self) -> None:
        await self._points.wait_for_replay(self._clock)
        num_frames = self._timeline.position_sample * FRAME_RATE_HZ // self._settings.sample_rate_hz
        while True:
            num_frames += 1
            if self._must_leave and self._leave():
                return
            self._commit(self._timeline.step(self._samples_until(num_frames)))
            self._check_motion_lag()
            if self._timeline.drained:
                break
            await self._clock.sleep_until_us(self._meter.start_us + num_frames * FRAME_DURATION_US)
        self._pipeline.close_inputs()

    async def _pace_burst(self) -> None:
        num_frames = 1  # frames that are whole once this step is committed
        while True:
            wanted = self._samples_until(num_frames)
            await self._bell.until(partial(self._may_step, wanted))
            self._commit(self._timeline.step(self._timeline.num_ready(wanted)))
            if self._timeline.drained:
                break
            num_frames += self._samples_until(num_frames) == 0
        self._push_controls(self._steering.take_last(self._timeline.position_sample))
        self._pipeline.close_inputs()

    def _samples_until(self, num_frames: int) -> int:
        end_sample = frame_start_sample(num_frames, self._settings.sample_rate_hz)
        return end_sample - self._timeline.position_sample

    def _may_step(self, num_samples: int) -> bool:
        """Tell whether burst pacing has something to commit and the stages have room for it."""
        if self._timeline.drained or not self._timeline.has_settled:
            return True
        return (
            self._timeline.num_ready(num_samples) > 0
            and self._pipeline.motion_lag_ms < self._limits.max_motion_lag_ms
            and self._outbox.num_lasting < MAX_WAITING_MESSAGES
        )

    def _commit(self, step: Step) -> None:
        for item in step.items:
            if isinstance(item, PlayedAudio):
                self._pipeline.mark(item)
            if isinstance(item, Event) or self._points.wants_audio(item):
                self._put(item)
        if len(step.samples):
            self._push_controls(self._steering.take_due(step.start_sample))
            self._pipeline.push_audio(step.start_sample, step.samples)
        self._put_point(force=any(isinstance(item, Event) for item in step.items))

    def _push_controls(self, controls: Controls | None) -> None:
        if controls is not None:
            self._pipeline.push_controls(controls)

    @property
    def _num_ahead_samples(self) -> int:
        """Audio behind a block that its motion has heard."""
        ahead_ms = max(0, self._pipeline.delay_ms - _BLOCK_MS)
        return ahead_ms * self._settings.sample_rate_hz // 1000

    def _put_point(self, *, force: bool) -> None:
        point = self._points.make(force=force)
        if point is not None:
            self._put(point)

    def _leave(self) -> bool:
        """Tell the client where to go on, once; True when it has had its time to go.

        Until then the session goes on, so that the next gateway can begin in the meantime.
        """
        now_us = self._clock.monotonic_us()
        if self._leave_us is not None and now_us < self._leave_us:
            return False
        point = self._points.make(force=True, go_away=True)
        if point is None:  # there is none yet
            return False
        is_over = self._leave_us is not None
        if not is_over:
            self._put_go_away("the server stops; go on at another gateway")
            self._leave_us = now_us + int(OVERLAP_S * 1_000_000)
            # The next gateway has the same state and the same audio, but hears of it at another
            # moment: what depends on that is left to it.
            self._timeline.hold_until_sample = sys.maxsize
        self._put(point)
        if is_over:
            self._outbox.close()
        return is_over

    def _check_motion_lag(self) -> None:
        if self._pipeline.motion_lag_ms > self._limits.max_motion_lag_ms:
            raise Overloaded(
                f"motion is {self._pipeline.motion_lag_ms} ms behind the media clock; "
                "the server has too much to do: try again later",
                reason="MOTION_TOO_SLOW",
                retry_after_ms=_RETRY_AFTER_MS,
            )

    # --- to the client -----------------------------------------------------------------------

    def _put(self, output: SessionOutput) -> None:
        self._outbox.put(output, self._clock.monotonic_us())

    async def _produce(self, stages: Stages, avatar_key: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pipeline.run_motion(stages.motion))
            if not self._settings.no_frames:
                tasks.create_task(self._pipeline.run_renderer(stages.renderer, avatar_key))
        self._outbox.close()

    async def _send_all(self, send: Send) -> None:
        while (output := await self._outbox.head()) is not None:
            await send(output)
            self._outbox.pop()
            if isinstance(output, Frame):
                self._meter.frame_sent(output)
                self._pipeline.window.sent()
                self._bell.ring()
