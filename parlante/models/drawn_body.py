"""The body below a portrait's frame: sleeves beside the chest, and a collar that closes.

What a head that moves back uncovers there is the portrait's last rows drawn out, a bell of cloth.
Axis letters: H rows, W columns.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array, Uint8Array

__all__ = ["closing", "opening_of", "shade_sleeves"]

# What differs most from the cloth near the middle is an opening, if it does by so many levels of
# 255, with what beside it differs half as much; and if it is that narrow, in shares of the person's
# width.
OPENING_LEVELS: Final = 40.0
OPENING_PLACE: Final = 0.12  # from the middle, at most
MOST_OPENING: Final = 0.45
LEAST_OPENING_PX: Final = 3
CLOSED_AT: Final = 2.2  # of half its width, where it ends below
# Sleeves: their share of the width of all, and how far below the frame they are told apart, px.
SLEEVE_SHARE: Final = 0.17
APART_PX: Final = (10.0, 150.0)
# Shades, as shares of the light: the fold between sleeve and chest, the shadow on the chest beside
# it and the outline, and how wide they are, px.
FOLD: Final = (0.24, 8.0)
SHADOW: Final = (0.14, 38.0)
OUTLINE: Final = (0.18, 18.0)
SOFT_ROWS: Final = 25.0


def opening_of(rgb: Uint8Array, matte: Uint8Array, num_rows: int) -> tuple[float, float] | None:
    """Find where skin or a shirt is seen between the cloth at a portrait's lower edge.

    Args:
        rgb: uint8 [H, W, 3].
        matte: uint8 [H, W], 255 = person.
        num_rows: Rows that tell, from the bottom.

    Returns:
        Its middle and half its width, px; None where there is none.
    """
    inside = np.flatnonzero(matte[-1] > 127)
    if len(inside) < 2:
        return None
    first, last = int(inside[0]), int(inside[-1])
    colours = rgb[-num_rows:].astype(np.float32).mean(axis=0)
    columns = np.arange(len(colours))
    width, middle = last - first, 0.5 * (first + last)
    # Cloth may be lit from a side.
    third = len(inside) // 3 + 1
    left, right = (np.median(colours[part], axis=0) for part in (inside[:third], inside[-third:]))
    share = np.clip((columns - first) / max(width, 1), 0.0, 1.0)[:, None]
    differs = np.abs(colours - left - share * (right - left)).max(axis=-1)
    is_near = np.abs(columns - middle) < OPENING_PLACE * width
    peak = int(np.where(is_near, differs, 0.0).argmax())
    outside = np.flatnonzero(differs < 0.5 * differs[peak])
    start = int(outside[outside < peak].max(initial=first))
    end = int(outside[outside > peak].min(initial=last))
    if differs[peak] < OPENING_LEVELS or not LEAST_OPENING_PX < end - start < MOST_OPENING * width:
        return None
    return 0.5 * float(start + end), 0.5 * float(end - start) + 1.0


def closing(opening: tuple[float, float], x: Float32Array, below: Float32Array) -> Float32Array:
    """How far aside each pixel below the frame is taken from, so that an opening closes as a V.

    Args:
        opening: Of `opening_of`.
        x: float32 [W], column of the portrait.
        below: float32 [H], px below the portrait, 0 inside.

    Returns:
        float32 [H, W], px.
    """
    middle, half = opening
    aside = x - np.float32(middle)
    near = np.clip(1.5 - 0.5 * np.abs(aside) / half, 0.0, 1.0)
    shut = np.clip(below / np.float32(CLOSED_AT * half), 0.0, 1.0)
    return np.asarray(shut[:, None] * (np.sign(aside) * half * near)[None], np.float32)


def shade_sleeves(canvas: Uint8Array, start: int, sides: tuple[bool, bool]) -> None:
    """Tell sleeves from the chest, and round off both, from the frame's lower edge on.

    Args:
        canvas: uint8 [H, W, 4], RGB and matte; changed in place.
        start: First row below the frame.
        sides: Whether the outline leaves the frame at its left and right: only then are arms
            outside of it.
    """
    below = canvas[start:]
    inside = below[..., 3] > 127
    if not inside.any() or not any(sides):
        return
    half = inside.shape[1] // 2  # each side's sleeve is in its half
    apart = smooth_steps(_ramp(np.arange(len(below), dtype=np.float32), APART_PX))
    light = np.ones(inside.shape, np.float32)
    reach = SLEEVE_SHARE * float(inside.sum(axis=1).max())
    for is_there, flipped in zip(sides, (inside, inside[:, ::-1]), strict=True):
        if not is_there:
            continue
        edge = flipped.argmax(axis=1).astype(np.float32)
        edge = cv2.GaussianBlur(edge[:, None], (1, 0), 0.01, sigmaY=SOFT_ROWS)[:, 0]
        from_edge = np.arange(half, dtype=np.float32)[None] - edge[:, None]
        shade = _shade(from_edge, reach) * apart[:, None]
        if flipped is inside:
            light[:, :half] -= shade
        else:
            light[:, -half:] -= shade[:, ::-1]
    shaded = below[..., :3] * light[..., None]
    below[..., :3] = np.where(inside[..., None], np.rint(shaded), below[..., :3]).astype(np.uint8)


def _shade(from_edge: Float32Array, reach: float) -> Float32Array:
    """Share of light that is missing, by the distance from the outline, px."""
    from_fold = from_edge - np.float32(reach)
    fold = FOLD[0] * np.exp(-np.square(from_fold / np.float32(FOLD[1])))
    shadow = SHADOW[0] * np.exp(-np.abs(from_fold) / np.float32(SHADOW[1])) * (from_fold > 0.0)
    outline = OUTLINE[0] * np.exp(-np.maximum(from_edge, 0.0) / np.float32(OUTLINE[1]))
    return np.asarray(fold + shadow + outline, np.float32)


def _ramp(value: Float32Array, limits: tuple[float, float]) -> npt.NDArray[np.float32]:
    low, high = limits
    return np.asarray((value - low) / (high - low), np.float32)
