"""The renderer service: checks and converts messages around the renderer port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from parlante import convert
from parlante.aio import closing
from parlante.ports import Renderer
from parlante.rpc.envelope import duplicate_config, kind_of, read_config
from parlante.rpc.lifecycle import Leaving, Lifecycle
from parlante.rpc.replica import handover_notice, lease_of
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.types import FRAME_SIZE_PX, MotionBlock, RenderConfig, RenderedFrame
from parlante.v1 import common_pb2, renderer_pb2, renderer_pb2_grpc

SERVICE_NAME = renderer_pb2.DESCRIPTOR.services_by_name["RendererService"].full_name


class RendererServicer(renderer_pb2_grpc.RendererServiceServicer):
    """Serves `parlante.v1.RendererService`.

    Args:
        renderer: What makes the frames.
        slots: Streams at once.
        lifecycle: Says when streams are to leave; None keeps them to their end.
        prepares: Make avatars ready without a slot (`prepare_only`); for callers that are trusted.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        slots: Slots,
        lifecycle: Lifecycle | None = None,
        prepares: bool = False,
    ) -> None:
        self._prepares = prepares
        self._lifecycle = lifecycle or Lifecycle()
        self._renderer = renderer
        self._slots = slots

    async def RenderFrames(  # noqa: N802 (name of the rpc)
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> None:
        """Turn motion into frames; the engine reads motion when it wants some."""
        message = await read_config(request_iterator)
        config = convert.render_config_from_proto(message)
        if message.prepare_only and self._prepares:
            await context.write(_started(config))
            await _send(self._renderer.stream(config, _nothing()), context)
            return
        with self._slots.hold(lease_of(context)):
            await context.write(_started(config))
            async with closing(_blocks(request_iterator)) as blocks:
                frames = self._renderer.stream(config, blocks)
                if message.accept_handover:
                    notice = None
                    if message.accept_handover_notice:
                        notice = handover_notice(context, renderer_pb2.RenderFramesResponse)
                    frames = self._lifecycle.until_leaving(frames, notice)
                try:
                    await _send(frames, context)
                except Leaving as leaving:
                    handover = common_pb2.Handover(reason=str(leaving))
                    await context.write(renderer_pb2.RenderFramesResponse(handover=handover))


async def _nothing() -> AsyncIterator[MotionBlock]:
    none: tuple[MotionBlock, ...] = ()
    for block in none:
        yield block


async def _send(frames: AsyncIterator[RenderedFrame], context: Any) -> None:
    async with closing(frames) as source:
        async for frame in source:
            data = convert.frame_to_proto(frame)
            await context.write(renderer_pb2.RenderFramesResponse(frame=data))


def _started(config: RenderConfig) -> renderer_pb2.RenderFramesResponse:
    started = renderer_pb2.RenderStarted(
        config=convert.render_config_to_proto(config),
        # What an avatar's frames are may be known only with the first of them, which tells it.
        width_px=config.frame_size_px or FRAME_SIZE_PX,
        height_px=config.frame_size_px or FRAME_SIZE_PX,
    )
    return renderer_pb2.RenderFramesResponse(started=started)


async def _blocks(requests: AsyncIterator[Any]) -> AsyncIterator[MotionBlock]:
    async for request in requests:
        if kind_of(request) != "block":
            raise duplicate_config()
        yield convert.motion_block_from_proto(request.block)


def renderer_service(servicer: RendererServicer) -> Service:
    """Make the service of a servicer, for `RpcServer`."""
    add: Any = renderer_pb2_grpc.add_RendererServiceServicer_to_server
    return Service(SERVICE_NAME, lambda server: add(servicer, server))
