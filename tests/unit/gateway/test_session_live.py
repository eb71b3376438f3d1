"""Live pacing: idling, utterances, credits, drops, limits, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.limits import SessionLimits
from gateway.values import (
    EndUtterance,
    Event,
    EventType,
    Interrupt,
    Pacing,
    Playback,
    Speech,
    Steer,
)
from parlante import telemetry
from parlante.aio import Channel, cancel_and_wait, closing
from parlante.clock import VirtualClock
from parlante.errors import Overloaded, ParlanteError, SessionAborted, Unavailable
from parlante.types import FRAME_DURATION_US, Controls, FrameEncoding, MotionBlock
from tests.fakes.metrics import counts
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer, read_marker

STARTED = EventType.UTTERANCE_STARTED
FINISHED = EventType.UTTERANCE_FINISHED
INTERRUPTED = EventType.INTERRUPTED
DROPPED = EventType.FRAMES_DROPPED


async def test_session_starts_with_its_effective_settings(converse: Any) -> None:
    async with converse(encoding=FrameEncoding.NV12) as c:
        assert c.got[0] is c.started
        assert c.started.settings.avatar_name == c.started.avatar.name
        assert c.started.settings.portrait == b""
        assert c.started.max_audio_ahead_ms == 10_000


async def test_idle_frames_come_in_real_time(converse: Any) -> None:
    async with converse() as c:
        await c.run_ms(1000)
        assert len(c.frames) == pytest.approx(25, abs=1)
        assert [frame.seq for frame in c.frames] == list(range(1, len(c.frames) + 1))
        assert [frame.media_offset_us for frame in c.frames[:3]] == [0, 40_000, 80_000]
        assert {frame.utterance_id for frame in c.frames} == {""}


async def test_frames_name_the_utterance_that_sounds_in_them(converse: Any) -> None:
    async with converse() as c:
        await c.run_ms(200)
        await c.say(400, "a")
        await c.send(EndUtterance())
        await c.run_ms(1000)
        speaking = [frame.media_offset_us // 1000 for frame in c.frames if frame.utterance_id]
        (_, start_ms, _), (_, end_ms, _) = c.events(STARTED, FINISHED)
        assert end_ms - start_ms == 400
        assert speaking == list(range(start_ms, end_ms, 40))


async def test_frames_show_the_audio_of_their_time(converse: Any) -> None:
    async with converse() as c:
        await c.say(200, "a", value=8192)
        await c.send(EndUtterance())
        await c.run_ms(600)
        for frame in c.frames:
            jaw = read_marker(frame.rendered.data).channel("jawOpen")
            assert jaw == (0.25 if frame.utterance_id else 0.0)


async def test_returned_audio_is_exact_and_aligned(converse: Any) -> None:
    async with converse(return_audio=True) as c:
        await c.run_ms(120)
        await c.say(400, "a", value=77)
        await c.send(EndUtterance())
        await c.run_ms(1000)
        assert np.array_equal(c.audio("a"), np.full(6400, 77, np.int16))
        ((_, start_ms, _),) = c.events(STARTED)
        assert (c.audio()[start_ms * 16 :][:6400] == 77).all()
        assert np.abs(c.audio()).sum() == 77 * 6400


async def test_half_close_plays_out_and_ends(converse: Any) -> None:
    async with converse(return_audio=True) as c:
        await c.say(500, "a")
        await c.half_close()
        await c.run_ms(520)
        assert c.task.done()
        assert c.events(FINISHED) == [(FINISHED, 540, "a")]
        assert len(c.frames) == 14
        assert len(c.audio()) == 14 * 640


async def test_burst_of_audio_is_read_up_to_the_bound(converse: Any) -> None:
    limits = SessionLimits(max_audio_ahead_ms=1000)
    async with converse(limits=limits) as c:
        await c.say(3000, "a")
        assert len(c.inputs) == 100  # 2 s are left unread
        await c.run_ms(500)
        assert len(c.inputs) == pytest.approx(74, abs=3)
        await c.half_close()
        await c.run_ms(3000)
        assert c.events(FINISHED) == [(FINISHED, 3040, "a")]


async def test_reports_behind_a_burst_are_reached(converse: Any) -> None:
    limits = SessionLimits(max_audio_ahead_ms=1000)
    async with converse(limits=limits, max_frames_in_flight=2) as c:
        await c.run_ms(200)
        await c.say(3000, "a")
        await c.send(Playback(last_frame_seq=2))
        await c.run_ms(100)
        assert len(c.frames) == 4


async def test_interrupt_is_answered_and_silences(converse: Any) -> None:
    async with converse(return_audio=True) as c:
        await c.say(2000, "a")
        await c.run_ms(400)
        await c.send(Interrupt())
        await c.run_ms(400)
        (started, interrupted, finished) = c.events()
        assert (started[0], interrupted[0], finished[0]) == (STARTED, INTERRUPTED, FINISHED)
        assert interrupted[1:] == finished[1:] == (440, "a")
        assert len(c.audio("a")) == 400 * 16
        assert c.frames[-1].utterance_id == ""


async def test_clock_goes_on_in_an_underrun(converse: Any) -> None:
    async with converse() as c:
        await c.say(200, "a")
        await c.run_ms(1000)
        assert c.events(EventType.AUDIO_UNDERRUN) == [(EventType.AUDIO_UNDERRUN, 240, "a")]
        assert c.frames[-1].media_offset_us >= 900_000


async def test_credits_hold_frames_back_and_drops_are_told(converse: Any) -> None:
    async with converse(max_frames_in_flight=3) as c:
        await c.run_ms(3000)
        assert len(c.frames) == 3
        assert len(c.events(DROPPED)) == 3  # once a second
        await c.send(Playback(last_frame_seq=3))
        await c.run_ms(40)
        late = c.frames[3:]
        assert [frame.seq for frame in late] == [4, 5, 6]
        assert late[-1].num_dropped == pytest.approx(68, abs=3)
        assert late[0].media_offset_us > 2_700_000  # what comes is fresh


async def test_slow_reader_loses_frames_but_no_audio_motion_or_events(converse: Any) -> None:
    async with converse(return_audio=True, return_motion=True) as c:
        c.stop_reading()
        await c.say(400, "a")
        await c.send(EndUtterance())
        await c.run_ms(5000)
        await c.start_reading()
        assert len(c.audio()) == pytest.approx(5 * 16_000, abs=1280)
        assert len(c.motions()) == pytest.approx(125, abs=2)
        assert c.events(STARTED, FINISHED) == [(STARTED, 40, "a"), (FINISHED, 440, "a")]
        assert len(c.frames) < 16
        assert c.frames[-1].num_dropped > 100
        assert [frame.seq for frame in c.frames] == list(range(1, len(c.frames) + 1))


async def test_client_that_never_reads_is_ended(converse: Any) -> None:
    async with converse(return_audio=True) as c:
        c.stop_reading()
        await c.run_ms(10_500)
        error = await c.error()
        assert isinstance(error, SessionAborted)
        assert error.reason == "SESSION_SLOW_READER"


async def test_slow_renderer_loses_frames_and_stays_fresh(converse: Any) -> None:
    clock = VirtualClock()

    class SlowRenderer(FakeRenderer):
        """Takes 100 ms of the session's clock for a frame."""

        async def stream(self, config: Any, motion: Any) -> Any:
            async with closing(super().stream(config, motion)) as frames:
                async for frame in frames:
                    await clock.sleep_until_us(clock.monotonic_us() + 100_000)
                    yield frame

    async with converse(renderer=SlowRenderer(), clock=clock) as c:
        await c.run_ms(5000)
        assert len(c.frames) == pytest.approx(50, abs=3)
        assert c.frames[-1].num_dropped == pytest.approx(75, abs=15)
        assert c.frames[-1].media_offset_us > 4_000_000


class AheadRenderer(FakeRenderer):
    """Takes motion in a task of its own, as the port over gRPC does, and pauses where it is told.

    Args:
        clock: Of the session.
        pause_ms: Before a frame, by its index.
    """

    def __init__(self, clock: VirtualClock, pause_ms: Callable[[int], int]) -> None:
        super().__init__()
        self._clock = clock
        self._pause_ms = pause_ms

    async def stream(self, config: Any, motion: Any) -> Any:
        """Give frames of motion that was taken before."""
        blocks: Channel[MotionBlock] = Channel(1000)

        async def take() -> None:
            async for block in motion:
                await blocks.put(block)
            blocks.close()

        task = asyncio.create_task(take())
        try:
            async with closing(super().stream(config, blocks)) as frames:
                async for frame in frames:
                    pause_us = self._pause_ms(frame.frame_index) * 1000
                    await self._clock.sleep_until_us(self._clock.monotonic_us() + pause_us)
                    yield frame
        finally:
            await cancel_and_wait(task)


async def test_slow_renderer_that_takes_motion_ahead_is_not_blamed_on_the_client(
    converse: Any, reader: InMemoryMetricReader
) -> None:
    """The alert on a slow renderer never fired for stages over gRPC, and clients were blamed."""
    clock = VirtualClock()
    async with converse(renderer=AheadRenderer(clock, lambda _: 100), clock=clock) as c:
        await c.run_ms(5000)
        dropped = counts(reader, "parlante.frames.dropped", telemetry.ATTRIBUTE_REASON)
        assert dropped == {"slow_renderer": pytest.approx(65, abs=15)}
        hints = {event.detail.partition("; ")[2] for event in c.all_of(Event)}
        assert hints == {"the server is short of time"}


async def test_renderer_that_stalls_for_a_moment_may_catch_up(converse: Any) -> None:
    clock = VirtualClock()
    renderer = AheadRenderer(clock, lambda index: 600 if index == 25 else 0)
    async with converse(renderer=renderer, clock=clock) as c:
        await c.run_ms(3000)
        assert len(c.frames) == pytest.approx(75, abs=1)
        assert c.frames[-1].num_dropped == 0


async def test_slow_reader_is_told_so_while_the_renderer_takes_motion_ahead(
    converse: Any, reader: InMemoryMetricReader
) -> None:
    clock = VirtualClock()
    async with converse(renderer=AheadRenderer(clock, lambda _: 10), clock=clock) as c:
        c.stop_reading()
        await c.run_ms(3000)
        dropped = counts(reader, "parlante.frames.dropped", telemetry.ATTRIBUTE_REASON)
        assert dropped == {"slow_reader": pytest.approx(63, abs=3)}


async def test_frames_that_the_renderer_left_out_are_counted_and_hold_nothing_up(
    converse: Any,
) -> None:
    """A server that is down for a while: more frames are lost than may be on the way at once."""
    async with converse() as talk:
        talk.renderer.late_frames = set(range(10, 60))
        await talk.run_ms(4000)
        indexes = [frame.media_offset_us // FRAME_DURATION_US for frame in talk.frames]
        assert set(range(10)) <= set(indexes)
        assert not talk.renderer.late_frames & set(indexes)
        assert max(indexes) > 90
        assert [frame.seq for frame in talk.frames] == list(range(1, len(indexes) + 1))
        assert talk.frames[-1].num_dropped == 50
        assert talk.renderer.configs[0].frame_deadline_ms > 0


async def test_burst_pacing_has_no_deadline_for_frames(converse: Any) -> None:
    async with converse(pacing=Pacing.BURST) as talk:
        await talk.run_ms(200)
        assert talk.renderer.configs[0].frame_deadline_ms == 0


@pytest.mark.parametrize("pacing", Pacing)
async def test_only_what_a_burst_needs_is_made_in_the_background(
    converse: Any, pacing: Pacing
) -> None:
    async with converse(pacing=pacing) as talk:
        await talk.run_ms(200)
        in_background = pacing is Pacing.BURST
        assert talk.motion.configs[0].in_background is in_background
        assert talk.renderer.configs[0].in_background is in_background


async def test_half_close_waives_credits(converse: Any) -> None:
    async with converse(max_frames_in_flight=2) as c:
        await c.say(1000, "a")
        await c.half_close()
        await c.run_ms(1100)
        assert c.task.done()
        assert len(c.frames) == 26


async def test_report_of_an_unsent_frame_ends_the_session(converse: Any) -> None:
    async with converse(max_frames_in_flight=2) as c:
        await c.send(Playback(last_frame_seq=99))
        assert (await c.error()).reason == "PLAYBACK_OUT_OF_RANGE"


async def test_controls_hold_from_now(converse: Any) -> None:
    async with converse(return_motion=True) as c:
        await c.run_ms(200)
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.25)))
        await c.run_ms(200)
        yaw = [float(motion.values[58]) for motion in c.motions()]
        assert yaw[:6] == [0.0] * 6
        assert yaw[6:] == [0.25] * len(yaw[6:])


async def test_controls_wait_for_their_time(converse: Any) -> None:
    async with converse(return_motion=True) as c:
        await c.send(
            Steer(controls=Controls(gaze_yaw_rad=0.5), apply_offset_us=390_000),
            Steer(controls=Controls(gaze_yaw_rad=0.25), apply_offset_us=200_000),
        )
        await c.run_ms(1000)
        yaw = [float(motion.values[58]) for motion in c.motions()]
        assert yaw[:15] == [0.0] * 5 + [0.25] * 5 + [0.5] * 5


async def test_no_frames_skips_the_renderer(converse: Any) -> None:
    async with converse(no_frames=True, return_motion=True) as c:
        await c.run_ms(400)
        assert c.renderer.num_opened == 0
        assert len(c.motions()) == pytest.approx(10, abs=1)


async def test_idle_client_is_ended(converse: Any) -> None:
    async with converse(limits=SessionLimits(max_idle_s=5)) as c:
        await c.run_ms(4000)
        await c.send(EndUtterance())
        await c.run_ms(4500)
        assert not c.task.done()
        await c.run_ms(1000)
        assert (await c.error()).reason == "SESSION_IDLE"


async def test_client_that_half_closed_is_not_idle(converse: Any) -> None:
    async with converse(limits=SessionLimits(max_idle_s=1)) as c:
        await c.say(3000, "a")
        await c.half_close()
        await c.run_ms(3100)
        assert c.task.done()
        assert c.task.exception() is None


async def test_long_session_is_ended(converse: Any) -> None:
    async with converse(limits=SessionLimits(max_session_s=3)) as c:
        await c.run_ms(3500)
        error = await c.error()
        assert (type(error), error.reason) == (SessionAborted, "SESSION_TOO_LONG")


async def test_audio_gap_ends_the_session(converse: Any) -> None:
    async with converse() as c:
        await c.send(Speech(start_sample=1, samples=np.zeros(10, np.int16)))
        assert (await c.error()).reason == "AUDIO_GAP"


async def test_motion_error_reaches_the_client(converse: Any) -> None:
    motion = FakeMotion(fail_at_frame=3, error=Unavailable("motion is gone", reason="GONE"))
    async with converse(motion=motion) as c:
        await c.run_ms(1000)
        assert (await c.error()).reason == "GONE"


async def test_renderer_error_reaches_the_client(converse: Any) -> None:
    renderer = FakeRenderer(fail_at_frame=3, error=Unavailable("no renderer", reason="GONE"))
    async with converse(renderer=renderer) as c:
        await c.run_ms(1000)
        assert (await c.error()).reason == "GONE"


async def test_motion_that_falls_behind_ends_the_session(converse: Any) -> None:
    motion = FakeMotion(delay_s=3600.0)
    async with converse(motion=motion, limits=SessionLimits(max_motion_lag_ms=500)) as c:
        await c.run_ms(1000)
        error = await c.error()
        assert isinstance(error, Overloaded)
        assert (error.reason, error.retry_after_ms) == ("MOTION_TOO_SLOW", 1000)


async def test_go_away_and_abort(converse: Any) -> None:
    async with converse() as c:
        await c.run_ms(100)
        c.session.go_away("bye")
        await c.run_ms(100)
        assert c.events(EventType.GO_AWAY) == [(EventType.GO_AWAY, 120, "")]
        c.session.abort(Unavailable("stopped", reason="DRAINING"))
        await c.run_ms(500)
        error = await c.error()
        assert isinstance(error, ParlanteError)
        assert error.reason == "DRAINING"


async def test_many_tiny_utterances_stop_the_reading(converse: Any) -> None:
    async with converse() as c:
        await c.send(*(EndUtterance(utterance_id=f"u{index}") for index in range(1000)))
        await c.run_ms(40)
        assert len(c.events(FINISHED)) + 256 >= 1000 - len(c.inputs)
        await c.run_ms(400)
        assert len(c.events(FINISHED)) == 1000


@pytest.mark.parametrize("rate_hz", [8000, 44_100])
async def test_frames_stay_on_the_clock(converse: Any, rate_hz: int) -> None:
    async with converse(
        sample_rate_hz=rate_hz, no_frames=True, return_motion=True, return_audio=True
    ) as c:
        await c.run_ms(20_000)
        assert c.motions()[-1].media_offset_us == 20_000_000
        assert len(c.audio()) == 20_040 * rate_hz // 1000


@pytest.mark.parametrize("stage", ["motion", "renderer"])
async def test_stage_out_of_reach_is_named(converse: Any, stage: str) -> None:
    gone = {"fail_at_frame": 3, "error": Unavailable("connection reset by 10.0.0.7")}
    fakes = (
        {"motion": FakeMotion(**gone)} if stage == "motion" else {"renderer": FakeRenderer(**gone)}
    )
    async with converse(**fakes) as c:
        await c.run_ms(1000)
        error = await c.error()
        assert isinstance(error, Unavailable)
        assert (error.reason, error.metadata["stage"]) == ("STAGE_UNAVAILABLE", stage)
        assert "10.0.0.7" not in error.message


async def test_late_motion_is_mostly_skipped_until_it_has_caught_up(converse: Any) -> None:
    clock = VirtualClock()

    class StallingMotion(FakeMotion):
        """Stops for 3 s at frame 25, then takes 20 ms a frame: half of real time."""

        async def stream(self, config: Any, inputs: Any) -> Any:
            async with closing(super().stream(config, inputs)) as blocks:
                async for block in blocks:
                    pause_ms = {25: 3000}.get(block.start_frame, 20)
                    await clock.sleep_until_us(clock.monotonic_us() + pause_ms * 1000)
                    yield block

    async with converse(motion=StallingMotion(), clock=clock, return_motion=True) as c:
        await c.run_ms(10_000)
        shown = [frame.media_offset_us // 1000 for frame in c.frames]
        late = [offset for offset in shown if 1000 <= offset < 3400]
        assert 3 <= len(late) <= 20
        assert [o for o in shown if o >= 7000] == list(range(7000, shown[-1] + 1, 40))
        assert shown[-1] >= 9900
        assert len(c.motions()) == shown[-1] // 40 + 1
