"""Run the renderer service: ``python -m services.renderer --encoder HOST:50051[,HOST:50051]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from parlante.fleet.encoder import FleetEncoder
from parlante.fleet.endpoints import open_discovery
from parlante.fleet.pool import ReplicaPool
from parlante.ports import LatentSource
from parlante.renderers import TRITON
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.slots import Slots
from services.renderer.config import RendererServiceConfig
from services.renderer.engine import RendererEngine
from services.renderer.latent_source import behind_shared_cache
from services.renderer.servicer import RendererServicer, renderer_service


async def serve(config: RendererServiceConfig) -> None:
    """Make the engine, which fetches latents from the encoder, and serve it."""
    discovery = open_discovery(config.encoder)
    async with AsyncExitStack() as stack:
        pool = ReplicaPool(
            "encoder",
            discovery,
            tls=config.encoder_tls_files,
            peer_name=config.encoder_peer_name,
        )
        encoder = FleetEncoder(await stack.enter_async_context(pool))
        source = await behind_shared_cache(encoder, config, stack)
        engine = _engine(source, config)
        slots = Slots(config.max_streams, what="render stream")
        lifecycle = Lifecycle()
        servicer = RendererServicer(engine, slots=slots, lifecycle=lifecycle, prepares=True)
        replica = ReplicaServicer("renderer", slots=slots, lifecycle=lifecycle)
        services = [renderer_service(servicer), replica.service]
        await serve_engine(engine, services, config, lifecycle=lifecycle)


def _engine(source: LatentSource, config: RendererServiceConfig) -> RendererEngine:
    digest = config.bundle_digest
    if config.renderer != TRITON:
        return RendererEngine.create(source, bundle_digest=digest, face_net=config.face_net)
    # Imported here: the in-process backend needs no client of a server.
    from parlante.triton.client import connect

    return RendererEngine.on_triton(source, connect(config.triton_url), bundle_digest=digest)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``parlante-renderer``; returns the exit status."""
    return run_process("renderer", RendererServiceConfig, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
