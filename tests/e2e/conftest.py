"""A gateway with fake stages, over both wirings, and a client that speaks raw messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.config import GatewayConfig
from gateway.serving import running_gateway
from gateway.stages import Stages
from parlante.errors import ParlanteError
from parlante.rpc.channel import open_channel
from parlante.rpc.server import RpcServer
from parlante.rpc.status import error_of
from parlante.v1 import encoder_pb2_grpc, gateway_pb2, gateway_pb2_grpc
from tests.fakes.encoder import portrait_bytes
from tests.fakes.stages import FakeStages, serve_fakes

Request = gateway_pb2.ConverseRequest
RATE_HZ = 16_000


class RawSession:
    """A Converse call, message by message."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.num_samples = 0
        self.got: list[gateway_pb2.ConverseResponse] = []
        self._reading: asyncio.Task[gateway_pb2.ConverseResponse] | None = None

    async def configure(self, **config: Any) -> gateway_pb2.SessionStarted:
        """Send the configuration, with a portrait unless told otherwise; give the answer."""
        if not {"portrait", "avatar_name"} & config.keys():
            config["portrait"] = portrait_bytes()
        await self.send(config=gateway_pb2.SessionConfig(**config))
        return (await self.receive()).session_started

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.call.write(Request(**message))

    async def say(
        self, duration_ms: int, utterance_id: str = "", *, value: int = 3000, rate_hz: int = RATE_HZ
    ) -> None:
        """Send audio in pieces of 20 ms."""
        for _ in range(duration_ms // 20):
            data = np.full(rate_hz // 50, value, "<i2").tobytes()
            await self.send(
                audio=gateway_pb2.AudioInput(
                    start_sample=self.num_samples, data=data, utterance_id=utterance_id
                )
            )
            self.num_samples += rate_hz // 50

    async def receive(self) -> gateway_pb2.ConverseResponse:
        """Read one message.

        A read that was given up goes on, and is what the next one waits for: cancelling it would
        cancel the call, and a call with two reads at once never ends.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> gateway_pb2.ConverseResponse:
        try:
            response = await self.call.read()
        finally:
            self._reading = None
        if response is grpc.aio.EOF:
            raise EOFError
        self.got.append(response)
        return response  # type: ignore[no-any-return]

    async def read_until(self, wanted: Callable[[Any], bool], *, timeout_s: float = 5.0) -> None:
        """Read until a message is wanted."""
        async with asyncio.timeout(timeout_s):
            while not wanted(await self.receive()):
                pass

    async def read_for(self, duration_s: float) -> None:
        """Read what comes for a while."""
        try:
            async with asyncio.timeout(duration_s):
                while True:
                    await self.receive()
        except TimeoutError:
            pass

    async def read_all(self, *, timeout_s: float = 10.0) -> None:
        """Read to the end of the call, which must be OK."""
        async with asyncio.timeout(timeout_s):
            async for response in self.call:
                self.got.append(response)
        assert await self.call.code() is grpc.StatusCode.OK

    async def finish(self) -> None:
        """Half-close and read the rest."""
        await self.call.done_writing()
        while True:
            try:
                await self.receive()
            except EOFError:
                break
        assert await self.call.code() is grpc.StatusCode.OK

    async def error(self, *, timeout_s: float = 5.0) -> ParlanteError:
        """Read until the call fails; give the error of its status."""
        async with asyncio.timeout(timeout_s):
            try:
                while True:
                    await self.receive()
            except grpc.aio.AioRpcError as error:
                return error_of(error)

    async def error_or_start(self) -> ParlanteError | None:
        """Configure; give the error if there was one."""
        try:
            await self.configure()
        except grpc.aio.AioRpcError as error:
            return error_of(error)
        return None

    def all_of(self, kind: str) -> list[Any]:
        """Give what came of one kind."""
        return [getattr(item, kind) for item in self.got if item.WhichOneof("message") == kind]

    def events(self, type_: int) -> list[Any]:
        """Give the events of one type."""
        return [event for event in self.all_of("event") if event.type == type_]


@dataclass(kw_only=True)
class Gateway:
    """A running gateway over fakes."""

    server: RpcServer
    channel: grpc.aio.Channel
    fakes: FakeStages
    stack: AsyncExitStack
    sessions: list[RawSession] = field(default_factory=list)

    @property
    def target(self) -> str:
        """Address of the gateway."""
        return f"127.0.0.1:{self.server.port}"

    def converse(self, *, timeout_s: float | None = None) -> RawSession:
        """Open a call; it is cancelled at the end of the test."""
        stub: Any = gateway_pb2_grpc.GatewayServiceStub(self.channel)
        session = RawSession(stub.Converse(timeout=timeout_s))
        self.sessions.append(session)
        return session

    @property
    def avatars(self) -> Any:
        """The stub of EncoderService at the gateway."""
        return encoder_pb2_grpc.EncoderServiceStub(self.channel)

    @property
    def num_open(self) -> int:
        """Streams that the fakes run now."""
        return self.fakes.motion.num_open + self.fakes.renderer.num_open

    async def until_free(self) -> None:
        """Wait until nothing of any session is left."""
        async with asyncio.timeout(5):
            while self.num_open or (self.fakes.slots.num_held):  # noqa: ASYNC110 (another side)
                await asyncio.sleep(0.01)


@pytest.fixture(params=["embedded", "grpc"])
def wiring(request: pytest.FixtureRequest) -> str:
    """Where the stages are."""
    return str(request.param)


OpenGateway = Callable[..., Any]


@pytest.fixture
def open_gateway(wiring: str) -> OpenGateway:
    """Open gateways: ``async with open_gateway(max_sessions=1) as gateway``."""

    @asynccontextmanager
    async def opened(fakes: FakeStages | None = None, **config: Any) -> AsyncIterator[Gateway]:
        fakes = fakes or FakeStages()
        async with AsyncExitStack() as stack:
            if wiring == "grpc":
                await stack.enter_async_context(serve_fakes(fakes))
                motion = fakes.remote_motion

                async def prepare() -> None:
                    await motion.traits()

                stages = Stages(
                    encoder=fakes.remote_encoder,
                    motion=motion,
                    renderer=fakes.remote_renderer,
                    prepare=prepare,
                )
            else:
                fakes.renderer._encoder = fakes.encoder
                stages = Stages(encoder=fakes.encoder, motion=fakes.motion, renderer=fakes.renderer)
            settings = GatewayConfig(host="127.0.0.1", port=0, **{"drain_grace_s": 2.0, **config})
            server = await stack.enter_async_context(running_gateway(settings, stages=stages))
            channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{server.port}"))
            gateway = Gateway(server=server, channel=channel, fakes=fakes, stack=stack)
            try:
                yield gateway
            finally:
                for session in gateway.sessions:
                    session.call.cancel()

    return opened
