"""Run the encoder service: ``python -m services.encoder --port 50051``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.slots import Slots
from parlante.settings import default_store_dir
from services.encoder.config import EncoderServiceConfig
from services.encoder.engine import EncoderEngine
from services.encoder.entries import AvatarRepository
from services.encoder.servicer import EncoderServicer, encoder_service
from services.encoder.store import AvatarStore


def open_store(config: EncoderServiceConfig) -> AvatarRepository:
    """Open the avatars' store: a bucket, or a folder.

    Raises:
        Unavailable: It cannot be reached or made.
    """
    if not config.store_url:
        return AvatarStore(config.store_dir or default_store_dir())
    from services.encoder.object_store import ObjectStore  # of an extra: folders need no library

    return ObjectStore(config.store_url, endpoint=config.store_endpoint, region=config.store_region)


async def serve(config: EncoderServiceConfig) -> None:
    """Open the store and serve the engine until a signal comes."""
    store = await asyncio.to_thread(open_store, config)
    engine = EncoderEngine.open(
        store, memory_bytes=config.memory_mib * 1024 * 1024, preload=config.preload
    )
    slots = Slots(config.max_uploads, what="portrait upload")
    servicer = EncoderServicer(engine, slots=slots, upload_timeout_s=config.upload_timeout_s)
    lifecycle = Lifecycle()
    replica = ReplicaServicer("encoder", slots=slots, lifecycle=lifecycle)
    services = [encoder_service(servicer), replica.service]
    await serve_engine(engine, services, config, lifecycle=lifecycle)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``parlante-encoder``; returns the exit status."""
    return run_process("encoder", EncoderServiceConfig, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
