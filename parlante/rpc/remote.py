"""The three ports over gRPC: what the gateway holds when the stages run elsewhere.

Errors come back as the classes and reasons that the stage raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc

from parlante import convert, telemetry
from parlante.aio import closing
from parlante.errors import InternalError
from parlante.rpc.calls import response_of, responses_of, translated_errors
from parlante.rpc.exchange import (
    claim,
    client_span,
    exchange,
    is_notice,
    make_stub,
    of_stage,
    out_of_order,
    read_started,
)
from parlante.rpc.latents import MAX_CHUNK_BYTES, read_latents
from parlante.types import (
    MAX_DELAY_BUDGET_MS,
    MIN_DELAY_BUDGET_MS,
    MOTION_CHANNELS,
    MOTION_SPACE,
    AudioChunk,
    AvatarInfo,
    AvatarLatents,
    ControlUpdate,
    FaceSelection,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
    MotionTraits,
    RenderConfig,
    RenderedFrame,
)
from parlante.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    motion_pb2,
    motion_pb2_grpc,
    renderer_pb2,
    renderer_pb2_grpc,
)

DEFAULT_TIMEOUT_S: Final = 10.0
CREATE_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 10.0
_MAX_DELAYS: Final = 32  # of one stage; bounds the questions about them


class RemoteEncoder:
    """The encoder port over a channel.

    Args:
        channel: Stays the caller's to close.
        timeout_s: Deadline of every call but `create`.
        create_timeout_s: Deadline of `create`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        create_timeout_s: float = CREATE_TIMEOUT_S,
    ) -> None:
        self._stub = make_stub(encoder_pb2_grpc.EncoderServiceStub, channel)
        self._timeout_s = timeout_s
        self._create_timeout_s = create_timeout_s

    async def create(
        self, image: bytes, *, name: str = "", selection: FaceSelection | None = None
    ) -> AvatarInfo:
        """Upload a portrait in chunks; see `parlante.ports.Encoder.create`."""
        chosen = selection or FaceSelection()
        config = encoder_pb2.CreateAvatarConfig(
            name=name,
            face_choice=convert.face_choice_to_proto(chosen.choice),
            face_index=chosen.index,
            framing=convert.framing_to_proto(chosen.framing),
        )

        async def upload() -> AsyncIterator[encoder_pb2.CreateAvatarRequest]:
            yield encoder_pb2.CreateAvatarRequest(config=config)
            for offset in range(0, len(image), MAX_CHUNK_BYTES):
                yield encoder_pb2.CreateAvatarRequest(
                    chunk=image[offset : offset + MAX_CHUNK_BYTES]
                )

        with client_span(telemetry.SPAN_ENCODE) as metadata:
            response = await response_of(
                self._stub.CreateAvatar(upload(), timeout=self._create_timeout_s, metadata=metadata)
            )
        return convert.avatar_from_proto(response.avatar, from_cache=response.from_cache)

    async def get(self, name: str) -> AvatarInfo:
        """Look an avatar up; see `parlante.ports.Encoder.get`."""
        request = encoder_pb2.GetAvatarRequest(name=name)
        response = await self._call(self._stub.GetAvatar, request)
        return convert.avatar_from_proto(response.avatar)

    async def list(
        self, *, page_size: int = 50, page_token: str = ""
    ) -> tuple[list[AvatarInfo], str]:
        """List avatars; see `parlante.ports.Encoder.list`."""
        request = encoder_pb2.ListAvatarsRequest(page_size=page_size, page_token=page_token)
        response = await self._call(self._stub.ListAvatars, request)
        avatars = [convert.avatar_from_proto(avatar) for avatar in response.avatars]
        return avatars, response.next_page_token

    async def delete(self, name: str) -> None:
        """Forget an avatar; see `parlante.ports.Encoder.delete`."""
        request = encoder_pb2.DeleteAvatarRequest(name=name)
        await self._call(self._stub.DeleteAvatar, request)

    async def latents(self, key: str) -> AvatarLatents:
        """Fetch latents in chunks and check them; see `parlante.ports.Encoder.latents`."""
        request = encoder_pb2.FetchLatentsRequest(key=key)
        with client_span(telemetry.SPAN_ENCODE) as metadata, translated_errors():
            call = self._stub.FetchLatents(request, timeout=self._timeout_s, metadata=metadata)
            try:
                return await read_latents(key, responses_of(call))
            finally:
                call.cancel()

    async def _call(self, method: Any, request: Any) -> Any:
        with client_span(telemetry.SPAN_ENCODE) as metadata, translated_errors():
            return await method(request, timeout=self._timeout_s, metadata=metadata)


def known_delay_ms(delays_ms: Mapping[int, int], config: MotionConfig) -> int:
    """Delay of a stream by what a stage told of some budgets; 0 while it told of none."""
    budgets = [budget for budget in delays_ms if budget >= config.delay_budget_ms]
    return delays_ms[min(budgets)] if budgets else 0


class RemoteMotion:
    """The motion port over a channel.

    Args:
        channel: Stays the caller's to close.
        start_timeout_s: Time for the stage to accept a stream.
        lease_id: Slot that the next stream claims; "" takes a free one.
        delays_ms: What is known of the stage's delays, shared with others of the same stage.
        on_notice: Called when the stage is about to give the stream back and goes on for a moment;
            None: it gives the stream back without notice.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        lease_id: str = "",
        delays_ms: dict[int, int] | None = None,
        on_notice: Callable[[], None] | None = None,
    ) -> None:
        self._on_notice = on_notice
        self._stub = make_stub(motion_pb2_grpc.MotionServiceStub, channel)
        self._start_timeout_s = start_timeout_s
        self._lease_id = lease_id
        # By budget, as the stage told them.
        self._delays_ms: dict[int, int] = {} if delays_ms is None else delays_ms

    async def traits(self) -> MotionTraits:
        """Ask the stage what it is, and which delays it can take (see `delay_ms`)."""
        started = await self._ask(MotionConfig())
        budget_ms = MAX_DELAY_BUDGET_MS
        for _ in range(_MAX_DELAYS):
            delay_ms = (
                await self._ask(MotionConfig(delay_budget_ms=budget_ms))
            ).algorithmic_delay_ms
            # All budgets from the delay to this one come to the same: go on below it.
            if not MIN_DELAY_BUDGET_MS < delay_ms <= budget_ms:
                break
            budget_ms = delay_ms - 1
        return MotionTraits(
            algorithmic_delay_ms=started.algorithmic_delay_ms,
            bundle_digest=started.bundle_digest,
        )

    def delay_ms(self, config: MotionConfig) -> int:
        """Tell the delay of a stream as the stage told it; see `parlante.ports.Motion.delay_ms`.

        Known after `traits`, and for the budgets of streams that have begun since.
        """
        return known_delay_ms(self._delays_ms, config)

    async def _ask(self, config: MotionConfig) -> motion_pb2.MotionStarted:
        """Begin a stream, half-closed at once, and see it end, so that it holds no slot."""

        async def requests() -> AsyncIterator[motion_pb2.StreamMotionRequest]:
            yield motion_pb2.StreamMotionRequest(config=convert.motion_config_to_proto(config))

        async with closing(exchange(self._stub.StreamMotion(), requests())) as responses:
            started = await self._begin(config, responses)
            async for _ in responses:
                pass
        return started

    async def _begin(
        self, config: MotionConfig, responses: AsyncIterator[Any]
    ) -> motion_pb2.MotionStarted:
        started: motion_pb2.MotionStarted = await read_started(
            responses, timeout_s=self._start_timeout_s
        )
        self._delays_ms[config.delay_budget_ms] = started.algorithmic_delay_ms
        return started

    async def stream(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        """Generate motion elsewhere; see `parlante.ports.Motion.stream`."""
        async with closing(inputs) as items:
            with client_span(telemetry.SPAN_MOTION) as metadata:
                requests = _motion_requests(config, items, notice=self._on_notice is not None)
                call = self._stub.StreamMotion(metadata=(*metadata, *claim(self._lease_id)))
                async with closing(exchange(call, requests)) as responses:
                    _check_motion_space(await self._begin(config, responses))
                    async for response in responses:
                        if is_notice(response, self._on_notice):
                            continue
                        if response.WhichOneof("message") != "block":
                            raise out_of_order("block", response)
                        yield of_stage(convert.motion_block_from_proto, response.block)


def _check_motion_space(started: motion_pb2.MotionStarted) -> None:
    if started.motion_space != MOTION_SPACE or tuple(started.channels) != MOTION_CHANNELS:
        raise InternalError(
            f"the motion stage must speak {MOTION_SPACE}; got {started.motion_space[:80]!r} with "
            f"{len(started.channels)} channels; run stages of one version",
            reason="MOTION_SPACE_MISMATCH",
        )


async def _motion_requests(
    config: MotionConfig, inputs: AsyncIterator[MotionInput], *, notice: bool
) -> AsyncIterator[motion_pb2.StreamMotionRequest]:
    message = convert.motion_config_to_proto(config)
    message.accept_handover, message.accept_handover_notice = True, notice
    yield motion_pb2.StreamMotionRequest(config=message)
    async for item in inputs:
        match item:
            case AudioChunk():
                for audio in convert.audio_to_proto(item):
                    yield motion_pb2.StreamMotionRequest(audio=audio)
            case ListeningChunk():
                for audio in convert.audio_to_proto(item):
                    yield motion_pb2.StreamMotionRequest(listening=audio)
            case ControlUpdate():
                control = convert.controls_to_proto(item.controls)
                yield motion_pb2.StreamMotionRequest(control=control)


class RemoteRenderer:
    """The renderer port over a channel.

    Args:
        channel: Stays the caller's to close.
        start_timeout_s: Time for the stage to accept a stream.
        lease_id: Slot that the next stream claims; "" takes a free one.
        on_notice: See `RemoteMotion`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        lease_id: str = "",
        on_notice: Callable[[], None] | None = None,
    ) -> None:
        self._on_notice = on_notice
        self._stub = make_stub(renderer_pb2_grpc.RendererServiceStub, channel)
        self._start_timeout_s = start_timeout_s
        self._lease_id = lease_id

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Render elsewhere; see `parlante.ports.Renderer.stream`."""
        async with closing(motion) as blocks:
            with client_span(telemetry.SPAN_RENDER) as metadata:
                requests = _render_requests(config, blocks, notice=self._on_notice is not None)
                call = self._stub.RenderFrames(metadata=(*metadata, *claim(self._lease_id)))
                async with closing(exchange(call, requests)) as responses:
                    started = await read_started(responses, timeout_s=self._start_timeout_s)
                    async for response in responses:
                        if is_notice(response, self._on_notice):
                            continue
                        if response.WhichOneof("message") != "frame":
                            raise out_of_order("frame", response)
                        yield convert.frame_from_proto(response.frame, started)

    async def prepare(self, avatar_key: str) -> None:
        """Let the stage make an avatar ready, without a slot; see renderer.proto, prepare_only."""
        config = convert.render_config_to_proto(RenderConfig(avatar_key=avatar_key))
        config.prepare_only = True

        async def requests() -> AsyncIterator[renderer_pb2.RenderFramesRequest]:
            yield renderer_pb2.RenderFramesRequest(config=config)

        async with closing(exchange(self._stub.RenderFrames(), requests())) as responses:
            async for _ in responses:
                pass


async def _render_requests(
    config: RenderConfig, motion: AsyncIterator[MotionBlock], *, notice: bool
) -> AsyncIterator[renderer_pb2.RenderFramesRequest]:
    first = convert.render_config_to_proto(config)
    first.accept_handover, first.accept_handover_notice = True, notice
    yield renderer_pb2.RenderFramesRequest(config=first)
    async for block in motion:
        for message in convert.motion_block_to_proto(block):
            yield renderer_pb2.RenderFramesRequest(block=message)
