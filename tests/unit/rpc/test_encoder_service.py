"""The encoder service on the wire: uploads, names, latents, bad input."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from parlante import errors
from parlante.rpc.status import error_of
from parlante.v1 import encoder_pb2, encoder_pb2_grpc
from tests.fakes.encoder import portrait_bytes
from tests.fakes.stages import FakeStages, serve_fakes
from tests.fakes.wire import eventually, exchange, open_stream

CREATE = "/parlante.v1.EncoderService/CreateAvatar"
MIB = 1024 * 1024
Request = encoder_pb2.CreateAvatarRequest


def _config(**fields: object) -> Request:
    return Request(config=encoder_pb2.CreateAvatarConfig(**fields))  # type: ignore[arg-type]


def _chunk(data: bytes = portrait_bytes()) -> Request:
    return Request(chunk=data)


async def test_upload_in_chunks_makes_an_avatar(stages: FakeStages) -> None:
    image = portrait_bytes(num_bytes=3 * MIB)
    messages = [_config(name="anna"), *(_chunk(image[i * MIB : (i + 1) * MIB]) for i in range(3))]

    (data,), error = await exchange(stages.channel, CREATE, messages)

    assert error is None
    response = encoder_pb2.CreateAvatarResponse.FromString(data)
    assert response.avatar.name == "anna"
    assert not response.from_cache


async def test_same_portrait_comes_from_the_cache(stages: FakeStages) -> None:
    await exchange(stages.channel, CREATE, [_config(), _chunk()])
    (data,), _ = await exchange(stages.channel, CREATE, [_config(), _chunk()])
    assert encoder_pb2.CreateAvatarResponse.FromString(data).from_cache
    assert stages.encoder.num_encoded == 1


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "CONFIG_NOT_FIRST"),
        ([_chunk()], "CONFIG_NOT_FIRST"),
        ([_config(), _config()], "DUPLICATE_CONFIG"),
        ([_config(), Request()], "EMPTY_MESSAGE"),
        ([_config(), _chunk(b"")], "EMPTY_MESSAGE"),
        ([_config(), _chunk(bytes(MIB + 1))], "CHUNK_TOO_LARGE"),
        ([_config(), *[_chunk(bytes(MIB))] * 21], "IMAGE_TOO_LARGE"),
        ([_config(name="No Name"), _chunk()], "BAD_NAME"),
        ([_config(face_choice=9), _chunk()], "UNKNOWN_ENUM_VALUE"),
        ([_config(face_choice=3, face_index=-1), _chunk()], "FACE_INDEX_OUT_OF_RANGE"),
        ([_config()], "NOT_AN_IMAGE"),
        ([_config(), _chunk(b"GIF89a")], "NOT_AN_IMAGE"),
        ([_config(), _chunk(portrait_bytes("NO_FACE"))], "NO_FACE"),
        ([b"\xff"], "MALFORMED_MESSAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_uploads_are_refused(
    stages: FakeStages, messages: list[Request | bytes], reason: str
) -> None:
    responses, error = await exchange(stages.channel, CREATE, messages)

    assert responses == []
    assert isinstance(error, errors.InvalidInput)
    assert error.reason == reason
    await eventually(lambda: stages.num_held == 0)


async def test_refused_portrait_keeps_its_class(stages: FakeStages) -> None:
    _, error = await exchange(stages.channel, CREATE, [_config(), _chunk(b"GIF89a")])
    assert type(error) is errors.PortraitRejected


async def test_name_of_another_portrait_is_refused(stages: FakeStages) -> None:
    await exchange(stages.channel, CREATE, [_config(name="anna"), _chunk()])
    other = _chunk(portrait_bytes("bea"))
    _, error = await exchange(stages.channel, CREATE, [_config(name="anna"), other])
    assert isinstance(error, errors.AlreadyExists)


async def test_upload_that_trickles_ends_at_its_time_limit() -> None:
    async with serve_fakes(FakeStages(upload_timeout_s=0.1)) as stages:
        call = open_stream(stages.channel, CREATE)
        await call.write(_config())
        await call.write(_chunk())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(call))
        error = error_of(caught.value)
        assert isinstance(error, errors.Expired)
        assert error.reason == "UPLOAD_TIMEOUT"
        await eventually(lambda: stages.num_held == 0)


async def test_client_that_leaves_during_an_upload_leaves_nothing(
    stages: FakeStages, caplog: pytest.LogCaptureFixture
) -> None:
    call = open_stream(stages.channel, CREATE)
    await call.write(_config())
    await eventually(lambda: stages.slots.num_held == 1)
    call.cancel()
    await eventually(lambda: stages.num_held == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("method", ["GetAvatar", "DeleteAvatar"])
@pytest.mark.parametrize(
    ("name", "error_class", "reason"),
    [("No Name", errors.InvalidInput, "BAD_NAME"), ("nobody", errors.NotFound, "AVATAR_NOT_FOUND")],
)
async def test_bad_names_are_refused(
    stages: FakeStages, method: str, name: str, error_class: type, reason: str
) -> None:
    stub = encoder_pb2_grpc.EncoderServiceStub(stages.channel)
    request = getattr(encoder_pb2, f"{method}Request")(name=name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(request)
    error = error_of(caught.value)
    assert isinstance(error, error_class)
    assert error.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": -1}, "PAGE_SIZE_OUT_OF_RANGE"),
        ({"page_size": 1001}, "PAGE_SIZE_OUT_OF_RANGE"),
        ({"page_token": "!"}, "BAD_PAGE_TOKEN"),
    ],
)
async def test_bad_pages_are_refused(
    stages: FakeStages, fields: dict[str, object], reason: str
) -> None:
    stub = encoder_pb2_grpc.EncoderServiceStub(stages.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListAvatars(encoder_pb2.ListAvatarsRequest(**fields))  # type: ignore[arg-type]
    assert error_of(caught.value).reason == reason


@pytest.mark.parametrize(("key", "reason"), [("short", "BAD_KEY"), ("ab" * 32, "AVATAR_NOT_FOUND")])
async def test_latents_of_a_bad_key_are_refused(stages: FakeStages, key: str, reason: str) -> None:
    stub = encoder_pb2_grpc.EncoderServiceStub(stages.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.FetchLatents(encoder_pb2.FetchLatentsRequest(key=key)):
            pass
    assert error_of(caught.value).reason == reason


async def test_malformed_unary_request_is_refused(stages: FakeStages) -> None:
    call = stages.channel.unary_unary("/parlante.v1.EncoderService/GetAvatar")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff")
    assert error_of(caught.value).reason == "MALFORMED_MESSAGE"


async def test_latents_come_in_small_chunks_after_their_header(stages: FakeStages) -> None:
    info = await stages.encoder.create(portrait_bytes())
    stub = encoder_pb2_grpc.EncoderServiceStub(stages.channel)
    call: AsyncIterator[encoder_pb2.FetchLatentsResponse] = stub.FetchLatents(
        encoder_pb2.FetchLatentsRequest(key=info.key)
    )
    messages = [message async for message in call]

    assert messages[0].header.total_bytes == info.latent_bytes
    assert sum(len(message.chunk) for message in messages[1:]) == info.latent_bytes
    assert max(len(message.chunk) for message in messages[1:]) <= MIB
