"""Videos with sound: any rate and format that FFmpeg reads, on one clock that starts at frame 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from parlante.errors import InvalidInput
from parlante.types import Float32Array, Uint8Array

__all__ = [
    "SOUND_RATE_HZ",
    "VIDEO_SUFFIXES",
    "VideoFrame",
    "find_videos",
    "read_frames",
    "read_sound",
]

SOUND_RATE_HZ: Final = 16_000
VIDEO_SUFFIXES: Final = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
_FALLBACK_FRAME_S: Final = 1 / 25


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One picture: uint8 [H, W, 3] RGB, upright, and when it is shown after the first one, s."""

    time_s: float
    rgb: Uint8Array


def find_videos(paths: list[Path]) -> list[Path]:
    """Give the videos among files and in folders, in order.

    Raises:
        InvalidInput: FILE_NOT_FOUND or NO_VIDEOS.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
            found += sorted(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise InvalidInput(
                f"no video at {path}; check the path", reason="FILE_NOT_FOUND", field="video"
            )
    if not found:
        raise InvalidInput(
            f"expected videos ({', '.join(VIDEO_SUFFIXES)}) in {paths[0]}; there are none",
            reason="NO_VIDEOS",
            field="video",
        )
    return list(dict.fromkeys(found))


def read_frames(path: Path) -> Iterator[VideoFrame]:
    """Read the pictures one by one; a long video needs no more memory than a short one.

    Raises:
        InvalidInput: VIDEO_UNREADABLE.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise _unreadable(path, "it has no pictures")
            start_s: float | None = None
            last_s = -_FALLBACK_FRAME_S
            for frame in container.decode(container.streams.video[0]):
                time_s = frame.time if frame.time is not None else last_s + _FALLBACK_FRAME_S
                start_s = time_s if start_s is None else start_s
                last_s = time_s
                yield VideoFrame(time_s - start_s, _upright(frame))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def read_sound(path: Path) -> Float32Array:
    """Read the sound as float32 [S] at 16 kHz, mono; sample 0 is heard with the first picture.

    Raises:
        InvalidInput: VIDEO_UNREADABLE or NO_SOUND.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InvalidInput(
                    f"{path.name} has no sound; its lips cannot be judged",
                    reason="NO_SOUND",
                    field="video",
                )
            sound_s, parts = _decode_sound(container)
        with av.open(str(path)) as container:
            first = next(container.decode(video=0), None)
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    picture_s = float(first.time or 0.0) if first is not None else 0.0
    late = round((sound_s - picture_s) * SOUND_RATE_HZ)
    if late < 0:
        return samples[-late:]
    return np.concatenate([np.zeros(late, np.float32), samples])


def _decode_sound(container: av.container.InputContainer) -> tuple[float, list[Float32Array]]:
    """When the sound begins, and its pieces."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE_HZ)
    parts: list[Float32Array] = []
    start_s: float | None = None
    for frame in container.decode(audio=0):
        if start_s is None:
            start_s = float(frame.time or 0.0)
        parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    if parts:
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return start_s or 0.0, parts


def _upright(frame: av.VideoFrame) -> Uint8Array:
    """Pixels as a player shows them: telephones store a rotation beside the picture."""
    rgb: Uint8Array = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb


def _unreadable(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name} cannot be read as a video ({why})", reason="VIDEO_UNREADABLE", field="video"
    )
