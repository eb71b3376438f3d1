"""Decodes frames on Triton servers: the backend beside the in-process one."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.errors import FailedPrecondition, InternalError, InvalidInput
from parlante.media.frame_encoding import warm_up as warm_up_encoding
from parlante.models.frame_look import FrameLook, check_look, frame_shape
from parlante.triton.layout import FrameRow, RowResult, RowStatus
from parlante.types import (
    AVATAR_SPACE,
    MOTION_DIM,
    AvatarLatents,
    Float32Array,
    FrameEncoding,
    RenderConfig,
    Uint8Array,
)
from services.renderer.capacity import Admission
from services.renderer.frame_decoder import ServedPicture
from services.renderer.frame_scheduler import AvatarParts, FrameQueue, FrameScheduler
from services.renderer.triton_instance import FrameServer
from services.renderer.worker_pool import WorkerPool

__all__ = ["TritonAvatar", "TritonDecoder"]

# A block of motion and a bit: enough to fill batches, little enough to be dropped when late.
MAX_AHEAD: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TritonAvatar:
    """An avatar in a look that a server has prepared.

    Attributes:
        parts: Kept for a server that has not.
        look_key: Of its look.
        shape: Height, width and channels of its frames.
    """

    parts: AvatarParts
    look_key: str
    shape: tuple[int, int, int]

    @property
    def num_bytes(self) -> int:
        """Memory held here."""
        backdrop = self.parts.backdrop
        return self.parts.latents.num_bytes + (0 if backdrop is None else backdrop.nbytes)

    def row(self, motion: Float32Array, jpeg_quality: int) -> FrameRow:
        """Ask for a frame."""
        return FrameRow(
            avatar_key=self.parts.latents.key,
            look_key=self.look_key,
            motion=motion,
            jpeg_quality=jpeg_quality,
            num_pixel_bytes=math.prod(self.shape),
        )


class TritonDecoder:
    """Implements `FrameDecoder` over one or more servers.

    JPEGs are made by the servers; other encodings get pixels, and are made by the engine.

    Args:
        servers: At least one; closed with the decoder.
        pool: For warming up what encodes in this process.

    Attributes:
        scheduler: What forms the batches.
        admission: What lets streams in.
    """

    max_ahead = MAX_AHEAD

    def __init__(self, servers: Sequence[FrameServer], pool: WorkerPool) -> None:
        self.scheduler = FrameScheduler(servers)
        self.admission = Admission(lambda: self.scheduler.rate_hz, self.scheduler.struggle)
        self._pool = pool

    async def warm_up(self) -> None:
        """Wait for a server and measure it; raises `Unavailable` if none comes."""
        await self._pool.live.run(warm_up_encoding)
        await self.scheduler.start()

    async def prepare(self, latents: AvatarLatents, look: FrameLook) -> TritonAvatar:
        """Have a server prepare an avatar, by asking for a frame that nobody sees."""
        if latents.spec.space != AVATAR_SPACE:  # found here without sending it anywhere
            raise _wrong_space(latents)
        check_look(latents, look)
        look_key = await self._pool.live.run(_key_of, look)
        _, backdrop_key = FrameLook.read(look_key)
        avatar = TritonAvatar(
            parts=AvatarParts(latents=latents, backdrop=look.picture, backdrop_key=backdrop_key),
            look_key=look_key,
            shape=frame_shape(latents, look),
        )
        has_alpha = avatar.shape[2] == 4
        row = avatar.row(np.zeros(MOTION_DIM, np.float32), jpeg_quality=0 if has_alpha else 1)
        queue = self.scheduler.open()
        try:
            result = await self.scheduler.decode(queue, row, parts=avatar.parts)
        finally:
            self.scheduler.close(queue)
        _raise_unless_ok(result, latents)
        return avatar

    @asynccontextmanager
    async def open(self, config: RenderConfig) -> AsyncIterator[_Stream]:
        """Begin a stream, if the measured speed of the servers allows another one."""
        with self.admission.hold():
            queue = self.scheduler.open()
            try:
                yield _Stream(self.scheduler, queue, config)
            finally:
                self.scheduler.close(queue)

    async def aclose(self) -> None:
        """End all streams and close the servers."""
        await self.scheduler.aclose()


class _Stream:
    """One stream's frames."""

    def __init__(self, scheduler: FrameScheduler, queue: FrameQueue, config: RenderConfig) -> None:
        self._scheduler = scheduler
        self._queue = queue
        self._quality = config.jpeg_quality if config.encoding is FrameEncoding.JPEG else 0

    async def decode(
        self, avatar: TritonAvatar, motion: Float32Array, deadline_s: float | None
    ) -> Uint8Array | ServedPicture:
        """Have one frame made; see `StreamDecoder.decode`."""
        row = avatar.row(motion, self._quality)
        result = await self._scheduler.decode(
            self._queue, row, parts=avatar.parts, deadline_s=deadline_s
        )
        _raise_unless_ok(result, avatar.parts.latents)
        if result.pixels is not None:
            return result.pixels
        height, width, _ = avatar.shape
        return ServedPicture(data=result.jpeg, width_px=width, height_px=height)


def _key_of(look: FrameLook) -> str:
    return look.key


def _raise_unless_ok(result: RowResult, latents: AvatarLatents) -> None:
    match result.status:
        case RowStatus.OK:
            return
        case RowStatus.AVATAR_REFUSED:
            raise _wrong_space(latents)
        case RowStatus.BAD_MOTION:
            raise InvalidInput(
                f"motion must be {MOTION_DIM} finite numbers", reason="NON_FINITE_MOTION"
            )
        case status:
            raise InternalError(
                "a frame could not be made; the log of the Triton server says more",
                reason="FRAME_FAILED",
                metadata={"status": status.name},
            )


def _wrong_space(latents: AvatarLatents) -> FailedPrecondition:
    return FailedPrecondition(
        f"avatar latents of space {AVATAR_SPACE} with all its tensors are needed; got "
        f"{latents.spec.space[:60]!r}; encode the portrait again",
        reason="LATENT_SPACE_MISMATCH",
    )
