"""Latents over the wire: a header with their layout, then their bytes in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from math import prod
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from parlante.errors import InternalError
from parlante.types import AvatarLatents, LatentSpec, TensorSpec
from parlante.v1 import common_pb2, encoder_pb2

# A quarter of what the protocol allows: serialising 1 MiB would block the event loop for 2 ms.
CHUNK_BYTES: Final = 256 * 1024
MAX_CHUNK_BYTES: Final = 1024 * 1024
MAX_LATENT_BYTES: Final = 64 * 1024 * 1024
MAX_TENSORS: Final = 64
MAX_AXES: Final = 8
MAX_AXIS: Final = 65_536
DTYPES: Final = frozenset({"uint8", "int16", "int32", "int64", "float16", "float32"})


def latent_messages(latents: AvatarLatents) -> Iterator[encoder_pb2.FetchLatentsResponse]:
    """Give the messages of a latent stream, header first; one chunk is copied at a time."""
    specs = [
        common_pb2.TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape)
        for spec in latents.spec.tensors
    ]
    header = encoder_pb2.LatentsHeader(
        key=latents.key,
        spec=common_pb2.LatentSpec(
            space=latents.spec.space, bundle_digest=latents.spec.bundle_digest, tensors=specs
        ),
        total_bytes=latents.num_bytes,
    )
    yield encoder_pb2.FetchLatentsResponse(header=header)
    for spec in latents.spec.tensors:
        tensor = np.ascontiguousarray(latents.tensors[spec.name])
        data = tensor.astype(_wire_dtype(spec.dtype), copy=False).data.cast("B")
        for offset in range(0, len(data), CHUNK_BYTES):
            yield encoder_pb2.FetchLatentsResponse(chunk=bytes(data[offset : offset + CHUNK_BYTES]))


async def read_latents(
    key: str, messages: AsyncIterator[encoder_pb2.FetchLatentsResponse]
) -> AvatarLatents:
    """Put the messages of a latent stream together again.

    Args:
        key: The key that was asked for.
        messages: The stream.

    Returns:
        The latents; their arrays are read-only.

    Raises:
        InternalError: BAD_LATENTS, the stream is not what the protocol promises: another key,
            a layout out of bounds, or more or fewer bytes than announced.
    """
    header: encoder_pb2.LatentsHeader | None = None
    data = bytearray()
    async for message in messages:
        match message.WhichOneof("message"):
            case "header" if header is None:
                header = message.header
                _check_header(key, header)
            case "chunk" if header is not None:
                data += message.chunk
                if len(message.chunk) > MAX_CHUNK_BYTES or len(data) > header.total_bytes:
                    raise _bad(f"at most {header.total_bytes} bytes, got more")
            case other:
                raise _bad(f"one header and then chunks, got {other or 'an empty message'}")
    if header is None:
        raise _bad("a header, got nothing")
    if len(data) != header.total_bytes:
        raise _bad(f"{header.total_bytes} bytes, got {len(data)}")
    return _assemble(header, bytes(data))


def _check_header(key: str, header: encoder_pb2.LatentsHeader) -> None:
    if header.key != key:
        raise _bad("the latents of the key that was asked for, got others")
    if not 0 <= header.total_bytes <= MAX_LATENT_BYTES:
        raise _bad(f"at most {MAX_LATENT_BYTES} bytes, got {header.total_bytes}")
    tensors = header.spec.tensors
    names = [tensor.name for tensor in tensors]
    if not names or len(names) > MAX_TENSORS or names != sorted(set(names)):
        raise _bad(f"1 to {MAX_TENSORS} tensors sorted by name, got {names[:MAX_TENSORS]}")
    for tensor in tensors:
        if tensor.dtype not in DTYPES:
            raise _bad(f"a dtype of {sorted(DTYPES)}, got {tensor.dtype[:40]!r}")
        if len(tensor.shape) > MAX_AXES or not all(1 <= axis <= MAX_AXIS for axis in tensor.shape):
            raise _bad(f"at most {MAX_AXES} axes of 1 to {MAX_AXIS}, got {tensor.shape[:9]}")
    total = sum(_num_bytes(tensor) for tensor in tensors)
    if total != header.total_bytes:
        raise _bad(f"total_bytes of {total} as the shapes say, got {header.total_bytes}")


def _assemble(header: encoder_pb2.LatentsHeader, data: bytes) -> AvatarLatents:
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    offset = 0
    for spec in header.spec.tensors:
        flat = np.frombuffer(data, _wire_dtype(spec.dtype), prod(spec.shape), offset)
        native = flat.astype(np.dtype(spec.dtype), copy=False).reshape(tuple(spec.shape))
        native.flags.writeable = False
        tensors[spec.name] = native
        offset += _num_bytes(spec)
    specs = tuple(
        TensorSpec(name=spec.name, dtype=spec.dtype, shape=tuple(spec.shape))
        for spec in header.spec.tensors
    )
    return AvatarLatents(
        key=header.key,
        spec=LatentSpec(
            space=header.spec.space, bundle_digest=header.spec.bundle_digest, tensors=specs
        ),
        tensors=MappingProxyType(tensors),
    )


def _wire_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


def _num_bytes(spec: common_pb2.TensorSpec) -> int:
    return prod(spec.shape) * np.dtype(spec.dtype).itemsize


def _bad(expected: str) -> InternalError:
    return InternalError(f"a latent stream must have {expected}", reason="BAD_LATENTS")
