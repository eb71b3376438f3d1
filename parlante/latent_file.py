"""Latents as bytes that cannot be mistaken for others: on disk and in shared caches.

Layout: magic, SHA-256 of the rest, then an npz without pickles; its entry ``__spec__`` is JSON with
the content key, so that bytes under a wrong name are damage and not another person's face.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from types import MappingProxyType
from typing import Final

import numpy as np

from parlante.types import AvatarLatents, LatentSpec, TensorSpec

__all__ = ["DAMAGE", "pack_latents", "unpack_latents"]

MAGIC: Final = b"PARLAVA1"
SPEC_ENTRY: Final = "__spec__"
_DIGEST_BYTES: Final = 32
# What `unpack_latents` raises for bytes that are not what they should be.
DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


def pack_latents(latents: AvatarLatents) -> bytes:
    """Write latents."""
    spec = {
        "space": latents.spec.space,
        "bundle_digest": latents.spec.bundle_digest,
        "key": latents.key,
    }
    entry = np.frombuffer(json.dumps(spec).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{SPEC_ENTRY: entry, **latents.tensors})
    payload = buffer.getvalue()
    return MAGIC + hashlib.sha256(payload).digest() + payload


def unpack_latents(key: str, content: bytes, *, key_required: bool = False) -> AvatarLatents:
    """Read latents; their arrays are read-only.

    Args:
        key: The content key that they must be of.
        content: What `pack_latents` gave.
        key_required: False also takes what was written before keys were part of it.

    Raises:
        Exception: One of `DAMAGE`, for anything else.
    """
    head = len(MAGIC)
    digest, payload = content[head : head + _DIGEST_BYTES], content[head + _DIGEST_BYTES :]
    if content[:head] != MAGIC or hashlib.sha256(payload).digest() != digest:
        raise ValueError("checksum mismatch")
    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
        spec = json.loads(data[SPEC_ENTRY].tobytes())
        tensors = {name: data[name] for name in sorted(data.files) if name != SPEC_ENTRY}
    if spec.get("key", None if key_required else key) != key:
        raise ValueError("latents of another key")
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return AvatarLatents(
        key=key,
        spec=LatentSpec(
            space=spec["space"],
            bundle_digest=spec["bundle_digest"],
            tensors=tuple(
                TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
                for name, tensor in tensors.items()
            ),
        ),
        tensors=MappingProxyType(tensors),
    )
