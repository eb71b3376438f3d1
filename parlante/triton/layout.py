"""Models, tensors and codes that the Triton server and its callers agree on.

Both sides import this module: it knows neither Triton nor the decoder. B is the number of rows in
a request; a row is one frame of one avatar.

Model ``decoder``, batched over B:
    ROW: bytes [B, 1], each of `pack_row`: quality of the JPEG in [1, 100] or 0 for pixels, int32;
        motion, float32 [60]; content key of the avatar, or `PROBE_KEY`; then, for all but the plain
        look, a space and the key of its look. One tensor, as each costs 0.04 ms of every call.
    -> RESULT: int32 [B, 6], a `RowStatus`, number of bytes, of pixels H, W, C, and where in the
        call's region the bytes begin, or `IN_DATA`.
    -> DATA: uint8 [B, N], the rows' JPEGs or pixels one after the other (not one in each row of the
        tensor: frames of a batch differ in size), B N bytes with what is left over at the end. Left
        out if there are none.
    Parameter `REGION` of a request: name of a `parlante.triton.regions.Region`. Pixels then are
        there if the model can open it, and in DATA if not.

Model ``avatar_store``, not batched:
    AVATAR: bytes [1], content key of latents or backdrop.
    LATENTS: uint8 [N], optional, from `pack_latents` or `pack_backdrop`: with it the call stores,
        else it fetches.
    -> LATENTS_OUT: uint8 [N], empty when it stored.
    A key that is not there is NOT_FOUND with `MISS` in the message.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from parlante.errors import FailedPrecondition
from parlante.types import (
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    MOTION_DIM,
    AvatarLatents,
    Float32Array,
    LatentSpec,
    TensorSpec,
    Uint8Array,
)

__all__ = [
    "DECODER",
    "IN_DATA",
    "MAX_CALL_ROWS",
    "MAX_LATENT_BYTES",
    "MAX_PIXEL_BYTES",
    "MAX_PROCESSES",
    "MAX_ROWS",
    "MISS",
    "PROBE_KEY",
    "REGION",
    "STORE",
    "DecoderSize",
    "FrameRow",
    "RowResult",
    "RowStatus",
    "backdrop_key_of",
    "check_stored",
    "join_results",
    "pack_backdrop",
    "pack_latents",
    "pack_row",
    "split_results",
    "unpack_backdrop",
    "unpack_latents",
    "unpack_row",
]

DECODER: Final = "decoder"
STORE: Final = "avatar_store"
# What is in a call waits and fails together, and what is at a server can no longer be dropped: so
# both are bounded, whatever a server would take.
MAX_CALL_ROWS: Final = 64
MAX_PROCESSES: Final = 15
MAX_ROWS: Final = 8  # max_batch_size of the decoder as it is configured here
# Of the pixels in one call: 8 usual frames with alpha, or one of a whole picture of 1920x1080.
MAX_PIXEL_BYTES: Final = 8 * FRAME_SIZE_PX * FRAME_SIZE_PX * 4
MISS: Final = "AVATAR_MISS"
# An avatar that every decoder has from its start: for warm-up and for probes by real inference.
PROBE_KEY: Final = "probe"
REGION: Final = "region"
IN_DATA: Final = -1
MAX_LATENT_BYTES: Final = 64 * 1024 * 1024

_MAX_HEADER_BYTES: Final = 64 * 1024
_BACKDROP: Final = "backdrop"
_NUM_TOLD: Final = 6
_NAME_BEGIN: Final = 4 * (1 + MOTION_DIM)

Int32Array = npt.NDArray[np.int32]
_NOTHING: Final[Uint8Array] = np.zeros(0, np.uint8)


class RowStatus(enum.IntEnum):
    """What became of a row."""

    OK = 0
    AVATAR_MISSING = 1  # store the latents, then ask again
    AVATAR_PREPARING = 2  # ask again in some milliseconds
    AVATAR_REFUSED = 3  # latents of another space, no such look: asking again does not help
    BAD_MOTION = 4  # not finite, or QUALITY out of range or for a frame with alpha
    FAILED = 5  # a defect; the server's log says more
    BACKDROP_MISSING = 6  # store the backdrop of the look, then ask again


class DecoderSize(NamedTuple):
    """How much a server's decoder takes.

    Attributes:
        num_rows: Rows of one batch.
        num_processes: Batches at once: its processes, of all its devices.
    """

    num_rows: int
    num_processes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRow:
    """One frame to decode.

    Attributes:
        avatar_key: Content key, or `PROBE_KEY`.
        motion: float32 [60].
        jpeg_quality: [1, 100]; 0 asks for pixels.
        look_key: Of how the frame looks; "" for the plain look.
        num_pixel_bytes: Of the frame's pixels, to find room for them.
    """

    avatar_key: str
    motion: Float32Array
    jpeg_quality: int
    look_key: str = ""
    num_pixel_bytes: int = FRAME_SIZE_PX * FRAME_SIZE_PX * 3

    @property
    def name(self) -> str:
        """What the avatar is called in its look."""
        return f"{self.avatar_key} {self.look_key}" if self.look_key else self.avatar_key


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowResult:
    """What became of a row.

    Attributes:
        status: OK, or why there is no picture.
        jpeg: The picture of a row that asked for one.
        pixels: uint8 [H, W, 3 or 4] of a row that asked for those.
        offset: Where the pixels begin in the region that they were drawn in; None if in none.
    """

    status: RowStatus
    jpeg: bytes = b""
    pixels: Uint8Array | None = None
    offset: int | None = None


def pack_row(row: FrameRow) -> bytes:
    """Write a row for ROW."""
    quality = row.jpeg_quality.to_bytes(4, "little", signed=True)
    return quality + row.motion.astype("<f4").tobytes() + row.name.encode()


def unpack_row(data: bytes) -> FrameRow:
    """Read what `pack_row` wrote; what is no such thing asks for an avatar that there is not."""
    if len(data) < _NAME_BEGIN:
        data = bytes(_NAME_BEGIN)
    # "replace": a key that is no text is one that nobody has stored.
    key, _, look_key = data[_NAME_BEGIN:].decode("utf-8", "replace").partition(" ")
    return FrameRow(
        avatar_key=key,
        look_key=look_key,
        # A copy: compiled code is made for arrays that may be written to.
        motion=np.frombuffer(data, "<f4", MOTION_DIM, 4).copy(),
        jpeg_quality=int.from_bytes(data[:4], "little", signed=True),
    )


def join_results(results: Sequence[RowResult]) -> tuple[Int32Array, Uint8Array | None]:
    """Make RESULT and DATA of one call; no DATA if there are no bytes."""
    told = np.zeros((len(results), _NUM_TOLD), np.int32)
    parts = []
    for row, result in zip(told, results, strict=True):
        part = np.frombuffer(result.jpeg, np.uint8)
        if result.pixels is not None:
            part = result.pixels.reshape(-1)
            row[2:5] = result.pixels.shape
        row[0], row[1] = result.status, part.size
        row[5] = IN_DATA if result.offset is None else result.offset
        if result.offset is None:
            parts.append(part)
    return told, _as_rows(parts, len(results))


def _as_rows(parts: Sequence[Uint8Array], num_rows: int) -> Uint8Array | None:
    """Lay bytes one after the other into a tensor [num_rows, N]; None if there are none."""
    num_bytes = sum(part.size for part in parts)
    if num_bytes == 0:
        return None  # no tensor may be empty
    if num_rows == 1:
        return parts[0][None]  # without a copy
    width = -(-num_bytes // num_rows)
    left_over = np.zeros(width * num_rows - num_bytes, np.uint8)
    return np.concatenate([*parts, left_over]).reshape(num_rows, width)


def split_results(
    told: Int32Array, data: Uint8Array | None, region: Uint8Array | None = None
) -> list[RowResult]:
    """Read RESULT and DATA; pixels are views of the data or the region.

    Args:
        told: RESULT.
        data: DATA, may be longer than needed; None if there was none.
        region: uint8 [N], the call's region.

    Raises:
        ValueError: They do not fit each other.
    """
    data = _NOTHING if data is None else data.reshape(-1)
    region = _NOTHING if region is None else region
    results, end = [], 0
    for status, num_bytes, *shape, offset in told.tolist():
        is_in_data = offset == IN_DATA
        source, start = (data, end) if is_in_data else (region, offset)
        part = source[start : start + num_bytes]
        if min(num_bytes, start) < 0 or len(part) != num_bytes:
            raise ValueError(f"a row of {num_bytes} bytes at {start} of {source.size}")
        if is_in_data:
            end += num_bytes
        is_pixels = num_bytes > 0 and shape[0] > 0
        results.append(
            RowResult(
                status=RowStatus(status),
                jpeg=b"" if is_pixels else part.tobytes(),
                pixels=part.reshape(shape) if is_pixels else None,
                offset=None if is_in_data else offset,
            )
        )
    return results


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


def backdrop_key_of(picture: Uint8Array) -> str:
    """The content key of a backdrop, uint8 [H, W, 3]: ``WIDTHxHEIGHT DIGEST``."""
    height, width = picture.shape[:2]
    return f"{width}x{height} {hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest()}"


def pack_backdrop(picture: Uint8Array) -> Uint8Array:
    """Write a backdrop, uint8 [H, W, 3], as one safetensors file, uint8 [N]."""
    data = safetensors.numpy.save({_BACKDROP: np.ascontiguousarray(picture)})
    return np.frombuffer(data, np.uint8)


def unpack_backdrop(data: bytes) -> Uint8Array:
    """Read what `pack_backdrop` wrote.

    Raises:
        FailedPrecondition: BAD_BACKDROP, it is no such file, or larger than any frame.
    """
    try:
        picture: Uint8Array = safetensors.numpy.load(data)[_BACKDROP]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError("no picture")
        if not 1 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= max(FRAME_SIZES_PX):
            raise ValueError("no such size")
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise FailedPrecondition(
            f"a backdrop must be one safetensors file of a picture of at most "
            f"{max(FRAME_SIZES_PX)} px; got {len(data)} bytes that are none "
            f"({type(error).__name__})",
            reason="BAD_BACKDROP",
        ) from error
    return picture


def check_stored(key: str, data: bytes) -> None:
    """Make sure that packed latents or a packed backdrop are what their key says.

    Raises:
        FailedPrecondition: They are not.
    """
    # Only the keys of backdrops have a blank in them.
    is_backdrop = " " in key
    own = backdrop_key_of(unpack_backdrop(data)) if is_backdrop else unpack_latents(data).key
    if own != key:
        raise FailedPrecondition(
            f"what is stored must be what its key says; got the key {key[:80]!r} for {own[:80]!r}",
            reason="KEY_MISMATCH",
        )


def _metadata(data: bytes) -> dict[str, Any]:
    """Read the metadata of a safetensors file, which the library gives for files on disk only."""
    num_bytes = int.from_bytes(data[:8], "little")
    if len(data) > MAX_LATENT_BYTES or num_bytes > _MAX_HEADER_BYTES:
        raise ValueError("too large")
    metadata: dict[str, Any] = json.loads(data[8 : 8 + num_bytes])["__metadata__"]
    return metadata
