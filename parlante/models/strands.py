"""Strands of hair that hang from the head into the background, beyond what a matte shows of them.

They are thin, begin at the person and end not far from it, and beside them is the background as it
is further out. Lines of the background that happen to meet the head go on; what has a structure
right beside the head is left alone, for it cannot be told from hair. Axis letters: H and W, height
and width of a picture.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.median_spread import median_spread
from parlante.types import Float32Array, Uint8Array

__all__ = ["Strands", "before_calm", "find_strands"]

Mask = npt.NDArray[np.bool_]

WIDEST_PX: Final = 6  # half of the width of the widest strand
CALM_PX: Final = 1.0
# Of 255, by how much a strand differs from what is beside it: at least, and by how many spreads of
# such differences in the background, of which few are strands.
LEAST_LEVELS: Final = 5.0
NUM_SPREADS: Final = 5.0
FAINT_SHARE: Final = 0.5  # of that difference is enough beside a sure part of a strand
GAP_PX: Final = 2  # over which a strand goes on
ROOT_PX: Final = 6.0  # from the person
REACH_PX: Final = 72.0  # what goes further is no hair
LEAST_LENGTH_PX: Final = 10
# What is beside a strand differs by less from what is behind, along most of it.
CLEAR_PX: Final = WIDEST_PX + 2
CALM_LEVELS: Final = 12.0
LEAST_CALM: Final = 0.7


class Strands(NamedTuple):
    """What may be strands of hair.

    Attributes:
        labels: int32 [H, W], of which each pixel is; 0 = of none.
        beside: uint8 [H, W, 3], what is beside thin strokes.
        is_clear: bool [H, W], that far from the person that none of it is beside a stroke.
    """

    labels: npt.NDArray[np.int32]
    beside: Uint8Array
    is_clear: Mask

    @property
    def mask(self) -> Mask:
        """Pixels of any, bool [H, W]."""
        return np.asarray(self.labels > 0)


def find_strands(picture: Float32Array, away: Float32Array) -> Strands:
    """Find what may be strands of hair outside the matte.

    Args:
        picture: float32 [H, W, 3], levels of 255.
        away: float32 [H, W], distance from the person, px; 0 on it.
    """
    contrast, beside = _strokes(picture)
    contrast[away <= 0.0] = 0.0
    is_clear = away > CLEAR_PX
    outside = contrast[away > REACH_PX][::4]
    if not len(outside):
        return Strands(np.zeros(away.shape, np.int32), beside, is_clear)
    middle = float(np.median(outside))
    least = max(LEAST_LEVELS, middle + NUM_SPREADS * median_spread(outside, middle))
    sure, faint = contrast > least, contrast > FAINT_SHARE * least
    size = 2 * GAP_PX + 1
    joined = cv2.dilate(faint.astype(np.uint8), np.ones((size, size), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    is_strand = np.zeros(count, bool)
    is_strand[labels[sure & (away < ROOT_PX)]] = True
    is_strand[labels[faint & (away > REACH_PX)]] = False
    for border in (labels[0], labels[:, 0], labels[:, -1]):
        is_strand[border] = False
    extent = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) - 2 * GAP_PX
    is_strand &= extent >= LEAST_LENGTH_PX
    is_strand[0] = False
    return Strands(np.where(faint & is_strand[labels], labels, np.int32(0)), beside, is_clear)


def before_calm(strands: Strands, behind: Float32Array) -> Mask:
    """Strands beside which is the background as it is further out, bool [H, W].

    Args:
        strands: Of `find_strands`.
        behind: float32 [H, W, 3], the background without strands, continued smoothly.
    """
    seen = strands.mask & strands.is_clear
    owner, count = strands.labels[seen], int(strands.labels.max()) + 1
    differs = np.abs(strands.beside[seen] - behind[seen]).max(-1) > CALM_LEVELS
    num_seen = np.bincount(owner, minlength=count)
    num_other = np.bincount(owner, differs, minlength=count)
    is_calm = (num_seen >= LEAST_LENGTH_PX) & (num_other < (1.0 - LEAST_CALM) * num_seen)
    return np.asarray(strands.mask & is_calm[strands.labels])


def _strokes(picture: Float32Array) -> tuple[Float32Array, Uint8Array]:
    """Contrast of thin strokes to what is beside them, [H, W], and that, [H, W, 3]."""
    levels = cv2.GaussianBlur(np.clip(picture, 0, 255).astype(np.uint8), (0, 0), CALM_PX)
    size = 2 * WIDEST_PX + 1
    shape = cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
    opened = cv2.morphologyEx(levels, cv2.MORPH_OPEN, shape)
    closed = cv2.morphologyEx(levels, cv2.MORPH_CLOSE, shape)
    light, dark = _largest(cv2.subtract(levels, opened)), _largest(cv2.subtract(closed, levels))
    cv2.copyTo(closed, (dark > light).astype(np.uint8), opened)
    return cv2.max(light, dark).astype(np.float32), np.asarray(opened, np.uint8)


def _largest(levels: Uint8Array) -> Uint8Array:
    """Largest channel, [H, W]."""
    red, green, blue = cv2.split(levels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)
