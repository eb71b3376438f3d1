"""The three stage services over fakes, behind one real server on a free port."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from parlante.rpc.channel import open_channel
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.remote import RemoteEncoder, RemoteMotion, RemoteRenderer
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.server import MIN_FLEET_PING_MS, RpcServer, ServerConfig
from parlante.rpc.slots import Slots
from parlante.types import MotionTraits
from services.encoder.servicer import EncoderServicer, encoder_service
from services.motion.servicer import MotionServicer, motion_service
from services.renderer.servicer import RendererServicer, renderer_service
from tests.fakes.encoder import FakeEncoder
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer


@dataclass(kw_only=True)
class FakeStages:
    """Fakes, the slots in front of them, and once served the server and a channel to it."""

    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    motion: FakeMotion = field(default_factory=FakeMotion)
    renderer: FakeRenderer = field(default_factory=FakeRenderer)
    slots: Slots = field(default_factory=lambda: Slots(8, what="call"))
    upload_timeout_s: float = 5.0
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    server: RpcServer = field(init=False)
    channel: grpc.aio.Channel = field(init=False)

    @property
    def target(self) -> str:
        """Address of the server."""
        return f"127.0.0.1:{self.server.port}"

    @property
    def remote_encoder(self) -> RemoteEncoder:
        """The encoder port over the channel."""
        return RemoteEncoder(self.channel)

    @property
    def remote_motion(self) -> RemoteMotion:
        """The motion port over the channel."""
        return RemoteMotion(self.channel)

    @property
    def remote_renderer(self) -> RemoteRenderer:
        """The renderer port over the channel."""
        return RemoteRenderer(self.channel)

    @property
    def num_held(self) -> int:
        """Everything that open calls hold: slots and streams of the fakes."""
        return self.slots.num_held + self.motion.num_open + self.renderer.num_open


@asynccontextmanager
async def serve_fakes(
    stages: FakeStages | None = None, *, config: ServerConfig | None = None
) -> AsyncIterator[FakeStages]:
    """Serve fakes and open a channel to them; both are closed on the way out."""
    stages = stages or FakeStages()
    if stages.renderer._encoder is None:
        stages.renderer._encoder = stages.encoder
    traits = MotionTraits(
        algorithmic_delay_ms=math.ceil(stages.motion.algorithmic_delay_ms),
        bundle_digest=stages.motion.bundle_digest,
    )
    slots = stages.slots
    services = [
        encoder_service(
            EncoderServicer(stages.encoder, slots=slots, upload_timeout_s=stages.upload_timeout_s)
        ),
        motion_service(
            MotionServicer(stages.motion, traits=traits, slots=slots, lifecycle=stages.lifecycle)
        ),
        renderer_service(
            RendererServicer(
                stages.renderer, slots=slots, lifecycle=stages.lifecycle, prepares=True
            )
        ),
        ReplicaServicer("fake", slots=slots, lifecycle=stages.lifecycle).service,
    ]
    config = config or ServerConfig(host="127.0.0.1")
    async with RpcServer(
        services, config, min_client_ping_ms=MIN_FLEET_PING_MS, lifecycle=stages.lifecycle
    ) as server:
        stages.server = server
        server.set_serving()
        async with open_channel(stages.target) as channel:
            stages.channel = channel
            yield stages
