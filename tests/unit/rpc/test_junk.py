"""Clients that send anything in any order, and leave whenever they like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest

from parlante.aio import closing
from parlante.errors import InternalError, InvalidInput, Unavailable
from parlante.types import AudioChunk, MotionConfig, MotionInput, RenderConfig
from parlante.v1 import encoder_pb2, motion_pb2, renderer_pb2
from tests.fakes.encoder import portrait_bytes
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, exchange, forever

_STREAMS = {
    "/parlante.v1.EncoderService/CreateAvatar": encoder_pb2.CreateAvatarRequest,
    "/parlante.v1.MotionService/StreamMotion": motion_pb2.StreamMotionRequest,
    "/parlante.v1.RendererService/RenderFrames": renderer_pb2.RenderFramesRequest,
}


def _messages() -> list[bytes]:
    """Valid messages of all streams; each is junk on the others."""
    config = renderer_pb2.RenderStreamConfig(avatar_key="ab" * 32)
    good = [
        encoder_pb2.CreateAvatarRequest(config=encoder_pb2.CreateAvatarConfig(name="anna")),
        encoder_pb2.CreateAvatarRequest(chunk=portrait_bytes()),
        motion_pb2.StreamMotionRequest(config=motion_pb2.MotionStreamConfig(seed=1)),
        motion_pb2.StreamMotionRequest(audio=motion_pb2.MotionAudio(data=bytes(640))),
        motion_pb2.StreamMotionRequest(listening=motion_pb2.MotionAudio(data=bytes(640))),
        renderer_pb2.RenderFramesRequest(config=config),
        renderer_pb2.RenderFramesRequest(
            block=motion_pb2.MotionFrames(frame_count=1, values=[0.0] * 60)
        ),
    ]
    return [message.SerializeToString() for message in good]


def _spoiled(rng: random.Random, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(rng.randrange(4)):
        position = rng.randrange(len(data) + 1)
        match rng.randrange(3):
            case 0:
                data[position:position] = rng.randbytes(rng.randrange(1, 9))
            case 1:
                del data[position : position + rng.randrange(1, 9)]
            case _:
                data[position : position + 1] = rng.randbytes(1)
    return bytes(data)


@pytest.mark.parametrize("method", _STREAMS)
async def test_junk_never_looks_like_a_defect_of_the_server(
    stages: FakeStages, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(method)
    messages = _messages()
    for _ in range(60):
        sent = [_spoiled(rng, rng.choice(messages)) for _ in range(rng.randrange(5))]
        _, error = await exchange(stages.channel, method, sent)
        assert not isinstance(error, InternalError | Unavailable), sent
    await eventually(lambda: stages.num_held == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_streams_cancelled_at_random_leave_nothing(stages: FakeStages) -> None:
    rng = random.Random(0)
    info = await stages.encoder.create(portrait_bytes())
    audio = [
        AudioChunk(start_sample=640 * index, samples=np.zeros(640, np.int16)) for index in range(40)
    ]
    config = RenderConfig(avatar_key=info.key)

    async def session() -> None:
        motion = stages.remote_motion.stream(MotionConfig(), forever(audio))
        async with closing(stages.remote_renderer.stream(config, motion)) as frames:
            async for _ in frames:
                pass

    for _ in range(20):
        tasks = [asyncio.create_task(session()) for _ in range(4)]
        await asyncio.sleep(rng.uniform(0, 0.02))
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await eventually(lambda: stages.num_held == 0)


async def test_error_while_the_client_writes_is_never_replaced(stages: FakeStages) -> None:
    """grpc.aio shows INTERNAL when a write fails because the server has just ended the call."""

    async def endless() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=np.zeros(640, np.int16))
        while True:  # the second of these is an overlap, and writing goes on
            yield AudioChunk(start_sample=0, samples=np.zeros(640, np.int16))

    reasons = []
    for _ in range(100):
        with pytest.raises(InvalidInput) as caught:
            await _consume(stages.remote_motion.stream(MotionConfig(), endless()))
        reasons.append(caught.value.reason)
    assert set(reasons) == {"AUDIO_OVERLAP"}


async def test_refused_upload_keeps_its_reason_while_the_client_writes(stages: FakeStages) -> None:
    image = bytes(22 * 1024 * 1024)
    for _ in range(10):
        with pytest.raises(InvalidInput) as caught:
            await stages.remote_encoder.create(image)
        assert caught.value.reason == "IMAGE_TOO_LARGE"


async def _consume(items: AsyncIterator[object]) -> None:
    async with closing(items) as stream:
        async for _ in stream:
            pass
