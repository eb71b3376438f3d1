"""Recordings: any file that libsndfile or FFmpeg reads becomes one channel of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
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

Float64Array = npt.NDArray[np.float64]
_Mix = Callable[[Float32Array], Float32Array]

# 30 minutes at 48 kHz are 346 MB of float32; longer speech belongs on a live session.
MAX_SECONDS: Final = 1800.0
_BLOCK_SAMPLES: Final = 65_536
# Energy of the mean of channels, as a share of what channels that know nothing of each other leave:
# 1 when a single one sounds, 2 for two that are equal. Less than this is left only of a channel and
# its own mirror image, such as a cable with swapped poles makes.
_MIN_LEFT_OF_MEAN: Final = 0.1


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

    The mix is the mean, unless the channels cancel each other out: then it is the loudest of them.

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
    mean = _Mean()
    samples, rate_hz = _read(path, max_seconds, mean.mix)
    loudest = mean.loudest_of_cancelled
    if loudest is not None:
        # Read again rather than kept all along: long files fit in memory as one channel only.
        samples, rate_hz = _read(path, max_seconds, lambda block: block[:, loudest].copy())
    return _checked(samples, rate_hz, path)


class _Mean:
    """Mixes blocks by their mean and finds out whether that is silence that should be sound."""

    def __init__(self) -> None:
        self._energies: Float64Array = np.zeros(1)
        self._energy = 0.0

    def mix(self, block: Float32Array) -> Float32Array:
        """Mix a block, float32 [S, channels] -> [S]."""
        mean = block.mean(axis=1)
        if block.shape[1] > 1:
            exact = block.astype(np.float64)  # whose squares cannot overflow
            self._energies = self._energies + np.einsum("sc,sc->c", exact, exact)
            self._energy += float(np.square(mean, dtype=np.float64).sum())
        return np.asarray(mean, np.float32)

    @property
    def loudest_of_cancelled(self) -> int | None:
        """The loudest channel when all that were mixed cancel each other out, else None."""
        unrelated = float(self._energies.sum()) / len(self._energies) ** 2
        if len(self._energies) > 1 and self._energy < _MIN_LEFT_OF_MEAN * unrelated:
            return int(self._energies.argmax())
        return None


def _read(path: Path, max_seconds: float, mix: _Mix) -> tuple[Float32Array, int]:
    """Decode a file and mix it block by block; gives the samples and their rate."""
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = int(file.samplerate)
            blocks = map(mix, _blocks_of_soundfile(file))
            return _collect(blocks, rate_hz, path, max_seconds), rate_hz
    except soundfile.LibsndfileError:  # not one of its formats; FFmpeg knows more
        return _read_with_ffmpeg(path, max_seconds, mix)


def _blocks_of_soundfile(file: soundfile.SoundFile) -> Iterator[Float32Array]:
    """Blocks as float32 [S, channels]."""
    yield from file.blocks(blocksize=_BLOCK_SAMPLES, dtype="float32", always_2d=True)


def _read_with_ffmpeg(path: Path, max_seconds: float, mix: _Mix) -> tuple[Float32Array, int]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise _unreadable(path, "it has no sound")
            stream = container.streams.audio[0]
            rate_hz = int(stream.rate)
            blocks = map(mix, _blocks_of_ffmpeg(container, stream))
            return _collect(blocks, rate_hz, path, max_seconds), rate_hz
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _blocks_of_ffmpeg(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[Float32Array]:
    """Blocks as float32 [S, channels]."""
    # The resampler only converts to planar float: rate and channels stay.
    resampler = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        for converted in resampler.resample(frame):
            yield converted.to_ndarray().T  # [channels, S] -> [S, channels]


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
