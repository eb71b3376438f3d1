"""Denoising blocks of motion: network passes, guidance, and what ties lips to sound.

Blocks of any number of streams are made at once. Axis letters: B streams, T frames, P past frames,
D latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from parlante.diffusion.guidance import GuidanceScales, combine, keep_rows
from parlante.diffusion.sampler import sample
from parlante.models.motion_dit import PAST_GROUP, Cache, MotionDiT
from parlante.models.motion_space import LATENT_SCALE, MOUTH, MOUTH_SLICE
from parlante.models.viseme_mouths import read_twice
from parlante.types import Float32Array

__all__ = ["RESTING_MOUTH", "SamplerConfig", "denoise_blocks", "sounds_of"]

# Lips at rest touch: without it, the tracker that judges us sees 0.03 IOD between those of some
# portraits, with it 0.01 to 0.02.
_RESTING_PRESS: Final = 0.35
RESTING_MOUTH: Final[Float32Array] = (
    np.array([_RESTING_PRESS if name == "mouthPress" else 0.0 for name in MOUTH], np.float32)
    / LATENT_SCALE[MOUTH_SLICE]
)
SILENCE: Final = (0.3, 0.6)  # see `SamplerConfig.silence`


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How blocks are drawn.

    Attributes:
        times: Noise levels of the network passes, falling from 1.
        guidance: Scale of each condition.
        mouth_temperature: Scale of the noise that the mouth starts from, [0, 1]; below 1 the lips
            follow the sound more strictly than they follow chance.
        head_temperature: Scale of the noise that head motion starts from; few steps calm it.
        tilt_by_turn: Correlation of the noise that a tilt starts from with that of a turn, within
            (-1, 1). People tilt the head against its turn (-0.25 in recordings); few steps forget
            it.
        face_temperature: Scale of the noise that brows and expression start from.
        blink_temperature: Scale of the noise that blinks start from. They are rare events, which
            few-step sampling makes rarer; above 1 sets their rate right again.
        gaze_temperature: The same for the eyes' wandering.
        reading_weight: How far every prediction of the mouth is drawn towards what the audio
            encoder reads from sound alone (`viseme_mouths.read_twice`), [0, 1]. It keeps the lips
            from following their own momentum instead of the voice.
        silence: The mouth rests where the audio encoder is surer than the second of these that
            nobody speaks, and moves freely where it is less sure than the first. In real vowels it
            is below 0.2 (95th percentile), in clear silence above 0.57 (2nd percentile).
    """

    times: tuple[float, ...] = (1.0, 0.5)
    guidance: GuidanceScales = field(default_factory=GuidanceScales)
    mouth_temperature: float = 0.6
    head_temperature: float = 2.05
    tilt_by_turn: float = -0.34
    face_temperature: float = 1.6
    blink_temperature: float = 1.5
    gaze_temperature: float = 2.0
    reading_weight: float = 0.7
    silence: tuple[float, float] = SILENCE


def denoise_blocks(
    speech: Tensor,
    controls: Tensor,
    noise: Tensor,
    cache: Cache,
    model: MotionDiT,
    sampler: SamplerConfig,
    *,
    seen: Tensor | None = None,
) -> Tensor:
    """Sample the latents of one block of each stream.

    Args:
        speech: Speech code of the blocks, [B, T, audio_width + NUM_READ].
        controls: [B, T, CONDITION_DIM].
        noise: What to start from, [B, T, D].
        cache: Past of the streams.
        model: The network.
        sampler: How to draw.
        seen: bool [B, P], which past frames there are; None = all. Streams that have just begun
            have fewer than the others of their batch.

    Returns:
        [B, T, D].
    """
    reading = read_twice(model.mouth_of(speech), model.names_of(speech))
    sounds = sounds_of(speech, model, sampler.silence)
    keep = keep_rows(sampler.guidance)
    rows, B = len(keep), len(speech)
    rest = torch.from_numpy(RESTING_MOUTH).to(speech.device)
    of_rows = keep.repeat_interleave(B, 0)

    def for_rows(value: Tensor) -> Tensor:
        return value if rows == 1 else value.repeat(rows, *[1] * (value.dim() - 1))

    conditions = model.condition(for_rows(speech), for_rows(controls), of_rows)
    pasts = [(for_rows(k), for_rows(v)) for k, v in cache]
    see_past = None if seen is None else for_rows(seen)
    if rows > 1:
        sees = of_rows[:, PAST_GROUP] > 0.5
        see_past = sees if see_past is None else see_past & sees[:, None]
    passes = model.plan(conditions, sampler.times, pasts, see_past)
    plans = dict(zip(sampler.times, passes, strict=True))

    def denoise(z: Tensor, time: float) -> Tensor:
        predictions = model.denoise(for_rows(z), plans[time], pasts)
        clean = combine(predictions.view(rows, B, *z.shape[1:]), sampler.guidance)[0]
        clean[..., MOUTH_SLICE].lerp_(reading, sampler.reading_weight)
        clean[..., MOUTH_SLICE].sub_(rest).mul_(sounds).add_(rest)
        return clean

    return sample(denoise, noise, sampler.times).clamp(-1e3, 1e3)


def sounds_of(speech: Tensor, model: MotionDiT, silence: tuple[float, float] = SILENCE) -> Tensor:
    """How far a speech code [..., audio_width + NUM_READ] is sound, not silence: [..., 1]."""
    return 1.0 - _smooth_step(model.silence_of(speech), *silence)


def _smooth_step(value: Tensor, low: float, high: float) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between."""
    share = ((value - low) / (high - low)).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
