"""Video files: pictures with their times, and the sound that belongs to them.

Time 0 is the first picture. Files in the wild have frame rates that vary, sound that begins late,
and ends that are damaged: pictures come with their own time, and sound is laid by its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from parlante.errors import InvalidInput
from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array, Uint8Array

__all__ = [
    "VIDEO_SUFFIXES",
    "Picture",
    "read_pictures",
    "read_sound",
    "sample_pictures",
    "told_seconds",
]

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm")
# 50 and 60 Hz are halved; 24 to 30 Hz stay, as whoever measures can interpolate between pictures.
MAX_RATE_HZ: Final = 31.0
MAX_SIDE_PX: Final = 1280
MAX_SECONDS: Final = 7200.0
_MAX_DRIFT_S: Final = 0.04  # of sound against its time stamps before it is laid anew


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One frame: seconds since the first, and uint8 [H, W, 3] RGB, upright."""

    time_s: float
    rgb: Uint8Array


def read_pictures(
    path: Path, *, max_side_px: int = MAX_SIDE_PX, max_seconds: float = MAX_SECONDS
) -> Iterator[Picture]:
    """Decode a video, one picture at a time; what follows a damaged place is left out.

    Args:
        path: Any file that FFmpeg reads.
        max_side_px: Larger pictures are scaled down.
        max_seconds: Where reading stops.

    Raises:
        InvalidInput: VIDEO_UNREADABLE or NO_PICTURES.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InvalidInput(
                    f"{path.name} has no pictures; give a video", reason="NO_PICTURES"
                )
            yield from _pictures(container, max_side_px, max_seconds)
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def _pictures(
    container: av.container.InputContainer, max_side_px: int, max_seconds: float
) -> Iterator[Picture]:
    stream = container.streams.video[0]
    step_s = 1.0 / float(stream.average_rate or 25)
    first_s, last_s, index = None, -np.inf, 0
    frames = iter(container.decode(stream))
    while True:
        try:
            frame = next(frames, None)
        except av.FFmpegError:
            if first_s is None:
                raise
            return
        if frame is None:
            return
        now_s = frame.time if frame.time is not None else index * step_s
        first_s = now_s if first_s is None else first_s
        index += 1
        time_s = now_s - first_s
        if time_s > max_seconds:
            return
        if time_s - last_s >= 1.0 / MAX_RATE_HZ:
            last_s = time_s
            yield Picture(time_s, _upright(frame, max_side_px))


def sample_pictures(path: Path, count: int, *, max_side_px: int = MAX_SIDE_PX) -> Iterator[Picture]:
    """Decode single pictures spread evenly over a video, without what lies between.

    Args:
        path: Any file that FFmpeg reads.
        count: How many; fewer come of a damaged file, none of one that does not say its length.
        max_side_px: Larger pictures are scaled down.

    Raises:
        InvalidInput: VIDEO_UNREADABLE.
    """
    try:
        with av.open(str(path)) as container:
            if container.streams.video and container.duration is not None:
                for index in range(count):
                    share = (index + 0.5) / count
                    picture = _picture_at(container, share, max_side_px)
                    if picture is not None:
                        yield picture
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def _picture_at(
    container: av.container.InputContainer, share: float, max_side_px: int
) -> Picture | None:
    """The picture at a share of a file's length; None where there is none."""
    start = container.start_time or 0
    at = start + int(share * container.duration)
    try:
        container.seek(at)  # to a key frame before it
        for frame in container.decode(container.streams.video[0]):
            if frame.time is None or frame.time * av.time_base >= at:
                return Picture((at - start) / av.time_base, _upright(frame, max_side_px))
    except av.FFmpegError:
        pass  # damaged here; there may be more behind it
    return None


def _upright(frame: av.VideoFrame, max_side_px: int) -> Uint8Array:
    """RGB, scaled down where it is large, turned as a player would."""
    zoom = min(1.0, max_side_px / max(frame.width, frame.height))
    width, height = (max(2, round(side * zoom)) for side in (frame.width, frame.height))
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def told_seconds(path: Path) -> float | None:
    """How long a file says it is, seconds; None when it does not say.

    Raises:
        InvalidInput: VIDEO_UNREADABLE.
    """
    try:
        with av.open(str(path)) as container:
            return None if container.duration is None else container.duration / av.time_base
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def read_sound(
    path: Path,
    *,
    max_seconds: float = MAX_SECONDS,
    sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ,
) -> Float32Array:
    """Read the sound of a video from its first picture on.

    Args:
        path: Any file that FFmpeg reads.
        max_seconds: Where reading stops.
        sample_rate_hz: Wanted rate.

    Returns:
        float32 [S], mono; pauses between time stamps are zeros.

    Raises:
        InvalidInput: VIDEO_UNREADABLE or NO_SOUND.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise _silent(path)
            start_s = _first_picture_s(container)
        with av.open(str(path)) as container:
            parts = _sound(container, start_s, sample_rate_hz, int(max_seconds * sample_rate_hz))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error
    sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(sound):
        raise _silent(path)
    return np.clip(np.nan_to_num(sound), -1.0, 1.0)


def _first_picture_s(container: av.container.InputContainer) -> float:
    if not container.streams.video:
        return 0.0
    frame = next(iter(container.decode(container.streams.video[0])), None)
    return 0.0 if frame is None or frame.time is None else float(frame.time)


def _sound(
    container: av.container.InputContainer, start_s: float, rate_hz: int, max_samples: int
) -> list[Float32Array]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    parts: list[Float32Array] = []
    at = 0  # samples laid so far; below 0 what lies before the first picture is still to drop
    begun = False
    blocks = _sound_blocks(container, resampler)
    for time_s, block in blocks:
        if time_s is not None:
            wanted = round((time_s - start_s) * rate_hz)
            if not begun or wanted - at > _MAX_DRIFT_S * rate_hz:
                parts.append(np.zeros(max(0, wanted - max(at, 0)), np.float32))
                at = wanted
        begun = True
        parts.append(block[max(0, -at) :])
        at += len(block)
        if at >= max_samples:
            break
    return parts


def _sound_blocks(
    container: av.container.InputContainer, resampler: av.AudioResampler
) -> Iterator[tuple[float | None, Float32Array]]:
    frames = iter(container.decode(container.streams.audio[0]))
    decoded = False
    while True:
        try:
            frame = next(frames, None)
        except av.FFmpegError:
            if not decoded:
                raise
            frame = None
        decoded = True
        for out in resampler.resample(frame):
            yield out.time, out.to_ndarray()[0]
        if frame is None:
            return


def _silent(path: Path) -> InvalidInput:
    return InvalidInput(f"{path.name} has no sound; give a video of speech", reason="NO_SOUND")


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    why = getattr(error, "strerror", None) or str(error)
    return InvalidInput(
        f"{path.name} cannot be read as a video ({why}); export it again", reason="VIDEO_UNREADABLE"
    )
