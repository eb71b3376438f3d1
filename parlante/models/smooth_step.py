"""The smooth step of numbers; loops and tensors have their own of it."""

from __future__ import annotations

__all__ = ["smooth_step"]


def smooth_step(t: float) -> float:
    """Rise from 0 to 1 between 0 and 1, level at both ends."""
    t = min(max(t, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)
