"""Drawing one block of one stream: its noise, and the network's answer to it.

All chance is a function of seed and frame, so that a stream repeats itself whatever else goes on.
Axis letters: T frames, D latents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.motion_dit import BLOCK_FRAMES, Cache, MotionDiT
from parlante.models.motion_sampling import SamplerConfig, denoise_blocks
from parlante.models.motion_space import (
    FACE_SLICE,
    GAZE_SLICE,
    HEAD,
    HEAD_SLICE,
    LATENT_DIM,
    LATENT_INDEX,
    LATENT_SCALE,
    MOUTH_SLICE,
)
from parlante.types import Float32Array

MOST_CHANGE: Final = 0.16  # blendshape weight per frame: a whole smile takes 0.15 s
_MOST_LATENTS_CHANGE: Final = np.float32(MOST_CHANGE) / LATENT_SCALE[FACE_SLICE]
_YAW: Final = HEAD.index("yaw")
_ROLL: Final = HEAD.index("roll")


@dataclass(frozen=True, slots=True)
class Place:
    """A block of a stream: the stream's seed, and the block's index."""

    seed: int
    block_index: int


def draw(
    speech: Tensor,
    controls: Tensor,
    place: Place,
    cache: Cache,
    model: MotionDiT,
    sampler: SamplerConfig,
) -> npt.NDArray[np.float16]:
    """Sample a block's latents.

    Args:
        speech: Speech code of the block, [1, T, audio_width + NUM_READ].
        controls: [1, T, CONDITION_DIM].
        place: Which block of which stream.
        cache: Past of the stream.
        model: The network.
        sampler: How to draw.

    Returns:
        float16 [T, D].
    """
    noise = torch.from_numpy(noise_of(place, sampler))[None]
    latents = denoise_blocks(speech, controls, noise, cache, model, sampler)
    return latents[0].numpy().astype(np.float16)


def _frame_rngs(place: Place, stream: int) -> list[np.random.Generator]:
    """One source of randomness per frame of a block, a function of seed, frame and stream alone."""
    frames = range(place.block_index * BLOCK_FRAMES, (place.block_index + 1) * BLOCK_FRAMES)
    key = place.seed % 2**64
    return [
        np.random.Generator(np.random.Philox(key=key, counter=[0, frame, stream, 0]))
        for frame in frames
    ]


def chances(place: Place) -> Float32Array:
    """Uniform numbers of a block's frames, [T]."""
    return np.array([rng.random() for rng in _frame_rngs(place, 1)], np.float32)


def noise_of(place: Place, sampler: SamplerConfig) -> Float32Array:
    """Noise of a block, [T, D]."""
    draws = [rng.standard_normal(LATENT_DIM, dtype=np.float32) for rng in _frame_rngs(place, 0)]
    noise = np.stack(draws)
    noise[:, MOUTH_SLICE] *= np.float32(sampler.mouth_temperature)
    head = _tilted(noise[:, HEAD_SLICE], sampler.tilt_by_turn)
    noise[:, HEAD_SLICE] = head * np.float32(sampler.head_temperature)
    noise[:, FACE_SLICE] *= np.float32(sampler.face_temperature)
    noise[:, LATENT_INDEX["blink"]] *= np.float32(sampler.blink_temperature)
    noise[:, GAZE_SLICE] *= np.float32(sampler.gaze_temperature)
    return noise


def unhurried(
    latents: npt.NDArray[np.float16], past: npt.NDArray[np.float16]
) -> npt.NDArray[np.float16]:
    """Let expression and brows change no faster than faces do, however fast a mood is asked for.

    Args:
        latents: Of a block, float16 [T, D].
        past: Of the frames before, float16 [P, D]; P may be 0.
    """
    calm = latents.copy()
    rows = [*past[-1:], *calm]
    for before, row in pairwise(rows):
        last = before[FACE_SLICE].astype(np.float32)
        change = row[FACE_SLICE].astype(np.float32) - last
        row[FACE_SLICE] = last + np.clip(change, -_MOST_LATENTS_CHANGE, _MOST_LATENTS_CHANGE)
    return calm


def _tilted(noise: Float32Array, share: float) -> Float32Array:
    """Make the noise [T, 6] of the head's tilt follow that of its turn, as strong as before."""
    tilted = noise.copy()
    tilted[:, _ROLL] = share * noise[:, _YAW] + math.sqrt(1.0 - share**2) * noise[:, _ROLL]
    return tilted
