"""The engine as a stream: order, counts, seeds, chunking, errors, latency."""

import asyncio
import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest

from parlante.errors import FailedPrecondition, InvalidInput, Unavailable
from parlante.media.resample import Resampler
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import LATENT_DIM, LATENT_INDEX, LATENT_SCALE
from parlante.models.pose_state import PoseState
from parlante.types import MOTION_INDEX, AudioChunk, Controls, ControlUpdate, MotionConfig
from services.motion import incoming, session
from services.motion.engine import MotionEngine
from tests.perf.motion_soak import set_clock


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
async def test_stream_is_the_same_however_sound_is_cut(tiny_engine, babble, feed, run, rate_hz):
    samples = babble(1.0, rate_hz)
    config = MotionConfig(sample_rate_hz=rate_hz, seed=3)
    rng = np.random.default_rng(rate_hz)
    cuts = sorted(rng.choice(len(samples), 40, replace=False).tolist())
    whole = await run(tiny_engine, feed(samples, []), config)
    pieces = await run(tiny_engine, feed(samples, cuts), config)
    np.testing.assert_array_equal(whole, pieces)


async def test_stream_accepts_empty_chunks(tiny_engine, babble, feed, run):
    samples = babble(0.2)
    once = await run(tiny_engine, feed(samples, [800]), MotionConfig())
    with_empty = await run(tiny_engine, feed(samples, [0, 800, 800]), MotionConfig())
    np.testing.assert_array_equal(once, with_empty)


async def test_stream_repeats_itself_for_a_seed(tiny_engine, babble, feed, run):
    samples = babble(0.6)
    first, second = [
        await run(tiny_engine, feed(samples, []), MotionConfig(seed=11)) for _ in range(2)
    ]
    np.testing.assert_array_equal(first, second)


async def test_stream_differs_between_seeds(tiny_engine, babble, feed, run):
    samples = babble(0.6)
    first, second = [
        await run(tiny_engine, feed(samples, []), MotionConfig(seed=seed)) for seed in (1, 2)
    ]
    assert np.abs(first - second).max() > 1e-3


async def test_stream_takes_any_integer_as_seed(tiny_engine, babble, feed, run):
    values = await run(tiny_engine, feed(babble(0.2), []), MotionConfig(seed=-(2**63)))
    assert np.isfinite(values).all()


@pytest.mark.slow
async def test_stream_repeats_itself_in_another_process(engine, babble, feed, run, tmp_path):
    script = (
        "import asyncio, sys, numpy as np\n"
        "from parlante.training.evaluate import animate\n"
        "from parlante.types import MotionConfig\n"
        "from services.motion.engine import MotionEngine\n"
        "async def main():\n"
        "    engine = MotionEngine.load()\n"
        "    values = await animate(engine, np.load(sys.argv[1]), MotionConfig(seed=5))\n"
        "    np.save(sys.argv[2], values)\n"
        "    await engine.aclose()\n"
        "asyncio.run(main())\n"
    )
    samples = babble(0.8)
    np.save(tmp_path / "in.npy", samples)
    paths = [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True)  # noqa: ASYNC221
    here = await run(engine, feed(samples, []), MotionConfig(seed=5))
    np.testing.assert_array_equal(here, np.load(tmp_path / "out.npy"))


@pytest.mark.parametrize(
    ("num_samples", "num_frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (6400, 10), (6401, 11)]
)
async def test_stream_gives_a_frame_per_begun_40_ms(
    tiny_engine, feed, run, num_samples, num_frames
):
    values = await run(tiny_engine, feed(np.zeros(num_samples, np.int16), []), MotionConfig())
    assert values.shape == (num_frames, 60)


async def test_stream_counts_frames_at_other_rates(tiny_engine, babble, feed, run):
    samples = babble(0.5, 44_100)[:20_001]
    values = await run(tiny_engine, feed(samples, []), MotionConfig(sample_rate_hz=44_100))
    assert len(values) == -(-20_001 * 25 // 44_100)


@pytest.mark.parametrize(
    ("second_start", "reason"), [(700, "AUDIO_GAP"), (100, "AUDIO_OVERLAP"), (-5, "AUDIO_OVERLAP")]
)
async def test_stream_refuses_gaps_and_overlaps(tiny_engine, second_start, reason):
    async def source():
        yield AudioChunk(start_sample=0, samples=np.zeros(640, np.int16))
        yield AudioChunk(start_sample=second_start, samples=np.zeros(640, np.int16))

    with pytest.raises(InvalidInput) as caught:
        _ = [block async for block in tiny_engine.stream(MotionConfig(), source())]
    assert caught.value.reason == reason


async def test_stream_refuses_sound_that_does_not_start_at_zero(tiny_engine):
    async def source():
        yield AudioChunk(start_sample=160, samples=np.zeros(640, np.int16))

    with pytest.raises(InvalidInput, match="sample 0"):
        _ = [block async for block in tiny_engine.stream(MotionConfig(), source())]


@pytest.mark.parametrize(
    "samples", [np.full(640, np.nan, np.float32), np.zeros((2, 320), np.int16)]
)
async def test_stream_refuses_anything_but_int16_mono(tiny_engine, samples):
    async def source():
        yield AudioChunk(start_sample=0, samples=samples)

    with pytest.raises(InvalidInput) as caught:
        _ = [block async for block in tiny_engine.stream(MotionConfig(), source())]
    assert caught.value.reason == "BAD_AUDIO_FORMAT"


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
async def test_stream_gives_a_block_as_soon_as_its_sound_is_there(tiny_engine, babble, rate_hz):
    """The first block needs 160 ms at the most, each further one 80 ms more."""
    samples = babble(0.5, rate_hz)
    step = rate_hz // 200  # 5 ms
    heard_ms: list[int] = []

    async def source():
        for begin in range(0, len(samples), step):
            yield AudioChunk(start_sample=begin, samples=samples[begin : begin + step])
            heard_ms.append(5 * (begin // step + 1))

    came_ms = []
    stream = tiny_engine.stream(MotionConfig(sample_rate_hz=rate_hz), source())
    async for block in stream:
        # The chunk in hand is not counted yet: the source is still at its yield.
        came_ms.append((heard_ms[-1] + 5, block.start_frame * 40))
        if len(came_ms) == 4:
            break
    await stream.aclose()
    waits = [heard - start for heard, start in came_ms]
    assert max(waits) <= 165  # 160 ms and the 5 ms of a chunk
    assert tiny_engine.algorithmic_delay_ms <= 160.0


async def test_stream_keeps_no_sound_beyond_what_the_next_block_needs(tiny_model, babble):
    resampler = Resampler(16_000)
    state = session.start(MotionConfig(), resampler, tiny_model)
    for piece in np.split(babble(4.0), 100):
        state = incoming.hear(state, piece, resampler)
        while session.is_ready(state):
            _, state = session.advance(state, tiny_model, SamplerConfig())
    assert len(state.audio) < session.SPAN_SAMPLES
    assert len(state.latents) == tiny_model.config.past_frames
    assert state.cache[0][0].shape[2] == tiny_model.config.past_frames


@pytest.mark.parametrize("sounds", [True, False])
async def test_lips_that_were_open_linger_where_a_block_has_sound(tiny_model, babble, sounds):
    resampler = Resampler(16_000)
    state = session.start(MotionConfig(), resampler, tiny_model)
    silence = np.zeros(16_000, np.int16)
    state = incoming.hear(state, babble(1.0) if sounds else silence, resampler)
    draft = None
    while session.is_ready(state):
        draft, state = session.begin(state, tiny_model)
    assert draft.sounding.tolist() == [sounds] * BLOCK_FRAMES
    jaw = LATENT_INDEX["jawOpen"]
    past, rest = np.zeros((2, BLOCK_FRAMES, LATENT_DIM), np.float16)
    past[:, jaw] = 0.3 / LATENT_SCALE[jaw]
    state = dataclasses.replace(
        state,
        latents=past,
        cache=session.recall(past, tiny_model),
        pose=PoseState.settled(Controls()),
    )
    block, after = session.finish(draft, rest, state, tiny_model)
    assert (block.values[:, MOTION_INDEX["jawOpen"]] > 0.05).tolist() == [sounds] * BLOCK_FRAMES
    assert not after.latents[-BLOCK_FRAMES:].any()  # the network remembers what it made itself


async def test_state_continues_the_same_after_a_copy(tiny_model, babble):
    resampler = Resampler(44_100)
    samples = babble(1.2, 44_100)

    def go_on(state, part):
        frames = []
        for begin in range(0, len(part), 441):
            state = incoming.hear(state, part[begin : begin + 441], resampler)
            while session.is_ready(state):
                block, state = session.advance(state, tiny_model, SamplerConfig())
                if block is not None:
                    frames.append(block.values)
        return frames, state

    config = MotionConfig(sample_rate_hz=44_100, seed=4)
    start = session.start(config, resampler, tiny_model)
    _, middle = go_on(start, samples[:26_460])
    kept = dataclasses.replace(middle)
    first, _ = go_on(middle, samples[26_460:])
    second, _ = go_on(kept, samples[26_460:])
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))
    assert len(first) > 3


async def test_control_update_changes_only_frames_not_made_yet(tiny_engine, babble):
    samples = babble(1.0)

    async def source(update):
        yield AudioChunk(start_sample=0, samples=samples[:8_000])
        if update:
            yield ControlUpdate(controls=Controls(gaze_yaw_rad=0.5, head_distance=1.5))
        yield AudioChunk(start_sample=8_000, samples=samples[8_000:])

    without, with_update = [
        np.concatenate([b.values async for b in tiny_engine.stream(MotionConfig(), source(update))])
        for update in (False, True)
    ]
    made = (8_000 - 1_248) // 1_280 * 2
    np.testing.assert_array_equal(without[:made], with_update[:made])
    assert np.abs(without[made:] - with_update[made:]).max() > 0.01


async def test_closing_a_stream_closes_its_source(tiny_engine, babble):
    closed = []

    async def source():
        try:
            for start in range(0, 32_000, 640):
                yield AudioChunk(start_sample=start, samples=np.zeros(640, np.int16))
        finally:
            closed.append(True)

    stream = tiny_engine.stream(MotionConfig(), source())
    await anext(stream)
    await stream.aclose()
    assert closed


async def test_closed_engine_says_that_it_is_gone(tiny_engine, babble, feed, run):
    await tiny_engine.aclose()
    with pytest.raises(Unavailable):
        await run(tiny_engine, feed(babble(0.3), []), MotionConfig())


def test_load_names_the_missing_file(tmp_path):
    with pytest.raises(FailedPrecondition) as caught:
        MotionEngine.load(tmp_path / "none.safetensors")
    assert caught.value.reason == "MOTION_WEIGHTS_UNUSABLE"


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
async def test_the_clock_does_not_slip_after_ten_hours(tiny_model, babble, rate_hz):
    """Counters as after ten hours give the blocks that the first minute gives, at their times."""
    resampler = Resampler(rate_hz)
    samples = babble(1.0, rate_hz)
    begun = session.start(MotionConfig(sample_rate_hz=rate_hz), resampler, tiny_model)
    begun = incoming.hear(begun, np.zeros(rate_hz // 5, np.int16), resampler)
    while session.is_ready(begun):
        _, begun = session.advance(begun, tiny_model, SamplerConfig())
    frame_of = []
    for state in (begun, set_clock(begun, 10, rate_hz)):
        frames = []
        for piece in np.array_split(samples, 50):
            state = incoming.hear(state, piece, resampler)
            while session.is_ready(state):
                block, state = session.advance(state, tiny_model, SamplerConfig())
                if block is not None:
                    frames.append((session.num_frames(state, rate_hz), block.start_frame))
        frame_of.append(np.array(frames))
    assert len(frame_of[0]) > 8
    np.testing.assert_array_equal(frame_of[1] - 10 * 3600 * 25, frame_of[0])


async def test_live_streams_get_their_blocks_first(tiny_engine, babble, feed, monkeypatch):
    """A recording that is sent at once kept the thread from those who speak live."""
    order = []
    advance = session.advance

    def noted(state, model, sampler):
        order.append(state.seed)
        return advance(state, model, sampler)

    monkeypatch.setattr(session, "advance", noted)
    samples, config = babble(0.4), MotionConfig(seed=1)
    slow = dataclasses.replace(config, seed=2, in_background=True)
    streams = [tiny_engine.stream(which, feed(samples, [])) for which in (slow, config)]
    release = threading.Event()
    tiny_engine._threads.live.submit(release.wait)
    firsts = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)  # both have asked for the thread
    release.set()
    await asyncio.gather(*firsts)
    for stream in streams:
        await stream.aclose()
    assert order[0] == 1
