"""The straight noise schedule and its steps.

z(t) = (1 - t) x + t e, with x clean and e standard normal (flow matching, arXiv 2210.02747); the
network predicts x. Time runs from 1 (noise) to 0 (clean).
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return z(t) for clean and noise [..., D] and time [..., 1] in [0, 1]."""
    return torch.lerp(clean, noise, time)


def step(noised: Tensor, predicted: Tensor, time: float, next_time: float) -> Tensor:
    """Move z(time) along the straight line to z(next_time), given the predicted clean end.

    Exact when the prediction does not change on the way; at next_time 0 it is the prediction.
    """
    return torch.lerp(predicted, noised, next_time / time)


def draw_times(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw training times in (0, 1]: mostly uniform, one in eight at pure noise.

    Sampling with few steps starts from pure noise every time, so that end must be learnt well.
    """
    uniform = torch.rand(shape, generator=generator)
    pure = torch.rand(shape, generator=generator) < 0.125
    return torch.where(pure, torch.ones(()), uniform.clamp(min=0.02))


def loss_weight(time: Tensor) -> Tensor:
    """Weight of the squared error of x at time t: the flow's own 1 / t^2, bounded."""
    return 1.0 / (time.square() + 0.15)
