"""Motion on portraits: one video each, or all in a grid."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parlante.aio import closing
from parlante.cli.options import Look
from parlante.client import ParlanteClient
from parlante.errors import InternalError, PortraitRejected
from parlante.media.audio_file import Recording
from parlante.media.grid import Grid
from parlante.media.video_writer import frame_encoding_for, open_pixel_writer, open_writer
from parlante.types import (
    AvatarInfo,
    FaceSelection,
    Float32Array,
    FrameEncoding,
    RenderedFrame,
    Uint8Array,
    usual_bitrate_kbps,
)

__all__ = ["RenderJob", "make_avatars", "render_each", "render_grid"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderJob:
    """What to make.

    Attributes:
        avatars: Whose faces move.
        outputs: One path for each of them, or a single one for a grid.
        motion: float32 [T, 60].
        recording: Its sound, or None.
        look: What frames look like beside motion.
    """

    avatars: tuple[AvatarInfo, ...]
    outputs: tuple[Path, ...]
    motion: Float32Array
    recording: Recording | None
    look: Look = field(default_factory=Look)


async def make_avatars(
    client: ParlanteClient, portraits: Sequence[Path], face: FaceSelection
) -> tuple[AvatarInfo, ...]:
    """Make an avatar of every portrait.

    Args:
        client: Makes them.
        portraits: Picture files.
        face: Which face of the pictures, and how much of them.

    Raises:
        PortraitRejected: A picture is no usable portrait; the message begins with its name.
    """
    avatars = []
    for path in portraits:
        try:
            avatars.append(await client.create_avatar(path, face=face))
        except PortraitRejected as error:
            raise PortraitRejected(
                f"{path.name}: {error.message}",
                reason=error.reason,
                field=error.field,
                metadata=error.metadata,
            ) from error
    return tuple(avatars)


async def render_each(
    client: ParlanteClient, job: RenderJob, advance: Callable[[], object]
) -> None:
    """Write a video of every avatar."""
    for avatar, output in zip(job.avatars, job.outputs, strict=True):
        config = job.look.config(avatar, frame_encoding_for(output))
        num_frames = 0
        async with AsyncExitStack() as stack:
            frames = await stack.enter_async_context(closing(client.render(config, job.motion)))
            first = await anext(frames)
            writer = stack.enter_context(
                open_writer(
                    output,
                    width_px=first.width_px,
                    height_px=first.height_px,
                    recording=job.recording,
                    has_alpha=job.look.is_clear,
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
    """Write one video of all avatars side by side.

    Raises:
        InvalidInput: There are too many for a grid.
    """
    async with AsyncExitStack() as stack:
        streams = []
        for avatar in job.avatars:
            frames = client.render(job.look.config(avatar, FrameEncoding.RGBA32), job.motion)
            streams.append(await stack.enter_async_context(closing(frames)))
        row = [await anext(stream) for stream in streams]
        grid = Grid(
            num_cells=len(streams),
            cell_width_px=max(frame.width_px for frame in row),
            cell_height_px=max(frame.height_px for frame in row),
        )
        width_px, height_px = grid.size_px
        writer = stack.enter_context(
            open_pixel_writer(
                job.outputs[0],
                width_px=width_px,
                height_px=height_px,
                recording=job.recording,
                has_alpha=job.look.is_clear,
                bitrate_kbps=usual_bitrate_kbps(round(math.sqrt(width_px * height_px))),
            )
        )
        for index in range(len(job.motion)):
            if index > 0:
                row = [await anext(stream) for stream in streams]
            cells = grid.compose([_pixels(frame) for frame in row])
            writer.write_frame(index, cells.tobytes(), key_frame=True)
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
