"""What lies behind a head, guessed from all sides of it: rooms are level and plumb.

A hole that is filled from its nearest rim gets what is above a head as a dome around it. Rooms are
mostly level: where a row has the same colour on both sides, it has it between them as well. What
stands upright (a curtain, a post, the frame of a door) goes on downwards instead: colours change
along the rows beside the head there, but not along the columns. Where neither is right, a step at
the rim would be seen as the head's old outline as soon as it moves, so the rim is met in any case.

Axis letters: H rows, W columns.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.push_pull import push_pull
from parlante.models.room_sides import EDGES_PX, Room, Side, look_around
from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array

__all__ = ["fill_room"]

Mask = npt.NDArray[np.bool_]

# Of 255, the largest difference of colours that count as one, and from which on they are two.
ALIKE: Final = (20.0, 60.0)
SIDES: Final = 0.2  # of the hole's width, at each end of which a side's colour goes on
SOFT_PX: Final = 8.0
# Slopes that tell of no edge, levels per px; the share of upright ones from which on they count,
# and from which on alone; and the slopes of level edges at which what is upright may end, and
# surely does.
NO_SLOPE: Final = 0.5
UPRIGHT: Final = (0.6, 0.85)
END_SLOPES: Final = (3.0, 8.0)
NEARER: Final = 0.15  # what is beside counts as much as what is above at so many times the distance
EDGE_STEP_PX: Final = 4  # edges around a hole are told as well by so coarse a picture
# How far into the hole what is missing at its rim is faded out, and how wide that rim is, px.
MENDED_PX: Final = 30.0
RIM_PX: Final = 4.0


def fill_room(
    colours: Float32Array,
    known: Float32Array,
    filled: Float32Array,
    nearest: Float32Array,
    px: float = 1.0,
) -> Float32Array:
    """Improve a fill by what rows and columns tell.

    Args:
        colours: float32 [H, W, 3], of known pixels, without noise.
        known: float32 [H, W], 1 = known.
        filled: float32 [H, W, 3], by another means, for where no side is seen.
        nearest: float32 [H, W, 3], of each pixel the colour of the nearest known one.
        px: Size of a px of the crop here, 0.5 in a picture of half the size.

    Returns:
        float32 [H, W, 3]; known pixels have those of `filled`.
    """
    is_known = known > 0
    if is_known.all() or not is_known.any():
        return filled
    room = Room.of(colours, is_known, px)
    left, right, above, below = look_around(room)
    share = _place(left, right)
    share = smooth_steps((share - np.float32(SIDES)) / np.float32(1.0 - 2.0 * SIDES))[..., None]
    level = left.colour + share * (right.colour - left.colour)
    by_above, by_below = _seen_upright(above, below, nearest, _ends(left, right, is_known))
    by_above, by_below = (_softened(part, is_known, px) for part in (by_above, by_below))
    by_below *= _well_inside(below.is_there, px)
    total = by_above + by_below
    part = by_below / np.maximum(total, np.float32(1e-6))
    plumb = above.colour + part[..., None] * (below.colour - above.colour)
    is_plumb = _softened(_plumb(room, left, right, above, level), is_known, px)
    beside = np.minimum(left.distance, right.distance)
    aloft = above.distance + part * (below.distance - above.distance)
    is_plumb *= beside / np.maximum(beside + np.float32(NEARER) * aloft, np.float32(1.0))
    is_level = left.is_there | right.is_there
    is_plumb = np.where(is_level, is_plumb, np.float32(1.0)) * total
    guess = np.where(is_level[..., None], level, filled)
    guess = _without_steps(guess + is_plumb[..., None] * (plumb - guess), is_known, nearest, px)
    return np.where(is_known[..., None], filled, guess)


def _place(one: Side, other: Side) -> Float32Array:
    """How far each pixel is from one side to the other, in [0, 1]."""
    total = np.maximum(one.distance + other.distance, np.float32(1.0))
    return np.asarray(one.distance / total, np.float32)


def _ends(left: Side, right: Side, is_known: Mask) -> tuple[Float32Array, Float32Array]:
    """Whether the nearer side has shown a level edge since the column's top, and its bottom."""
    slope = np.where(left.distance <= right.distance, left.edge, right.edge)
    mild, steep = END_SLOPES
    end = np.where(is_known, 0.0, np.clip((slope - mild) / (steep - mild), 0.0, 1.0))
    end = end.astype(np.float32)
    return np.maximum.accumulate(end, 0), np.maximum.accumulate(end[::-1], 0)[::-1]


def _seen_upright(
    above: Side, below: Side, nearest: Float32Array, ends: tuple[Float32Array, Float32Array]
) -> tuple[Float32Array, Float32Array]:
    """How far what is above goes on, and what is below: till the rim is more like the other."""
    from_above, from_below = (_differ(nearest, side.colour) for side in (above, below))
    unsure = np.float32(ALIKE[0])
    like_below = (from_above + unsure) / (from_above + from_below + 2.0 * unsure)
    share = smooth_steps(2.0 * like_below - 1.0 + _place(above, below))
    by_above = np.where(below.is_there, 1.0 - share, 1.0) * above.is_there * (1.0 - ends[0])
    by_below = np.where(above.is_there, share, 1.0) * below.is_there * (1.0 - ends[1])
    return np.asarray(by_above, np.float32), np.asarray(by_below, np.float32)


def _well_inside(is_there: Mask, px: float) -> Float32Array:
    """From 0 at the first and last column that sees something to 1 further in: [H, W]."""
    width = 4 * round(SOFT_PX * px) + 1
    seen = cv2.blur(is_there.astype(np.float32), (width, 1))
    return np.asarray(np.clip(2.0 * seen - 1.0, 0.0, 1.0), np.float32)


def _plumb(room: Room, left: Side, right: Side, above: Side, level: Float32Array) -> Float32Array:
    """How surely columns tell better than rows: [H, W] in [0, 1].

    So do they where edges around are upright, and where sides differ of which one is as what is
    above; but if all is one colour, rows do as well and are shorter.
    """
    is_one = _alike(left.colour, right.colour)
    goes_on = np.maximum(_alike(above.colour, left.colour), _alike(above.colour, right.colour))
    share = np.maximum(_upright_edges(room), (1.0 - is_one) * goes_on * above.is_there)
    return np.asarray(share * (1.0 - is_one * _alike(level, above.colour)), np.float32)


def _upright_edges(room: Room) -> Float32Array:
    """How surely edges around the hole are upright ones: [H, W] in [0, 1]."""
    height, width = room.is_known.shape
    step = max(round(EDGE_STEP_PX * room.px), 1)
    small = (max(width // step, 1), max(height // step, 1))
    away = cv2.distanceTransform(room.is_known.astype(np.uint8), cv2.DIST_L2, 3)
    near = ((away > 0.0) & (away < EDGES_PX * room.px)).astype(np.float32)
    values = np.dstack([np.square(room.along), np.square(room.across), near])
    values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    weight = values[..., 2].copy()
    values /= np.maximum(weight, np.float32(1e-3))[..., None]
    upright, level, _ = cv2.split(push_pull(values, weight))
    share = upright / (upright + level + np.float32(NO_SLOPE**2))
    some, alone = UPRIGHT
    share = smooth_steps((share - some) / (alone - some)).astype(np.float32)
    return np.asarray(cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR))


def _without_steps(
    guess: Float32Array, is_known: Mask, nearest: Float32Array, px: float
) -> Float32Array:
    """Fade out into the hole by how much its rim differs from what is known beside it."""
    away = cv2.distanceTransform((~is_known).astype(np.uint8), cv2.DIST_L2, 3)
    rim = ((away > 0.0) & (away <= RIM_PX * px)).astype(np.float32)
    missing = push_pull(nearest - guess, rim)
    share = np.exp(-away / np.float32(MENDED_PX * px))[..., None]
    return np.asarray(guess + share * missing, np.float32)


def _softened(share: Float32Array, is_known: Mask, px: float) -> Float32Array:
    """Blurred within the hole: [H, W]."""
    hole = (~is_known).astype(np.float32)
    sums, total = (cv2.GaussianBlur(part, (0, 0), SOFT_PX * px) for part in (share * hole, hole))
    return np.asarray(sums / np.maximum(total, np.float32(1e-3)), np.float32)


def _differ(one: Float32Array, other: Float32Array) -> Float32Array:
    """Largest difference of colours [H, W, 3]: [H, W]."""
    both = (np.ascontiguousarray(colour, np.float32) for colour in (one, other))
    red, green, blue = cv2.split(cv2.absdiff(*both))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.float32)


def _alike(one: Float32Array, other: Float32Array) -> Float32Array:
    """How surely colours [H, W, 3] are the same: [H, W] in [0, 1]."""
    same, two = ALIKE
    return np.asarray(np.clip((two - _differ(one, other)) / (two - same), 0.0, 1.0), np.float32)
