"""The motion service: checks and converts messages around the motion port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from parlante import convert
from parlante.aio import closing
from parlante.ports import Motion
from parlante.rpc.envelope import duplicate_config, kind_of, read_config
from parlante.rpc.lifecycle import Leaving, Lifecycle
from parlante.rpc.replica import handover_notice, lease_of
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.types import (
    MOTION_CHANNELS,
    MOTION_SPACE,
    MotionBlock,
    MotionConfig,
    MotionInput,
    MotionTraits,
)
from parlante.v1 import common_pb2, motion_pb2, motion_pb2_grpc

SERVICE_NAME = motion_pb2.DESCRIPTOR.services_by_name["MotionService"].full_name


class MotionServicer(motion_pb2_grpc.MotionServiceServicer):
    """Serves `parlante.v1.MotionService`.

    Args:
        motion: What makes the motion.
        traits: What the stage says of itself at the start of a stream.
        slots: Streams at once.
        lifecycle: Says when streams are to leave; None keeps them to their end.
    """

    def __init__(
        self,
        motion: Motion,
        *,
        traits: MotionTraits,
        slots: Slots,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        self._lifecycle = lifecycle or Lifecycle()
        self._motion = motion
        self._traits = traits
        self._slots = slots

    async def StreamMotion(  # noqa: N802 (name of the rpc)
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> None:
        """Turn audio and controls into motion; the engine reads audio when it wants some."""
        with self._slots.hold(lease_of(context)):
            message = await read_config(request_iterator)
            config = convert.motion_config_from_proto(message)
            await context.write(self._started(config))
            async with closing(_inputs(request_iterator)) as inputs:
                blocks = self._motion.stream(config, inputs)
                if message.accept_handover:
                    notice = None
                    if message.accept_handover_notice:
                        notice = handover_notice(context, motion_pb2.StreamMotionResponse)
                    blocks = self._lifecycle.until_leaving(blocks, notice)
                try:
                    await _send(blocks, context)
                except Leaving as leaving:
                    handover = common_pb2.Handover(reason=str(leaving))
                    await context.write(motion_pb2.StreamMotionResponse(handover=handover))

    def _started(self, config: MotionConfig) -> motion_pb2.StreamMotionResponse:
        started = motion_pb2.MotionStarted(
            config=convert.motion_config_to_proto(replace(config, resume_state=b"")),
            motion_space=MOTION_SPACE,
            channels=MOTION_CHANNELS,
            algorithmic_delay_ms=self._motion.delay_ms(config),
            bundle_digest=self._traits.bundle_digest,
        )
        return motion_pb2.StreamMotionResponse(started=started)


async def _send(blocks: AsyncIterator[MotionBlock], context: Any) -> None:
    async with closing(blocks) as source:
        async for block in source:
            for message in convert.motion_block_to_proto(block):
                await context.write(motion_pb2.StreamMotionResponse(block=message))


async def _inputs(requests: AsyncIterator[Any]) -> AsyncIterator[MotionInput]:
    async for request in requests:
        match kind_of(request):
            case "audio":
                yield convert.audio_from_proto(request.audio)
            case "listening":
                yield convert.listening_from_proto(request.listening)
            case "control":
                yield convert.control_from_proto(request.control)
            case _:
                raise duplicate_config()


def motion_service(servicer: MotionServicer) -> Service:
    """Make the service of a servicer, for `RpcServer`."""
    add: Any = motion_pb2_grpc.add_MotionServiceServicer_to_server
    return Service(SERVICE_NAME, lambda server: add(servicer, server))
