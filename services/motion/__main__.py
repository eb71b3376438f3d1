"""Run the motion service: ``python -m services.motion --port 50052``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from parlante.models.motion_sampling import SamplerConfig
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.slots import Slots
from parlante.types import MotionTraits
from services.motion.config import MotionServiceConfig
from services.motion.engine import MotionEngine
from services.motion.servicer import MotionServicer, motion_service


async def serve(config: MotionServiceConfig) -> None:
    """Load the engine and serve it until a signal comes."""
    engine = MotionEngine.load(
        config.weights,
        speech_encoder=config.speech_encoder,
        sampler=SamplerConfig(guidance=config.guidance_scales),
        triton_url=config.triton_url if config.network == "triton" else "",
    )
    traits = MotionTraits(
        algorithmic_delay_ms=math.ceil(engine.algorithmic_delay_ms),
        bundle_digest=engine.bundle_digest,
    )
    slots = Slots(config.max_streams, what="motion stream")
    lifecycle = Lifecycle()
    servicer = MotionServicer(engine, traits=traits, slots=slots, lifecycle=lifecycle)
    replica = ReplicaServicer("motion", slots=slots, lifecycle=lifecycle)
    services = [motion_service(servicer), replica.service]
    await serve_engine(engine, services, config, lifecycle=lifecycle)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``parlante-motion``; returns the exit status."""
    return run_process("motion", MotionServiceConfig, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
