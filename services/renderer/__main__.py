"""Run the renderer service: ``python -m services.renderer --encoder HOST:50051``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from parlante.rpc.channel import open_channel
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.remote import RemoteEncoder
from parlante.rpc.slots import Slots
from services.renderer.config import RendererServiceConfig
from services.renderer.engine import RendererEngine
from services.renderer.servicer import RendererServicer, renderer_service


async def serve(config: RendererServiceConfig) -> None:
    """Make the engine, which fetches latents from the encoder, and serve it."""
    async with open_channel(config.encoder, tls=config.encoder_tls_files) as channel:
        engine = RendererEngine.create(
            RemoteEncoder(channel), bundle_digest=config.bundle_digest, face_net=config.face_net
        )
        slots = Slots(config.max_streams, what="render stream")
        service = renderer_service(RendererServicer(engine, slots=slots))
        await serve_engine(engine, [service], config)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``parlante-renderer``; returns the exit status."""
    return run_process("renderer", RendererServiceConfig, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
