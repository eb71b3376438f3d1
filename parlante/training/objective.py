"""What a step of the motion model's training minimises, on any device.

Randomness is drawn on the CPU, by the step's own generator, and sent: a run on a GPU sees the
same crops, noise and dropped conditions as one on the CPU. Nothing here waits for the device.

Axis letters: B batch, T frames, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from parlante.diffusion.schedule import add_noise, draw_times
from parlante.models.motion_dit import BLOCK_FRAMES, NUM_GROUPS, MotionDiT
from parlante.models.motion_space import FACE_SLICE, LATENT_DIM
from parlante.training.batches import Batch
from parlante.training.losses import LossWeights, denoising_loss, naming_loss, reading_loss
from parlante.training.precision import products

if TYPE_CHECKING:
    from parlante.training.loop import TrainingConfig

__all__ = ["Noise", "Objective", "draw_noise"]


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """What is drawn for a step beside its batch.

    Attributes:
        keep: [B, NUM_GROUPS], 1 or 0: which conditions are not dropped.
        levels: Noise levels [B, T, 1], equal within a block.
        roughness: How much of `on_past` is added to the past, [B, 1, 1].
        on_past: Standard normal, [B, T, D].
        on_latents: Standard normal, [B, T, D].
        see_past: bool [B].
        drift: How far expression and brows of the whole past are off, [B, 1, D].
    """

    keep: Tensor
    levels: Tensor
    roughness: Tensor
    on_past: Tensor
    on_latents: Tensor
    see_past: Tensor
    drift: Tensor


def draw_noise(
    config: TrainingConfig, batch_size: int, generator: torch.Generator
) -> tuple[np.ndarray, ...]:
    """Draw the fields of `Noise` for a batch of B, on the CPU."""
    B, T = batch_size, config.num_frames

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def normal() -> Tensor:
        return torch.randn((B, T, LATENT_DIM), generator=generator)

    keep = (uniform(B, NUM_GROUPS) >= config.drop_condition).float()
    levels = draw_times((B, T // BLOCK_FRAMES, 1), generator).repeat_interleave(BLOCK_FRAMES, dim=1)
    # One sequence in four keeps a spotless past, as the first frames of a session do.
    roughness = config.past_noise * (uniform(B, 1, 1) * 1.33 - 0.33).clamp(min=0.0)
    on_past, on_latents = normal(), normal()
    see_past = uniform(B) >= config.hide_past
    drift = torch.zeros(B, 1, LATENT_DIM)
    amount = config.past_drift * (uniform(B, 1, 1) * 2.0 - 1.0).clamp(min=0.0)  # every second
    drift[..., FACE_SLICE] = amount * torch.randn(
        (B, 1, FACE_SLICE.stop - FACE_SLICE.start), generator=generator
    )
    parts = (keep, levels, roughness, on_past, on_latents, see_past, drift)
    return tuple(part.numpy() for part in parts)


class Objective:
    """Losses of a network.

    Args:
        model: The network.
        naming_share: Weight of naming visemes from sound.
        bfloat16: Whether matrix products run in bfloat16.
    """

    def __init__(self, model: MotionDiT, naming_share: float, *, bfloat16: bool) -> None:
        self._model = model
        self._naming_share = naming_share
        self._device = next(model.parameters()).device
        self._weights = LossWeights.on(self._device)
        self._bfloat16 = bfloat16

    def reading(self, batch: Batch) -> Tensor:
        """Loss of the audio encoder alone."""
        with products(self._device, self._bfloat16):
            _, mouth, scores = self._model.read_audio(batch.features, batch.look)
        naming = naming_loss(scores.float(), batch.visemes, self._weights)
        reading = reading_loss(mouth.float(), batch.latents, self._weights)
        return reading + self._naming_share * naming

    def whole(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Total loss, and the mouth as read from sound [B, T, 9]."""
        past = batch.latents + noise.roughness * noise.on_past + noise.drift
        noised = add_noise(batch.latents, noise.on_latents, noise.levels)
        with products(self._device, self._bfloat16):
            speech, mouth, scores = self._model.read_audio(batch.features, batch.look)
            conditions = self._model.condition(speech, batch.controls, noise.keep)
            predicted = self._model(past, noised, noise.levels, conditions, noise.see_past)
        denoising = denoising_loss(predicted.float(), batch.latents, noise.levels, self._weights)
        reading = reading_loss(mouth.float(), batch.latents, self._weights)
        naming = naming_loss(scores.float(), batch.visemes, self._weights)
        return denoising + reading + self._naming_share * naming, mouth
