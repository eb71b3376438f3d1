"""The source picture of the warp: the portrait continued beyond its frame, with its matte.

When the head moves back or aside, pixels come into view that the portrait does not have. Cloth is
continued outwards by stretching the last pixels, and shoulders that leave the frame are rounded
off, so that no border of the portrait shows.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from parlante.models.drawn_body import closing, opening_of, shade_sleeves
from parlante.models.face_mesh import FOREHEAD
from parlante.models.portrait_layers import resize_square
from parlante.models.smooth_step import smooth_steps
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

PAD_TOP_PX: Final = 48
PAD_SIDE_PX: Final = 256
PAD_BOTTOM_PX: Final = 448
CANVAS_WIDTH_PX: Final = FRAME_SIZE_PX + 2 * PAD_SIDE_PX
CANVAS_HEIGHT_PX: Final = FRAME_SIZE_PX + PAD_TOP_PX + PAD_BOTTOM_PX

HAIR_SHARE: Final = 0.8  # of what is above the top of the forehead
LEAST_HAIR_PX: Final = 6.0
SOFT_EDGE_PX: Final = 2.0
SIDE_REACH_PX: Final = 40.0  # pixels of the portrait that a side's continuation is stretched from
BOTTOM_REACH_PX: Final = 12.0
CLOTH_BLUR_PX: Final = 45.0
STREAK_BLUR_PX: Final = 25  # twice
STREAK_REACH_PX: Final = 30.0
OUTLINE_ROWS: Final = 24  # of the outline's last part, whose direction is kept
MAX_WIDENING_SLOPE: Final = 2.0
WIDENING_PX: Final = 90.0
SHOULDER_RADIUS_PX: Final = 70.0
MAX_SHOULDER_SLOPE: Final = 1.5
ARM_SLOPE: Final = 9.0
OUTLINE_BLUR_PX: Final = 1.5


def hair_above(landmarks: Float32Array) -> float:
    """Rows from the frame's top that show hair, and no forehead, px of landmarks [>= 468, >= 2]."""
    return max(HAIR_SHARE * float(landmarks[FOREHEAD, 1]), LEAST_HAIR_PX)


def make_sized_canvas(
    rgb: Uint8Array, alpha: Uint8Array, matte: Uint8Array, hair_px: float = PAD_TOP_PX
) -> Uint8Array:
    """Continue a portrait of any size beyond its frame.

    What is made up is made at 512 px and enlarged: it has no detail to lose.

    Args:
        rgb: uint8 [S, S, 3]; S a multiple of 32.
        alpha: uint8 [S, S].
        matte: uint8 [512, 512], 255 = person.
        hair_px: As of `make_canvas`.

    Returns:
        uint8 [H, W, 4], the canvas of `make_canvas` scaled by S / 512.
    """
    size = rgb.shape[0]
    if size == FRAME_SIZE_PX:
        return make_canvas(rgb, matte, alpha, hair_px)
    rgb_small, alpha_small = (resize_square(layer, FRAME_SIZE_PX) for layer in (rgb, alpha))
    small = make_canvas(rgb_small, matte, alpha_small, hair_px)
    zoom = size / FRAME_SIZE_PX
    whole = (round(CANVAS_WIDTH_PX * zoom), round(CANVAS_HEIGHT_PX * zoom))
    canvas = cv2.resize(small, whole, interpolation=cv2.INTER_LINEAR)
    top, side = round(PAD_TOP_PX * zoom), round(PAD_SIDE_PX * zoom)
    canvas[top : top + size, side : side + size, :3] = rgb
    canvas[top : top + size, side : side + size, 3] = alpha
    return np.ascontiguousarray(canvas)


def make_canvas(
    image: Uint8Array,
    matte: Uint8Array,
    alpha: Uint8Array | None = None,
    hair_px: float = PAD_TOP_PX,
) -> Uint8Array:
    """Continue the portrait beyond its frame.

    Args:
        image: uint8 [512, 512, 3], RGB.
        matte: uint8 [512, 512], 255 = person.
        alpha: uint8 [512, 512], what the person is blended by; None softens the matte.
        hair_px: Of `hair_above`, px of 512.

    Returns:
        uint8 [CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, 4], RGB and matte; the portrait's origin is at
        (PAD_SIDE_PX, PAD_TOP_PX).
    """
    rgba = np.dstack([image, soften_matte(matte) if alpha is None else alpha])
    x = np.arange(CANVAS_WIDTH_PX, dtype=np.float32) - PAD_SIDE_PX
    y = np.arange(CANVAS_HEIGHT_PX, dtype=np.float32) - PAD_TOP_PX
    last = FRAME_SIZE_PX - 1.0
    left, right = np.maximum(-x, 0), np.maximum(x - last, 0)
    drop = _shoulder_drop(matte[:, :16], left) + _shoulder_drop(matte[:, :-17:-1], right)
    colour_x = (
        np.clip(x, 0, last) + _saturate(left, SIDE_REACH_PX) - _saturate(right, SIDE_REACH_PX)
    )
    matte_y = _continue_down(y[:, None] - drop[None])
    # Above the frame colours are mirrored: hair that were stretched would be all streaks. They are
    # mirrored to and fro where there is little of it, or a second forehead would lie above it.
    to_and_fro = np.float32(hair_px) - np.abs(-y % (2.0 * hair_px) - hair_px).astype(np.float32)
    colour_y = np.where(y[:, None] < 0, to_and_fro[:, None], matte_y)
    below = np.maximum(y - last, 0)
    inwards = _widening(matte, x, below)
    opening = opening_of(image, matte, int(BOTTOM_REACH_PX))
    aside = np.float32(0.0) if opening is None else closing(opening, x, below)
    limits = (-SIDE_REACH_PX, last + SIDE_REACH_PX)
    colour_map = np.clip(colour_x[None] + inwards + aside, *limits).astype(np.float32)
    # Where the outline leaves at the bottom, nobody is beyond the portrait's sides.
    ends = np.where(matte[-1, [0, -1]] > 127, (0, last), (-2, last + 2))
    matte_map = np.clip(x[None] + inwards, *ends).astype(np.float32)
    canvas = cv2.remap(
        rgba, colour_map, colour_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    canvas[..., 3] = cv2.remap(
        np.ascontiguousarray(rgba[..., 3]),
        matte_map,
        matte_y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    _round_off_top(canvas, matte)
    _calm_down(canvas, rgba, y[:, None] - drop[None], opening)
    leaves = (bool(matte[-1, 0] > 127), bool(matte[-1, -1] > 127))
    shade_sleeves(canvas, PAD_TOP_PX + FRAME_SIZE_PX, leaves)
    # Outlines that are made up are drawn with steps: steep ones, by a map of rows.
    made_up = canvas[PAD_TOP_PX:, :, 3]
    made_up[:] = cv2.GaussianBlur(made_up, (0, 0), OUTLINE_BLUR_PX)
    top, side = PAD_TOP_PX, PAD_SIDE_PX
    canvas[top : top + FRAME_SIZE_PX, side : side + FRAME_SIZE_PX] = rgba
    return np.ascontiguousarray(canvas)


def soften_matte(matte: Uint8Array) -> Uint8Array:
    """Widen the matte a little with a soft edge, so that it keeps fine hair.

    The portrait's own pixels of the rim travel with the person: over a background like their own
    they do not show, and hair ends in its own colours instead of in a halo.
    """
    smooth = cv2.GaussianBlur(matte, (0, 0), 2.0).astype(np.float32) / 255.0
    alpha = smooth_steps((smooth - 0.06) / 0.5)
    return np.asarray(np.rint(alpha * 255.0), np.uint8)


def _widening(matte: Uint8Array, x: Float32Array, below: Float32Array) -> Float32Array:
    """How far inwards each canvas pixel is taken from, so that the outline of shoulders goes on.

    Args:
        matte: uint8 [512, 512].
        x: float32 [W], column of the portrait.
        below: float32 [H], px below the portrait, 0 inside.

    Returns:
        float32 [H, W], px.
    """
    bottom, above = matte[-1] > 127, matte[-1 - OUTLINE_ROWS] > 127
    out = np.zeros((len(below), len(x)), np.float32)
    if not bottom.any() or not above.any():
        return out
    last = matte.shape[1] - 1
    ends, ends_above = (np.flatnonzero(row)[[0, -1]] for row in (bottom, above))
    middle = 0.5 * float(ends.sum())
    half = max(0.5 * float(np.ptp(ends)), 4.0)
    for end, end_above, sign in zip(ends, ends_above, (1.0, -1.0), strict=True):
        if end in (0, last):  # the outline leaves the frame at the side
            continue
        slope = min(max(sign * float(end_above - end) / OUTLINE_ROWS, 0.0), MAX_WIDENING_SLOPE)
        aside = np.clip(sign * (middle - x) / half, 0.0, 1.0).astype(np.float32)
        out += sign * _saturate(slope * below, WIDENING_PX)[:, None] * aside[None]
    return out


def _saturate(distance: Float32Array, reach: float) -> Float32Array:
    return np.asarray(reach * (1.0 - np.exp(-distance / reach)), np.float32)


def _continue_down(y: Float32Array) -> Float32Array:
    """Source row of each canvas row: below the frame the last rows are stretched."""
    last = FRAME_SIZE_PX - 1.0
    below = np.maximum(y - np.float32(last), 0)
    mirrored = np.float32(BOTTOM_REACH_PX) * below / (below + np.float32(8.0 * BOTTOM_REACH_PX))
    return np.asarray(np.clip(y, 0, np.float32(last)) - mirrored, np.float32)


def _round_off_top(canvas: Uint8Array, matte: Uint8Array) -> None:
    """Close the outline of a head that the frame cuts off with the arch that it has begun.

    It is a circle's through the outline at the frame's edge and some rows below.

    Args:
        canvas: uint8 [H, W, 4], changed in place.
        matte: uint8 [512, 512], 255 = person.
    """
    above = canvas[:PAD_TOP_PX, :, 3]
    inside, lower = (np.flatnonzero(matte[row] > 127) for row in (0, OUTLINE_ROWS))
    if len(inside) == 0:
        above[:] = 0
        return
    half_px = max(0.5 * float(np.ptp(inside)), 4.0)
    lower_px = max(0.5 * float(np.ptp(lower)), half_px) if len(lower) > 0 else half_px
    # How far below the edge the circle's centre is; no less, or a hat would become a balloon.
    depth_px = (lower_px**2 - half_px**2 + OUTLINE_ROWS**2) / (2.0 * OUTLINE_ROWS)
    radius_px = float(np.hypot(half_px, depth_px))
    squeeze = max((radius_px - depth_px) / (PAD_TOP_PX - 4.0), 1.0)
    aside = np.arange(canvas.shape[1]) - PAD_SIDE_PX - 0.5 * (inside[-1] + inside[0])
    height = np.sqrt(np.maximum(radius_px**2 - aside**2, 0.0)) - depth_px
    distance = np.arange(PAD_TOP_PX, 0, -1.0)[:, None]
    share = np.clip((height[None] / squeeze - distance) / 3.0 + 0.5, 0.0, 1.0)
    above[:] = np.rint(above * share).astype(np.uint8)


def _calm_down(
    canvas: Uint8Array,
    rgba: Uint8Array,
    y: Float32Array,
    opening: tuple[float, float] | None,
) -> None:
    """Let what is continued below the frame run out into plain cloth, far down.

    Args:
        canvas: uint8 [H, W, 4], changed in place.
        rgba: uint8 [512, 512, 4], the portrait.
        y: float32 [H, W], row of the portrait that each pixel continues.
        opening: Middle and half the width of what is no cloth.
    """
    rows = rgba[-int(BOTTOM_REACH_PX) :].astype(np.float32)
    weight = rows[..., 3].mean(0) / 255.0 + 1e-3
    if opening is not None:
        middle, half = opening
        weight[np.abs(np.arange(len(weight)) - middle) <= half] = 1e-3
    blurred = [
        cv2.GaussianBlur(np.pad(line, PAD_SIDE_PX, "edge")[None], (0, 0), CLOTH_BLUR_PX)[0]
        for line in (*(rows[..., :3].mean(0) * weight[:, None]).T, weight)
    ]
    cloth = (np.stack(blurred[:3], -1) / blurred[3][:, None]).astype(np.float32)
    start = PAD_TOP_PX + FRAME_SIZE_PX
    depth = y[start:] - np.float32(FRAME_SIZE_PX)
    share = np.clip(depth / np.float32(160), 0, np.float32(0.85))
    share_soft = np.clip(depth / np.float32(STREAK_REACH_PX), 0, 1)
    below = canvas[start:]
    # The stretched last rows are all streaks: blurred sideways, and only within the person.
    weight = below[..., 3].astype(np.float32) / 255.0 + np.float32(1e-3)
    total = _blur_sideways(weight)
    for channel in range(3):
        plane = below[..., channel].astype(np.float32)
        soft = _blur_sideways(plane * weight) / total
        plane += share_soft * (soft - plane)
        plane += share * (cloth[None, :, channel] - plane)
        below[..., channel] = plane


def _blur_sideways(plane: Float32Array) -> Float32Array:
    size = (STREAK_BLUR_PX, 1)
    return np.asarray(cv2.blur(cv2.blur(plane, size), size), np.float32)


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
    # A quarter of a circle, as long as it is no steeper than an arm that hangs down.
    steepest = SHOULDER_RADIUS_PX * ARM_SLOPE / math.hypot(1.0, ARM_SLOPE)
    within = np.minimum(distance, np.float32(steepest))
    round_off = SHOULDER_RADIUS_PX - np.sqrt(SHOULDER_RADIUS_PX**2 - within**2)
    return np.asarray(slope * distance + round_off + ARM_SLOPE * (distance - within), np.float32)
