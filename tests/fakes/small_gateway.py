"""A real gateway server on a free port, with fake stages behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from gateway.limits import SessionLimits
from gateway.servicer import GatewayServicer
from gateway.stages import Stages
from gateway.wiring import motion_service
from parlante.aio import closing
from parlante.clock import RealClock
from parlante.ports import Renderer
from parlante.rpc.server import RpcServer, ServerConfig, Service
from parlante.rpc.slots import Slots
from parlante.types import MOTION_INDEX, FrameEncoding, MotionBlock, RenderConfig, RenderedFrame
from parlante.v1 import encoder_pb2_grpc
from services.encoder.servicer import SERVICE_NAME, EncoderServicer
from tests.fakes.encoder import FakeEncoder
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallGateway:
    """A running gateway: its address and the fakes behind it."""

    target: str
    encoder: FakeEncoder
    motion: FakeMotion
    renderer: Renderer
    server: RpcServer


@asynccontextmanager
async def small_gateway(
    *,
    encoder: FakeEncoder | None = None,
    motion: FakeMotion | None = None,
    renderer: Renderer | None = None,
    limits: SessionLimits | None = None,
    max_sessions: int = 4,
) -> AsyncIterator[SmallGateway]:
    """Serve a gateway until the context is left."""
    encoder = encoder or FakeEncoder()
    motion = motion or FakeMotion()
    renderer = renderer or FakeRenderer(encoder)
    servicer = GatewayServicer(
        Stages(encoder=encoder, motion=motion, renderer=renderer),
        clock=RealClock(),
        limits=limits or SessionLimits(),
        max_sessions=max_sessions,
    )
    avatars = EncoderServicer(encoder, slots=Slots(4, what="upload"))
    encoder_service = Service(
        SERVICE_NAME,
        lambda server: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(avatars, server),
    )
    frames = motion_service(renderer, max_streams=max_sessions, limits=limits or SessionLimits())
    config = ServerConfig(host="127.0.0.1")
    async with RpcServer([servicer.service, encoder_service, frames], config) as server:
        server.set_serving()
        yield SmallGateway(
            target=f"127.0.0.1:{server.port}",
            encoder=encoder,
            motion=motion,
            renderer=renderer,
            server=server,
        )


class GreyRenderer:
    """Real H.264 or RGBA32: grey pictures, as bright as the mouth is open."""

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Encode one picture per row of motion."""
        codec = av.CodecContext.create("libx264", "w")
        codec.width = codec.height = 512
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, 25)
        codec.options = {"preset": "ultrafast", "tune": "zerolatency"}
        async with closing(motion):
            async for block in motion:
                for offset, row in enumerate(block.values):
                    index = block.start_frame + offset
                    shade = int(np.clip(row[MOTION_INDEX["jawOpen"]] * 255, 0, 255))
                    if config.encoding is FrameEncoding.RGBA32:
                        data = bytes([shade, shade, shade, 255]) * (512 * 512)
                        yield RenderedFrame(frame_index=index, data=data, key_frame=True)
                        continue
                    image = np.full((512, 512), shade, dtype=np.uint8)
                    picture = av.VideoFrame.from_ndarray(image, format="gray").reformat(
                        format="yuv420p"
                    )
                    picture.pts = index
                    for packet in codec.encode(picture):
                        yield RenderedFrame(
                            frame_index=index, data=bytes(packet), key_frame=packet.is_keyframe
                        )
