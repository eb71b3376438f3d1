"""What the mouth does for each viseme: targets to learn, and a second way to read lips off sound.

The audio encoder reads a mouth and the names of visemes. The names know better which of two mouths
it is, rounded or spread, shut or not; the mouth knows what its neighbours make of it.

Axis letters: V visemes, M mouth channels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from parlante.models.motion_space import LATENT_SCALE, MOUTH, MOUTH_SLICE
from parlante.models.viseme_names import VISEMES
from parlante.types import Float32Array

__all__ = ["TARGETS", "read_twice"]

# Open vowels are wide as well: people's mouths widen as they open (correlation +0.25 in
# recordings), and narrow for rounding and, a little, for closures.
_WEIGHTS: Final[dict[str, dict[str, float]]] = {
    "sil": {},
    "PP": {"jawOpen": 0.06, "mouthClose": 1.0, "mouthPress": 0.55},
    "FF": {"jawOpen": 0.07, "mouthRollLower": 0.6, "mouthUpperUp": 0.3},
    "TH": {"jawOpen": 0.14, "mouthLowerDown": 0.28, "mouthUpperUp": 0.12},
    "DD": {"jawOpen": 0.12, "mouthLowerDown": 0.28, "mouthUpperUp": 0.12, "mouthStretch": 0.10},
    "NN": {"jawOpen": 0.12, "mouthLowerDown": 0.22, "mouthUpperUp": 0.10},
    "KK": {"jawOpen": 0.17, "mouthLowerDown": 0.20, "mouthUpperUp": 0.10},
    "CH": {"jawOpen": 0.10, "mouthFunnel": 0.75, "mouthPucker": 0.4, "mouthLowerDown": 0.22},
    "SS": {"jawOpen": 0.05, "mouthStretch": 0.4, "mouthLowerDown": 0.34, "mouthUpperUp": 0.2},
    "RR": {"jawOpen": 0.14, "mouthFunnel": 0.45, "mouthPucker": 0.25, "mouthLowerDown": 0.15},
    "AA": {"jawOpen": 0.54, "mouthStretch": 0.45, "mouthLowerDown": 0.22, "mouthUpperUp": 0.15},
    "EH": {"jawOpen": 0.32, "mouthStretch": 0.75, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},
    "AX": {"jawOpen": 0.22, "mouthStretch": 0.12, "mouthLowerDown": 0.18, "mouthUpperUp": 0.10},
    "IH": {"jawOpen": 0.15, "mouthStretch": 0.95, "mouthLowerDown": 0.28, "mouthUpperUp": 0.15},
    "OH": {"jawOpen": 0.38, "mouthFunnel": 0.55, "mouthPucker": 0.60},
    "UU": {"jawOpen": 0.13, "mouthPucker": 1.15, "mouthFunnel": 0.45},
}
TARGETS: Final[Float32Array] = np.array(
    [[weights.get(name, 0.0) for name in MOUTH] for weights in map(_WEIGHTS.__getitem__, VISEMES)],
    dtype=np.float32,
)

# The names are surer than they are right. Square roots of their chances tell rounded from spread
# phones of real voices better (AUC 0.87) than the chances or the mouth do (0.85 each, 2026-11).
NAMES_POWER: Final = 0.5
# How far the other reading is drawn to theirs, and what that is multiplied with, as it is flat.
# Other channels differ between neighbours more than between visemes and stay as they are.
NAMED: Final = {
    "jawOpen": (0.6, 1.1),
    "mouthClose": (0.6, 1.3),
    "mouthFunnel": (0.85, 1.4),
    "mouthPucker": (0.85, 1.4),
    "mouthStretch": (0.85, 1.4),
}
_SHARES, _GAINS = np.array([NAMED.get(name, (0.0, 0.0)) for name in MOUTH], np.float32).T
_NAMED: Final = TARGETS * _GAINS / LATENT_SCALE[MOUTH_SLICE]  # [V, M], latent units


def read_twice(mouth: Tensor, names: Tensor) -> Tensor:
    """Join the mouth that is read off sound with the one that the names of its visemes have.

    Args:
        mouth: [..., M], latent units.
        names: [..., V], chances of visemes; they add up to 1.

    Returns:
        [..., M], latent units.
    """
    soft = names.clamp_min(0.0).pow(NAMES_POWER)
    soft = soft / soft.sum(dim=-1, keepdim=True).clamp_min(1e-6)
    named = soft @ torch.from_numpy(_NAMED).to(mouth)
    return mouth + torch.from_numpy(_SHARES).to(mouth) * (named - mouth)
