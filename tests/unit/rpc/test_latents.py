"""Latents in pieces: a round trip, and every lie a sender could tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parlante.errors import InternalError
from parlante.rpc import latents as wire
from parlante.types import AvatarLatents, LatentSpec, TensorSpec
from parlante.v1 import encoder_pb2

KEY = "ab" * 32
Messages = list[encoder_pb2.FetchLatentsResponse]


def _latents(tensors: dict[str, np.ndarray[Any, Any]]) -> AvatarLatents:
    specs = tuple(
        TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
        for name, tensor in sorted(tensors.items())
    )
    spec = LatentSpec(space="parlante.avatar/1", bundle_digest="cd" * 32, tensors=specs)
    return AvatarLatents(key=KEY, spec=spec, tensors=tensors)


async def _read(messages: Iterable[encoder_pb2.FetchLatentsResponse]) -> AvatarLatents:
    async def stream() -> AsyncIterator[encoder_pb2.FetchLatentsResponse]:
        for message in messages:
            yield message

    return await wire.read_latents(KEY, stream())


_TENSORS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,10}", fullmatch=True),
    st.sampled_from(sorted(wire.DTYPES)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_side=1, max_side=5))
    ),
    min_size=1,
    max_size=4,
)


@given(_TENSORS)
async def test_round_trip_keeps_every_bit(tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    sent = _latents(tensors)
    got = await _read(wire.latent_messages(sent))
    assert (got.key, got.spec) == (sent.key, sent.spec)
    for name, tensor in tensors.items():
        assert got.tensors[name].tobytes() == tensor.tobytes()
        assert got.tensors[name].dtype == tensor.dtype
        assert not got.tensors[name].flags.writeable


async def test_strided_tensor_arrives_in_order() -> None:
    picture = np.arange(24, dtype=np.int32).reshape(4, 6)[:, ::2]
    got = await _read(wire.latent_messages(_latents({"picture": picture})))
    np.testing.assert_array_equal(got.tensors["picture"], picture)


async def test_large_tensor_travels_in_pieces() -> None:
    big = np.arange(300_000, dtype=np.float32).reshape(10, 30_000)
    messages = list(wire.latent_messages(_latents({"big": big})))
    assert len(messages) == 1 + 5
    got = await _read(messages)
    np.testing.assert_array_equal(got.tensors["big"], big)


def _header(messages: Messages) -> Any:
    return messages[0].header


def _set(path: str, value: object) -> Callable[[Messages], None]:
    def change(messages: Messages) -> None:
        target = _header(messages)
        *parents, last = path.split(".")
        for name in parents:
            target = target[int(name)] if name.isdigit() else getattr(target, name)
        setattr(target, last, value)

    return change


def _reshape(shape: list[int]) -> Callable[[Messages], None]:
    def change(messages: Messages) -> None:
        _header(messages).spec.tensors[0].shape[:] = shape

    return change


def _chunk(data: bytes) -> encoder_pb2.FetchLatentsResponse:
    return encoder_pb2.FetchLatentsResponse(chunk=data)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda m: m.clear(), id="nothing"),
        pytest.param(lambda m: m.pop(0), id="no-header"),
        pytest.param(lambda m: m.insert(1, m[0]), id="two-headers"),
        pytest.param(lambda m: m.insert(1, encoder_pb2.FetchLatentsResponse()), id="empty"),
        pytest.param(lambda m: m.pop(), id="too-few-bytes"),
        pytest.param(lambda m: m.append(_chunk(b"\0")), id="too-many-bytes"),
        pytest.param(_set("key", "ef" * 32), id="another-key"),
        pytest.param(_set("total_bytes", 2**40), id="total-too-large"),
        pytest.param(_set("total_bytes", 1), id="total-not-of-the-shapes"),
        pytest.param(_set("total_bytes", -1), id="total-negative"),
        pytest.param(_set("spec.tensors.0.dtype", "object"), id="dtype-object"),
        pytest.param(_set("spec.tensors.0.dtype", "float64"), id="dtype-unknown"),
        pytest.param(_set("spec.tensors.0.name", "zzz"), id="not-sorted"),
        pytest.param(_set("spec.tensors.0.name", "b"), id="same-name"),
        pytest.param(_reshape([-4]), id="negative-axis"),
        pytest.param(_reshape([0]), id="zero-axis"),
        pytest.param(_reshape([65_537]), id="long-axis"),
        pytest.param(_reshape([1] * 9), id="too-many-axes"),
        pytest.param(_reshape([65_536, 65_536, 65_536]), id="huge-shape"),
        pytest.param(lambda m: _header(m).spec.ClearField("tensors"), id="no-tensors"),
    ],
)
async def test_bad_stream_is_refused(change: Callable[[Messages], object]) -> None:
    tensors = {"a": np.zeros(4, np.float32), "b": np.zeros((2, 2), np.uint8)}
    messages = list(wire.latent_messages(_latents(tensors)))
    change(messages)
    with pytest.raises(InternalError) as caught:
        await _read(messages)
    assert caught.value.reason == "BAD_LATENTS"
