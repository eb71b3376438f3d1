"""What lies behind a head, guessed from both sides of it: walls, boards and shelves go on level.

A hole that is filled from its nearest rim gets what is above a head as a dome around it. Rooms are
mostly level: where a row has the same colour on both sides, it has it between them as well.

Axis letters: H rows, W columns.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array

__all__ = ["fill_rows"]

# Of 255, the largest difference of colours that count as one, and from which on they are two.
ALIKE: Final = (20.0, 60.0)
# Blur across the rows at the hole's sides and this far in, where streaks would show, px.
BLUR_PX: Final = (1.2, 6.0)
FAR_PX: Final = 60.0
SOFT_PX: Final = 8.0
SIDES: Final = 0.2  # of the hole's width, at each end of which a side's colour goes on


def fill_rows(colours: Float32Array, known: Float32Array, filled: Float32Array) -> Float32Array:
    """Improve a fill where the rows of a hole, or what is above it, tell better.

    Args:
        colours: float32 [H, W, 3], of known pixels, without noise.
        known: float32 [H, W], 1 = known.
        filled: float32 [H, W, 3], by another means.

    Returns:
        float32 [H, W, 3]; known pixels have those of `filled`.
    """
    height, width = known.shape
    is_known = known > 0
    x = np.arange(width, dtype=np.int32)
    y = np.arange(height, dtype=np.int32)[:, None]
    left = np.maximum.accumulate(np.where(is_known, x, np.int32(-1)), axis=1)
    right = np.minimum.accumulate(np.where(is_known, x, np.int32(width))[:, ::-1], axis=1)[:, ::-1]
    above = np.maximum.accumulate(np.where(is_known, y, np.int32(-1)), axis=0)
    is_between = ~is_known & (left >= 0) & (right < width)
    if not is_between.any():
        return filled
    # A row that lacks a side is looked up where nothing is known: it must not bleed into others.
    colours = np.where(is_known[..., None], colours, filled)
    at_left = colours[y, np.maximum(left, 0)]
    at_right = colours[y, np.minimum(right, width - 1)]
    at_top = colours[np.maximum(above, 0), x]
    share = (x - left).astype(np.float32) / np.maximum(right - left, 1).astype(np.float32)
    share = smooth_steps((share - np.float32(SIDES)) / np.float32(1.0 - 2.0 * SIDES))[..., None]
    level = at_left + share * (at_right - at_left)
    near = np.minimum(x - left, right - x).astype(np.float32)
    level = _smoothed_across(level, np.clip(near / FAR_PX, 0.0, 1.0))
    # Something upright goes on downwards: what is above is also on one of the sides.
    is_upright = np.maximum(_alike(at_top, at_left), _alike(at_top, at_right)) * (above >= 0)
    weight = 1.0 - (1.0 - _alike(at_left, at_right)) * is_upright
    weight = cv2.GaussianBlur((weight * is_between).astype(np.float32), (0, 0), SOFT_PX)
    total = cv2.GaussianBlur(is_between.astype(np.float32), (0, 0), SOFT_PX)
    weight = np.where(is_between, weight / np.maximum(total, 1e-3), 0.0)[..., None]
    return _with_empty_rows(filled + weight * (level - filled), colours, is_known)


def _with_empty_rows(
    filled: Float32Array, colours: Float32Array, is_known: npt.NDArray[np.bool_]
) -> Float32Array:
    """Have rows in which nothing is known be as the nearest one in which something is."""
    rows, known_rows = np.arange(len(is_known)), np.flatnonzero(is_known.any(axis=1))
    nearest = known_rows[np.abs(rows[:, None] - known_rows).argmin(axis=1)]
    empty = rows != nearest
    taken = nearest[empty]
    filled[empty] = np.where(is_known[taken][..., None], colours[taken], filled[taken])
    return np.asarray(filled, np.float32)


def _alike(one: Float32Array, other: Float32Array) -> Float32Array:
    """How surely colours [H, W, 3] are the same: [H, W], [0, 1]."""
    red, green, blue = cv2.split(cv2.absdiff(one, other))
    far = cv2.max(cv2.max(red, green), blue)
    return np.asarray(np.clip((ALIKE[1] - far) / (ALIKE[1] - ALIKE[0]), 0.0, 1.0), np.float32)


def _smoothed_across(level: Float32Array, share: Float32Array) -> Float32Array:
    fine, coarse = (cv2.GaussianBlur(level, (1, 0), 0.01, sigmaY=sigma) for sigma in BLUR_PX)
    return np.asarray(fine + share[..., None] * (coarse - fine), np.float32)
