"""The motion service on the wire: order, bad input, clients that go, nothing left behind."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from parlante import errors
from parlante.rpc.status import error_of
from parlante.types import MOTION_CHANNELS
from parlante.v1 import common_pb2, motion_pb2
from tests.fakes.motion import LONG_DELAY_MS
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, exchange, open_stream

METHOD = "/parlante.v1.MotionService/StreamMotion"
NAN = float("nan")


def _config(**fields: object) -> motion_pb2.StreamMotionRequest:
    return motion_pb2.StreamMotionRequest(config=motion_pb2.MotionStreamConfig(**fields))  # type: ignore[arg-type]


def _audio(num_samples: int = 640, *, start_sample: int = 0) -> motion_pb2.StreamMotionRequest:
    data = np.full(num_samples, 1000, dtype="<i2").tobytes()
    audio = motion_pb2.MotionAudio(start_sample=start_sample, data=data)
    return motion_pb2.StreamMotionRequest(audio=audio)


def _raw_audio(data: bytes) -> motion_pb2.StreamMotionRequest:
    return motion_pb2.StreamMotionRequest(audio=motion_pb2.MotionAudio(data=data))


def _listening(num_samples: int = 640, *, start_sample: int = 0) -> motion_pb2.StreamMotionRequest:
    audio = motion_pb2.MotionAudio(start_sample=start_sample, data=bytes(2 * num_samples))
    return motion_pb2.StreamMotionRequest(listening=audio)


def _control(**fields: object) -> motion_pb2.StreamMotionRequest:
    return motion_pb2.StreamMotionRequest(control=common_pb2.Controls(**fields))  # type: ignore[arg-type]


async def test_first_response_is_the_effective_config(stages: FakeStages) -> None:
    responses, error = await exchange(stages.channel, METHOD, [_config(seed=7)])

    assert error is None
    (first,) = (motion_pb2.StreamMotionResponse.FromString(data) for data in responses)
    assert first.started.config.sample_rate_hz == 16_000
    assert first.started.config.seed == 7
    assert first.started.config.controls.head_distance == 1.0
    assert tuple(first.started.channels) == MOTION_CHANNELS
    assert first.started.algorithmic_delay_ms == stages.motion.algorithmic_delay_ms


@pytest.mark.parametrize(("budget_ms", "delay_ms"), [(0, 40), (160, 40), (320, LONG_DELAY_MS)])
async def test_started_tells_the_delay_of_this_stream(
    stages: FakeStages, budget_ms: int, delay_ms: int
) -> None:
    messages = [_config(delay_budget_ms=budget_ms)]
    (data,), error = await exchange(stages.channel, METHOD, messages)

    assert error is None
    started = motion_pb2.StreamMotionResponse.FromString(data).started
    assert started.algorithmic_delay_ms == delay_ms
    assert started.config.delay_budget_ms == (budget_ms or 160)


async def test_started_does_not_send_the_state_back(stages: FakeStages) -> None:
    messages = [_config(emit_checkpoints=True), _audio()]
    responses, _ = await exchange(stages.channel, METHOD, messages)
    block = motion_pb2.StreamMotionResponse.FromString(responses[1]).block
    messages = [_config(resume_state=block.checkpoint), _audio(start_sample=640)]
    responses, error = await exchange(stages.channel, METHOD, messages)

    assert error is None
    first, second = (motion_pb2.StreamMotionResponse.FromString(data) for data in responses)
    assert first.started.config.resume_state == b""
    assert (second.block.start_frame, second.block.checkpoint) == (1, b"")


async def test_frames_follow_in_order_until_the_audio_ends(stages: FakeStages) -> None:
    messages = [_config(), _audio(1000), _audio(1000, start_sample=1000)]
    responses, error = await exchange(stages.channel, METHOD, messages)

    assert error is None
    blocks = [motion_pb2.StreamMotionResponse.FromString(data).block for data in responses[1:]]
    assert [block.start_frame for block in blocks] == [0, 1, 2, 3]  # ceil(2000 / 640)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "CONFIG_NOT_FIRST"),
        ([_audio()], "CONFIG_NOT_FIRST"),
        ([_control()], "CONFIG_NOT_FIRST"),
        ([_config(), _config()], "DUPLICATE_CONFIG"),
        ([motion_pb2.StreamMotionRequest()], "EMPTY_MESSAGE"),
        ([_config(), motion_pb2.StreamMotionRequest()], "EMPTY_MESSAGE"),
        ([_config(), _raw_audio(b"")], "EMPTY_MESSAGE"),
        ([_config(), _raw_audio(b"\0" * 641)], "ODD_BYTE_COUNT"),
        ([_config(), _raw_audio(bytes(65_538))], "AUDIO_TOO_LARGE"),
        ([_config(), _audio(start_sample=1)], "AUDIO_GAP"),
        ([_config(), _audio(), _audio(start_sample=639)], "AUDIO_OVERLAP"),
        ([_config(), _listening(0)], "EMPTY_MESSAGE"),
        ([_config(), _listening(32_769)], "AUDIO_TOO_LARGE"),
        ([_config(), _listening(start_sample=-1)], "LISTENING_OVERLAP"),
        ([_config(), _listening(), _listening(start_sample=639)], "LISTENING_OVERLAP"),
        ([_config(delay_budget_ms=100)], "DELAY_BUDGET_OUT_OF_RANGE"),
        ([_config(resume_state=bytes(65_537))], "RESUME_STATE_TOO_LARGE"),
        ([_config(resume_state=b"junk")], "BAD_RESUME_STATE"),
        ([_config(controls={"driving": 9})], "UNKNOWN_ENUM_VALUE"),
        ([_config(), _control(head_pose={"yaw_rad": 1.0})], "CONTROL_OUT_OF_RANGE"),
        ([_config(sample_rate_hz=7999)], "UNSUPPORTED_SAMPLE_RATE"),
        ([_config(sample_rate_hz=96_000)], "UNSUPPORTED_SAMPLE_RATE"),
        ([_config(audio_encoding=9)], "UNKNOWN_ENUM_VALUE"),
        ([_config(controls={"head_distance": NAN})], "CONTROL_OUT_OF_RANGE"),
        ([_config(), _control(gaze_yaw_rad=NAN)], "CONTROL_OUT_OF_RANGE"),
        ([_config(), _control(emotion={"bored": 1.0})], "UNKNOWN_EMOTION"),
        ([b"\xff\xff\xff"], "MALFORMED_MESSAGE"),
        ([_config(), b"\x12\x7f"], "MALFORMED_MESSAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_input_is_refused(
    stages: FakeStages, messages: list[motion_pb2.StreamMotionRequest | bytes], reason: str
) -> None:
    _, error = await exchange(stages.channel, METHOD, messages)

    assert isinstance(error, errors.InvalidInput)
    assert error.reason == reason
    await eventually(lambda: stages.num_held == 0)


async def test_message_beyond_the_transports_limit_is_refused(stages: FakeStages) -> None:
    messages = [_config(), _raw_audio(bytes(5 * 1024 * 1024))]
    _, error = await exchange(stages.channel, METHOD, messages)

    assert isinstance(error, errors.InvalidInput)
    assert error.reason == "MESSAGE_TOO_LARGE"
    await eventually(lambda: stages.num_held == 0)


async def test_client_that_cancels_leaves_nothing(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    call = open_stream(stages.channel, METHOD)
    await call.write(_config())
    await call.write(_audio())
    await anext(aiter(call))
    await eventually(lambda: stages.motion.num_open == 1)

    call.cancel()

    await eventually(lambda: stages.num_held == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_client_whose_connection_breaks_leaves_nothing(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    async with grpc.aio.insecure_channel(stages.target) as channel:
        call = open_stream(channel, METHOD)
        await call.write(_config())
        await call.write(_audio(32_000))
        await anext(aiter(call))
        await eventually(lambda: stages.motion.num_open == 1)

    await eventually(lambda: stages.num_held == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_deadline_ends_the_stream_on_both_sides(stages: FakeStages) -> None:
    call = open_stream(stages.channel, METHOD, timeout=0.2)
    await call.write(_config())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert isinstance(error_of(caught.value), errors.Expired)
    await eventually(lambda: stages.num_held == 0)


async def test_client_that_does_not_read_stops_the_engine(stages: FakeStages) -> None:
    call = open_stream(stages.channel, METHOD)
    await call.write(_config())

    async def flood() -> None:
        for second in range(3600):
            for part in range(2):
                start_sample = second * 32_768 + part * 16_384
                await call.write(_audio(16_384, start_sample=start_sample))

    writer = asyncio.create_task(flood())
    done, _ = await asyncio.wait([writer], timeout=0.5)
    assert not done, "an hour of audio was taken although nothing was read"
    call.cancel()
    await asyncio.wait([writer])
    await eventually(lambda: stages.num_held == 0)


async def test_no_free_slot_is_overload_with_a_time_to_wait(stages: FakeStages) -> None:
    calls = [open_stream(stages.channel, METHOD) for _ in range(stages.slots.capacity)]
    for call in calls:
        await call.write(_config())
        await anext(aiter(call))

    _, error = await exchange(stages.channel, METHOD, [_config()])

    assert isinstance(error, errors.Overloaded)
    assert error.reason == "NO_FREE_SLOT"
    assert error.retry_after_ms == 1000
    for call in calls:
        call.cancel()
    await eventually(lambda: stages.num_held == 0)
    _, error = await exchange(stages.channel, METHOD, [_config()])
    assert error is None


async def test_error_of_the_engine_arrives_after_the_frames_before_it(stages: FakeStages) -> None:
    stages.motion.fail_at_frame = 2
    stages.motion.error = errors.FailedPrecondition("no", reason="BROKEN")
    responses, error = await exchange(stages.channel, METHOD, [_config(), _audio(640 * 5)])
    assert isinstance(error, errors.FailedPrecondition)
    assert error.reason == "BROKEN"
    assert len(responses) == 1 + 2
