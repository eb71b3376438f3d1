"""Crops to hear voices in: alone, over music, that begin or end within the crop; music alone.

Sounds are put together as energies, so that every crop is new.
Axis letters: B batch, T frames, N mel hops, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.audio_features import (
    HOPS_PER_FRAME,
    NUM_FEATURES,
    NUM_MELS,
    NormaliserState,
    normalise,
)
from parlante.models.voice_net import EARLIER_HOPS
from parlante.training.augment import augment, loudness_of
from parlante.training.voices.sounds import Clips, Sounds
from parlante.types import Float32Array

__all__ = ["VoiceBatch", "draw_voices"]

MUSIC_SHARE, OTHER_SHARE, SUNG_SHARE = 0.26, 0.05, 0.45  # the last of what has a voice
ACCOMPANIED, BROKEN, MUFFLED = 0.5, 0.35, 0.3
SNR_DB: Final = (-3.0, 22.0)
# A voice still counts some frames after it ended, and counts from when its sound is first heard.
BEFORE_FRAMES, AFTER_FRAMES = 15, 2
QUIET: Final = 1.0  # mean of bands, nats above the floor
QUIET_WEIGHT, FIRST_WEIGHT, FIRST_FRAMES = 0.3, 0.2, 5
_GONE: Final = 1e-3  # what is left of an energy that is faded out
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VoiceBatch:
    """One batch.

    Attributes:
        features: float32 [B, EARLIER_HOPS + 4 T, F] of `audio_features.normalise`.
        wanted: float32 [B, T], 1 for a voice, and for quiet: what follows it may be one.
        weight: float32 [B, T], how much an error counts.
    """

    features: Float32Array
    wanted: Float32Array
    weight: Float32Array


def draw_voices(
    sounds: Sounds, batch_size: int, num_frames: int, rng: np.random.Generator
) -> VoiceBatch:
    """Draw crops.

    Args:
        sounds: What there is.
        batch_size: B.
        num_frames: T.
        rng: Source of randomness.
    """
    drawn = [_example(sounds, num_frames, rng) for _ in range(batch_size)]
    log_mel = np.stack([np.log(energy + 1.0) for energy, _ in drawn]).astype(np.float32)
    voice = np.stack([voice for _, voice in drawn])
    features, _ = normalise(augment(log_mel, rng), NormaliserState.fresh(batch_size))
    before = np.zeros((batch_size, EARLIER_HOPS, NUM_FEATURES), np.float32)
    padded = np.pad(voice, ((0, 0), (BEFORE_FRAMES, AFTER_FRAMES)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, BEFORE_FRAMES + AFTER_FRAMES + 1, 1)
    wanted = windows.max(axis=2)
    level = log_mel[:, :, 2:34].mean(axis=2).reshape(batch_size, num_frames, HOPS_PER_FRAME)
    quiet = (level.max(axis=2) <= QUIET) & (wanted == 0)
    weight = np.where(quiet, np.float32(QUIET_WEIGHT), np.float32(1.0))
    weight[:, :FIRST_FRAMES] = FIRST_WEIGHT
    return VoiceBatch(
        np.concatenate([before, features], axis=1),
        np.where(quiet, 1, wanted).astype(np.float32),
        weight,
    )


def _example(
    sounds: Sounds, num_frames: int, rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Energy above the floor [N, M], in units of it, and where there is a voice [T]."""
    kind = rng.random()
    voice = np.zeros(num_frames, np.uint8)
    if kind < MUSIC_SHARE:
        energy = _music(sounds.music, num_frames, rng)
    elif kind < MUSIC_SHARE + OTHER_SHARE:
        energy, _ = _crop(sounds.other, num_frames, rng)
    else:
        sings = rng.random() < SUNG_SHARE and sounds.sung
        kinds = sounds.sung if sings else sounds.spoken
        energy, voice = _crop(kinds[int(rng.integers(len(kinds)))], num_frames, rng)
        if rng.random() < BROKEN:
            here = _one_side(num_frames, rng)
            energy, voice = _faded(energy, here), voice * here
        if rng.random() < ACCOMPANIED:
            energy = energy + _accompaniment(energy, sounds.music, num_frames, rng)
    if rng.random() < MUFFLED:
        above = np.clip(np.arange(NUM_MELS) - rng.integers(6, 36), 0, NUM_MELS)
        energy = energy * np.exp(-above * rng.uniform(0.15, 1.0))
    return energy, voice


def _crop(
    clips: Clips, num_frames: int, rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.uint8]]:
    clip = int(rng.integers(len(clips.log_mel)))
    start = int(rng.integers(clips.voice.shape[1] - num_frames + 1))
    hops = slice(start * HOPS_PER_FRAME, (start + num_frames) * HOPS_PER_FRAME)
    energy = np.expm1(clips.log_mel[clip, hops].astype(np.float64))
    return energy, clips.voice[clip, start : start + num_frames].copy()


def _music(music: Clips, num_frames: int, rng: np.random.Generator) -> Array:
    """One piece, or two at once."""
    energy, _ = _crop(music, num_frames, rng)
    if rng.random() < 0.3:
        energy = energy + _crop(music, num_frames, rng)[0] * np.exp(rng.normal())
    return energy


def _accompaniment(voice: Array, music: Clips, num_frames: int, rng: np.random.Generator) -> Array:
    """Music under a voice [N, M], in three of ten crops not from begin to end."""
    energy = _music(music, num_frames, rng)
    energy *= loudness_of(voice) / loudness_of(energy) * 10 ** (-rng.uniform(*SNR_DB) / 10)
    return _faded(energy, _one_side(num_frames, rng)) if rng.random() < 0.3 else energy


def _one_side(num_frames: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """1 before or after a place that is drawn, [T]."""
    after = np.arange(num_frames) >= rng.integers(num_frames // 8, num_frames - num_frames // 8)
    return (after if rng.random() < 0.5 else ~after).astype(np.uint8)


def _faded(energy: Array, here: npt.NDArray[np.uint8]) -> Array:
    hops = np.repeat(here, HOPS_PER_FRAME)[:, None]
    return np.asarray(energy * np.where(hops == 1, 1.0, _GONE))
