"""Where the stages are: in this process or behind gRPC. The only file that knows the services.

The engines are imported when they are asked for, so that a gateway over gRPC needs none of their
libraries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from gateway.config import EMBEDDED, GatewayConfig
from gateway.stages import Stages
from parlante.errors import Denied, Overloaded, Unavailable
from parlante.ports import Encoder
from parlante.rpc.channel import open_channel
from parlante.rpc.remote import RemoteEncoder, RemoteMotion, RemoteRenderer
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.settings import default_store_dir
from parlante.v1 import encoder_pb2
from services.encoder.servicer import EncoderServicer, encoder_service

__all__ = ["avatar_service", "embedded", "open_stages", "remote"]

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_S: Final = 1.0


def open_stages(config: GatewayConfig) -> AbstractAsyncContextManager[Stages]:
    """Open the stages of the wiring that `config` names; all are closed in reverse order."""
    return embedded(config) if config.wiring == EMBEDDED else remote(config)


@asynccontextmanager
async def embedded(config: GatewayConfig) -> AsyncIterator[Stages]:
    """Run the engines in this process."""
    # Imported here: torch, numba and the rest are heavy, and a remote wiring has none of them.
    from services.encoder.engine import EncoderEngine
    from services.motion.engine import MotionEngine
    from services.renderer.engine import RendererEngine

    async with AsyncExitStack() as stack:
        encoder = EncoderEngine.open(config.store_dir or default_store_dir())
        stack.push_async_callback(encoder.aclose)
        motion = MotionEngine.load(config.motion_weights, speech_encoder=config.speech_encoder)
        stack.push_async_callback(motion.aclose)
        renderer = RendererEngine.create(
            encoder, bundle_digest=encoder.digest, face_net=config.face_net
        )
        stack.push_async_callback(renderer.aclose)

        async def prepare() -> None:
            for engine in (encoder, motion, renderer):
                await engine.warm_up()

        yield Stages(encoder=encoder, motion=motion, renderer=renderer, prepare=prepare)


@asynccontextmanager
async def remote(config: GatewayConfig) -> AsyncIterator[Stages]:
    """Reach the stages over gRPC; they need not be there yet."""
    tls = config.stages_tls_files
    async with (
        open_channel(config.encoder_address, tls=tls) as encoder,
        open_channel(config.motion_address, tls=tls) as motion_channel,
        open_channel(config.renderer_address, tls=tls) as renderer,
    ):
        motion = RemoteMotion(motion_channel)
        yield Stages(
            encoder=RemoteEncoder(encoder),
            motion=motion,
            renderer=RemoteRenderer(renderer),
            prepare=partial(_wait_for_motion, motion, config.motion_address),
        )


async def _wait_for_motion(motion: RemoteMotion, address: str) -> None:
    """Ask for the delays until the stage answers: the processes of a fleet start in any order."""
    told = ""
    while True:
        try:
            await motion.traits()
            return
        except (Unavailable, Overloaded) as error:
            if error.reason != told:
                told = error.reason
                logger.info(
                    "waiting for the motion stage", extra={"address": address, "reason": told}
                )
        await asyncio.sleep(_RETRY_INTERVAL_S)


class AvatarServicer(EncoderServicer):
    """`EncoderService` for clients of the gateway: everything but the latents."""

    async def FetchLatents(  # noqa: N802 (name of the rpc)
        self, request: encoder_pb2.FetchLatentsRequest, context: Any
    ) -> None:
        """Refuse: latents are between encoder and renderer."""
        raise Denied(
            "latents are not served to clients; ask the encoder service itself",
            reason="LATENTS_NOT_PUBLIC",
        )


def avatar_service(encoder: Encoder, *, max_uploads: int) -> Service:
    """Make the service by which clients manage avatars.

    Args:
        encoder: The encoder port.
        max_uploads: Portraits that are taken in at once.
    """
    return encoder_service(AvatarServicer(encoder, slots=Slots(max_uploads, what="upload")))
