"""Where the stages are: in this process or behind gRPC. The only file that knows the services.

The engines are imported when they are asked for, so that a gateway over gRPC needs none of their
libraries.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from gateway.config import EMBEDDED, GatewayConfig
from gateway.limits import SessionLimits, check_frame_size
from gateway.stages import Stages
from parlante.aio import closing
from parlante.errors import Denied, Overloaded, SessionAborted, Unavailable
from parlante.fleet.encoder import FleetEncoder
from parlante.fleet.endpoints import open_discovery
from parlante.fleet.motion import FleetMotion
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.relay import Patience
from parlante.fleet.renderer import FleetRenderer
from parlante.ports import Encoder, Renderer
from parlante.renderers import TRITON
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.settings import default_store_dir
from parlante.types import MotionBlock, RenderConfig, RenderedFrame
from parlante.v1 import encoder_pb2
from services.encoder.servicer import EncoderServicer, encoder_service
from services.renderer.servicer import RendererServicer, renderer_service

__all__ = ["avatar_service", "embedded", "motion_service", "open_stages", "remote"]

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_S: Final = 0.25
_LOOK_INTERVAL_S: Final = 0.05
_COMPLETE_S: Final = 1.0
_SILENT_S: Final = 15.0  # stages that start with us take less, unless the machine is busy


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
        if config.renderer == TRITON:
            from parlante.triton.client import connect

            servers = connect(config.triton_url)
            renderer = RendererEngine.on_triton(encoder, servers, bundle_digest=encoder.digest)
        else:
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
    """Reach the stages over gRPC, any number of replicas each; they need not be there yet."""
    patience = Patience(late_s=config.late_ms / 1000)
    async with (
        _pool("encoder", config.encoder_address, config) as encoders,
        _pool("motion", config.motion_address, config) as motions,
        _pool("renderer", config.renderer_address, config) as renderers,
    ):
        fleet = _Fleet(
            encoder=FleetEncoder(encoders),
            motion=FleetMotion(motions, patience=patience),
            renderer=FleetRenderer(renderers, patience=patience),
            encoders=encoders,
            motions=motions,
            renderers=renderers,
        )
        yield Stages(
            encoder=fleet.encoder,
            motion=fleet.motion,
            renderer=fleet.renderer,
            prepare=fleet.prepare,
            reserve=fleet.reserve,
        )


def _pool(stage: str, target: str, config: GatewayConfig) -> ReplicaPool:
    return ReplicaPool(
        stage,
        open_discovery(target),
        tls=config.stages_tls_files,
        peer_name=config.stages_peer_name,
        zone=config.zone,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    encoder: FleetEncoder
    motion: FleetMotion
    renderer: FleetRenderer
    encoders: ReplicaPool
    motions: ReplicaPool
    renderers: ReplicaPool

    async def prepare(self) -> None:
        """Wait until every stage answers: the processes of a fleet start in any order."""
        for pool in (self.encoders, self.motions, self.renderers):
            await _until_open(pool)
        await self._wait_until_complete()
        while True:
            try:
                await self.motion.traits()
            except Unavailable as error:
                logger.info("waiting for the motion stage", extra={"reason": error.reason})
            except Overloaded:
                # The first stream tells what the stage is. A gateway must come up in a full fleet,
                # where it takes over the sessions of one that leaves.
                logger.info("the motion stage is full")
                return
            else:
                return
            await asyncio.sleep(_RETRY_INTERVAL_S)

    async def _wait_until_complete(self) -> None:
        """Give replicas that are known but not heard of yet a moment, so that none is left out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COMPLETE_S):
                for pool in (self.encoders, self.motions, self.renderers):
                    while not pool.is_complete:  # noqa: ASYNC110 (replicas come one by one)
                        await asyncio.sleep(_LOOK_INTERVAL_S)

    @asynccontextmanager
    async def reserve(self, avatar_key: str, frames: bool) -> AsyncIterator[Stages]:
        """Lease the slots of a session."""
        async with AsyncExitStack() as stack:
            # One after the other: sessions that take both at once, each one of the last slots of
            # one stage, would refuse each other.
            motion = await self.motions.acquire()
            stack.push_async_callback(motion.release)
            stages = Stages(
                encoder=self.encoder,
                motion=self.motion.with_lease(motion),
                renderer=self.renderer,
            )
            if frames:
                renderer = await self.renderers.acquire(avatar_key)
                stack.push_async_callback(renderer.release)
                stages.renderer = self.renderer.with_lease(renderer)
            yield stages


async def _until_open(pool: ReplicaPool) -> None:
    """Wait for a replica of a stage; whoever waits in vain is told what for."""
    loop = asyncio.get_running_loop()
    if not pool.is_open:
        logger.info("waiting for a stage", extra={"stage": pool.stage})
    patience_s = loop.time() + _SILENT_S
    while not pool.is_open:
        if loop.time() > patience_s:
            patience_s = math.inf
            logger.warning(
                "no replica of a stage answers; check its address, and whether it has started",
                extra={"stage": pool.stage},
            )
        await asyncio.sleep(_LOOK_INTERVAL_S)


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


class _BoundedRenderer:
    """A renderer whose frames are no larger than the limits allow."""

    def __init__(self, renderer: Renderer, limits: SessionLimits) -> None:
        self._renderer = renderer
        self._limits = limits

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Render; see `parlante.ports.Renderer.stream`."""
        check_frame_size(config.frame_size_px, config.frame_size_px, self._limits)
        async with closing(self._renderer.stream(config, motion)) as frames:
            async for frame in frames:
                check_frame_size(frame.width_px, frame.height_px, self._limits)
                yield frame


class MotionServicer(RendererServicer):
    """`RendererService` for clients of the gateway: motion of their own, within a session's limits.

    Args:
        renderer: The renderer port.
        slots: Streams at once.
        limits: Its length and idle time bound a stream.
    """

    def __init__(self, renderer: Renderer, *, slots: Slots, limits: SessionLimits) -> None:
        super().__init__(_BoundedRenderer(renderer, limits), slots=slots)
        self._limits = limits

    async def RenderFrames(  # noqa: N802 (name of the rpc)
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> None:
        """Turn motion into frames."""
        try:
            async with asyncio.timeout(self._limits.max_session_s) as limit:
                await super().RenderFrames(self._in_time(request_iterator), context)
        except TimeoutError:
            if not limit.expired():
                raise
            raise SessionAborted(
                f"a stream may last {self._limits.max_session_s} s; open a new one",
                reason="SESSION_TOO_LONG",
            ) from None

    async def _in_time(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while True:
            try:
                async with asyncio.timeout(self._limits.max_idle_s) as limit:
                    request = await anext(requests, None)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise SessionAborted(
                    f"no motion came for {self._limits.max_idle_s} s; half-close when all is sent",
                    reason="SESSION_IDLE",
                ) from None
            if request is None:
                return
            yield request


def motion_service(renderer: Renderer, *, max_streams: int, limits: SessionLimits) -> Service:
    """Make the service by which clients render motion of their own.

    Args:
        renderer: The renderer port.
        max_streams: Streams at once.
        limits: Bounds of a stream.
    """
    slots = Slots(max_streams, what="client's render stream")
    return renderer_service(MotionServicer(renderer, slots=slots, limits=limits))
