"""Crops of voices, each heard twice: close by, and across a room, through noise or a telephone.

Noise and rooms are heard once for all, as part of the sound; telephones are drawn with each crop.

Axis letters: C clips, R rooms, N mel hops, M mel bands, B batch, T frames, F features.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.audio_features import LOOK_AHEAD_HOPS
from parlante.training.augment import hear_twice
from parlante.training.batches import (
    COLD_PRE_ROLL_FRAMES,
    COLD_SHARE,
    LOOK_SHARES,
    MAX_AHEAD_FRAMES,
    PRE_ROLL_FRAMES,
    crop_features,
    crop_hops,
)
from parlante.training.corpus import log_mel
from parlante.training.rooms.config import RoomsConfig
from parlante.training.rooms.noises import add_noise, draw_noise, through_microphone
from parlante.training.rooms.responses import draw_response, in_room
from parlante.training.takes import CLIP_FRAMES, load_or_record
from parlante.types import Float32Array

__all__ = ["Heard", "Pairs", "collect", "draw_pairs"]

_VERSION: Final = 2  # of rooms and noises; part of the cache key
_BACKGROUND_VOICES: Final = 8  # clips before, whose speakers talk in the background
_CROP_FRAMES: Final = CLIP_FRAMES - MAX_AHEAD_FRAMES

Heard = npt.NDArray[np.float16]  # [C, 1 + R, N, M], log of energy above the floor; close by first


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """One batch.

    Attributes:
        well: float32 [B, CONTEXT_HOPS + 4 T, F], what is heard close by.
        badly: float32 of the same shape, the same voice in a room or through noise.
        look: int64 [B], index into `LOOK_AHEAD_HOPS`.
    """

    well: Tensor
    badly: Tensor
    look: Tensor


def collect(config: RoomsConfig, cache: Path) -> Heard:
    """Hear all clips of a run, which are kept in the cache.

    Args:
        config: The run.
        cache: Folder of all takes.

    Raises:
        EngineMissing: A voice is not installed.
    """
    told = (
        *(_VERSION, sorted(config.spoken.items()), config.takes_seed),
        *(config.num_rooms, config.noisy_share, config.close_share),
    )
    path = cache / f"rooms-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        clips, others = [], deque[Float32Array](maxlen=_BACKGROUND_VOICES)
        for population, count in config.spoken.items():
            takes = load_or_record(population, count, config.takes_seed, cache)
            for index, take in enumerate(takes):
                rng = np.random.default_rng((config.takes_seed, 9, index))
                clips.append(_hear(take.audio, others, config, rng))
                others.append(take.audio)
        part = path.with_suffix(f".{os.getpid()}.part.npy")
        np.save(part, np.stack(clips))
        part.rename(path)
    heard: Heard = np.load(path)
    return heard


def _hear(
    audio: Float32Array,
    others: Sequence[Float32Array],
    config: RoomsConfig,
    rng: np.random.Generator,
) -> Heard:
    """One clip [1 + R, N, M]."""
    ways = [_disturb(audio, others, config, rng) for _ in range(config.num_rooms)]
    return np.stack([log_mel(sound) for sound in (audio, *ways)]).astype(np.float16)


def _disturb(
    audio: Float32Array,
    others: Sequence[Float32Array],
    config: RoomsConfig,
    rng: np.random.Generator,
) -> Float32Array:
    """Hear a clip across a room, through noise, or both."""
    is_noisy = rng.random() < config.noisy_share
    if not (is_noisy and rng.random() < config.close_share):
        audio = in_room(audio, draw_response(rng))
    if not is_noisy:
        return audio
    noise = draw_noise(len(audio), others, rng)
    return through_microphone(add_noise(audio, noise, rng), rng)


def draw_pairs(
    heard: Heard,
    clips: npt.NDArray[np.int_],
    config: RoomsConfig,
    batch_size: int,
    rng: np.random.Generator,
) -> Pairs:
    """Draw crops; as many as in all training begin as a session does, without anything before.

    Args:
        heard: Of `collect`.
        clips: Which of them.
        config: The run.
        batch_size: B.
        rng: Source of randomness.
    """
    num_cold = round(COLD_SHARE * batch_size)
    kinds = ((num_cold, COLD_PRE_ROLL_FRAMES), (batch_size - num_cold, PRE_ROLL_FRAMES))
    parts = [_crops(heard, clips, config, count, pre_roll, rng) for count, pre_roll in kinds]
    return Pairs(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))


def _crops(
    heard: Heard,
    clips: npt.NDArray[np.int_],
    config: RoomsConfig,
    count: int,
    pre_roll: int,
    rng: np.random.Generator,
) -> tuple[Float32Array, Float32Array, npt.NDArray[np.int64]]:
    looks = rng.choice(len(LOOK_AHEAD_HOPS), size=count, p=LOOK_SHARES)
    near: list[Float32Array] = []
    far: list[Float32Array] = []
    for look in looks:
        clip = int(rng.choice(clips))
        start = int(rng.integers(pre_roll + 1, _CROP_FRAMES - config.num_frames))
        in_a_room = rng.random() < config.room_share
        room = 1 + int(rng.integers(config.num_rooms)) if in_a_room else 0
        hops = crop_hops(start, pre_roll, config.num_frames, look)
        well, badly = (heard[clip, place, hops].astype(np.float32) for place in (0, room))
        spare = not in_a_room and rng.random() < config.spared_share
        for kept, energies in zip(
            (near, far), hear_twice(well, badly, rng, spare=spare), strict=True
        ):
            kept.append(energies)
    T = config.num_frames
    return (
        crop_features(np.stack(near), T),
        crop_features(np.stack(far), T),
        looks.astype(np.int64),
    )
