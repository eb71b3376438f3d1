"""Burst pacing: time goes with the audio, nothing is lost, the chunking does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.limits import SessionLimits
from gateway.values import EndUtterance, EventType, Interrupt, Pacing, Speech, Steer
from parlante.types import Controls
from tests.fakes.motion import FakeMotion

FINISHED = EventType.UTTERANCE_FINISHED
BURST = {"pacing": Pacing.BURST}
AHEAD = 3  # frames that the fake motion of a burst has heard of what follows


async def speak(c: Any, samples: Any, chunk: int) -> None:
    for start in range(0, len(samples), chunk):
        await c.send(Speech(start_sample=start, samples=samples[start : start + chunk]))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 44_101])
@pytest.mark.parametrize("num_samples", [1, 319, 5000, 7001])
async def test_frames_are_as_many_as_the_audio_needs(
    converse: Any, rate_hz: int, num_samples: int
) -> None:
    async with converse(sample_rate_hz=rate_hz, **BURST) as c:
        await speak(c, np.ones(num_samples, np.int16), 4000)
        await c.half_close()
        await c.task
        assert len(c.frames) == -(-num_samples * 25 // rate_hz)


async def test_no_time_passes_without_audio(converse: Any) -> None:
    async with converse(**BURST) as c:
        await c.run_ms(5000)
        assert len(c.got) == 1


async def test_chunking_changes_nothing(converse: Any) -> None:
    samples = (np.arange(20_000) % 997).astype(np.int16)
    results = []
    for chunk in (7, 640, 16_000):
        async with converse(return_audio=True, **BURST) as c:
            c.clock._settle_rounds = 1
            await speak(c, samples, chunk)
            await c.half_close()
            await c.task
            results.append([frame.rendered.data for frame in c.frames])
            assert np.array_equal(c.audio(), samples)
    assert results[0] == results[1] == results[2]


async def test_nothing_is_dropped_when_the_client_waits(converse: Any) -> None:
    async with converse(return_audio=True, **BURST) as c:
        c.stop_reading()
        await c.say(4000)
        await c.half_close()
        await c.run_ms(60_000)
        await c.start_reading()
        await c.task
        assert len(c.frames) == 100
        assert c.frames[-1].num_dropped == 0


async def test_credits_do_not_count(converse: Any) -> None:
    async with converse(max_frames_in_flight=2, **BURST) as c:
        await c.say(1000)
        await c.half_close()
        await c.task
        assert c.started.settings.max_frames_in_flight == 0
        assert len(c.frames) == 25


async def test_end_of_utterance_finishes_it_without_more_audio(converse: Any) -> None:
    async with converse(**BURST) as c:
        await c.send(Speech(start_sample=0, samples=np.ones(1000, np.int16), utterance_id="a"))
        await c.send(EndUtterance())
        assert c.events(FINISHED) == [(FINISHED, 62, "a")]


async def test_utterances_follow_each_other_without_silence(converse: Any) -> None:
    async with converse(return_audio=True, **BURST) as c:
        for index, name in enumerate("abc"):
            await c.send(
                Speech(
                    start_sample=index * 1000,
                    samples=np.full(1000, index + 1, np.int16),
                    utterance_id=name,
                ),
                EndUtterance(),
            )
        await c.half_close()
        await c.task
        assert np.array_equal(c.audio(), np.repeat([1, 2, 3], 1000))
        assert [frame.utterance_id for frame in c.frames] == ["a", "a", "b", "b", "c"]


async def test_controls_hold_from_their_place_in_the_audio(converse: Any) -> None:
    async with converse(return_motion=True, **BURST) as c:
        await c.say(400)
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.5)))
        await c.say(400)
        await c.half_close()
        await c.task
        yaw = [float(motion.values[58]) for motion in c.motions()]
        assert yaw == [0.0] * 10 + [0.5] * 10


def yaw_of(c: Any) -> list[float]:
    return [round(float(motion.values[58]), 3) for motion in c.motions()]


@pytest.mark.parametrize("max_audio_ahead_ms", [10_000, 60_000])
async def test_controls_may_come_as_often_as_audio(converse: Any, max_audio_ahead_ms: int) -> None:
    """More of them than may wait: the gateway reads on when some have been applied."""
    limits = SessionLimits(max_audio_ahead_ms=max_audio_ahead_ms)
    async with converse(return_motion=True, limits=limits, **BURST) as c:
        for index in range(600):
            await c.inputs.put(Speech(start_sample=index * 320, samples=np.ones(320, np.int16)))
            await c.inputs.put(Steer(controls=Controls(gaze_yaw_rad=(index + 1) / 1000)))
        await c.half_close()
        await c.run_ms(5000)
        await c.task
        # What is last holds from where motion had not heard the end yet.
        assert yaw_of(c)[:-AHEAD] == [index * 2 / 1000 for index in range(300 - AHEAD)]
        assert yaw_of(c)[-1] == 0.598


async def test_many_controls_at_one_place_come_to_the_last(converse: Any) -> None:
    async with converse(return_motion=True, **BURST) as c:
        await c.inputs.put(Speech(start_sample=0, samples=np.ones(160, np.int16)))
        for index in range(300):
            await c.inputs.put(Steer(controls=Controls(gaze_yaw_rad=(index + 1) / 1000)))
        await c.inputs.put(Speech(start_sample=160, samples=np.ones(6240, np.int16)))
        await c.half_close()
        await c.task
        assert yaw_of(c) == [0.0] + [0.3] * 9


async def test_controls_hold_from_no_frame_before_their_place(converse: Any) -> None:
    """Motion is made from audio ahead of it, which controls that lie behind must not overtake."""
    async with converse(motion=FakeMotion(block_frames=2), return_motion=True, **BURST) as c:
        await c.say(400)
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.5)))
        await c.say(80)
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.25)))
        await c.say(400)
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.1)))  # for nothing
        await c.half_close()
        await c.task
        assert yaw_of(c) == [0.0] * 10 + [0.5] * 2 + [0.25] * 10


async def test_controls_far_ahead_of_the_audio_are_refused(converse: Any) -> None:
    """No wait would bring the audio that they are for."""
    async with converse(**BURST) as c:
        for index in range(300):
            at_us = (index + 1) * 1_000_000
            await c.inputs.put(Steer(controls=Controls(), apply_offset_us=at_us))
        assert (await c.error()).reason == "TOO_MANY_CONTROLS"


def second_of(name: str, start_sample: int) -> Speech:
    return Speech(start_sample=start_sample, samples=np.ones(16_000, np.int16), utterance_id=name)


async def test_controls_before_an_interrupt_do_not_outlive_it(converse: Any) -> None:
    """They waited for audio that was dropped, and took effect over those that were sent later."""
    limits = SessionLimits(max_motion_lag_ms=40)
    motion = FakeMotion(delay_s=0.01)  # so that audio waits when it is interrupted
    async with converse(motion=motion, limits=limits, return_motion=True, **BURST) as c:
        await c.send(second_of("a", 0), Steer(controls=Controls(gaze_yaw_rad=0.25)))
        await c.send(Interrupt(), Steer(controls=Controls(gaze_yaw_rad=0.5)))
        await c.send(second_of("b", 16_000), second_of("b", 32_000))
        await c.half_close()
        await c.run_ms(1000)
        await c.task
        num_before = yaw_of(c).count(0.0)
        assert 0 < num_before < 25
        assert yaw_of(c) == [0.0] * num_before + [0.5] * 50


async def test_later_controls_win_where_the_audio_has_just_ended(converse: Any) -> None:
    async with converse(return_motion=True, **BURST) as c:
        await c.send(second_of("a", 0), Steer(controls=Controls(gaze_yaw_rad=0.25)))
        await c.send(Steer(controls=Controls(gaze_yaw_rad=0.5)), second_of("a", 16_000))
        await c.half_close()
        await c.task
        assert yaw_of(c) == [0.0] * 25 + [0.5] * 25


async def test_half_close_without_audio_ends_at_once(converse: Any) -> None:
    async with converse(**BURST) as c:
        await c.half_close()
        await c.task
        assert len(c.got) == 1


async def test_stages_hold_back_the_reading(converse: Any) -> None:
    limits = SessionLimits(max_audio_ahead_ms=1000, max_motion_lag_ms=1000)
    async with converse(motion=FakeMotion(delay_s=3600.0), limits=limits, **BURST) as c:
        await c.say(10_000)
        assert len(c.inputs) > 350


async def test_many_tiny_utterances_end_too(converse: Any) -> None:
    """As many as may wait, together shorter than a frame, held the session for ever."""
    async with converse(return_audio=True, **BURST) as c:
        for index in range(400):
            await c.inputs.put(
                Speech(
                    start_sample=index,
                    samples=np.full(1, index, np.int16),
                    utterance_id=f"u{index}",
                )
            )
        await c.half_close()
        await c.run_ms(1000)
        assert c.task.done()
        assert np.array_equal(c.audio(), np.arange(400))
        assert len(c.events(FINISHED)) == 400
        assert [frame.utterance_id for frame in c.frames] == ["u0"]
