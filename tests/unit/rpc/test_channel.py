"""Channels on bad networks: a peer that hangs, quiet connections, large frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parlante import errors
from parlante.aio import cancel_and_wait, closing
from parlante.rpc.channel import open_channel
from parlante.rpc.remote import RemoteMotion
from parlante.rpc.server import RpcServer, ServerConfig
from parlante.types import MOTION_DIM, FrameEncoding, MotionBlock, MotionConfig, RenderConfig
from tests.fakes.encoder import portrait_bytes
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, forever


class Relay:
    """A TCP relay that can stop passing bytes on without closing anything."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_open = asyncio.Event()
        self.is_open.set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await asyncio.sleep(0)  # who was just accepted begins
            await cancel_and_wait(*self._tasks)
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if (accepting := asyncio.current_task()) is not None:
            self._tasks.add(accepting)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self.is_open.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


async def test_hung_peer_ends_the_stream_within_the_keepalive(stages: FakeStages) -> None:
    relay = Relay(stages.server.port)
    async with (
        relay.serve() as port,
        open_channel(
            f"127.0.0.1:{port}", keepalive_time_ms=200, keepalive_timeout_ms=200
        ) as channel,
    ):
        motion = RemoteMotion(channel)
        await motion.traits()
        relay.is_open.clear()
        begin = time.monotonic()
        with pytest.raises(errors.Unavailable):
            async with closing(motion.stream(MotionConfig(), forever())) as blocks:
                await anext(blocks)
        assert time.monotonic() - begin < 5.0
        relay.is_open.set()
    await eventually(lambda: stages.num_held == 0)


async def test_unreachable_stage_is_unavailable_at_once() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(errors.Unavailable) as caught:
            await RemoteMotion(channel).traits()
    assert caught.value.retry_after_ms == 1000


async def test_silent_stage_is_unavailable_after_the_start_timeout() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(errors.Unavailable) as caught:
            await RemoteMotion(channel, start_timeout_s=0.2).traits()
    assert caught.value.reason == "STAGE_TIMEOUT"
    server.close()
    await server.wait_closed()


async def test_raw_frame_of_one_mebibyte_fits(stages: FakeStages) -> None:
    info = await stages.encoder.create(portrait_bytes())
    stages.renderer.frame_bytes = 512 * 512 * 4
    config = RenderConfig(avatar_key=info.key, encoding=FrameEncoding.RGBA32)

    async def one() -> AsyncIterator[MotionBlock]:
        yield MotionBlock(start_frame=0, values=np.zeros((1, MOTION_DIM), dtype=np.float32))

    (frame,) = [frame async for frame in stages.remote_renderer.stream(config, one())]
    assert len(frame.data) == 512 * 512 * 4


@pytest.mark.slow
@pytest.mark.parametrize(("min_ping_ms", "survives"), [(100, True), (300_000, False)])
async def test_quiet_client_may_ping_as_often_as_the_server_says(
    min_ping_ms: int, survives: bool
) -> None:
    """Engines ping quiet connections; gRPC's default answers "too many pings".

    The second case holds the first one honest: with the default the same client is thrown out.
    """
    config = ServerConfig(host="127.0.0.1")
    async with RpcServer([], config, min_client_ping_ms=min_ping_ms) as server:
        target = f"127.0.0.1:{server.port}"
        async with open_channel(target, keepalive_time_ms=400) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service="")
            )
            await anext(aiter(watch))
            ended = asyncio.create_task(watch.code())
            await asyncio.wait([ended], timeout=4.0 if survives else 10.0)
            assert ended.done() != survives
            watch.cancel()
            expected = grpc.StatusCode.CANCELLED if survives else grpc.StatusCode.UNAVAILABLE
            assert await ended is expected
