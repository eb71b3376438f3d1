"""What a hole's pixels see of the picture around it: to their left and right, above and below.

Everything is looked up to the left, in views that are mirrored or turned for the other ways. Axis
letters: H rows, W columns.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array

__all__ = ["EDGES_PX", "NOWHERE_PX", "Room", "Side", "look_around"]

Mask = npt.NDArray[np.bool_]

NOWHERE_PX: Final = np.float32(1e6)  # as far as what is not seen is
# Blur across the way at the hole's rim and this far in, where streaks would show, px.
BLUR_PX: Final = (1.0, 9.0)
FAR_PX: Final = 60.0
# A strand of hair that is left at the rim must not be drawn out far: between so many px further in,
# a side gets the mean colour of some px of it, without those right beside the person. Ways that
# graze the person see nothing else, and look aside.
MEAN_AT_PX: Final = (8.0, 28.0)
MEAN_PX: Final = 8
BESIDE_PX: Final = 3
ACROSS_PX: Final = 8
FAINT: Final = 1e-2  # weight of what is right beside the person
# Above a shoulder that leaves the picture little is seen, and some of that is the shoulder's shade:
# such rows have the side of the nearest row that shows so much. Columns are content with less, as
# a head may be close to the picture's top.
LEAST_SIDE_PX: Final = 16
LEAST_TOP_PX: Final = 6
EDGES_PX: Final = 28.0  # around the hole, where slopes are looked up
_KERNEL_PX: Final = 2.0  # Sobel's would reach into the hole


class Side(NamedTuple):
    """What a hole's pixels see in one way.

    Attributes:
        colour: float32 [H, W, 3].
        distance: float32 [H, W], px of the crop; `NOWHERE_PX` where nothing is seen.
        edge: float32 [H, W], steepest slope of edges there that run this way, levels per px.
    """

    colour: Float32Array
    distance: Float32Array
    edge: Float32Array

    @property
    def is_there(self) -> Mask:
        """Where anything is seen, bool [H, W]."""
        return np.asarray(self.distance < NOWHERE_PX)

    def mirrored(self) -> Side:
        """As seen from a mirrored picture."""
        return Side(*(part[:, ::-1] for part in self))

    def turned(self) -> Side:
        """As seen from a picture whose rows are columns."""
        return Side(self.colour.transpose(1, 0, 2), self.distance.T, self.edge.T)


class Room(NamedTuple):
    """A picture with a hole.

    Attributes:
        colours: float32 [H, W, 3].
        is_known: bool [H, W].
        along: float32 [H, W], slopes along the rows near the hole, levels per px of the crop.
        across: float32 [H, W], slopes along the columns.
        px: Size of a px of the crop here.
    """

    colours: Float32Array
    is_known: Mask
    along: Float32Array
    across: Float32Array
    px: float

    @classmethod
    def of(cls, colours: Float32Array, is_known: Mask, px: float) -> Room:
        """Measure its slopes."""
        away = cv2.distanceTransform(is_known.astype(np.uint8), cv2.DIST_L2, 3)
        is_near = (away > _KERNEL_PX) & (away < EDGES_PX * px)
        along, across = (
            cv2.Sobel(colours, cv2.CV_32F, *axis, ksize=3, scale=0.125 * px)
            for axis in ((1, 0), (0, 1))
        )
        along, across = (
            np.asarray(np.abs(slope).max(axis=2) * is_near, np.float32) for slope in (along, across)
        )
        return cls(colours, is_known, along, across, px)

    def mirrored(self) -> Room:
        """Left is right."""
        colours, is_known, along, across, px = self
        return Room(colours[:, ::-1], is_known[:, ::-1], along[:, ::-1], across[:, ::-1], px)

    def turned(self) -> Room:
        """Rows are columns."""
        colours, is_known, along, across, px = self
        return Room(colours.transpose(1, 0, 2), is_known.T, across.T, along.T, px)


def look_around(room: Room) -> tuple[Side, Side, Side, Side]:
    """Look to the left and right, upwards and downwards.

    Only the body is below, of which no way knows what it hides: nothing is borrowed for that.
    """
    turned = room.turned()
    return (
        _look_left(room, LEAST_SIDE_PX),
        _look_left(room.mirrored(), LEAST_SIDE_PX).mirrored(),
        _look_left(turned, LEAST_TOP_PX).turned(),
        _look_left(turned.mirrored(), 0).mirrored().turned(),
    )


def _look_left(room: Room, least_px: int) -> Side:
    """See each row's last known pixel; rows whose border shows less than that borrow one."""
    height, width = room.is_known.shape
    x = np.arange(width)
    last = np.maximum.accumulate(np.where(room.is_known, x, -1), axis=1)
    rows = np.repeat(np.arange(height)[:, None], width, axis=1)
    if least_px > 0:
        rows, last = _borrowed(room.is_known, rows, last, round(least_px * room.px))
    at = rows, np.maximum(last, 0)
    is_there = last >= 0
    distance = np.maximum(x - last, 0).astype(np.float32) / np.float32(room.px)
    size = (2 * round(MEAN_PX * room.px) + 1, 2 * round(ACROSS_PX * room.px) + 1)
    near, mean = room.colours[at], _means(room, size)[at]
    first, alone = MEAN_AT_PX
    share = smooth_steps((distance - np.float32(first)) / np.float32(alone - first))
    colour = near + share[..., None] * (mean - near)
    colour = np.where(is_there[..., None], colour, np.float32(0.0))
    fine, coarse = (_blurred_across(colour, is_there, width * room.px) for width in BLUR_PX)
    colour = fine + np.minimum(distance / np.float32(FAR_PX), 1.0)[..., None] * (coarse - fine)
    is_level = room.across > room.along
    edges = cv2.dilate(np.where(is_level, room.across, np.float32(0.0)), np.ones((1, size[0])))
    distance = np.where(is_there, distance, NOWHERE_PX)
    return Side(np.asarray(colour, np.float32), distance, np.asarray(edges[at], np.float32))


def _borrowed(
    is_known: Mask, rows: npt.NDArray[np.intp], last: npt.NDArray[np.intp], least: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Have short rows see what ends at the hole in the nearest row that is long enough."""
    height, width = is_known.shape
    start = int(is_known.any(axis=0).argmax())  # margins that no row knows are no part of it
    hole = ~is_known[:, start:]
    ends = start + np.where(hole.any(axis=1), hole.argmax(axis=1), width - start)
    is_long = ends - start >= min(least, width // 8)
    lenders = np.flatnonzero(is_long)
    if not len(lenders):
        return rows, last
    nearest = lenders[np.abs(np.arange(height)[:, None] - lenders).argmin(axis=1)]
    borrows = (last < ends[:, None]) & ~is_long[:, None]
    return (
        np.where(borrows, nearest[:, None], rows),
        np.where(borrows, ends[nearest][:, None] - 1, last),
    )


def _means(room: Room, size: tuple[int, int]) -> Float32Array:
    """Of colours around each pixel, with little of what is beside the person or the border."""
    beside = (2 * round(BESIDE_PX * room.px) + 1,) * 2
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, beside)
    clear = cv2.erode(room.is_known.astype(np.uint8), shape, borderValue=0)
    weight = np.float32(FAINT) * room.is_known + clear
    sums = cv2.blur(room.colours * weight[..., None], size)
    least = np.float32(1e-3 * FAINT)
    return np.asarray(sums / np.maximum(cv2.blur(weight, size), least)[..., None], np.float32)


def _blurred_across(colour: Float32Array, is_there: Mask, width: float) -> Float32Array:
    """Blurred along the columns, where there is anything."""
    sums, weight = (
        cv2.GaussianBlur(part, (1, 0), 0.01, sigmaY=width)
        for part in (colour, is_there.astype(np.float32))
    )
    return np.asarray(sums / np.maximum(weight, np.float32(1e-3))[..., None], np.float32)
