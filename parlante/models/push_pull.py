"""Smooth interpolation over holes, by a pyramid of weighted means."""

from __future__ import annotations

import cv2
import numpy as np

from parlante.types import Float32Array

__all__ = ["push_pull"]


def push_pull(picture: Float32Array, known: Float32Array) -> Float32Array:
    """Interpolate from known pixels: average down with weights, then fill in from above.

    Args:
        picture: float32 [H, W, 3].
        known: float32 [H, W], weights in [0, 1].

    Returns:
        float32 [H, W, 3].
    """
    levels = [(picture * known[..., None], known)]
    while min(levels[-1][1].shape) > 2:
        values, weights = levels[-1]
        levels.append((cv2.pyrDown(values), cv2.pyrDown(weights)))
    values, weights = levels.pop()
    filled = values / np.maximum(weights, 1e-4)[..., None]
    while levels:
        values, weights = levels.pop()
        height, width = weights.shape
        above = cv2.pyrUp(filled, dstsize=(width, height))
        # Weights below one half say: this pixel saw mostly the hole.
        share = np.clip(weights * 1.5, 0.0, 1.0)[..., None]
        own = values / np.maximum(weights, 1e-4)[..., None]
        filled = own * share + above * (1.0 - share)
    return np.asarray(filled, np.float32)
