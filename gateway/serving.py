"""A running gateway: stages, server and good-byes, closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.config import GatewayConfig
from gateway.servicer import GatewayServicer
from gateway.stages import Stages
from gateway.wiring import avatar_service, motion_service, open_stages
from parlante.aio import cancel_and_wait
from parlante.clock import RealClock
from parlante.rpc.server import RpcServer

__all__ = ["running_gateway"]


@asynccontextmanager
async def running_gateway(
    config: GatewayConfig, *, stages: Stages | None = None
) -> AsyncIterator[RpcServer]:
    """Run a gateway for the length of the block; the port is open while the stages warm up.

    Args:
        config: Settings.
        stages: Opened by the caller; None opens those that `config` names.

    Yields:
        The server, serving; its `port` tells where.
    """
    async with AsyncExitStack() as stack:
        if stages is None:
            stages = await stack.enter_async_context(open_stages(config))
        servicer = GatewayServicer(
            stages,
            clock=RealClock(),
            limits=config.limits(),
            max_sessions=config.session_capacity,
        )
        avatars = avatar_service(stages.encoder, max_uploads=config.max_uploads)
        motion = motion_service(
            stages.renderer, max_streams=config.session_capacity, limits=config.limits()
        )
        services = [servicer.service, avatars, motion]
        server = await stack.enter_async_context(RpcServer(services, config))
        farewell = asyncio.create_task(
            servicer.drain_on(server.draining, grace_s=config.drain_grace_s)
        )
        stack.push_async_callback(cancel_and_wait, farewell)
        await stages.warm_up()
        server.set_serving()
        yield server
