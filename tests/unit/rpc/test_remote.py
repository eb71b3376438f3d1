"""The ports over stubs: their own duties besides those of every port (see tests/contract)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from parlante import errors
from parlante.aio import closing
from parlante.rpc.exchange import exchange
from parlante.rpc.remote import (
    RemoteEncoder,
    RemoteMotion,
    RemoteRenderer,
    _motion_requests,
)
from parlante.rpc.server import RpcServer, ServerConfig, Service
from parlante.types import (
    MOTION_DIM,
    AudioChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
    RenderConfig,
)
from parlante.v1 import (
    common_pb2,
    encoder_pb2,
    motion_pb2,
    motion_pb2_grpc,
    renderer_pb2,
    renderer_pb2_grpc,
)
from tests.fakes.encoder import portrait_bytes
from tests.fakes.motion import LONG_DELAY_MS
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, forever, let_writes_fail


def _chunk(start_sample: int = 0) -> AudioChunk:
    return AudioChunk(start_sample=start_sample, samples=np.full(640, 100, dtype=np.int16))


async def test_error_of_the_inputs_is_raised_as_it_is(stages: FakeStages) -> None:
    async def broken() -> AsyncIterator[MotionInput]:
        yield _chunk()
        raise LookupError("the caller's own")

    async with closing(stages.remote_motion.stream(MotionConfig(), broken())) as blocks:
        with pytest.raises(LookupError, match="own"):
            async for _ in blocks:
                pass
    await eventually(lambda: stages.num_held == 0)


async def test_inputs_are_closed_when_the_stream_is_left_early(stages: FakeStages) -> None:
    closed = asyncio.Event()

    async def inputs() -> AsyncIterator[MotionInput]:
        try:
            yield _chunk()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with closing(stages.remote_motion.stream(MotionConfig(), inputs())) as blocks:
        await anext(blocks)
    assert closed.is_set()
    await eventually(lambda: stages.num_held == 0)


async def test_inputs_are_closed_when_the_stage_cannot_be_reached() -> None:
    closed = asyncio.Event()

    async def inputs() -> AsyncIterator[MotionInput]:
        try:
            yield _chunk()
        finally:
            closed.set()

    started = inputs()
    await anext(started)
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(errors.Unavailable):
            async for _ in RemoteMotion(channel).stream(MotionConfig(), started):
                pass
    assert closed.is_set()


async def test_cancelled_reader_frees_the_stage(stages: FakeStages) -> None:
    async def read() -> None:
        async for _ in stages.remote_motion.stream(MotionConfig(), forever([_chunk()])):
            pass

    reader = asyncio.create_task(read())
    await eventually(lambda: stages.motion.num_open == 1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await eventually(lambda: stages.num_held == 0)


async def test_cancelled_unary_call_frees_the_stage(stages: FakeStages) -> None:
    release = asyncio.Event()
    create = stages.encoder.create

    async def slow(*args: Any, **kwargs: Any) -> Any:
        await release.wait()
        return await create(*args, **kwargs)

    stages.encoder.create = slow  # type: ignore[method-assign]
    call = asyncio.create_task(stages.remote_encoder.create(portrait_bytes()))
    await eventually(lambda: stages.num_held == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: stages.num_held == 0)


async def test_a_refusal_in_the_middle_of_an_upload_is_told_as_it_is(
    stages: FakeStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of five came as INTERNAL: grpc.aio put the write that failed over the refusal."""
    let_writes_fail(monkeypatch)
    with pytest.raises(errors.InvalidInput) as caught:
        await stages.remote_encoder.create(portrait_bytes(), name="BAD NAME")
    assert caught.value.reason == "BAD_NAME"


async def test_slow_unary_call_ends_at_its_deadline(stages: FakeStages) -> None:
    async def hang(*args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()

    stages.encoder.get = hang  # type: ignore[method-assign]
    with pytest.raises(errors.Expired):
        await RemoteEncoder(stages.channel, timeout_s=0.1).get("anna")


async def test_unexpected_error_shows_no_internals_but_an_id(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("secret path /etc/shadow")

    stages.encoder.get = broken  # type: ignore[method-assign]
    with pytest.raises(errors.InternalError) as caught:
        await stages.remote_encoder.get("anna")

    assert "secret" not in str(caught.value)
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.exc_info is not None
    assert caught.value.metadata["error_id"] == record.error_id  # type: ignore[attr-defined]


async def test_transport_that_fails_for_a_client_that_stays_is_our_error(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*args: Any, **kwargs: Any) -> Any:
        raise grpc.aio.InternalError("the batch failed")

    stages.encoder.get = fails  # type: ignore[method-assign]
    with pytest.raises(errors.InternalError) as caught:
        await stages.remote_encoder.get("anna")

    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert caught.value.metadata["error_id"] == record.error_id  # type: ignore[attr-defined]


async def test_transport_that_fails_before_a_client_is_known_to_be_gone_is_no_error(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()

    async def fails(*args: Any, **kwargs: Any) -> Any:
        failed.set()
        raise grpc.aio.InternalError("the batch failed")

    stages.encoder.get = fails  # type: ignore[method-assign]
    client = asyncio.create_task(stages.remote_encoder.get("anna"))
    await failed.wait()
    await asyncio.sleep(0.05)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    await asyncio.sleep(1.5)  # longer than the server waits for the cancellation

    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_traits_tell_what_the_stage_is(stages: FakeStages) -> None:
    traits = await stages.remote_motion.traits()
    assert traits.bundle_digest == stages.motion.bundle_digest
    await eventually(lambda: stages.num_held == 0)


@pytest.mark.parametrize("budget_ms", [120, 160, 199, 200, 201, 320, 400])
async def test_traits_learn_the_delay_of_every_budget(stages: FakeStages, budget_ms: int) -> None:
    motion = stages.remote_motion
    traits = await motion.traits()
    config = MotionConfig(delay_budget_ms=budget_ms)
    assert motion.delay_ms(config) == stages.motion.delay_ms(config)
    assert traits.algorithmic_delay_ms == stages.motion.delay_ms(MotionConfig())
    assert stages.motion.num_opened == 3  # the default, and one per delay there is


async def test_delay_is_not_known_before_the_stage_has_told_it(stages: FakeStages) -> None:
    motion, config = stages.remote_motion, MotionConfig(delay_budget_ms=320)
    assert motion.delay_ms(config) == 0
    async for _ in motion.stream(config, _no_inputs()):
        pass
    assert motion.delay_ms(config) == LONG_DELAY_MS


async def test_asking_for_traits_never_holds_two_slots(stages: FakeStages) -> None:
    stages.slots.capacity = 1
    await stages.remote_motion.traits()
    assert stages.num_held == 0


async def _no_inputs() -> AsyncIterator[MotionInput]:
    return
    yield


async def test_motion_and_renderer_chain_over_one_channel(stages: FakeStages) -> None:
    info = await stages.remote_encoder.create(portrait_bytes())

    async def audio() -> AsyncIterator[MotionInput]:
        for index in range(50):
            yield _chunk(index * 640)

    motion = stages.remote_motion.stream(MotionConfig(), audio())
    frames = stages.remote_renderer.stream(RenderConfig(avatar_key=info.key), motion)
    assert [frame.frame_index async for frame in frames] == list(range(50))


class _Liar(motion_pb2_grpc.MotionServiceServicer):
    """A stage that answers with whatever it is given."""

    def __init__(self, responses: list[Any]) -> None:
        self._responses = responses

    async def StreamMotion(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        for response in self._responses:
            await context.write(response)


def _started(**fields: object) -> motion_pb2.StreamMotionResponse:
    started = motion_pb2.MotionStarted(motion_space="parlante.motion/1", **fields)  # type: ignore[arg-type]
    return motion_pb2.StreamMotionResponse(started=started)


def _good_start() -> motion_pb2.StreamMotionResponse:
    from parlante.types import MOTION_CHANNELS

    return _started(channels=MOTION_CHANNELS)


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        ([], "STREAM_ENDED_EARLY"),
        ([motion_pb2.StreamMotionResponse()], "UNEXPECTED_RESPONSE"),
        ([_started(channels=["jawOpen"])], "MOTION_SPACE_MISMATCH"),
        ([_good_start(), _good_start()], "UNEXPECTED_RESPONSE"),
        (
            [_good_start(), motion_pb2.StreamMotionResponse(block=motion_pb2.MotionFrames())],
            "UNEXPECTED_RESPONSE",
        ),
        ([_good_start()], "STREAM_ENDED_EARLY"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_stage_that_breaks_the_protocol_is_found_out(
    responses: list[Any], reason: str
) -> None:
    add: Any = motion_pb2_grpc.add_MotionServiceServicer_to_server
    service = Service("liar", lambda server: add(_Liar(responses), server))
    async with RpcServer([service], ServerConfig(host="127.0.0.1")) as server:
        server.set_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            with pytest.raises(errors.InternalError) as caught:
                async for _ in RemoteMotion(channel).stream(MotionConfig(), forever()):
                    pass
    assert caught.value.reason == reason


GRPC_STATUS_COROUTINE = "_handle_status_once_received"


class _HandsOver(motion_pb2_grpc.MotionServiceServicer):
    """A stage that says more than its caller reads, and ends the stream while it is written."""

    async def StreamMotion(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        await context.write(_good_start())
        handover = common_pb2.Handover(reason="DRAINING")
        for _ in range(3):
            await context.write(motion_pb2.StreamMotionResponse(handover=handover))


async def test_a_stream_that_is_left_while_its_writes_fail_ends_at_once() -> None:
    """grpc.aio thinks that it has ended then, so cancelling it did nothing: its task stayed until
    the channel was closed, and hung there if that was a busy moment."""
    is_refused = asyncio.Event()

    async def inputs() -> AsyncIterator[MotionInput]:
        try:
            for start in range(0, 100_000, 640):
                yield AudioChunk(start_sample=start, samples=np.zeros(640, np.int16))
                await asyncio.sleep(0.005)
        finally:
            is_refused.set()

    add: Any = motion_pb2_grpc.add_MotionServiceServicer_to_server
    service = Service("hands-over", lambda server: add(_HandsOver(), server))
    async with RpcServer([service], ServerConfig(host="127.0.0.1")) as server:
        server.set_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = motion_pb2_grpc.MotionServiceStub(channel).StreamMotion()  # type: ignore[no-untyped-call]
            requests = _motion_requests(MotionConfig(), inputs(), notice=False)
            async with closing(exchange(call, requests)) as responses:
                await anext(responses)
                await asyncio.wait_for(is_refused.wait(), 10.0)
                assert call.done()
            await eventually(
                lambda: not any(GRPC_STATUS_COROUTINE in repr(t) for t in asyncio.all_tasks())
            )


class _Generator(renderer_pb2_grpc.RendererServiceServicer):
    """A handler written as an async generator, which is adapted and closed in time."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def RenderFrames(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        try:
            await anext(aiter(request_iterator))
            yield renderer_pb2.RenderFramesResponse(started=renderer_pb2.RenderStarted())
            while True:
                frame = renderer_pb2.RenderedFrameData(data=bytes(1_000_000))
                yield renderer_pb2.RenderFramesResponse(frame=frame)
        finally:
            self.closed.set()


async def test_handler_written_as_a_generator_is_closed_when_the_client_leaves() -> None:
    servicer = _Generator()
    add: Any = renderer_pb2_grpc.add_RendererServiceServicer_to_server
    service = Service("generator", lambda server: add(servicer, server))
    async with RpcServer([service], ServerConfig(host="127.0.0.1")) as server:
        server.set_serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            motion = forever([MotionBlock(start_frame=0, values=np.zeros((1, MOTION_DIM), "f4"))])
            config = RenderConfig(avatar_key="ab" * 32)
            async with closing(RemoteRenderer(channel).stream(config, motion)) as frames:
                await anext(frames)
            await asyncio.wait_for(servicer.closed.wait(), 2)


async def test_call_without_deadline_gets_the_servers() -> None:
    from tests.fakes.stages import serve_fakes

    config = ServerConfig(host="127.0.0.1", unary_timeout_s=0.1)
    async with serve_fakes(config=config) as stages:

        async def hang(name: str) -> Any:
            await asyncio.Event().wait()

        stages.encoder.get = hang  # type: ignore[method-assign]
        call = stages.channel.unary_unary(
            "/parlante.v1.EncoderService/GetAvatar",
            request_serializer=encoder_pb2.GetAvatarRequest.SerializeToString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(encoder_pb2.GetAvatarRequest(name="anna"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
