"""The face mesh: named index sets over the 478 tracked landmarks, and its triangles.

Landmark numbers are those of the tracker (468 points on the skin, then five per iris). "Right"
is the *subject's* right, which lies on the left of an unmirrored picture. Chains run from the
outer to the inner corner for eyes, and from image left to image right for lips.
"""

from __future__ import annotations

import functools
from importlib import resources
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]

NUM_SKIN_LANDMARKS: Final = 468
NUM_LANDMARKS: Final = 478

# fmt: off
OVAL: Final = (  # clockwise on screen from the top of the forehead
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)

MOUTH_CORNERS: Final = (61, 291)  # image left, image right
INNER_MOUTH_CORNERS: Final = (78, 308)
UPPER_LIP_CENTRE: Final = 13
LOWER_LIP_CENTRE: Final = 14
# Lip rows from the rim of the mouth outwards, each without the corners, image left to right.
UPPER_LIP_ROWS: Final = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_LIP_ROWS: Final = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
# The corner point that belongs to each row, rim to outside: (image left, image right).
LIP_ROW_CORNERS: Final = ((78, 308), (62, 292), (76, 306), (61, 291))
INNER_UPPER_LIP: Final = (78, *UPPER_LIP_ROWS[0], 308)
INNER_LOWER_LIP: Final = (78, *LOWER_LIP_ROWS[0], 308)
OUTER_UPPER_LIP: Final = (61, *UPPER_LIP_ROWS[3], 291)
OUTER_LOWER_LIP: Final = (61, *LOWER_LIP_ROWS[3], 291)
INNER_LIPS: Final = (*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1])  # closed polygon
OUTER_LIPS: Final = (*OUTER_UPPER_LIP, *OUTER_LOWER_LIP[-2:0:-1])  # closed polygon

RIGHT_EYE_CORNERS: Final = (33, 133)  # outer, inner
LEFT_EYE_CORNERS: Final = (263, 362)
RIGHT_UPPER_LID: Final = (246, 161, 160, 159, 158, 157, 173)
RIGHT_LOWER_LID: Final = (7, 163, 144, 145, 153, 154, 155)
LEFT_UPPER_LID: Final = (466, 388, 387, 386, 385, 384, 398)
LEFT_LOWER_LID: Final = (249, 390, 373, 374, 380, 381, 382)
# Two rows of skin above each upper lid (crease, below the brow) and one below each lower lid.
RIGHT_LID_CREASE: Final = (247, 30, 29, 27, 28, 56, 190)
LEFT_LID_CREASE: Final = (467, 260, 259, 257, 258, 286, 414)
RIGHT_BELOW_BROW: Final = (113, 225, 224, 223, 222, 221, 189)
LEFT_BELOW_BROW: Final = (342, 445, 444, 443, 442, 441, 413)
RIGHT_BELOW_LID: Final = (25, 110, 24, 23, 22, 26, 112)
LEFT_BELOW_LID: Final = (255, 339, 254, 253, 252, 256, 341)
RIGHT_EYE: Final = (33, *RIGHT_UPPER_LID, 133, *RIGHT_LOWER_LID[::-1])  # closed polygon
LEFT_EYE: Final = (263, *LEFT_UPPER_LID, 362, *LEFT_LOWER_LID[::-1])  # closed polygon

# Brow chains, lower and upper row, outer to inner.
RIGHT_BROW: Final = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW: Final = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)

NOSE_TIP: Final = 1
BELOW_NOSE: Final = 2
CHIN: Final = 152
FOREHEAD: Final = 10
# fmt: on

# Iris: centre, then four points on its rim.
RIGHT_IRIS: Final = (468, 469, 470, 471, 472)
LEFT_IRIS: Final = (473, 474, 475, 476, 477)

# The outer eye corners define the inter-ocular distance (IOD), the unit of all face geometry.
OUTER_EYE_CORNERS: Final = (33, 263)


def inter_ocular_px(landmarks: npt.NDArray[np.floating]) -> float:
    """Distance of the outer eye corners in the image plane.

    Args:
        landmarks: [>= 468, >= 2], px.

    Returns:
        The inter-ocular distance (IOD) in px.
    """
    right, left = OUTER_EYE_CORNERS
    return float(np.hypot(*(landmarks[left, :2] - landmarks[right, :2])))


@functools.cache
def skin_triangles() -> Int32Array:
    """Triangles of the skin with holes for the mouth and the eyes.

    Returns:
        int32 [num_triangles, 3], read-only; clockwise on screen (y down) when seen from outside,
        so that the cross product of the first two edges is positive. Made by
        ``scripts/make_topology.py``.
    """
    return _load("skin")


@functools.cache
def mirror_indices() -> Int32Array:
    """Index of each skin landmark's mirror image: int32 [468], read-only."""
    return _load("mirror")


def strip_triangles(first: tuple[int, ...], second: tuple[int, ...]) -> Int32Array:
    """Triangles between two chains of equal length that may share end points.

    Args:
        first: Indexes of one chain.
        second: Indexes of the other chain, same direction.

    Returns:
        int32 [num_triangles, 3]; triangles that would use an index twice are left out.
    """
    triangles = []
    for (a, b), (c, d) in zip(pairwise(first), pairwise(second), strict=True):
        if c != a:
            triangles.append((a, b, c))
        if d != b:
            triangles.append((b, d, c))
    return np.array(triangles, np.int32)


def _load(name: str) -> Int32Array:
    source = resources.files("parlante.models").joinpath("face_topology.npz")
    with source.open("rb") as file, np.load(file) as data:
        array: Int32Array = data[name].astype(np.int32)
    array.setflags(write=False)
    return array
