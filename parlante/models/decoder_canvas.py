"""The source picture of the warp: the portrait continued beyond its frame, with its matte.

When the head moves back or aside, pixels come into view that the portrait does not have. Cloth is
continued outwards by stretching the last pixels, and shoulders that leave the frame are rounded
off, so that no border of the portrait shows.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

PAD_TOP_PX: Final = 48
PAD_SIDE_PX: Final = 256
PAD_BOTTOM_PX: Final = 288
CANVAS_WIDTH_PX: Final = FRAME_SIZE_PX + 2 * PAD_SIDE_PX
CANVAS_HEIGHT_PX: Final = FRAME_SIZE_PX + PAD_TOP_PX + PAD_BOTTOM_PX

SIDE_REACH_PX: Final = 40.0  # pixels of the portrait that a side's continuation is stretched from
BOTTOM_REACH_PX: Final = 48.0
SHOULDER_RADIUS_PX: Final = 70.0
MAX_SHOULDER_SLOPE: Final = 1.5


def make_canvas(image: Uint8Array, matte: Uint8Array) -> Uint8Array:
    """Continue the portrait beyond its frame.

    Args:
        image: uint8 [512, 512, 3], RGB.
        matte: uint8 [512, 512], 255 = person.

    Returns:
        uint8 [CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, 4], RGB and matte; the portrait's origin is at
        (PAD_SIDE_PX, PAD_TOP_PX).
    """
    rgba = np.dstack([image, soften_matte(matte)])
    x = np.arange(CANVAS_WIDTH_PX, dtype=np.float32) - PAD_SIDE_PX
    y = np.arange(CANVAS_HEIGHT_PX, dtype=np.float32) - PAD_TOP_PX
    last = FRAME_SIZE_PX - 1.0
    left, right = np.maximum(-x, 0), np.maximum(x - last, 0)
    drop = _shoulder_drop(matte[:, :16], left) + _shoulder_drop(matte[:, :-17:-1], right)
    colour_x = (
        np.clip(x, 0, last) + _saturate(left, SIDE_REACH_PX) - _saturate(right, SIDE_REACH_PX)
    )
    matte_x = np.clip(x, 0, last)
    colour_y = _continue_down(y[:, None] - drop[None])
    shape = colour_y.shape
    colour_map = np.broadcast_to(colour_x[None], shape).astype(np.float32)
    matte_map = np.broadcast_to(matte_x[None], shape).astype(np.float32)
    canvas = cv2.remap(
        rgba, colour_map, colour_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    canvas[..., 3] = cv2.remap(
        np.ascontiguousarray(rgba[..., 3]),
        matte_map,
        colour_y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    top, side = PAD_TOP_PX, PAD_SIDE_PX
    canvas[top : top + FRAME_SIZE_PX, side : side + FRAME_SIZE_PX] = rgba
    return np.ascontiguousarray(canvas)


def soften_matte(matte: Uint8Array) -> Uint8Array:
    """Widen the matte a little with a soft edge, so that it keeps fine hair.

    The portrait's own pixels of the rim travel with the person: over a background like their own
    they do not show, and hair ends in its own colours instead of in a halo.
    """
    smooth = cv2.GaussianBlur(matte, (0, 0), 2.0).astype(np.float32) / 255.0
    alpha = np.clip((smooth - 0.06) / 0.5, 0.0, 1.0)
    alpha = alpha * alpha * (3.0 - 2.0 * alpha)
    return np.asarray(np.rint(alpha * 255.0), np.uint8)


def _saturate(distance: Float32Array, reach: float) -> Float32Array:
    return np.asarray(reach * (1.0 - np.exp(-distance / reach)), np.float32)


def _continue_down(y: Float32Array) -> Float32Array:
    """Source row of each canvas row: below the frame the last rows are stretched."""
    last = FRAME_SIZE_PX - 1.0
    below = np.maximum(y - last, 0)
    mirrored = last - BOTTOM_REACH_PX * (1.0 - np.exp(-below / (4.0 * BOTTOM_REACH_PX)))
    return np.asarray(np.where(below > 0, mirrored, np.maximum(y, 0)), np.float32)


def _shoulder_drop(border: Uint8Array, distance: Float32Array) -> Float32Array:
    """How far the outline of the shoulder falls, by distance beyond the border.

    Args:
        border: uint8 [512, 16], matte columns from the border inwards.
        distance: float32 [W], px beyond the border, 0 inside.
    """
    inside = border > 127
    if not inside[:, 0].any() or not inside[:, -1].any():
        return np.zeros_like(distance)
    rise = float(inside[:, 0].argmax()) - float(inside[:, -1].argmax())
    slope = min(max(rise / (border.shape[1] - 1), 0.0), MAX_SHOULDER_SLOPE)
    return np.asarray(slope * distance + distance**2 / (2.0 * SHOULDER_RADIUS_PX), np.float32)
