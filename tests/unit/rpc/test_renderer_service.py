"""The renderer service on the wire: order, bad input, clients that go, nothing left behind."""

from __future__ import annotations

import pytest
import pytest_asyncio

from parlante import errors
from parlante.types import MOTION_DIM
from parlante.v1 import motion_pb2, renderer_pb2
from tests.fakes.encoder import portrait_bytes
from tests.fakes.renderer import read_marker
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, exchange, open_stream

METHOD = "/parlante.v1.RendererService/RenderFrames"
UNKNOWN_KEY = "ab" * 32
Request = renderer_pb2.RenderFramesRequest


@pytest_asyncio.fixture
async def key(stages: FakeStages) -> str:
    return (await stages.encoder.create(portrait_bytes())).key


def _config(key: str, **fields: object) -> Request:
    config = renderer_pb2.RenderStreamConfig(avatar_key=key, **fields)  # type: ignore[arg-type]
    return Request(config=config)


def _block(start_frame: int = 0, num_frames: int = 1, *, value: float = 0.0) -> Request:
    values = [value] * MOTION_DIM * num_frames
    frames = motion_pb2.MotionFrames(start_frame=start_frame, frame_count=num_frames, values=values)
    return Request(block=frames)


async def test_first_response_is_the_effective_config(stages: FakeStages, key: str) -> None:
    responses, error = await exchange(stages.channel, METHOD, [_config(key)])

    assert error is None
    (first,) = (renderer_pb2.RenderFramesResponse.FromString(data) for data in responses)
    assert first.started.config.jpeg_quality == 85
    assert (first.started.width_px, first.started.height_px) == (512, 512)


async def test_one_frame_per_row_with_gaps_kept(stages: FakeStages, key: str) -> None:
    messages = [_config(key), _block(0, 2), _block(5, 1)]
    responses, error = await exchange(stages.channel, METHOD, messages)

    assert error is None
    frames = [renderer_pb2.RenderFramesResponse.FromString(data).frame for data in responses[1:]]
    assert [frame.frame_index for frame in frames] == [0, 1, 5]
    assert read_marker(frames[0].data).avatar_key == key


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "CONFIG_NOT_FIRST"),
        ([_block()], "CONFIG_NOT_FIRST"),
        ([Request()], "EMPTY_MESSAGE"),
        ([_config("xyz")], "BAD_KEY"),
        ([_config(UNKNOWN_KEY, frame_encoding=77)], "UNKNOWN_ENUM_VALUE"),
        ([_config(UNKNOWN_KEY, jpeg_quality=101)], "CONTROL_OUT_OF_RANGE"),
        ([_config(UNKNOWN_KEY, h264_bitrate_kbps=99)], "CONTROL_OUT_OF_RANGE"),
        ([b"\xff"], "MALFORMED_MESSAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_beginnings_are_refused(
    stages: FakeStages, messages: list[Request | bytes], reason: str
) -> None:
    _, error = await exchange(stages.channel, METHOD, messages)

    assert isinstance(error, errors.InvalidInput)
    assert error.reason == reason
    await eventually(lambda: stages.num_held == 0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (_config(UNKNOWN_KEY), "DUPLICATE_CONFIG"),
        (Request(), "EMPTY_MESSAGE"),
        (_block(value=float("nan")), "NON_FINITE_MOTION"),
        (Request(block=motion_pb2.MotionFrames(frame_count=1, values=[0.0])), "BAD_MOTION_SHAPE"),
        (Request(block=motion_pb2.MotionFrames()), "BAD_MOTION_SHAPE"),
        (b"\x12\x7f", "MALFORMED_MESSAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_blocks_are_refused(
    stages: FakeStages, key: str, message: Request | bytes, reason: str
) -> None:
    _, error = await exchange(stages.channel, METHOD, [_config(key), message])

    assert isinstance(error, errors.InvalidInput)
    assert error.reason == reason
    await eventually(lambda: stages.num_held == 0)


async def test_frames_must_not_go_back_in_time(stages: FakeStages, key: str) -> None:
    _, error = await exchange(stages.channel, METHOD, [_config(key), _block(3), _block(3)])
    assert isinstance(error, errors.InvalidInput)
    assert error.reason == "FRAME_ORDER"


async def test_frames_beyond_the_last_number_are_refused(stages: FakeStages, key: str) -> None:
    """The second frame's index did not fit its field: INTERNAL, with a traceback."""
    block = motion_pb2.MotionFrames(
        start_frame=2**63 - 1, frame_count=2, values=[0.0] * MOTION_DIM * 2
    )
    _, error = await exchange(stages.channel, METHOD, [_config(key), Request(block=block)])
    assert isinstance(error, errors.InvalidInput)
    assert error.reason == "FRAME_ORDER"


async def test_unknown_avatar_is_not_found(stages: FakeStages) -> None:
    _, error = await exchange(stages.channel, METHOD, [_config(UNKNOWN_KEY), _block()])
    assert isinstance(error, errors.NotFound)
    assert error.reason == "AVATAR_NOT_FOUND"


async def test_client_that_cancels_leaves_nothing(
    stages: FakeStages, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    stages.renderer.frame_bytes = 1_000_000
    call = open_stream(stages.channel, METHOD)
    await call.write(_config(key))
    await call.write(_block(0, 100))  # far more than the transport buffers: writing blocks
    await anext(aiter(call))
    await eventually(lambda: stages.renderer.num_open == 1)

    call.cancel()

    await eventually(lambda: stages.num_held == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
