"""Motion whose network runs at a server: what a stream notices of it, and of its faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from parlante.aio import closing
from parlante.errors import FailedPrecondition
from parlante.models.motion_batch import BatchGenerator
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_weights import load_weights
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.motion_layout import OTHER_BUNDLE
from parlante.types import AudioChunk, Float32Array, MotionConfig, MotionInput
from services.motion import network
from services.motion.engine import MotionEngine
from services.motion.network import TritonNetwork
from tests.fakes.triton import FakeBlockServer

SAMPLER = SamplerConfig()
DEAD = TritonFault(Fault.MODEL_DEAD, "Stub process is not healthy")
AWAY = TritonFault(Fault.UNREACHABLE, "connection refused")
VOICE = np.random.default_rng(0).normal(0, 2000, 16_000).astype(np.int16)


@asynccontextmanager
async def engine_on(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[MotionEngine, TritonNetwork]]:
    monkeypatch.setattr(network, "PROBE_INTERVAL_S", 0.01)
    engine = MotionEngine.load()
    own = TritonNetwork(server, engine._model, SAMPLER)
    engine._network = own
    try:
        await engine.warm_up()
        yield engine, own
    finally:
        await engine.aclose()
    assert server.is_closed


@pytest.fixture
def server() -> FakeBlockServer:
    return FakeBlockServer(BatchGenerator(load_weights()[0], SAMPLER))


async def motion_of(
    engine: MotionEngine, *, meanwhile: Callable[[int], None] = lambda _: None
) -> Float32Array:
    """Give the motion of a second of speech; `meanwhile` is called after each block."""

    async def sound() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=VOICE)

    blocks = []
    async with closing(engine.stream(MotionConfig(seed=4), sound())) as stream:
        async for block in stream:
            blocks.append(block.values)
            meanwhile(len(blocks))
    return np.concatenate(blocks)


async def right_motion() -> Float32Array:
    engine = MotionEngine.load()
    try:
        return await motion_of(engine)
    finally:
        await engine.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (set by a task)
            await asyncio.sleep(0.005)


async def test_motion_is_as_in_process(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_on(server, monkeypatch) as (engine, own):
        got = await motion_of(engine)
        assert own.num_local == 0
    assert server.num_drawn > 12
    np.testing.assert_allclose(got, await right_motion(), atol=2e-3)


@pytest.mark.parametrize("fault", [DEAD, AWAY], ids=["dead", "away"])
async def test_a_stream_goes_on_here_while_the_server_is_away(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch, fault: TritonFault
) -> None:
    def break_it(num_blocks: int) -> None:
        if num_blocks == 5:
            server.fault = fault

    async with engine_on(server, monkeypatch) as (engine, own):
        monkeypatch.setattr(network, "PROBE_INTERVAL_S", 60.0)
        got = await motion_of(engine, meanwhile=break_it)
        assert own.num_local > 0
    np.testing.assert_allclose(got, await right_motion(), atol=2e-3)


async def test_a_dead_model_is_loaded_anew_and_then_used_again(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_on(server, monkeypatch) as (engine, own):
        server.fault = DEAD
        await motion_of(engine)
        await until(lambda: own.is_healthy)
        assert server.num_reloads == 1
        before = own.num_local
        await motion_of(engine)
        assert own.num_local == before


async def test_a_server_that_comes_back_is_used_again(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_on(server, monkeypatch) as (engine, own):
        server.fault = AWAY
        await motion_of(engine)
        assert not own.is_healthy
        server.fault = None
        await until(lambda: own.is_healthy)
        assert server.num_reloads == 0
        assert server.num_loads > 1


async def test_a_frozen_server_delays_one_block_only(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "DRAW_TIMEOUT_S", 0.2)
    monkeypatch.setattr(network, "PROBE_TIMEOUT_S", 60.0)
    async with engine_on(server, monkeypatch) as (engine, own):
        server.delay_s = 100.0
        start_s = time.monotonic()
        num_frames = len(await motion_of(engine))
        assert num_frames == 25
        assert own.num_local == 13
        assert time.monotonic() - start_s < 0.2 * own.num_local


async def test_a_service_without_a_server_starts_all_the_same(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "START_S", 0.1)
    server.fault = AWAY
    async with engine_on(server, monkeypatch) as (engine, own):
        assert len(await motion_of(engine)) == 25
        server.fault = None
        await until(lambda: own.is_healthy)


async def test_another_network_at_the_server_is_an_error_at_the_start(
    server: FakeBlockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = TritonFault(Fault.REFUSED, f"INVALID_ARGUMENT {OTHER_BUNDLE}: runs abc")
    with pytest.raises(FailedPrecondition) as caught:
        async with engine_on(server, monkeypatch):
            pass
    assert caught.value.reason == "OTHER_NETWORK"
