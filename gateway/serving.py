"""A running gateway: stages, server and good-byes, closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from gateway.config import GatewayConfig
from gateway.resume import ResumeSealer
from gateway.servicer import GatewayServicer
from gateway.stages import Stages
from gateway.wiring import avatar_service, motion_service, open_stages
from parlante.aio import cancel_and_wait
from parlante.clock import RealClock
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.server import MIN_FLEET_PING_MS, RpcServer, ServerConfig
from parlante.rpc.slots import Slots

__all__ = ["running_gateway"]

_RETRY_AFTER_MS: Final = 2000


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
        lifecycle = Lifecycle()
        slots = Slots(config.session_capacity, what="session", retry_after_ms=_RETRY_AFTER_MS)
        servicer = GatewayServicer(
            stages,
            clock=RealClock(),
            limits=config.limits(),
            max_sessions=config.session_capacity,
            sealer=ResumeSealer.from_file(config.resume_key_file)
            if config.resume_key_file
            else None,
            slots=slots,
        )
        avatars = avatar_service(stages.encoder, max_uploads=config.max_uploads)
        motion = motion_service(
            stages.renderer, max_streams=config.session_capacity, limits=config.limits()
        )
        if config.admin_port:
            replica = ReplicaServicer("gateway", slots=slots, lifecycle=lifecycle)
            await stack.enter_async_context(_admin_server(config, replica))
        server = await stack.enter_async_context(
            RpcServer([servicer.service, avatars, motion], config, lifecycle=lifecycle)
        )
        slots.on_cordon(partial(server.set_closed, servicer.service.name))
        leaving = asyncio.create_task(servicer.leave_on(lifecycle))
        stack.push_async_callback(cancel_and_wait, leaving)
        farewell = asyncio.create_task(
            servicer.drain_on(server.draining, grace_s=config.drain_grace_s)
        )
        stack.push_async_callback(cancel_and_wait, farewell)
        await stages.warm_up()
        server.set_serving()
        yield server


def _admin_server(config: GatewayConfig, replica: ReplicaServicer) -> RpcServer:
    """Serve what only operators may ask on a port of its own, with the same keys.

    Clients need no certificate where stages do; operators do: theirs are of the stages' authority.
    """
    settings = ServerConfig(
        host=config.host,
        port=config.admin_port,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        tls_client_ca=config.tls_client_ca or (config.stages_ca if config.tls_cert else None),
        drain_grace_s=config.drain_grace_s,
    )
    return RpcServer([replica.service], settings, min_client_ping_ms=MIN_FLEET_PING_MS)
