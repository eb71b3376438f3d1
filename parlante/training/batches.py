"""Training batches: crops of the corpus, each time with another augmentation.

Axis letters: B batch, T frames, N mel hops, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from torch import Tensor

from parlante.models.audio_features import (
    HOPS_PER_FRAME,
    LOOK_AHEAD_HOPS,
    NUM_FEATURES,
    NormaliserState,
    normalise,
)
from parlante.models.layers.causal_conv import CONTEXT_HOPS
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.training.augment import augment
from parlante.training.corpus import Corpus
from parlante.training.takes import CLIP_FRAMES
from parlante.types import Float32Array

PRE_ROLL_FRAMES: Final = 100  # what the running normalisation has heard before a warm crop
COLD_SHARE: Final = 0.25
COLD_PRE_ROLL_FRAMES: Final = 2  # a stream hears so much of its look-ahead before its first block
LOOK_SHARES: Final = (0.15, 0.40, 0.15, 0.30)  # how often each look-ahead is trained
MAX_AHEAD_FRAMES: Final = max(LOOK_AHEAD_HOPS) // HOPS_PER_FRAME


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch.

    Attributes:
        features: float32 [B, CONTEXT_HOPS + 4 T, F], or [B, T, E] of a speech encoder.
        latents: float32 [B, T, D].
        controls: float32 [B, T, CONDITION_DIM].
        visemes: int64 [B, T], index into `VISEMES`, or `UNKNOWN_VISEME`.
        look: int64 [B], index into `LOOK_AHEAD_HOPS`; 0 and of no meaning with a speech encoder,
            whose features have the look-ahead of its config.
    """

    features: Tensor
    latents: Tensor
    controls: Tensor
    visemes: Tensor
    look: Tensor


BATCH_FIELDS: Final = tuple(field.name for field in fields(Batch))


def draw_batch(
    corpus: Corpus, clips: range, batch_size: int, num_frames: int, rng: np.random.Generator
) -> Batch:
    """Draw crops, as `draw_arrays` does, for the CPU."""
    arrays = draw_arrays(corpus, clips, batch_size, num_frames, rng)
    return Batch(*(torch.from_numpy(array) for array in arrays))


def draw_arrays(
    corpus: Corpus, clips: range, batch_size: int, num_frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Draw crops as arrays, the fields of a `Batch`.

    A quarter begin as a session does, without anything before them. With a speech encoder they
    begin where blocks begin, and with the sound before them: it hears back no further than its
    context, and clips begin with silence and with pauses often enough.
    """
    if corpus.speech:
        return _heard_crops(corpus, clips, batch_size, num_frames, rng)
    num_cold = round(COLD_SHARE * batch_size)
    cold = _crops(corpus, clips, num_cold, num_frames, COLD_PRE_ROLL_FRAMES, rng)
    warm = _crops(corpus, clips, batch_size - num_cold, num_frames, PRE_ROLL_FRAMES, rng)
    return tuple(np.concatenate(pair) for pair in zip(cold, warm, strict=True))


def _crops(
    corpus: Corpus,
    clips: range,
    count: int,
    num_frames: int,
    pre_roll: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    mels, latents, controls, visemes = [], [], [], []
    looks = rng.choice(len(LOOK_AHEAD_HOPS), size=count, p=LOOK_SHARES)
    last = CLIP_FRAMES - num_frames - MAX_AHEAD_FRAMES
    for look in looks:
        clip = int(rng.integers(clips.start, clips.stop))
        take = int(rng.integers(corpus.latents.shape[1]))
        start = int(rng.integers(pre_roll + 1, last + 1))
        mels.append(corpus.log_mel[clip, crop_hops(start, pre_roll, num_frames, look)])
        latents.append(corpus.latents[clip, take, start : start + num_frames])
        controls.append(corpus.conditions[clip, take, start : start + num_frames])
        visemes.append(corpus.visemes[clip, start : start + num_frames])
    energies = augment(np.stack(mels).astype(np.float32), rng)
    return (
        crop_features(energies, num_frames),
        np.stack(latents).astype(np.float32),
        np.stack(controls).astype(np.float32),
        np.stack(visemes).astype(np.int64),
        looks.astype(np.int64),
    )


def crop_hops(start: int, pre_roll: int, num_frames: int, look: int) -> slice:
    """Give the hops of a clip that a crop hears.

    Args:
        start: First frame of the crop.
        pre_roll: Frames that are heard before it.
        num_frames: T of the crop.
        look: Index into `LOOK_AHEAD_HOPS`.
    """
    ahead = LOOK_AHEAD_HOPS[look]
    return slice(
        (start - pre_roll) * HOPS_PER_FRAME + ahead, (start + num_frames) * HOPS_PER_FRAME + ahead
    )


def crop_features(energies: Float32Array, num_frames: int) -> Float32Array:
    """Turn the energies of crops and what was heard before them into what the network hears.

    Args:
        energies: float32 [B, N, M].
        num_frames: T of a crop, which ends with its last hop.

    Returns:
        float32 [B, CONTEXT_HOPS + 4 T, F]; silence where nothing was heard.
    """
    features, _ = normalise(energies, NormaliserState.fresh(len(energies)))
    context = np.zeros((len(energies), CONTEXT_HOPS, NUM_FEATURES), np.float32)
    padded = np.concatenate([context, features], axis=1)
    return padded[:, -(CONTEXT_HOPS + num_frames * HOPS_PER_FRAME) :]


def _heard_crops(
    corpus: Corpus, clips: range, count: int, num_frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Crops with features of a speech encoder."""
    features, latents, controls, visemes = [], [], [], []
    last = CLIP_FRAMES - num_frames - MAX_AHEAD_FRAMES
    for _ in range(count):
        clip = int(rng.integers(clips.start, clips.stop))
        take = int(rng.integers(corpus.latents.shape[1]))
        start = BLOCK_FRAMES * int(rng.integers(last // BLOCK_FRAMES + 1))
        end = start + num_frames
        features.append(np.load(corpus.speech[clip], mmap_mode="r")[start:end])
        latents.append(corpus.latents[clip, take, start:end])
        controls.append(corpus.conditions[clip, take, start:end])
        visemes.append(corpus.visemes[clip, start:end])
    return (
        np.stack(features).astype(np.float32),
        np.stack(latents).astype(np.float32),
        np.stack(controls).astype(np.float32),
        np.stack(visemes).astype(np.int64),
        np.zeros(count, np.int64),
    )
