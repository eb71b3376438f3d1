"""Models, tensors and codes that the Triton server and its callers agree on.

Both sides import this module: it knows neither Triton nor the decoder. B is the number of rows in
a request; a row is one frame of one avatar.

Model ``decoder``, batched over B:
    AVATAR: bytes [B, 1], content key of the avatar, or `PROBE_KEY`.
    MOTION: float32 [B, 60].
    QUALITY: int32 [B, 1], of the JPEG in [1, 100]; 0 asks for pixels.
    -> STATUS: int32 [B, 1], a `RowStatus`.
    -> PICTURE: bytes [B, 1], the JPEG; b"" for a row that failed or asked for pixels.
    -> FRAME: uint8 [B, 512, 512, 3], RGB, only if it is asked for; zeros for a row that failed.

Model ``avatar_store``, not batched:
    AVATAR: bytes [1], content key.
    LATENTS: uint8 [N], optional, from `pack_latents`: with it the call stores, else it fetches.
    -> LATENTS_OUT: uint8 [N], empty when it stored.
    A key that is not there is NOT_FOUND with `MISS` in the message.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy

from parlante.errors import FailedPrecondition
from parlante.types import (
    FRAME_SIZE_PX,
    AvatarLatents,
    Float32Array,
    LatentSpec,
    TensorSpec,
    Uint8Array,
)

__all__ = [
    "DECODER",
    "FRAME_BYTES",
    "MAX_LATENT_BYTES",
    "MAX_ROWS",
    "MISS",
    "PROBE_KEY",
    "STORE",
    "FrameRow",
    "RowResult",
    "RowStatus",
    "pack_latents",
    "unpack_latents",
]

DECODER: Final = "decoder"
STORE: Final = "avatar_store"
FRAME_BYTES: Final = FRAME_SIZE_PX * FRAME_SIZE_PX * 3
MAX_ROWS: Final = 8  # as max_batch_size of the decoder's configuration
MISS: Final = "AVATAR_MISS"
# An avatar that every decoder has from its start: for warm-up and for probes by real inference.
PROBE_KEY: Final = "probe"
MAX_LATENT_BYTES: Final = 64 * 1024 * 1024

_MAX_HEADER_BYTES: Final = 64 * 1024


class RowStatus(enum.IntEnum):
    """What became of a row."""

    OK = 0
    AVATAR_MISSING = 1  # store the latents, then ask again
    AVATAR_PREPARING = 2  # ask again in some milliseconds
    AVATAR_REFUSED = 3  # latents of another space: asking again does not help
    BAD_MOTION = 4  # not finite, or QUALITY out of range
    FAILED = 5  # a defect; the server's log says more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRow:
    """One frame to decode.

    Attributes:
        avatar_key: Content key, or `PROBE_KEY`.
        motion: float32 [60].
        jpeg_quality: [1, 100]; 0 asks for pixels.
    """

    avatar_key: str
    motion: Float32Array
    jpeg_quality: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowResult:
    """What became of a row.

    Attributes:
        status: OK, or why there is no picture.
        jpeg: The picture of a row that asked for one.
        pixels: uint8 [512, 512, 3] of a row that asked for those.
    """

    status: RowStatus
    jpeg: bytes = b""
    pixels: Uint8Array | None = None


def pack_latents(latents: AvatarLatents) -> Uint8Array:
    """Write latents as one safetensors file, uint8 [N]."""
    tensors = {name: np.ascontiguousarray(value) for name, value in latents.tensors.items()}
    metadata = {
        "key": latents.key,
        "space": latents.spec.space,
        "bundle_digest": latents.spec.bundle_digest,
    }
    data = safetensors.numpy.save(tensors, metadata)
    return np.frombuffer(data, np.uint8)


def unpack_latents(data: bytes) -> AvatarLatents:
    """Read what `pack_latents` wrote.

    Raises:
        FailedPrecondition: BAD_LATENTS, it is no such file or larger than `MAX_LATENT_BYTES`.
    """
    try:
        metadata = _metadata(data)
        tensors = safetensors.numpy.load(data)
        key, space = metadata["key"], metadata["space"]
        digest = metadata["bundle_digest"]
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise FailedPrecondition(
            f"avatar latents must be one safetensors file of at most {MAX_LATENT_BYTES} bytes; got "
            f"{len(data)} bytes that cannot be read ({type(error).__name__}); encode the portrait "
            "again",
            reason="BAD_LATENTS",
        ) from error
    specs = tuple(
        TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
        for name, tensor in sorted(tensors.items())
    )
    spec = LatentSpec(space=space, bundle_digest=digest, tensors=specs)
    return AvatarLatents(key=key, spec=spec, tensors=MappingProxyType(tensors))


def _metadata(data: bytes) -> dict[str, Any]:
    """Read the metadata of a safetensors file, which the library gives for files on disk only."""
    num_bytes = int.from_bytes(data[:8], "little")
    if len(data) > MAX_LATENT_BYTES or num_bytes > _MAX_HEADER_BYTES:
        raise ValueError("too large")
    metadata: dict[str, Any] = json.loads(data[8 : 8 + num_bytes])["__metadata__"]
    return metadata
