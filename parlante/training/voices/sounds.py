"""What the network that hears voices learns from: people who speak and sing, and music.

All of it is made once and kept as log-mel energies; no sound is stored.
Axis letters: C clips, N mel hops, M mel bands, T frames, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from parlante.training.corpus import log_mel
from parlante.training.music import play, write_piece
from parlante.training.no_speech import no_speech
from parlante.training.synthesizer import play_electronic
from parlante.training.takes import CLIP_FRAMES, CLIP_SAMPLES, Take, load_or_record
from parlante.training.visemes import Phone
from parlante.training.voices.config import VoicesConfig
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ

__all__ = ["Clips", "Sounds", "collect"]

_SPEED: Final = (0.72, 1.5)  # of singers of other sizes, whose pitch moves with it
_OTHER_PARTS: Final = 4  # sounds in a clip of others


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Clips of one kind.

    Attributes:
        log_mel: float16 [C, N, M], natural log of energy above the floor.
        voice: uint8 [C, T], 1 where somebody is heard.
    """

    log_mel: npt.NDArray[np.float16]
    voice: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """All there is: kinds of clips in which somebody speaks or sings, music, and the rest."""

    spoken: tuple[Clips, ...]
    sung: tuple[Clips, ...]
    music: Clips
    other: Clips


def collect(config: VoicesConfig, cache: Path) -> Sounds:
    """Make what is not in the cache, and read all of it."""
    cache.mkdir(parents=True, exist_ok=True)

    def kept(name: str, make: Callable[[], Iterator[Take]]) -> Clips:
        return _kept(cache / f"voices-{name}-{config.seed}.npz", make)

    def takes(population: str, count: int) -> Iterator[Take]:
        return load_or_record(population, count, config.seed, cache)

    def clips_of(population: str, count: int) -> Clips:
        return kept(f"{population}-{count}", lambda: takes(population, count))

    songs = [clips_of(name, count) for name, count in config.sung.items()]
    if "sung" in config.sung:
        count = config.sung["sung"]
        songs.append(kept(f"resized-{count}", lambda: _resized(takes("sung", count), config.seed)))
    return Sounds(
        spoken=tuple(clips_of(name, count) for name, count in config.spoken.items()),
        sung=tuple(songs),
        music=kept(f"music-{config.num_sampled}-{config.num_electronic}", lambda: _music(config)),
        other=kept(f"other-{config.num_other}", lambda: _other(config)),
    )


def _kept(path: Path, make: Callable[[], Iterator[Take]]) -> Clips:
    if not path.exists():
        mels, voices = zip(
            *((log_mel(take.audio).astype(np.float16), _voice(take)) for take in make()),
            strict=True,
        )
        part = path.with_suffix(".part.npz")
        np.savez(part, log_mel=np.stack(mels), voice=np.stack(voices))
        part.replace(path)
    with np.load(path) as stored:
        return Clips(stored["log_mel"], stored["voice"])


def _voice(take: Take) -> npt.NDArray[np.uint8]:
    voice = np.zeros(CLIP_FRAMES, np.uint8)
    for phone in take.phones:
        begin, end = phone.start_s * FRAME_RATE_HZ, phone.end_s * FRAME_RATE_HZ
        voice[int(begin) : int(np.ceil(end))] = 1
    return voice


def _resized(takes: Iterator[Take], seed: int) -> Iterator[Take]:
    """Larger and smaller singers: the same songs, slower and lower or faster and higher."""
    low, high = np.log(_SPEED)
    for index, take in enumerate(takes):
        speed = float(np.exp(np.random.default_rng((seed, 41, index)).uniform(low, high)))
        audio = soxr.resample(take.audio, MODEL_SAMPLE_RATE_HZ * speed, MODEL_SAMPLE_RATE_HZ)
        phones = [_stretched(phone, 1.0 / speed) for phone in take.phones]
        yield Take(audio.astype(np.float32), phones, take.amplitude)


def _stretched(phone: Phone, factor: float) -> Phone:
    return replace(phone, start_s=phone.start_s * factor, end_s=phone.end_s * factor)


def _music(config: VoicesConfig) -> Iterator[Take]:
    clip_s = CLIP_FRAMES / FRAME_RATE_HZ
    for index in range(config.num_sampled + config.num_electronic):
        rng = np.random.default_rng((config.seed, 47, index))
        piece = write_piece(clip_s, rng)
        is_sampled = index < config.num_sampled
        yield Take(play(piece) if is_sampled else play_electronic(piece, rng), [], 1.0)


def _other(config: VoicesConfig) -> Iterator[Take]:
    """Noise, breath, knocks and so on, one after another, with silence between some."""
    length = CLIP_SAMPLES // _OTHER_PARTS
    for index in range(config.num_other):
        rng = np.random.default_rng((config.seed, 53, index))
        parts = [no_speech(length, rng) * (rng.random() < 0.8) for _ in range(_OTHER_PARTS)]
        yield Take(np.concatenate(parts).astype(np.float32), [], 1.0)
