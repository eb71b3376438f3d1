"""Motion on portraits: one video each, or all in a grid."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parlante.aio import closing
from parlante.client import ParlanteClient
from parlante.errors import InternalError
from parlante.media.audio_file import Recording
from parlante.media.frame_encoding import H264Encoder
from parlante.media.grid import Grid
from parlante.media.mux import Mp4Writer
from parlante.types import (
    FaceSelection,
    Float32Array,
    FrameEncoding,
    RenderConfig,
    RenderedFrame,
    Uint8Array,
)

__all__ = ["RenderJob", "render_each", "render_grid"]

GRID_BITRATE_KBPS = 6000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderJob:
    """What to make.

    Attributes:
        portraits: Picture files.
        outputs: One path for each of them, or a single one for a grid.
        motion: float32 [T, 60].
        recording: Its sound, or None.
        face: Which face of the pictures.
    """

    portraits: tuple[Path, ...]
    outputs: tuple[Path, ...]
    motion: Float32Array
    recording: Recording | None
    face: FaceSelection


async def render_each(
    client: ParlanteClient, job: RenderJob, advance: Callable[[], object]
) -> None:
    """Write a video for every portrait.

    Raises:
        PortraitRejected: A picture is no usable portrait; the videos before it are kept.
    """
    for portrait, output in zip(job.portraits, job.outputs, strict=True):
        avatar = await client.create_avatar(portrait, face=job.face)
        config = RenderConfig(avatar_key=avatar.key, encoding=FrameEncoding.H264)
        num_frames = 0
        async with AsyncExitStack() as stack:
            frames = await stack.enter_async_context(closing(client.render(config, job.motion)))
            first = await anext(frames)
            writer = stack.enter_context(
                Mp4Writer(
                    output,
                    width_px=first.width_px,
                    height_px=first.height_px,
                    recording=job.recording,
                )
            )
            async for frame in _after(first, frames):
                writer.write_frame(frame.frame_index, frame.data, key_frame=frame.key_frame)
                num_frames += 1
                advance()
            _check_whole(num_frames, len(job.motion))


async def render_grid(
    client: ParlanteClient, job: RenderJob, advance: Callable[[], object]
) -> None:
    """Write one video of all portraits side by side.

    Raises:
        PortraitRejected: A picture is no usable portrait; no video is written.
        InvalidInput: There are too many portraits for a grid.
    """
    avatars = [await client.create_avatar(path, face=job.face) for path in job.portraits]
    async with AsyncExitStack() as stack:
        streams = []
        for avatar in avatars:
            config = RenderConfig(avatar_key=avatar.key, encoding=FrameEncoding.RGB24)
            frames = closing(client.render(config, job.motion))
            streams.append(await stack.enter_async_context(frames))
        firsts = [await anext(stream) for stream in streams]
        grid = Grid(
            num_cells=len(streams),
            cell_width_px=firsts[0].width_px,
            cell_height_px=firsts[0].height_px,
        )
        width_px, height_px = grid.size_px
        encoder = H264Encoder(
            bitrate_kbps=GRID_BITRATE_KBPS, width_px=width_px, height_px=height_px
        )
        stack.callback(encoder.close)
        writer = stack.enter_context(
            Mp4Writer(
                job.outputs[0], width_px=width_px, height_px=height_px, recording=job.recording
            )
        )
        for index in range(len(job.motion)):
            row = firsts if index == 0 else [await anext(stream) for stream in streams]
            picture = encoder.encode(grid.compose([_pixels(frame) for frame in row]))
            writer.write_frame(index, picture.data, key_frame=picture.key_frame)
            for _ in row:
                advance()


async def _after(
    first: RenderedFrame, rest: AsyncIterator[RenderedFrame]
) -> AsyncIterator[RenderedFrame]:
    yield first
    async for frame in rest:
        yield frame


def _pixels(frame: RenderedFrame) -> Uint8Array:
    return np.frombuffer(frame.data, np.uint8).reshape(frame.height_px, frame.width_px, -1)


def _check_whole(num_frames: int, num_expected: int) -> None:
    if num_frames != num_expected:
        raise InternalError(
            f"the server gave {num_frames} frames where the motion has {num_expected}; no video "
            "was written",
            reason="FRAMES_MISSING",
        )
