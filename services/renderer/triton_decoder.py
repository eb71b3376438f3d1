"""Decodes frames on Triton servers: the backend beside the in-process one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.errors import FailedPrecondition, InternalError, InvalidInput, Unsupported
from parlante.media.frame_encoding import EncodedPicture
from parlante.media.frame_encoding import warm_up as warm_up_encoding
from parlante.models.frame_look import FrameLook
from parlante.triton.layout import FrameRow, RowResult, RowStatus
from parlante.types import (
    AVATAR_SPACE,
    FRAME_SIZE_PX,
    MOTION_DIM,
    AvatarLatents,
    Float32Array,
    FrameEncoding,
    RenderConfig,
    Uint8Array,
)
from services.renderer.capacity import Admission
from services.renderer.frame_scheduler import FrameQueue, FrameScheduler
from services.renderer.triton_instance import FrameServer
from services.renderer.worker_pool import WorkerPool

__all__ = ["TritonAvatar", "TritonDecoder"]

# A block of motion and a bit: enough to fill batches, little enough to be dropped when late.
MAX_AHEAD: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TritonAvatar:
    """An avatar that a server has prepared; its latents are kept for one that has not."""

    latents: AvatarLatents

    @property
    def num_bytes(self) -> int:
        """Memory held here."""
        return self.latents.num_bytes


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
        await self._pool.run(warm_up_encoding)
        await self.scheduler.start()

    async def prepare(self, latents: AvatarLatents, look: FrameLook) -> TritonAvatar:
        """Have a server prepare an avatar, by asking for a frame that nobody sees."""
        if look.key != FrameLook().key or "picture" in latents.tensors:
            raise Unsupported(
                f"a renderer on Triton makes frames of {FRAME_SIZE_PX} px before the portrait's "
                "own background; take the renderer 'inprocess' for other sizes, backgrounds and "
                "framings",
                reason="LOOK_NOT_ON_TRITON",
            )
        if latents.spec.space != AVATAR_SPACE:  # found here without sending it anywhere
            raise _wrong_space(latents)
        row = FrameRow(
            avatar_key=latents.key, motion=np.zeros(MOTION_DIM, np.float32), jpeg_quality=1
        )
        queue = self.scheduler.open()
        try:
            result = await self.scheduler.decode(queue, row, latents=latents)
        finally:
            self.scheduler.close(queue)
        _raise_unless_ok(result, latents)
        return TritonAvatar(latents=latents)

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
    ) -> Uint8Array | EncodedPicture:
        """Have one frame made; see `StreamDecoder.decode`."""
        row = FrameRow(avatar_key=avatar.latents.key, motion=motion, jpeg_quality=self._quality)
        result = await self._scheduler.decode(
            self._queue, row, latents=avatar.latents, deadline_s=deadline_s
        )
        _raise_unless_ok(result, avatar.latents)
        if result.pixels is not None:
            return result.pixels
        return EncodedPicture(data=result.jpeg, key_frame=True)


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
