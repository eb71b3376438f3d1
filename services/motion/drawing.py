"""Drawing one block of motion: noise, network passes, guidance, and what ties lips to sound.

All chance is a function of seed and frame, so that a stream repeats itself whatever else goes on.
Axis letters: T frames, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.diffusion.guidance import GuidanceScales, combine, keep_rows
from parlante.diffusion.sampler import sample
from parlante.models.motion_dit import BLOCK_FRAMES, PAST_GROUP, Cache, MotionDiT
from parlante.models.motion_space import (
    FACE_SLICE,
    GAZE_SLICE,
    HEAD_SLICE,
    LATENT_DIM,
    LATENT_INDEX,
    LATENT_SCALE,
    MOUTH,
    MOUTH_SLICE,
)
from parlante.types import Float32Array

# Lips at rest touch: without it, the tracker that judges us sees 0.03 IOD between those of some
# portraits, with it 0.01 to 0.02.
_RESTING_PRESS: Final = 0.35
RESTING_MOUTH: Final[Float32Array] = (
    np.array([_RESTING_PRESS if name == "mouthPress" else 0.0 for name in MOUTH], np.float32)
    / LATENT_SCALE[MOUTH_SLICE]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How blocks are drawn.

    Attributes:
        times: Noise levels of the network passes, falling from 1.
        guidance: Scale of each condition.
        mouth_temperature: Scale of the noise that the mouth starts from, [0, 1]; below 1 the lips
            follow the sound more strictly than they follow chance.
        head_temperature: Scale of the noise that head motion starts from; few steps calm it.
        face_temperature: Scale of the noise that brows and expression start from.
        blink_temperature: Scale of the noise that blinks start from. They are rare events, which
            few-step sampling makes rarer; above 1 sets their rate right again.
        gaze_temperature: The same for the eyes' wandering.
        reading_weight: How far every prediction of the mouth is drawn towards what the audio
            encoder reads from sound alone, [0, 1]. It keeps the lips from following their own
            momentum instead of the voice.
        silence: The mouth rests where the audio encoder is surer than the second of these that
            nobody speaks, and moves freely where it is less sure than the first. In real vowels it
            is below 0.2 (95th percentile), in clear silence above 0.57 (2nd percentile).
    """

    times: tuple[float, ...] = (1.0, 0.5)
    guidance: GuidanceScales = field(default_factory=GuidanceScales)
    mouth_temperature: float = 0.6
    head_temperature: float = 2.1
    face_temperature: float = 1.6
    blink_temperature: float = 1.5
    gaze_temperature: float = 2.0
    reading_weight: float = 0.6
    silence: tuple[float, float] = (0.35, 0.65)


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
    reading = model.mouth_of(speech)
    keep = keep_rows(sampler.guidance)
    rows = len(keep)
    rest = torch.from_numpy(RESTING_MOUTH)
    sounds = 1.0 - _smooth_step(model.silence_of(speech), *sampler.silence)
    conditions = model.condition(speech.expand(rows, -1, -1), controls.expand(rows, -1, -1), keep)
    pasts = [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in cache]
    see_past = keep[:, PAST_GROUP] > 0.5 if rows > 1 else None
    passes = model.plan(conditions, sampler.times, pasts, see_past)
    plans = dict(zip(sampler.times, passes, strict=True))

    def denoise(z: Tensor, time: float) -> Tensor:
        predictions = model.denoise(z.expand(rows, -1, -1), plans[time], pasts)
        clean = combine(predictions, sampler.guidance)
        clean[..., MOUTH_SLICE].lerp_(reading, sampler.reading_weight)
        clean[..., MOUTH_SLICE].sub_(rest).mul_(sounds).add_(rest)
        return clean

    noise = torch.from_numpy(_noise(place, sampler))[None]
    latents = sample(denoise, noise, sampler.times)[0].clamp(-1e3, 1e3)
    return latents.numpy().astype(np.float16)


def _smooth_step(value: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    share = ((value - low) / (high - low)).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


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


def _noise(place: Place, sampler: SamplerConfig) -> Float32Array:
    """Noise of a block, [T, D]."""
    draws = [rng.standard_normal(LATENT_DIM, dtype=np.float32) for rng in _frame_rngs(place, 0)]
    noise = np.stack(draws)
    noise[:, MOUTH_SLICE] *= np.float32(sampler.mouth_temperature)
    noise[:, HEAD_SLICE] *= np.float32(sampler.head_temperature)
    noise[:, FACE_SLICE] *= np.float32(sampler.face_temperature)
    noise[:, LATENT_INDEX["blink"]] *= np.float32(sampler.blink_temperature)
    noise[:, GAZE_SLICE] *= np.float32(sampler.gaze_temperature)
    return noise
