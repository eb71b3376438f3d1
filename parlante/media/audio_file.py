"""Recordings: any file that libsndfile or FFmpeg reads becomes one channel of samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
import soundfile
import soxr

from parlante.errors import InvalidInput
from parlante.types import (
    MAX_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
    Float32Array,
    Int16Array,
)

__all__ = ["MAX_SECONDS", "Recording", "read_recording"]

# 30 minutes at 48 kHz are 346 MB of float32; longer speech belongs on a live session.
MAX_SECONDS: Final = 1800.0
_BLOCK_SAMPLES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """One channel of sound.

    Attributes:
        samples: float32 [S] in [-1, 1].
        sample_rate_hz: [8000, 48000].
    """

    samples: Float32Array
    sample_rate_hz: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def pcm16(self, sample_rate_hz: int) -> Int16Array:
        """Give int16 [S'] at another rate; S' = ceil(S * rate / own rate)."""
        samples = self.samples
        if sample_rate_hz != self.sample_rate_hz:
            samples = soxr.resample(samples, self.sample_rate_hz, sample_rate_hz, quality="HQ")
        pcm: Int16Array = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
        return pcm


def read_recording(path: Path, *, max_seconds: float = MAX_SECONDS) -> Recording:
    """Read a sound file, or the sound of a video, and mix its channels to one.

    Args:
        path: WAV, FLAC, OGG, MP3, M4A, MP4, WebM, ...; any rate and number of channels.
        max_seconds: Longer recordings are refused.

    Raises:
        InvalidInput: FILE_NOT_FOUND, AUDIO_UNREADABLE, AUDIO_EMPTY, AUDIO_TOO_LONG or
            AUDIO_NOT_FINITE.
    """
    if not path.is_file():
        raise InvalidInput(
            f"no audio file at {path}; check the path", reason="FILE_NOT_FOUND", field="audio"
        )
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = int(file.samplerate)
            samples = _collect(_blocks_of_soundfile(file), rate_hz, path, max_seconds)
    except soundfile.LibsndfileError:  # not one of its formats; FFmpeg knows more
        samples, rate_hz = _read_with_ffmpeg(path, max_seconds)
    return _checked(samples, rate_hz, path)


def _blocks_of_soundfile(file: soundfile.SoundFile) -> Iterator[Float32Array]:
    for block in file.blocks(blocksize=_BLOCK_SAMPLES, dtype="float32", always_2d=True):
        yield block.mean(axis=1)


def _read_with_ffmpeg(path: Path, max_seconds: float) -> tuple[Float32Array, int]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise _unreadable(path, "it has no sound")
            stream = container.streams.audio[0]
            rate_hz = int(stream.rate)
            blocks = _blocks_of_ffmpeg(container, stream)
            return _collect(blocks, rate_hz, path, max_seconds), rate_hz
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _blocks_of_ffmpeg(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[Float32Array]:
    # The resampler only converts to planar float: rate and channels stay.
    resampler = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        for converted in resampler.resample(frame):
            yield converted.to_ndarray().mean(axis=0)  # [channels, S] -> [S]


def _collect(
    blocks: Iterator[Float32Array], rate_hz: int, path: Path, max_seconds: float
) -> Float32Array:
    """Join blocks, stopping as soon as they are too long."""
    parts: list[Float32Array] = []
    num_samples = 0
    for block in blocks:
        parts.append(block)
        num_samples += len(block)
        if num_samples > max_seconds * rate_hz:
            raise InvalidInput(
                f"{path.name} is longer than {max_seconds / 60:g} minutes; "
                "cut it, or stream it through a live session",
                reason="AUDIO_TOO_LONG",
                field="audio",
            )
    if num_samples == 0:
        raise InvalidInput(
            f"{path.name} has no sound in it (0 samples); give a recording of speech",
            reason="AUDIO_EMPTY",
            field="audio",
        )
    return np.concatenate(parts)


def _checked(samples: Float32Array, rate_hz: int, path: Path) -> Recording:
    """Bring the rate into the range of the protocol and the values into [-1, 1]."""
    if not np.isfinite(samples).all():
        raise InvalidInput(
            f"{path.name} holds samples that are not numbers (NaN or infinity); export it again",
            reason="AUDIO_NOT_FINITE",
            field="audio",
        )
    target_hz = min(max(rate_hz, MIN_SAMPLE_RATE_HZ), MAX_SAMPLE_RATE_HZ)
    if target_hz != rate_hz:
        num_samples = math.ceil(len(samples) * target_hz / rate_hz)
        samples = soxr.resample(samples, rate_hz, target_hz, quality="HQ")[:num_samples]
    return Recording(
        samples=np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False),
        sample_rate_hz=target_hz,
    )


def _unreadable(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name} cannot be read as audio ({why}); give WAV, FLAC, OGG, MP3, M4A or a video",
        reason="AUDIO_UNREADABLE",
        field="audio",
    )
