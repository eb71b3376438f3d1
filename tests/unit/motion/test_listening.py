"""What the avatar hears of the user, and what a stream makes of it."""

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.models.listening import ListenerState, listen
from parlante.types import AudioChunk, ListeningChunk, MotionConfig


def _squares(*levels_db: float, frames: int = 25) -> np.ndarray:
    return np.repeat(10.0 ** (np.array(levels_db) / 10.0), frames).astype(np.float32)


def test_speech_is_heard_and_silence_is_not():
    rows, _ = listen(_squares(-100.0, -25.0, -100.0), ListenerState())
    assert rows[:25].max() < 0.01
    assert rows[30:50, 0].min() > 0.9
    assert rows[30:50, 1].min() > 0.7
    assert rows[-1].max() < 0.1


def test_soft_voices_are_heard_like_loud_ones():
    soft, loud = (listen(_squares(level, level), ListenerState())[0] for level in (-45.0, -15.0))
    np.testing.assert_allclose(soft[10:], loud[10:], atol=0.15)


def test_hearing_in_pieces_is_hearing_at_once():
    squares = np.random.default_rng(0).gamma(1.0, 1e-3, 60).astype(np.float32)
    whole, _ = listen(squares, ListenerState())
    state, parts = ListenerState(), []
    for begin in range(0, 60, 7):
        rows, state = listen(squares[begin : begin + 7], state)
        parts.append(rows)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


async def _run(engine, items):
    async def source():
        for item in items:
            yield item

    return np.concatenate([b.values async for b in engine.stream(MotionConfig(), source())])


def _audio(num_samples: int) -> AudioChunk:
    return AudioChunk(start_sample=0, samples=np.zeros(num_samples, np.int16))


async def test_what_the_user_says_moves_the_avatar(tiny_engine, babble):
    heard = ListeningChunk(start_sample=0, samples=babble(2.0))
    without = await _run(tiny_engine, [_audio(32_000)])
    with_user = await _run(tiny_engine, [heard, _audio(32_000)])
    assert np.abs(with_user - without).max() > 1e-3


async def test_listening_is_the_same_however_it_is_cut(tiny_engine, babble):
    voice = babble(1.0)
    pieces = [
        ListeningChunk(start_sample=begin, samples=voice[begin : begin + 333])
        for begin in range(0, len(voice), 333)
    ]
    once = await _run(tiny_engine, [ListeningChunk(start_sample=0, samples=voice), _audio(16_000)])
    often = await _run(tiny_engine, [*pieces, _audio(16_000)])
    np.testing.assert_allclose(once, often, atol=1e-4)


async def test_late_listening_has_no_effect_and_gaps_are_silence(tiny_engine, babble):
    late = ListeningChunk(start_sample=0, samples=babble(0.3))
    without = await _run(tiny_engine, [_audio(16_000)])
    with_late = await _run(tiny_engine, [_audio(16_000), late])
    np.testing.assert_array_equal(without, with_late)
    gap = ListeningChunk(start_sample=40_000, samples=np.zeros(640, np.int16))
    np.testing.assert_array_equal(without, await _run(tiny_engine, [gap, _audio(16_000)]))


async def test_listening_does_not_go_back(tiny_engine):
    pieces = [
        ListeningChunk(start_sample=start, samples=np.zeros(640, np.int16)) for start in (640, 100)
    ]
    with pytest.raises(InvalidInput) as caught:
        await _run(tiny_engine, [*pieces, _audio(640)])
    assert caught.value.reason == "LISTENING_OVERLAP"


async def test_listening_far_ahead_is_not_kept(tiny_engine, babble):
    far = ListeningChunk(start_sample=10**9, samples=babble(0.2))
    without = await _run(tiny_engine, [_audio(6_400)])
    np.testing.assert_array_equal(without, await _run(tiny_engine, [far, _audio(6_400)]))
