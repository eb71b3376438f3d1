"""Random conversations: what must hold whatever a client does, in whatever order."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from gateway.values import (
    EndUtterance,
    EventType,
    Interrupt,
    Listening,
    Pacing,
    Playback,
    PlayedAudio,
    Steer,
)
from parlante.types import Controls
from tests.fakes.motion import FakeMotion


async def act(c: Any, dice: random.Random, spoken: list[str], *, credits: bool) -> None:
    match dice.randrange(10):
        case 0 | 1 | 2:
            if not spoken or dice.random() < 0.4:
                spoken.append(f"u{len(spoken)}")
            if spoken[-1] not in c.ended:
                c.said.add(spoken[-1])
                await c.say(20 * dice.randrange(1, 40), spoken[-1])
        case 3:
            if spoken:
                c.ended.add(spoken[-1])
                await c.send(EndUtterance(utterance_id=dice.choice(["", spoken[-1]])))
        case 4:
            if dice.random() < 0.5:
                c.ended.update(spoken)
                await c.send(Interrupt(utterance_id=dice.choice(["", *spoken])))
        case 5:
            offset_us = dice.choice([0, 1_000_000])
            await c.send(Steer(controls=Controls(gaze_yaw_rad=0.1), apply_offset_us=offset_us))
        case 6:
            c.stop_reading()
            await c.run_ms(dice.randrange(0, 800))
            await c.start_reading()
        case 7:
            if credits and c.frames:
                await c.send(Playback(last_frame_seq=dice.randint(0, c.frames[-1].seq)))
        case 8:
            if c.live:
                for _ in range(dice.randrange(1, 30)):
                    await c.run_ms(dice.choice([0, 20, 20, 20, 40, 300]))
                    length = c.rate_hz * dice.choice([20, 20, 20, 500]) // 1000
                    await c.send(Listening(samples=np.ones(length, np.int16)))
        case _:
            await c.run_ms(dice.randrange(0, 600))


@pytest.mark.parametrize("seed", range(16))
async def test_invariants_of_a_conversation(converse: Any, seed: int) -> None:
    dice = random.Random(seed)
    live, credits = dice.random() < 0.75, dice.random() < 0.5
    spoken: list[str] = []
    async with converse(
        motion=FakeMotion(block_frames=dice.choice([1, 4, 7])),
        pacing=Pacing.LIVE if live else Pacing.BURST,
        max_frames_in_flight=dice.randrange(2, 12) if credits else 0,
        sample_rate_hz=dice.choice([8000, 16_000, 44_100]),
        return_audio=True,
        return_motion=True,
    ) as c:
        c.ended, c.said, c.live = set(), set(), live
        for _ in range(40):
            await act(c, dice, spoken, credits=credits and live)
        await c.half_close()
        await c.run_ms(40_000)
        await c.task  # it ended well

        finished = Counter(name for _, _, name in c.events(EventType.UTTERANCE_FINISHED))
        assert set(finished.values()) <= {1}
        begun = {name for _, _, name in c.events(EventType.UTTERANCE_STARTED)}
        assert begun | c.said <= finished.keys()
        assert c.said

        position = 0
        for audio in c.all_of(PlayedAudio):
            assert audio.start_sample == position
            position += len(audio.samples)
            assert np.abs(audio.samples).any() == bool(audio.utterance_id)
        num_frames = -(-position * 25 // c.rate_hz)
        assert len(c.motions()) == num_frames

        assert [frame.seq for frame in c.frames] == list(range(1, len(c.frames) + 1))
        offsets = [frame.media_offset_us for frame in c.frames]
        assert offsets == sorted(set(offsets))
        if live:
            assert len(c.frames) + (c.frames[-1].num_dropped if c.frames else 0) <= num_frames
        else:
            assert len(c.frames) == num_frames
