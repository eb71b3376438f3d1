"""An encoder in memory: any bytes with an image's magic number are a portrait."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from parlante.errors import AlreadyExists, InvalidInput, NotFound, ParlanteError, PortraitRejected
from parlante.types import (
    AVATAR_SPACE,
    MOTION_DIM,
    AvatarInfo,
    AvatarLatents,
    FaceSelection,
    LatentSpec,
    TensorSpec,
)

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAGICS = (PNG_MAGIC, b"\xff\xd8\xff", b"RIFF")
FAKE_BUNDLE = "fa" * 32


def portrait_bytes(label: str = "anna", *, num_bytes: int = 64) -> bytes:
    """Make the bytes of a portrait; another label is another avatar.

    A label that is a reason of the portrait gate (NO_FACE, SEVERAL_FACES...) is refused with it.
    """
    return (PNG_MAGIC + b"label=" + label.encode() + b";").ljust(num_bytes, b"\0")


class FakeEncoder:
    """Implements `parlante.ports.Encoder`.

    Attributes:
        error: Raised by every method while it is set.
        num_encoded: Portraits that were not found in the cache.
        num_fetched: Calls of `latents`.
    """

    def __init__(self, *, bundle_digest: str = FAKE_BUNDLE) -> None:
        self.bundle_digest = bundle_digest
        self.error: ParlanteError | None = None
        self.num_encoded = 0
        self.num_fetched = 0
        self._avatars: dict[str, AvatarInfo] = {}
        self._latents: dict[str, AvatarLatents] = {}

    async def create(
        self, image: bytes, *, name: str = "", selection: FaceSelection | None = None
    ) -> AvatarInfo:
        """Accept what looks like an image; the key is the digest of bytes and selection."""
        self._raise_error()
        if not image.startswith(MAGICS):
            raise PortraitRejected("JPEG, PNG or WebP expected", reason="NOT_AN_IMAGE")
        label = image.partition(b"label=")[2].partition(b";")[0].decode()
        if label.isupper():
            raise PortraitRejected(f"the fake refuses this: {label}", reason=label)
        key = hashlib.sha256(image + repr(selection or FaceSelection()).encode()).hexdigest()
        name = name or f"a-{key[:16]}"
        known = self._avatars.get(name)
        if known is not None and known.key != key:
            raise AlreadyExists(f"{name} is another portrait", field="name")
        cached = key in self._latents
        if not cached:
            self.num_encoded += 1
            self._latents[key] = self._make_latents(key)
        info = known or AvatarInfo(
            name=name,
            key=key,
            bundle_digest=self.bundle_digest,
            created_unix_ms=1_700_000_000_000 + len(self._avatars),
            source_width_px=640,
            source_height_px=480,
            latent_bytes=self._latents[key].num_bytes,
            framing=(selection or FaceSelection()).framing,
        )
        self._avatars[name] = info
        return replace(info, from_cache=cached)

    async def get(self, name: str) -> AvatarInfo:
        """Look up by name."""
        self._raise_error()
        if name not in self._avatars:
            raise NotFound(f"no avatar {name!r}", reason="AVATAR_NOT_FOUND", field="name")
        return self._avatars[name]

    async def list(
        self, *, page_size: int = 50, page_token: str = ""
    ) -> tuple[list[AvatarInfo], str]:
        """List by name; the token is the last name of the page before."""
        self._raise_error()
        if page_token.startswith("!"):
            raise InvalidInput("unknown page token", reason="BAD_PAGE_TOKEN", field="page_token")
        names = sorted(name for name in self._avatars if name > page_token)
        page = [self._avatars[name] for name in names[:page_size]]
        return page, (page[-1].name if len(names) > page_size else "")

    async def delete(self, name: str) -> None:
        """Forget a name, and its latents with the last one."""
        key = (await self.get(name)).key
        del self._avatars[name]
        if all(info.key != key for info in self._avatars.values()):
            del self._latents[key]

    async def latents(self, key: str) -> AvatarLatents:
        """Give latents of the real layout; all pixels are the first byte of the key."""
        self._raise_error()
        self.num_fetched += 1
        if key not in self._latents:
            raise NotFound(f"no latents {key[:8]}", reason="AVATAR_NOT_FOUND", field="key")
        return self._latents[key]

    async def warm_up(self) -> None:
        """Nothing to warm."""

    async def aclose(self) -> None:
        """Forget everything."""
        self._avatars.clear()
        self._latents.clear()

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error

    def _make_latents(self, key: str) -> AvatarLatents:
        shade = int(key[:2], 16)
        tensors: dict[str, np.ndarray[Any, Any]] = {
            "background": np.full((512, 512, 3), shade, dtype=np.uint8),
            "canonical": np.zeros((468, 3), dtype=np.float32),
            "identity": np.frombuffer(bytes.fromhex(key), dtype=np.uint8).astype(np.float32),
            "image": np.full((512, 512, 3), shade, dtype=np.uint8),
            "landmarks": np.full((478, 3), 256.0, dtype=np.float32),
            "matte": np.full((512, 512), 255, dtype=np.uint8),
            "source_motion": np.zeros(MOTION_DIM, dtype=np.float32),
        }
        for tensor in tensors.values():
            tensor.flags.writeable = False
        specs = tuple(
            TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
            for name, tensor in sorted(tensors.items())
        )
        spec = LatentSpec(space=AVATAR_SPACE, bundle_digest=self.bundle_digest, tensors=specs)
        return AvatarLatents(key=key, spec=spec, tensors=MappingProxyType(tensors))
