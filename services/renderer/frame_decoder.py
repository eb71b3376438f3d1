"""Where frames are decoded: the seam beside which a Triton backend fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from parlante.media.frame_encoding import warm_up as warm_up_encoding
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.types import AvatarLatents, Float32Array, Uint8Array
from services.renderer.avatar_cache import Sized
from services.renderer.worker_pool import WorkerPool

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

__all__ = ["FrameDecoder", "InProcessDecoder"]

A = TypeVar("A", bound=Sized)


NO_FACE_NET: Final = "none"


class FrameDecoder(Protocol, Generic[A]):
    """Decodes frames of avatars that it has prepared."""

    async def warm_up(self) -> None:
        """Return once a first frame would be as fast as any other."""
        ...

    async def prepare(self, latents: AvatarLatents) -> A:
        """Make an avatar ready; raises `FailedPrecondition` for latents of another space."""
        ...

    async def decode(self, avatar: A, motion: Float32Array) -> Uint8Array:
        """Render motion float32 [60] to RGB, uint8 [512, 512, 3]."""
        ...

    async def aclose(self) -> None:
        """Free what the decoder holds; the worker pool is not its own."""
        ...


class InProcessDecoder:
    """Decodes on the renderer's own threads.

    Args:
        pool: Threads to run on.
        face_net: Network that retouches frames; see `open_retouch`.

    Raises:
        FailedPrecondition: The network's weights are missing.
    """

    def __init__(self, pool: WorkerPool, *, face_net: str = NO_FACE_NET) -> None:
        self._pool = pool
        self._decoder = Decoder(_open(face_net))

    async def warm_up(self) -> None:
        """Compile the pixel loops, or load them from their cache."""
        await self._pool.run(self._decoder.warm_up)
        await self._pool.run(warm_up_encoding)

    async def prepare(self, latents: AvatarLatents) -> PreparedAvatar:
        """Make an avatar ready, off the event loop."""
        return await self._pool.run(self._decoder.prepare, latents)

    async def decode(self, avatar: PreparedAvatar, motion: Float32Array) -> Uint8Array:
        """Render one frame, off the event loop."""
        return await self._pool.run(self._decoder.render, avatar, motion)

    async def aclose(self) -> None:
        """Nothing to free: scratch memory goes with the threads."""


def _open(face_net: str) -> FaceRetouch | None:
    if face_net == NO_FACE_NET:  # needs no torch
        return None
    from parlante.models.face_retouch import open_retouch

    return open_retouch(face_net)
