"""Checkpoints of a training run: all that a resumed run needs, written atomically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State after `step` optimiser steps: weights, their moving average, and the optimiser."""

    step: int
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write so that a crash leaves the old file or the new one, never half of one."""
    part = path.with_suffix(".part")
    torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__slots__}, part)
    part.replace(path)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read the checkpoint onto the CPU, whatever it was written on, or None if there is none."""
    if not path.exists():
        return None
    return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))


def moved(state: dict[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """Bring weights to a device."""
    return {name: tensor.to(device) for name, tensor in state.items()}


@torch.no_grad()
def follow(average: dict[str, Tensor], state: dict[str, Tensor], step: int, most: float) -> None:
    """Let a moving average take in the weights after a step; in place.

    Args:
        average: The average.
        state: The weights, with the same names.
        step: Steps before this one: the average of a young run forgets sooner.
        most: Share of the average that an old run keeps.
    """
    decay = min(most, (1.0 + step) / (10.0 + step))
    real = [name for name, tensor in state.items() if tensor.is_floating_point()]
    # As one operation, which on a GPU is a handful of kernels instead of one for each tensor.
    torch._foreach_lerp_([average[n] for n in real], [state[n] for n in real], 1.0 - decay)
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            average[name].copy_(tensor)
