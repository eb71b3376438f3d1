"""Find the map that reads coming lip shapes off the code of sound; see `models/lip_foresight.py`.

Not truth but the network's own reading some frames later is what the map is fitted to: on real
voices that tells rounded from spread phones as well as the reading itself does (AUC 0.88), a map
fitted to the targets of synthetic voices worse (0.85; 2026-11). It is linear, and found at once.

Axis letters: B batch, T frames, S shapes, C numbers of the code and a one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from parlante.models.lip_foresight import SHARES_AHEAD
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_sampling import sounds_of
from parlante.models.motion_space import MOUTH, SHAPES
from parlante.models.viseme_mouths import read_twice
from parlante.training.batches import Batch

__all__ = ["fit_foresight"]

RIDGE: Final = 1e-4  # of the mean square of a number of the code
_SHAPES: Final = [MOUTH.index(name) for name in SHAPES]


@torch.no_grad()
def fit_foresight(model: MotionDiT, batches: Iterable[Batch]) -> Tensor:
    """Find a network's `shape_map`.

    Args:
        model: The network, trained; on the device of the batches.
        batches: What it hears. They are gone through once.

    Returns:
        float32 [S, C], on the CPU.
    """
    C = model.shape_map.shape[1]
    squares = torch.zeros(C, C, dtype=torch.float64)
    products = torch.zeros(C, len(SHAPES), dtype=torch.float64)
    for batch in batches:
        code, coming = _pairs(model, batch)
        squares += code.T @ code
        products += code.T @ coming
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(C, dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(squares + ridge, products)
    return solved.T.float()


def _pairs(model: MotionDiT, batch: Batch) -> tuple[Tensor, Tensor]:
    """Codes [N, C] and what they announce [N, S], float64 on the CPU, frames of all crops."""
    speech, _, _ = model.read_audio(batch.features, batch.look)
    reading = read_twice(model.mouth_of(speech), model.names_of(speech))
    shapes = reading[..., _SHAPES] * sounds_of(speech, model)
    T = shapes.shape[1] - len(SHARES_AHEAD) + 1
    coming = sum(share * shapes[:, k : k + T] for k, share in enumerate(SHARES_AHEAD))
    assert isinstance(coming, Tensor)
    code = torch.cat([speech, torch.ones_like(speech[..., :1])], dim=-1)[:, :T]
    return code.flatten(0, 1).double().cpu(), coming.flatten(0, 1).double().cpu()
