"""Motion of many streams on a real Triton server, and what breaks there."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
import pytest

from parlante.aio import closing
from parlante.diffusion.guidance import GuidanceScales
from parlante.errors import FailedPrecondition
from parlante.models.motion_sampling import SamplerConfig
from parlante.triton.motion_layout import MOTION, BlockRow
from parlante.triton.server import TritonServer
from parlante.types import AudioChunk, Float32Array, MotionConfig, MotionInput
from services.motion.engine import MotionEngine
from services.motion.network import TritonNetwork
from tests.triton.live import pids_of

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NUM_STREAMS = 6
AT_ONCE = 32
TOLERANCE = 5e-3  # of a channel; batches round otherwise than a stream alone


@asynccontextmanager
async def engine_at(url: str) -> AsyncIterator[MotionEngine]:
    engine = MotionEngine.load(triton_url=url)
    try:
        await engine.warm_up()
        yield engine
    finally:
        await engine.aclose()


async def motion_of(engine: MotionEngine, seed: int, *, pause_s: float = 0.0) -> Float32Array:
    """Give the motion of 2 s of a voice of its own; with a pause before each 80 ms of it."""
    voice = np.random.default_rng(seed).normal(0, 2000, 32_000).astype(np.int16)

    async def sound() -> AsyncIterator[MotionInput]:
        for start in range(0, len(voice), 1280):
            await asyncio.sleep(pause_s)
            yield AudioChunk(start_sample=start, samples=voice[start : start + 1280])

    async with closing(engine.stream(MotionConfig(seed=seed), sound())) as blocks:
        return np.concatenate([block.values async for block in blocks])


async def right_motions() -> list[Float32Array]:
    engine = MotionEngine.load()
    try:
        return [await motion_of(engine, seed) for seed in range(NUM_STREAMS)]
    finally:
        await engine.aclose()


def num_batches(server: TritonServer) -> tuple[int, int]:
    """Blocks that the motion model has made, and batches that it made them in."""
    url = f"http://127.0.0.1:{server.ports.metrics}/metrics"
    with urllib.request.urlopen(url) as response:
        lines = response.read().decode().splitlines()
    found = {
        line.partition("{")[0]: int(float(line.rpartition(" ")[2]))
        for line in lines
        if f'model="{MOTION}"' in line
    }
    return found["nv_inference_count"], found["nv_inference_exec_count"]


async def test_each_of_many_streams_gets_its_own(triton_server: TritonServer) -> None:
    right = await right_motions()
    async with engine_at(triton_server.grpc_address) as engine:
        before = num_batches(triton_server)
        got = await asyncio.gather(*(motion_of(engine, seed) for seed in range(NUM_STREAMS)))
        after = num_batches(triton_server)
        assert isinstance(engine._network, TritonNetwork)
    assert after[0] - before[0] >= NUM_STREAMS * 20  # a few may have been late on a busy machine
    for own, wanted in zip(got, right, strict=True):
        np.testing.assert_allclose(own, wanted, atol=TOLERANCE)


async def test_blocks_that_come_at_once_share_batches(triton_server: TritonServer) -> None:
    async with engine_at(triton_server.grpc_address) as engine:
        network = engine._network
        assert isinstance(network, TritonNetwork)
        server, rows = network._server, list[BlockRow]()

        async def noting(row: BlockRow, *, timeout_s: float) -> npt.NDArray[np.float16]:
            rows.append(row)
            return await draw(row, timeout_s=timeout_s)

        draw = server.draw
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "draw", noting)
            await motion_of(engine, 0)
        before = num_batches(triton_server)
        at_once = [server.draw(rows[-1], timeout_s=30.0) for _ in range(AT_ONCE)]
        latents = await asyncio.gather(*at_once)
        after = num_batches(triton_server)
    assert after[0] - before[0] == AT_ONCE
    assert after[1] - before[1] <= AT_ONCE // 2
    for own in latents[1:]:
        np.testing.assert_allclose(own, latents[0], atol=2e-2)


async def test_streams_go_on_when_the_process_of_the_model_is_killed(
    triton_server: TritonServer,
) -> None:
    right = await right_motions()
    async with engine_at(triton_server.grpc_address) as engine:
        network = engine._network
        assert isinstance(network, TritonNetwork)
        streams = [
            asyncio.create_task(motion_of(engine, seed, pause_s=0.08))
            for seed in range(NUM_STREAMS)
        ]
        await asyncio.sleep(0.8)
        (pid,) = pids_of(triton_server, MOTION)
        os.kill(pid, signal.SIGKILL)
        got = await asyncio.gather(*streams)
        assert network.num_local > 0
        async with asyncio.timeout(60):
            while not network.is_healthy:  # noqa: ASYNC110 (set by a task)
                await asyncio.sleep(0.05)
    assert pids_of(triton_server, MOTION) != [pid]
    for own, wanted in zip(got, right, strict=True):
        np.testing.assert_allclose(own, wanted, atol=TOLERANCE)


async def test_a_service_of_another_sampler_is_refused(triton_server: TritonServer) -> None:
    sampler = SamplerConfig(guidance=GuidanceScales(audio=1.5))
    engine = MotionEngine.load(sampler=sampler, triton_url=triton_server.grpc_address)
    try:
        with pytest.raises(FailedPrecondition) as caught:
            await engine.warm_up()
    finally:
        await engine.aclose()
    assert caught.value.reason == "OTHER_NETWORK"
