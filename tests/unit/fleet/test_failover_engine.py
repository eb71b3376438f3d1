"""The real motion engine: after a replica is lost, the same frames to the bit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

pytest.importorskip("torch")

from parlante.aio import closing
from parlante.fleet.motion import FleetMotion
from parlante.types import AudioChunk, Controls, ControlUpdate, MotionConfig, MotionInput
from services.motion.engine import MotionEngine
from tests.fakes.fleet import fake_pool, serve_fleet
from tests.fakes.stages import FakeStages

RATE_HZ = 16_000
CONFIG = MotionConfig(seed=11)


async def _speech(*, pace_s: float) -> AsyncIterator[MotionInput]:
    rng = np.random.default_rng(5)
    samples = (rng.normal(0, 2500, RATE_HZ) * np.hanning(RATE_HZ)).astype(np.int16)
    for start in range(0, len(samples), RATE_HZ // 25):
        if start == RATE_HZ // 2:
            # Values that a float of the wire holds exactly.
            yield ControlUpdate(controls=Controls(gaze_yaw_rad=0.25, emotion={"happy": 0.75}))
        yield AudioChunk(start_sample=start, samples=samples[start : start + RATE_HZ // 25])
        await asyncio.sleep(pace_s)


@pytest.mark.parametrize("grace_s", [0.0, 1.0], ids=["lost", "drained"])
async def test_motion_after_a_move_is_what_it_would_have_been(grace_s: float) -> None:
    engine = MotionEngine.load()
    try:
        undisturbed = [b.values async for b in engine.stream(CONFIG, _speech(pace_s=0))]
        moved: list[np.ndarray] = []
        starts: list[int] = []
        async with (
            serve_fleet(2, lambda: FakeStages(motion=engine)) as replicas,  # type: ignore[arg-type]
            fake_pool("motion", *replicas) as pool,
        ):
            drain = None
            async with closing(FleetMotion(pool).stream(CONFIG, _speech(pace_s=0.03))) as blocks:
                async for block in blocks:
                    starts.append(block.start_frame)
                    moved.append(block.values)
                    if len(moved) == 4:
                        serving = next(r for r in replicas if r.slots.num_held)
                        drain = asyncio.create_task(serving.server.drain(grace_s=grace_s))
            assert drain is not None
            await drain
        assert starts == list(np.cumsum([0] + [len(rows) for rows in moved])[:-1])
        np.testing.assert_array_equal(np.concatenate(moved), np.concatenate(undisturbed))
    finally:
        await engine.aclose()
