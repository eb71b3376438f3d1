"""A stream's state as bytes: it goes on to the bit, and bytes from outside are not believed."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.media.resample import Resampler
from parlante.types import (
    AudioChunk,
    Controls,
    ControlUpdate,
    Driving,
    HeadPose,
    ListeningChunk,
    MotionConfig,
)
from services.motion import checkpoint

CONTROLS = Controls(
    gaze_yaw_rad=0.2,
    emotion={"happy": 0.5},
    head_pose=HeadPose(yaw_rad=0.1),
    blink_rate=2.0,
    driving=Driving.FULL,
)


async def _blocks(engine, config, samples, begin, *, end=None, listening=False):
    async def source():
        for start in range(begin, len(samples) if end is None else end, 500):
            stop = min(start + 500, len(samples))
            if listening:
                heard = samples[::-1][start:stop]
                yield ListeningChunk(start_sample=start, samples=heard.copy())
            yield AudioChunk(start_sample=start, samples=samples[start:stop])

    return [block async for block in engine.stream(config, source())]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("budget_ms", [120, 160, 320])
async def test_resumed_stream_goes_on_to_the_bit(tiny_engine, babble, rate_hz, budget_ms):
    samples = babble(2.0, rate_hz)
    config = MotionConfig(
        sample_rate_hz=rate_hz,
        seed=4,
        controls=CONTROLS,
        delay_budget_ms=budget_ms,
        emit_checkpoints=True,
    )
    whole = await _blocks(tiny_engine, config, samples, 0, listening=True)
    kept = whole[6]
    assert 0 < len(kept.checkpoint) < 12_288
    resumed = MotionConfig(
        sample_rate_hz=rate_hz,
        controls=CONTROLS,
        delay_budget_ms=budget_ms,
        resume_state=kept.checkpoint,
    )
    rest = await _blocks(tiny_engine, resumed, samples, kept.checkpoint_sample, listening=True)
    assert rest[0].start_frame == whole[7].start_frame
    # What the user said is not part of a checkpoint beyond the frames it covers.
    np.testing.assert_array_equal(
        np.concatenate([b.values for b in rest]), np.concatenate([b.values for b in whole[7:]])
    )


@pytest.mark.slow
async def test_resumed_stream_is_the_same_in_another_process(engine, babble, tmp_path):
    samples = babble(2.4)
    config = MotionConfig(seed=9, emit_checkpoints=True)
    whole = await _blocks(engine, config, samples, 0)
    kept = whole[12]
    assert len(kept.checkpoint) < 12_288
    (tmp_path / "state").write_bytes(kept.checkpoint)
    np.save(tmp_path / "rest.npy", samples[kept.checkpoint_sample :])
    script = (
        "import asyncio, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from parlante.types import AudioChunk, MotionConfig\n"
        "from services.motion.engine import MotionEngine\n"
        "async def main():\n"
        "    folder, start = Path(sys.argv[1]), int(sys.argv[2])\n"
        "    engine = MotionEngine.load()\n"
        "    config = MotionConfig(resume_state=(folder / 'state').read_bytes())\n"
        "    async def source():\n"
        "        yield AudioChunk(start_sample=start, samples=np.load(folder / 'rest.npy'))\n"
        "    blocks = [b.values async for b in engine.stream(config, source())]\n"
        "    np.save(folder / 'out.npy', np.concatenate(blocks))\n"
        "    await engine.aclose()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(kept.checkpoint_sample)]
    # The other process may have more threads to compute with.
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run(command, check=True, env=env)  # noqa: ASYNC221
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), np.concatenate([b.values for b in whole[13:]])
    )


async def test_checkpoints_come_only_when_asked_for(tiny_engine, babble):
    blocks = await _blocks(tiny_engine, MotionConfig(), babble(0.6), 0)
    assert not any(block.checkpoint for block in blocks)


@pytest.fixture
async def stored(tiny_engine, babble) -> bytes:
    config = MotionConfig(emit_checkpoints=True)
    return (await _blocks(tiny_engine, config, babble(0.8), 0))[3].checkpoint


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"hello",
        lambda data: data[:-20],
        lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
        lambda data: b"PMS1" + zlib.compress(b"\0" * 10_000_000),
        lambda data: b"PMS1" + zlib.compress(struct.pack("<I", 2**31) + b"[]"),
        lambda data: _edited(data, "look", 77),
        lambda data: _edited(data, "lid_debt", float("nan")),
        lambda data: _edited(data, "sure", float("nan")),
        lambda data: _edited(data, "block_index", "many"),
        lambda data: _edited(data, "controls", {"gaze_yaw_rad": 9.0}),
        lambda data: _edited(data, "listener", {"fan": 1.0}),
    ],
)
async def test_damaged_states_are_refused(tiny_model, stored, spoil):
    with pytest.raises(InvalidInput) as caught:
        checkpoint.load(
            spoil(stored), model=tiny_model, bundle_digest="tiny", resampler=Resampler(16_000)
        )
    assert caught.value.reason == "BAD_RESUME_STATE"


def _edited(data: bytes, name: str, value: object) -> bytes:
    import json

    raw = zlib.decompress(data[4:])
    length = struct.unpack_from("<I", raw)[0]
    numbers, layout = json.loads(raw[4 : 4 + length])
    numbers[name] = value
    header = json.dumps([numbers, layout]).encode()
    return b"PMS1" + zlib.compress(struct.pack("<I", len(header)) + header + raw[4 + length :])


@pytest.mark.parametrize(
    "config",
    [
        {"sample_rate_hz": 48_000},
        {"delay_budget_ms": 320},
    ],
)
async def test_states_of_another_stream_are_refused(tiny_engine, stored, config):
    resumed = MotionConfig(resume_state=stored, **config)
    with pytest.raises(FailedPrecondition) as caught:
        await _blocks(tiny_engine, resumed, np.zeros(10, np.int16), 0)
    assert caught.value.reason == "RESUME_STATE_MISMATCH"


async def test_controls_of_the_resumed_stream_hold(tiny_engine, stored):
    resumed = MotionConfig(resume_state=stored, controls=Controls(gaze_yaw_rad=0.5))

    async def source():
        yield ControlUpdate(controls=Controls(gaze_yaw_rad=0.5))

    _ = [block async for block in tiny_engine.stream(resumed, source())]
    assert resumed.resume_state == stored
