"""Where frames are decoded: the seam between the engine and its backends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from parlante.errors import Expired
from parlante.media.frame_encoding import warm_up as warm_up_encoding
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.frame_look import FrameLook
from parlante.types import AvatarLatents, Float32Array, RenderConfig, Uint8Array
from services.renderer.avatar_cache import Sized
from services.renderer.worker_pool import WorkerLane, WorkerPool

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

__all__ = ["FrameDecoder", "InProcessDecoder", "ServedPicture", "StreamDecoder"]

A = TypeVar("A", bound=Sized)
Contra = TypeVar("Contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPicture:
    """A frame that came encoded, each by itself.

    Attributes:
        data: Its bytes.
        width_px: Width.
        height_px: Height.
    """

    data: bytes
    width_px: int
    height_px: int


class StreamDecoder(Protocol, Generic[Contra]):
    """Decodes the frames of one stream."""

    async def decode(
        self, avatar: Contra, motion: Float32Array, deadline_s: float | None
    ) -> Uint8Array | ServedPicture:
        """Render one frame.

        Args:
            avatar: From `FrameDecoder.prepare`.
            motion: float32 [60].
            deadline_s: By the event loop's clock; None waits as long as it takes.

        Returns:
            RGB, uint8 [H, W, 3], with alpha [H, W, 4], or the picture, if the stream's encoding
            is one that the decoder makes itself.

        Raises:
            Expired: FRAME_LATE, the deadline passed.
        """
        ...


NO_FACE_NET: Final = "none"


class FrameDecoder(Protocol, Generic[A]):
    """Decodes frames of avatars that it has prepared.

    Attributes:
        max_ahead: Frames of a stream that may be on the way at once.
    """

    max_ahead: int

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

    def open(self, config: RenderConfig) -> AbstractAsyncContextManager[StreamDecoder[A]]:
        """Begin a stream; raises `Overloaded` when it has no room."""
        ...

    async def aclose(self) -> None:
        """Free what the decoder holds; the worker pool is not its own."""
        ...


# A frame of a stream costs more to draw than to encode, above all one that is retouched: drawn two
# at a time a lone stream keeps both of two cores busy.
FRAMES_AT_ONCE: Final = 2


class InProcessDecoder:
    """Decodes on the renderer's own threads.

    Args:
        pool: Threads to run on.
        face_net: Network that retouches frames; see `open_retouch`.

    Raises:
        FailedPrecondition: The network's weights are missing.
    """

    max_ahead = FRAMES_AT_ONCE

    def __init__(self, pool: WorkerPool, *, face_net: str = NO_FACE_NET) -> None:
        self._pool = pool
        self._decoder = Decoder(_open(face_net))

    async def warm_up(self) -> None:
        """Compile the pixel loops, or load them from their cache."""
        await self._pool.live.run(self._decoder.warm_up)
        await self._pool.live.run(warm_up_encoding)

    async def prepare(self, latents: AvatarLatents, look: FrameLook) -> PreparedAvatar:
        """Make an avatar ready, off the event loop; at once, as live streams may join the wait."""
        return await self._pool.live.run(self._decoder.prepare, latents, look)

    @asynccontextmanager
    async def open(self, config: RenderConfig) -> AsyncIterator[_InProcessStream]:
        """Begin a stream; whoever serves the engine counts them."""
        threads = self._pool.lane(in_background=config.in_background)
        yield _InProcessStream(self._decoder, threads)

    async def aclose(self) -> None:
        """Nothing to free: scratch memory goes with the threads."""


class _InProcessStream:
    """One stream's frames."""

    def __init__(self, decoder: Decoder, threads: WorkerLane) -> None:
        self._decoder = decoder
        self._threads = threads

    async def decode(
        self, avatar: PreparedAvatar, motion: Float32Array, deadline_s: float | None
    ) -> Uint8Array:
        """Render one frame, off the event loop."""
        return await self._threads.run(self._render, avatar, motion, deadline_s)

    def _render(
        self, avatar: PreparedAvatar, motion: Float32Array, deadline_s: float | None
    ) -> Uint8Array:
        # The event loop's clock is this one.
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise Expired("the frame came too late to be shown", reason="FRAME_LATE")
        return self._decoder.render(avatar, motion)


def _open(face_net: str) -> FaceRetouch | None:
    if face_net == NO_FACE_NET:  # needs no torch
        return None
    from parlante.models.face_retouch import open_retouch

    return open_retouch(face_net)
