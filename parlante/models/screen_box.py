"""Boxes of a frame that a layer may change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parlante.types import Float32Array

__all__ = ["box_around"]


def box_around(
    points: Float32Array, margin_px: int, size: tuple[int, int]
) -> npt.NDArray[np.int64] | None:
    """Give the box around points on screen.

    Args:
        points: float32 [K, 2], px.
        margin_px: More on all sides.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom (exclusive), px; None if that is nothing.
    """
    low = np.maximum(np.floor(points.min(0)).astype(np.int64) - margin_px, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(np.int64) + margin_px + 1, size)
    return None if (high <= low).any() else np.concatenate([low, high])
