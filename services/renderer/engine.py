"""The renderer engine: avatar and motion -> encoded frames."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InvalidInput, PortraitRejected
from parlante.media.frame_encoding import FrameEncoder, make_frame_encoder
from parlante.media.image import decode_image
from parlante.models.frame_look import FrameLook, fit_backdrop
from parlante.ports import LatentSource
from parlante.types import (
    ARKIT_CHANNELS,
    FRAME_SIZE_PX,
    GAZE_CHANNELS,
    MAX_GAZE_RAD,
    POSE_CHANNELS,
    BackgroundKind,
    Float32Array,
    Framing,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
    Uint8Array,
)
from services.renderer.avatar_cache import AvatarCache
from services.renderer.frame_decoder import (
    NO_FACE_NET,
    FrameDecoder,
    InProcessDecoder,
    ServedPicture,
)
from services.renderer.frames_ahead import FramesAhead
from services.renderer.triton_decoder import TritonDecoder
from services.renderer.triton_instance import FrameServer
from services.renderer.worker_pool import WorkerLane, WorkerPool

__all__ = ["RendererEngine", "clamp_motion", "look_of"]

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
        encoder: LatentSource,
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
        encoder: LatentSource,
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
            face_net: Network that retouches frames: none, nano, base, or a weights file.

        Raises:
            FailedPrecondition: The network's weights are missing.
        """
        pool = WorkerPool(num_threads or min(2, os.cpu_count() or 1))
        decoder = InProcessDecoder(pool, face_net=face_net)
        return cls(encoder, decoder=decoder, pool=pool, bundle_digest=bundle_digest)

    @classmethod
    def on_triton(
        cls, encoder: LatentSource, servers: Sequence[FrameServer], *, bundle_digest: str = ""
    ) -> RendererEngine:
        """Make an engine that decodes on Triton servers.

        Args:
            encoder: Where latents come from.
            servers: At least one; closed with the engine.
            bundle_digest: When given, latents of any other model bundle are refused.
        """
        pool = WorkerPool(min(2, os.cpu_count() or 1))
        decoder = TritonDecoder(servers, pool)
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
        async with closing(motion) as blocks, self._decoder.open(config) as decoder:
            threads = self._pool.lane(in_background=config.in_background)
            look = await threads.run(look_of, config)
            avatar = await self._avatars.get(
                f"{config.avatar_key} {look.key}", lambda: self._prepare(config, look)
            )
            frame_encoder: FrameEncoder | None = None
            try:
                frames = FramesAhead(decoder, avatar, config, max_ahead=self._decoder.max_ahead)
                async with closing(frames.run(_checked(blocks))) as decoded:
                    async for frame_index, frame in decoded:
                        if frame_encoder is None and isinstance(frame, np.ndarray):
                            height, width = frame.shape[:2]  # the first frame tells the size
                            frame_encoder = await threads.run(
                                make_frame_encoder, config, width_px=width, height_px=height
                            )
                        yield await _encode(frame, frame_index, frame_encoder, threads)
            finally:
                if frame_encoder is not None:
                    frame_encoder.close()

    async def _prepare(self, config: RenderConfig, look: FrameLook) -> Any:
        latents = await self._encoder.latents(config.avatar_key)
        if self._bundle_digest and latents.spec.bundle_digest != self._bundle_digest:
            raise FailedPrecondition(
                f"latents of bundle {self._bundle_digest[:12]} are needed; got "
                f"{latents.spec.bundle_digest[:12]!r}; encode the portrait again",
                reason="LATENT_SPACE_MISMATCH",
            )
        if "picture" in latents.tensors:  # the whole picture, which has one size and background
            height, width = latents.tensors["picture"].shape[:2]
            config.frame_size_of(Framing.FULL, width, height)
        return await self._decoder.prepare(latents, look)


async def _encode(
    frame: Uint8Array | ServedPicture | None,
    frame_index: int,
    frame_encoder: FrameEncoder | None,
    threads: WorkerLane,
) -> RenderedFrame:
    if frame is None:
        return RenderedFrame(frame_index=frame_index, data=b"", key_frame=False)
    if isinstance(frame, ServedPicture):
        return RenderedFrame(
            frame_index=frame_index,
            data=frame.data,
            key_frame=True,
            width_px=frame.width_px,
            height_px=frame.height_px,
        )
    assert frame_encoder is not None
    height, width = frame.shape[:2]
    picture = await threads.run(frame_encoder.encode, frame)
    return RenderedFrame(
        frame_index=frame_index,
        data=picture.data,
        key_frame=picture.key_frame,
        width_px=width,
        height_px=height,
    )


def look_of(config: RenderConfig) -> FrameLook:
    """Read what a stream wants of its frames beside motion.

    Raises:
        InvalidInput: The background is no picture, or too large; `reason` says why.
    """
    background = config.background
    is_picture = background.kind is BackgroundKind.PICTURE
    return FrameLook(
        size_px=config.frame_size_px or FRAME_SIZE_PX,
        background=background.kind,
        colour_rgb=background.colour_rgb,
        picture=_backdrop_from(background.picture) if is_picture else None,
    )


def _backdrop_from(data: bytes) -> Uint8Array:
    try:
        return fit_backdrop(decode_image(data))
    except PortraitRejected as error:  # what decodes pictures speaks of portraits
        raise InvalidInput(
            "the background must be a whole JPEG, PNG or WebP file of at most 64 megapixels; got "
            f"{len(data)} bytes that are none",
            reason=error.reason,
            field="background.picture",
        ) from error


async def _checked(blocks: AsyncIterator[MotionBlock]) -> AsyncIterator[MotionBlock]:
    """Give blocks that go on in time and can be shown."""
    next_frame = 0
    async with closing(blocks):
        async for block in blocks:
            _check_block(block, next_frame)
            next_frame = block.start_frame + len(block.values)
            yield replace(block, values=clamp_motion(block.values))


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
