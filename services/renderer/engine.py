"""The renderer engine: avatar and motion -> encoded frames."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InvalidInput
from parlante.media.frame_encoding import FrameEncoder, make_frame_encoder
from parlante.ports import Encoder
from parlante.types import (
    ARKIT_CHANNELS,
    GAZE_CHANNELS,
    MAX_GAZE_RAD,
    POSE_CHANNELS,
    Float32Array,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
)
from services.renderer.avatar_cache import AvatarCache
from services.renderer.frame_decoder import NO_FACE_NET, FrameDecoder, InProcessDecoder
from services.renderer.worker_pool import WorkerPool

__all__ = ["RendererEngine", "clamp_motion"]

MAX_AVATARS: Final = 32
MAX_AVATAR_BYTES: Final = 512 * 1024 * 1024

# What the warp can show without folds; beyond, a pose stops at its limit.
_POSE_LIMITS: Final = (0.52, 0.44, 0.60, 1.5, 1.5, 0.75)  # rad x 3, IOD x 2, log
_LOW: Final = np.array(
    [-v for v in _POSE_LIMITS] + [0.0] * len(ARKIT_CHANNELS) + [-MAX_GAZE_RAD] * len(GAZE_CHANNELS),
    np.float32,
)
_HIGH: Final = np.array(
    [*_POSE_LIMITS] + [1.0] * len(ARKIT_CHANNELS) + [MAX_GAZE_RAD] * len(GAZE_CHANNELS), np.float32
)
assert len(_POSE_LIMITS) == len(POSE_CHANNELS)


def clamp_motion(values: Float32Array) -> Float32Array:
    """Bring motion, float32 [T, 60], into the range that can be shown."""
    return np.clip(values, _LOW, _HIGH)


class RendererEngine:
    """Implements the port `Renderer`.

    Args:
        encoder: Where latents come from.
        decoder: Where frames are decoded.
        pool: Threads for decoding in process and for encoding frames; closed with the engine.
        bundle_digest: When given, latents of any other model bundle are refused.
        max_avatars: Prepared avatars to keep.
        max_avatar_bytes: Bound on their memory.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        decoder: FrameDecoder[Any],
        pool: WorkerPool,
        bundle_digest: str = "",
        max_avatars: int = MAX_AVATARS,
        max_avatar_bytes: int = MAX_AVATAR_BYTES,
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._pool = pool
        self._bundle_digest = bundle_digest
        self._avatars = AvatarCache[Any](max_entries=max_avatars, max_bytes=max_avatar_bytes)

    @classmethod
    def create(
        cls,
        encoder: Encoder,
        *,
        num_threads: int = 0,
        bundle_digest: str = "",
        face_net: str = NO_FACE_NET,
    ) -> RendererEngine:
        """Make an engine that decodes in this process.

        Args:
            encoder: Where latents come from.
            num_threads: 0 takes two, or one on a machine with one core.
            bundle_digest: When given, latents of any other model bundle are refused.
            face_net: Network that retouches frames: none, auto, nano, base, or a weights file.

        Raises:
            FailedPrecondition: The network's weights are missing.
        """
        pool = WorkerPool(num_threads or min(2, os.cpu_count() or 1))
        decoder = InProcessDecoder(pool, face_net=face_net)
        return cls(encoder, decoder=decoder, pool=pool, bundle_digest=bundle_digest)

    async def warm_up(self) -> None:
        """Return once a first frame would be as fast as any other."""
        await self._decoder.warm_up()

    async def aclose(self) -> None:
        """Free everything; streams that still run end with `Unavailable`."""
        await self._avatars.aclose()
        await self._decoder.aclose()
        await self._pool.aclose()

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Render one frame per row of motion, in order; see `Renderer.stream`."""
        async with closing(motion) as blocks:
            avatar = await self._avatars.get(
                config.avatar_key, lambda: self._prepare(config.avatar_key)
            )
            frame_encoder = await self._pool.run(make_frame_encoder, config)
            try:
                next_frame = 0
                async for block in blocks:
                    _check_block(block, next_frame)
                    rows = clamp_motion(block.values)
                    for frame_index, row in enumerate(rows, start=block.start_frame):
                        yield await self._render(avatar, row, frame_index, frame_encoder)
                    next_frame = block.start_frame + len(rows)
            finally:
                frame_encoder.close()

    async def _prepare(self, key: str) -> Any:
        latents = await self._encoder.latents(key)
        if self._bundle_digest and latents.spec.bundle_digest != self._bundle_digest:
            raise FailedPrecondition(
                f"latents of bundle {self._bundle_digest[:12]} are needed; got "
                f"{latents.spec.bundle_digest[:12]!r}; encode the portrait again",
                reason="LATENT_SPACE_MISMATCH",
            )
        return await self._decoder.prepare(latents)

    async def _render(
        self, avatar: Any, row: Float32Array, frame_index: int, frame_encoder: FrameEncoder
    ) -> RenderedFrame:
        pixels = await self._decoder.decode(avatar, row)
        picture = await self._pool.run(frame_encoder.encode, pixels)
        height, width = pixels.shape[:2]
        return RenderedFrame(
            frame_index=frame_index,
            data=picture.data,
            key_frame=picture.key_frame,
            width_px=width,
            height_px=height,
        )


def _check_block(block: MotionBlock, next_frame: int) -> None:
    if block.start_frame < next_frame:
        raise InvalidInput(
            f"motion must go on from frame {next_frame} or later; got frame {block.start_frame}",
            reason="FRAME_ORDER",
            field="start_frame",
        )
    if not np.isfinite(block.values).all():
        raise InvalidInput(
            f"motion must be finite numbers; the block at frame {block.start_frame} holds NaN or "
            "infinity",
            reason="NON_FINITE_MOTION",
            field="values",
        )
