"""An avatar that listens, and the delay its motion may take, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from gateway.limits import SessionLimits
from gateway.values import EventType, Listening, Pacing
from parlante.errors import FailedPrecondition
from parlante.types import MotionConfig
from tests.fakes.motion import LONG_DELAY_MS, FakeMotion


async def hear(c: Any, duration_ms: int, *, value: int = 500) -> None:
    """Let the user speak in real time, 20 ms at a time."""
    for _ in range(duration_ms // 20):
        await c.run_ms(20)
        await c.send(Listening(samples=np.full(c.rate_hz // 50, value, np.int16)))


def span_ms(c: Any) -> tuple[int, int]:
    """Give where the listening audio that reached the motion stream begins and ends."""
    first, last = c.motion.listened[0], c.motion.listened[-1]
    end = last.start_sample + len(last.samples)
    return first.start_sample * 1000 // c.rate_hz, end * 1000 // c.rate_hz


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
async def test_voice_lies_on_the_media_clock_where_it_was_heard(
    converse: Any, rate_hz: int
) -> None:
    async with converse(sample_rate_hz=rate_hz) as c:
        await c.run_ms(300)
        await hear(c, 400)
        assert span_ms(c) == (300, 700)
        chunks = c.motion.listened
        ends = [chunk.start_sample + len(chunk.samples) for chunk in chunks]
        assert [chunk.start_sample for chunk in chunks[1:]] == ends[:-1]
        assert {int(sample) for chunk in chunks for sample in chunk.samples} == {500}


async def test_media_clock_of_the_voice_is_that_of_the_frames(converse: Any) -> None:
    async with converse() as c:
        await c.run_ms(990)
        await hear(c, 20)
        assert span_ms(c) == (990, 1010)
        assert c.frames[-1].media_offset_us == 1_000_000


async def test_frames_stay_idle_while_the_avatar_listens(converse: Any) -> None:
    async with converse(return_audio=True, return_motion=True) as c:
        await hear(c, 1000)
        assert len(c.frames) == pytest.approx(25, abs=1)
        assert {frame.utterance_id for frame in c.frames} == {""}
        assert all(motion.idle for motion in c.motions())
        assert not c.audio().any()
        assert c.events() == []


async def test_avatar_may_listen_while_it_speaks(converse: Any) -> None:
    async with converse() as c:
        await c.say(600, "a")
        await hear(c, 400)
        assert c.events(EventType.UTTERANCE_STARTED)
        assert span_ms(c) == (0, 400)


async def test_listening_keeps_a_session_open(converse: Any) -> None:
    async with converse(limits=SessionLimits(max_idle_s=1)) as c:
        await hear(c, 3000)
        assert not c.task.done()


async def test_half_close_ends_a_session_that_listened(converse: Any) -> None:
    async with converse() as c:
        await hear(c, 200)
        await c.half_close()
        await c.run_ms(200)
        assert c.task.done()
        await c.task


async def test_at_most_a_second_waits_for_a_busy_motion_stage(converse: Any) -> None:
    class Busy(FakeMotion):
        """Takes nothing until it is let go."""

        go = asyncio.Event()

        async def stream(self, config: Any, inputs: Any) -> Any:
            await self.go.wait()
            async for block in super().stream(config, inputs):
                yield block

    motion = Busy()
    async with converse(motion=motion) as c:
        await hear(c, 3000)
        assert motion.listened == []
        motion.go.set()
        await c.run_ms(40)
        assert span_ms(c) == (2000, 3000)


async def test_burst_pacing_refuses_to_listen(converse: Any) -> None:
    async with converse(pacing=Pacing.BURST) as c:
        await c.send(Listening(samples=np.ones(320, np.int16)))
        error = await c.error()
        assert isinstance(error, FailedPrecondition)
        assert error.reason == "LISTENING_NEEDS_LIVE"


@pytest.mark.parametrize(
    ("settings", "budget_ms", "delay_ms"),
    [
        ({}, 160, 40),
        ({"pacing": Pacing.BURST}, 320, LONG_DELAY_MS),
        ({"delay_budget_ms": 240}, 240, LONG_DELAY_MS),
        ({"pacing": Pacing.BURST, "delay_budget_ms": 120}, 120, 40),
    ],
)
async def test_delay_budget_goes_to_the_motion_stage(
    converse: Any, settings: dict[str, Any], budget_ms: int, delay_ms: int
) -> None:
    async with converse(**settings) as c:
        await c.run_ms(40)
        assert c.started.settings.delay_budget_ms == budget_ms
        assert c.started.algorithmic_delay_ms == delay_ms
        (config,) = c.motion.configs
        assert config.delay_budget_ms == budget_ms


async def test_frames_of_a_long_delay_are_not_late(converse: Any) -> None:
    class Slow(FakeMotion):
        def delay_ms(self, config: MotionConfig) -> int:
            return 760

    async with converse(motion=Slow()) as c:
        await c.run_ms(3000)
        assert len(c.frames) == pytest.approx((3000 - 680) // 40, abs=1)
        assert c.frames[-1].num_dropped == 0
