"""Where frames are decoded: the seam beside which a Triton backend fits."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from parlante.media.frame_encoding import warm_up as warm_up_encoding
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.frame_look import FrameLook
from parlante.types import AvatarLatents, Float32Array, Uint8Array
from services.renderer.avatar_cache import Sized
from services.renderer.worker_pool import WorkerPool

__all__ = ["FrameDecoder", "InProcessDecoder"]

A = TypeVar("A", bound=Sized)


class FrameDecoder(Protocol, Generic[A]):
    """Decodes frames of avatars that it has prepared."""

    async def warm_up(self) -> None:
        """Return once a first frame would be as fast as any other."""
        ...

    async def prepare(self, latents: AvatarLatents, look: FrameLook) -> A:
        """Make an avatar ready for frames of a look.

        Raises:
            FailedPrecondition: The latents are of another space.
            InvalidInput: The avatar cannot have that look.
        """
        ...

    async def decode(self, avatar: A, motion: Float32Array) -> Uint8Array:
        """Render motion float32 [60] to uint8 [H, W, 3], RGB, or [H, W, 4] with alpha."""
        ...

    async def aclose(self) -> None:
        """Free what the decoder holds; the worker pool is not its own."""
        ...


class InProcessDecoder:
    """Decodes on the renderer's own threads.

    Args:
        pool: Threads to run on.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._decoder = Decoder()

    async def warm_up(self) -> None:
        """Compile the pixel loops, or load them from their cache."""
        await self._pool.run(self._decoder.warm_up)
        await self._pool.run(warm_up_encoding)

    async def prepare(self, latents: AvatarLatents, look: FrameLook) -> PreparedAvatar:
        """Make an avatar ready, off the event loop."""
        return await self._pool.run(self._decoder.prepare, latents, look)

    async def decode(self, avatar: PreparedAvatar, motion: Float32Array) -> Uint8Array:
        """Render one frame, off the event loop."""
        return await self._pool.run(self._decoder.render, avatar, motion)

    async def aclose(self) -> None:
        """Nothing to free: scratch memory goes with the threads."""
