"""A stage as a process of its own: the real server, leases and drain around a fake engine.

``python -m tests.fakes.stage_process motion --port 50052``; flags are those of the real stage.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from parlante.fleet.encoder import FleetEncoder
from parlante.fleet.endpoints import open_discovery
from parlante.fleet.pool import ReplicaPool
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.slots import Slots
from parlante.types import AvatarLatents, FaceSelection, MotionTraits, Uint8Array
from services.encoder.config import EncoderServiceConfig
from services.encoder.servicer import EncoderServicer, encoder_service
from services.motion.config import MotionServiceConfig
from services.motion.servicer import MotionServicer, motion_service
from services.renderer.config import RendererServiceConfig
from services.renderer.latent_source import behind_shared_cache
from services.renderer.servicer import RendererServicer, renderer_service
from tests.fakes.encoder import FAKE_BUNDLE, FakeEncoder
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer

FRAME_BYTES = 30_000  # of a JPEG


class _FakeMaker:
    """Makes latents of the real layout; takes its time."""

    def encode(self, rgb: Uint8Array, selection: FaceSelection) -> AvatarLatents:
        """Make latents; the key is that of the encoder."""
        from parlante.models.portrait_encoder import content_key

        return FakeEncoder()._make_latents(content_key(rgb, selection, FAKE_BUNDLE))


async def serve_encoder(config: EncoderServiceConfig) -> None:
    """Serve the real engine and store around a fake network."""
    from services.encoder.engine import EncoderEngine
    from services.encoder.store import AvatarStore

    assert config.store_dir is not None
    engine = EncoderEngine(AvatarStore(config.store_dir), _FakeMaker, FAKE_BUNDLE)
    slots, lifecycle = Slots(config.max_uploads, what="portrait upload"), Lifecycle()
    servicer = EncoderServicer(engine, slots=slots)
    replica = ReplicaServicer("encoder", slots=slots, lifecycle=lifecycle)
    services = [encoder_service(servicer), replica.service]
    await serve_engine(engine, services, config, lifecycle=lifecycle)


async def serve_motion(config: MotionServiceConfig) -> None:
    """Serve fake motion."""
    engine = FakeMotion(block_frames=2)
    slots, lifecycle = Slots(config.max_streams, what="motion stream"), Lifecycle()
    traits = MotionTraits(algorithmic_delay_ms=40, bundle_digest=engine.bundle_digest)
    servicer = MotionServicer(engine, traits=traits, slots=slots, lifecycle=lifecycle)
    replica = ReplicaServicer("motion", slots=slots, lifecycle=lifecycle)
    services = [motion_service(servicer), replica.service]
    await serve_engine(engine, services, config, lifecycle=lifecycle)


async def serve_renderer(config: RendererServiceConfig) -> None:
    """Serve fake frames of the size of real ones."""
    async with AsyncExitStack() as stack:
        pool = ReplicaPool("encoder", open_discovery(config.encoder))
        encoders = await stack.enter_async_context(pool)
        source = await behind_shared_cache(FleetEncoder(encoders), config, stack)
        engine = FakeRenderer(source, frame_bytes=FRAME_BYTES)
        slots, lifecycle = Slots(config.max_streams, what="render stream"), Lifecycle()
        servicer = RendererServicer(engine, slots=slots, lifecycle=lifecycle, prepares=True)
        replica = ReplicaServicer("renderer", slots=slots, lifecycle=lifecycle)
        services = [renderer_service(servicer), replica.service]
        await serve_engine(engine, services, config, lifecycle=lifecycle)


STAGES: dict[str, tuple[type[Any], Callable[[Any], Awaitable[None]]]] = {
    "encoder": (EncoderServiceConfig, serve_encoder),
    "motion": (MotionServiceConfig, serve_motion),
    "renderer": (RendererServiceConfig, serve_renderer),
}


def main() -> int:
    """Run the stage that the first argument names."""
    stage = sys.argv[1]
    config_class, serve = STAGES[stage]
    return run_process(stage, config_class, serve, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
