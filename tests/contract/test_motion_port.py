"""What every motion generator does, embedded or remote."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InvalidInput
from parlante.fleet.motion import FleetMotion
from parlante.ports import Motion
from parlante.types import (
    MAX_DELAY_BUDGET_MS,
    MIN_DELAY_BUDGET_MS,
    MOTION_DIM,
    MOTION_INDEX,
    AudioChunk,
    Controls,
    ControlUpdate,
    Float32Array,
    Int16Array,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
)
from tests.fakes.fleet import fake_pool
from tests.fakes.motion import FakeMotion
from tests.fakes.stages import FakeStages, serve_fakes


@pytest_asyncio.fixture(
    params=["fake", "fake-blocks", "remote", "fleet", "engine", "remote-engine", "fleet-engine"]
)
async def motion(request: pytest.FixtureRequest) -> AsyncIterator[Motion]:
    """One implementation of the port after the other."""
    async with AsyncExitStack() as stack:
        if request.param.endswith("engine"):
            engine = _load_engine()
            stack.push_async_callback(engine.aclose)
            implementation: Motion = engine
        else:
            implementation = FakeMotion(block_frames=4 if request.param == "fake-blocks" else 1)
        if request.param.startswith(("remote", "fleet")):
            served = FakeStages(motion=implementation)  # type: ignore[arg-type]
            stages = await stack.enter_async_context(serve_fakes(served))
            implementation = stages.remote_motion
        if request.param.startswith("fleet"):
            pool = await stack.enter_async_context(fake_pool("motion", stages))
            implementation = FleetMotion(pool)
        yield implementation


def _load_engine() -> Any:
    pytest.importorskip("torch")
    from services.motion.engine import MotionEngine

    return MotionEngine.load()


def _voice(num_samples: int, *, seed: int = 0) -> Int16Array:
    noise = np.random.default_rng(seed).normal(0, 2000, num_samples)
    return noise.astype(np.int16)


async def _chunks(samples: Int16Array, size: int) -> AsyncIterator[MotionInput]:
    for start in range(0, len(samples), size):
        yield AudioChunk(start_sample=start, samples=samples[start : start + size])


async def _run(
    motion: Motion, inputs: AsyncIterator[MotionInput], config: MotionConfig | None = None
) -> Float32Array:
    """Give all motion, float32 [T, 60], after checking that blocks follow without gap."""
    rows: list[Float32Array] = []
    async with closing(motion.stream(config or MotionConfig(), inputs)) as blocks:
        async for block in blocks:
            assert block.start_frame == sum(len(values) for values in rows)
            rows.append(block.values)
    return np.concatenate(rows) if rows else np.zeros((0, MOTION_DIM), np.float32)


@pytest.mark.parametrize("num_samples", [0, 1, 639, 640, 641, 3200])
async def test_one_frame_for_every_begun_forty_milliseconds(
    motion: Motion, num_samples: int
) -> None:
    got = await _run(motion, _chunks(_voice(num_samples), 500))
    assert got.shape == (math.ceil(num_samples / 640), MOTION_DIM)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000])
async def test_every_allowed_rate_gives_25_frames_a_second(motion: Motion, rate_hz: int) -> None:
    config = MotionConfig(sample_rate_hz=rate_hz)
    got = await _run(motion, _chunks(_voice(rate_hz // 5), 777), config)
    assert len(got) == 5


async def test_chunk_size_does_not_matter(motion: Motion) -> None:
    voice = _voice(8000)
    whole = await _run(motion, _chunks(voice, 8000))
    pieces = await _run(motion, _chunks(voice, 333))
    np.testing.assert_array_equal(whole, pieces)


async def test_same_seed_gives_the_same_motion_and_another_another(motion: Motion) -> None:
    voice = _voice(4000)
    one, same, other = [
        await _run(motion, _chunks(voice, 640), MotionConfig(seed=seed)) for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


async def test_streams_at_once_do_not_mix(motion: Motion) -> None:
    voices = [_voice(4000, seed=seed) for seed in range(3)]
    alone = [await _run(motion, _chunks(voice, 640)) for voice in voices]
    together = await asyncio.gather(*(_run(motion, _chunks(voice, 333)) for voice in voices))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


async def test_motion_comes_while_audio_is_still_coming(motion: Motion) -> None:
    async def endless() -> AsyncIterator[MotionInput]:
        async for chunk in _chunks(_voice(32_000), 640):
            yield chunk
        await asyncio.Event().wait()

    async with closing(motion.stream(MotionConfig(), endless())) as blocks:
        block = await asyncio.wait_for(anext(blocks), 5)
    assert block.start_frame == 0


async def test_control_update_holds_from_then_on(motion: Motion) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        voice = _voice(32_000)
        yield AudioChunk(start_sample=0, samples=voice[:12_800])
        yield ControlUpdate(controls=Controls(gaze_yaw_rad=0.3))
        yield AudioChunk(start_sample=12_800, samples=voice[12_800:])

    values = await _run(motion, inputs())
    # Eyes turn against the head, which has its own life: where they look is the sum.
    gaze = values[:, MOTION_INDEX["gazeYaw"]] + values[:, MOTION_INDEX["headYaw"]]
    assert gaze[-15:].mean() > gaze[:15].mean() + 0.1


@pytest.mark.parametrize(("start", "reason"), [(1, "AUDIO_GAP"), (-1, "AUDIO_OVERLAP")])
async def test_audio_must_be_contiguous(motion: Motion, start: int, reason: str) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=_voice(640))
        yield AudioChunk(start_sample=640 + start, samples=_voice(640))

    with pytest.raises(InvalidInput) as caught:
        await _run(motion, inputs())
    assert caught.value.reason == reason


async def test_error_of_the_inputs_comes_through(motion: Motion) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=_voice(640))
        raise InvalidInput("from the caller", reason="MINE")

    with pytest.raises(InvalidInput) as caught:
        await _run(motion, inputs())
    assert caught.value.reason == "MINE"


async def test_stream_can_be_left_at_any_time(motion: Motion) -> None:
    async with closing(motion.stream(MotionConfig(), _chunks(_voice(64_000), 640))) as blocks:
        await anext(blocks)
    assert len(await _run(motion, _chunks(_voice(640), 640))) == 1


# --- delay -------------------------------------------------------------------------------------


async def _delay_ms(motion: Motion, budget_ms: int) -> int:
    """Ask for a delay; a remote stage tells it at the start of a stream."""
    config = MotionConfig(delay_budget_ms=budget_ms)
    await _run(motion, _chunks(_voice(0), 1), config)
    return motion.delay_ms(config)


async def test_delay_is_the_longest_that_fits_the_budget(motion: Motion) -> None:
    budgets_ms = (MIN_DELAY_BUDGET_MS, 160, 240, 320, MAX_DELAY_BUDGET_MS)
    delays_ms = [await _delay_ms(motion, budget_ms) for budget_ms in budgets_ms]
    assert delays_ms == sorted(delays_ms)
    assert 0 < delays_ms[1] <= 160
    for budget_ms, delay_ms in zip(budgets_ms[1:], delays_ms[1:], strict=True):
        assert delay_ms <= budget_ms
        assert await _delay_ms(motion, max(delay_ms, MIN_DELAY_BUDGET_MS)) == delay_ms


@pytest.mark.parametrize("budget_ms", [MIN_DELAY_BUDGET_MS, MAX_DELAY_BUDGET_MS])
async def test_budget_changes_no_number_of_frames(motion: Motion, budget_ms: int) -> None:
    config = MotionConfig(delay_budget_ms=budget_ms)
    assert len(await _run(motion, _chunks(_voice(6400), 500), config)) == 10


async def test_frame_comes_once_its_delay_has_been_heard(motion: Motion) -> None:
    config = MotionConfig(delay_budget_ms=320)
    num_samples = 16 * await _delay_ms(motion, config.delay_budget_ms) + 640

    async def endless() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=_voice(num_samples))
        await asyncio.Event().wait()

    async with closing(motion.stream(config, endless())) as blocks:
        block = await asyncio.wait_for(anext(blocks), 5)
    assert block.start_frame == 0


# --- listening ---------------------------------------------------------------------------------


def _heard(start_sample: int, num_samples: int = 640) -> ListeningChunk:
    return ListeningChunk(start_sample=start_sample, samples=_voice(num_samples, seed=9))


async def test_listening_is_never_waited_for_and_may_have_gaps(motion: Motion) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        yield _heard(320)
        async for chunk in _chunks(_voice(12_800), 640):
            yield chunk
            if chunk.start_sample in (1280, 6400):  # type: ignore[union-attr]
                yield _heard(chunk.start_sample - 100)  # type: ignore[union-attr]
        yield _heard(100_000)

    assert (await _run(motion, inputs())).shape == (20, MOTION_DIM)


async def test_stream_without_listening_is_as_one_with_silence(motion: Motion) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        async for chunk in _chunks(_voice(9600), 640):
            start = chunk.start_sample  # type: ignore[union-attr]
            yield ListeningChunk(start_sample=start, samples=np.zeros(640, np.int16))
            yield chunk

    alone = await _run(motion, _chunks(_voice(9600), 640))
    np.testing.assert_allclose(await _run(motion, inputs()), alone, atol=1e-5)


@pytest.mark.parametrize("start", [-1, 0, 639])
async def test_listening_must_not_go_back(motion: Motion, start: int) -> None:
    async def inputs() -> AsyncIterator[MotionInput]:
        yield _heard(0)
        yield AudioChunk(start_sample=0, samples=_voice(640))
        yield _heard(start)

    with pytest.raises(InvalidInput) as caught:
        await _run(motion, inputs())
    assert caught.value.reason == "LISTENING_OVERLAP"


# --- checkpoints -------------------------------------------------------------------------------


async def _blocks(
    motion: Motion, inputs: AsyncIterator[MotionInput], config: MotionConfig
) -> list[MotionBlock]:
    async with closing(motion.stream(config, inputs)) as blocks:
        return [block async for block in blocks]


async def test_no_checkpoint_comes_unasked(motion: Motion) -> None:
    blocks = await _blocks(motion, _chunks(_voice(6400), 640), MotionConfig())
    assert {(block.checkpoint, block.checkpoint_sample) for block in blocks} == {(b"", 0)}


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
async def test_resumed_stream_goes_on_as_if_it_had_never_stopped(
    motion: Motion, rate_hz: int
) -> None:
    config = MotionConfig(sample_rate_hz=rate_hz, seed=3, emit_checkpoints=True)
    voice = _voice(rate_hz)
    whole = await _blocks(motion, _chunks(voice, 700), config)
    stopped = [block for block in whole if block.checkpoint][2]
    next_frame = stopped.start_frame + len(stopped.values)

    async def rest() -> AsyncIterator[MotionInput]:
        for start in range(stopped.checkpoint_sample, len(voice), 500):
            yield AudioChunk(start_sample=start, samples=voice[start : start + 500])

    resumed = await _blocks(motion, rest(), replace(config, resume_state=stopped.checkpoint))
    assert resumed[0].start_frame == next_frame
    np.testing.assert_array_equal(
        np.concatenate([block.values for block in resumed]),
        np.concatenate([block.values for block in whole])[next_frame:],
    )


async def _a_checkpoint(motion: Motion, config: MotionConfig) -> bytes:
    blocks = await _blocks(motion, _chunks(_voice(16_000), 640), config)
    return next(block.checkpoint for block in blocks if block.checkpoint)


async def test_what_is_no_checkpoint_is_refused(motion: Motion) -> None:
    state = await _a_checkpoint(motion, MotionConfig(emit_checkpoints=True))
    for wrong in (b"junk", bytes(65_536), state[:-1], state[1:]):
        with pytest.raises(InvalidInput) as caught:
            await _run(motion, _chunks(_voice(640), 640), MotionConfig(resume_state=wrong))
        assert caught.value.reason == "BAD_RESUME_STATE"


@pytest.mark.parametrize("change", [{"sample_rate_hz": 48_000}, {"delay_budget_ms": 400}])
async def test_checkpoint_of_another_kind_of_stream_is_refused(
    motion: Motion, change: dict[str, Any]
) -> None:
    state = await _a_checkpoint(motion, MotionConfig(emit_checkpoints=True))
    with pytest.raises(FailedPrecondition) as caught:
        await _run(motion, _chunks(_voice(640), 640), MotionConfig(resume_state=state, **change))
    assert caught.value.reason == "RESUME_STATE_MISMATCH"
