"""A renderer whose frames carry a marker instead of pixels."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from parlante.aio import closing
from parlante.errors import InvalidInput, ParlanteError
from parlante.ports import LatentSource
from parlante.types import (
    FRAME_SIZE_PX,
    MOTION_DIM,
    MOTION_INDEX,
    Float32Array,
    FrameEncoding,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
)

_HEADER = struct.Struct("<4s64s8sq")
_MAGIC = b"PFRM"
KEY_FRAME_INTERVAL = 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameMarker:
    """What a fake frame says of itself: avatar, encoding, frame index and its row of motion."""

    avatar_key: str
    encoding: FrameEncoding
    frame_index: int
    motion: Float32Array

    def channel(self, name: str) -> float:
        """Give one motion channel by name."""
        return float(self.motion[MOTION_INDEX[name]])


def read_marker(data: bytes) -> FrameMarker:
    """Read the marker of a fake frame."""
    magic, key, encoding, frame_index = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("no frame of FakeRenderer")
    motion = np.frombuffer(data, dtype="<f4", count=MOTION_DIM, offset=_HEADER.size)
    return FrameMarker(
        avatar_key=key.decode(),
        encoding=FrameEncoding(encoding.rstrip(b"\0").decode()),
        frame_index=frame_index,
        motion=motion.astype(np.float32),
    )


class FakeRenderer:
    """Implements `parlante.ports.Renderer`; H.264 has a key frame every 25, others always.

    Args:
        encoder: Where latents come from; None accepts any key.
        frame_bytes: Size that frames are padded to.
        delay_s: Wait before each frame.
        fail_at_frame: Raise `error` instead of this frame or the first after it.
        error: What to raise.

    Attributes:
        late_frames: Indexes of frames that come too late, and so without data.
        num_open: Streams that run now.
        num_opened: Streams that ever began.
        num_rendering: Streams that ever got motion, unlike those that only prepare.
        configs: Their configurations.
    """

    def __init__(
        self,
        encoder: LatentSource | None = None,
        *,
        frame_bytes: int = 0,
        delay_s: float = 0.0,
        fail_at_frame: int | None = None,
        error: ParlanteError | None = None,
    ) -> None:
        self._encoder = encoder
        self.frame_bytes = frame_bytes
        self.delay_s = delay_s
        self.fail_at_frame = fail_at_frame
        self.error = error
        self.late_frames: set[int] = set()
        self.num_open = 0
        self.num_opened = 0
        self.num_rendering = 0
        self.configs: list[RenderConfig] = []

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Give one marked frame per row of motion."""
        self.num_open += 1
        self.num_opened += 1
        self.configs.append(config)
        try:
            if self._encoder is not None:
                await self._encoder.latents(config.avatar_key)
            async with closing(motion):
                async for frame in self._frames(config, motion):
                    yield frame
        finally:
            self.num_open -= 1

    async def _frames(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        next_frame = 0
        num_rendered = 0
        async for block in motion:
            self.num_rendering += next_frame == 0
            if block.start_frame < next_frame:
                raise InvalidInput(
                    f"frames rise; expected >= {next_frame}, got {block.start_frame}",
                    reason="FRAME_ORDER",
                )
            for offset, row in enumerate(block.values):
                frame_index = block.start_frame + offset
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.error is not None and frame_index >= (self.fail_at_frame or 0):
                    raise self.error
                if frame_index in self.late_frames:
                    yield RenderedFrame(frame_index=frame_index, data=b"", key_frame=False)
                    continue
                yield self._frame(config, frame_index, row, num_rendered)
                num_rendered += 1
            next_frame = block.start_frame + len(block.values)

    def _frame(
        self, config: RenderConfig, frame_index: int, row: Float32Array, num_rendered: int
    ) -> RenderedFrame:
        header = _HEADER.pack(
            _MAGIC, config.avatar_key.encode(), config.encoding.value.encode(), frame_index
        )
        data = header + row.astype("<f4").tobytes()
        is_key = config.encoding is not FrameEncoding.H264 or num_rendered % KEY_FRAME_INTERVAL == 0
        return RenderedFrame(
            frame_index=frame_index,
            data=data.ljust(self.frame_bytes, b"\0"),
            key_frame=is_key,
            width_px=config.frame_size_px or FRAME_SIZE_PX,
            height_px=config.frame_size_px or FRAME_SIZE_PX,
        )

    async def warm_up(self) -> None:
        """Nothing to warm."""

    async def aclose(self) -> None:
        """Nothing to close."""
