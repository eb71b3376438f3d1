"""The smooth step of numbers and of arrays; compiled loops and tensors have their own of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["smooth_step", "smooth_steps"]


def smooth_step(t: float) -> float:
    """Rise from 0 to 1 between 0 and 1, level at both ends."""
    t = min(max(t, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def smooth_steps(t: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give `smooth_step` of each number, in the array's own precision."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
