"""How deep lies what surrounds a face: hair, ears, skull and neck.

A portrait does not tell, but anatomy does. Seen from the face, a head turns away to its outline
as a ball does: slowly at first, then steeply. Below the jaw, the throat begins far behind the
chin, and runs down about as deep. Lengths are in inter-ocular distances (IOD), measured on
synthetic heads whose depth is known.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.decoder_canvas import PAD_BOTTOM_PX, PAD_SIDE_PX, PAD_TOP_PX
from parlante.models.smooth_step import smooth_steps
from parlante.types import Uint8Array

__all__ = ["outer_depth"]

Float64Array = npt.NDArray[np.float64]

# Outlines of synthetic heads lie 0.57, 0.78 and 1.05 behind the edge of the face where they are
# 0.5, 0.7 and 0.95 away from it; ears and bald sides, which end nearer, 0.45 to 0.56.
DEPTH_PER_REACH: Final = 1.1
MIN_OUTLINE_IOD: Final = 0.42
MAX_OUTLINE_IOD: Final = 1.1
MIN_REACH_IOD: Final = 0.2
MAX_REACH_IOD: Final = 1.2  # where no outline is seen: cut-off heads, mattes that keep everything
# True depth is steeper at the outline, like the power 2 or 3, but the mesh's cells make that a
# polygon. It goes on rising beyond for the same reason: cells lie across outlines.
ROUNDNESS: Final = 1.5
BEYOND_OUTLINE: Final = 1.3
# The neck behind the eyes. Throats are 0.55 to 0.95 deep; with 0.6 the neck stays with the
# shoulders when a talking head turns, which shifts its eyes by 0.8 per radian.
NECK_IOD: Final = 0.6
JAW_STEP_IOD: Final = 0.35
# How steeply down from the jaw, as the sine of an angle, the neck begins and is alone.
NECK_FROM: Final = 0.0
NECK_ALONE: Final = 0.9
EDGE_BLUR_IOD: Final = 0.15
SPARSE: Final = 2  # every second pixel is enough to measure how far the outline is
_INSIDE: Final = 127  # of a matte


def outer_depth(
    points: Float64Array, skin: Float64Array, matte: Uint8Array, iod_px: float
) -> Float64Array:
    """Depth of points around a face.

    Args:
        points: float64 [K, 2], px of the portrait, outside the face and on the canvas.
        skin: float64 [468, 3], px.
        matte: uint8 [512, 512], 255 = person.
        iod_px: Inter-ocular distance, px.

    Returns:
        float64 [K], px, to the back, in the frame of the skin's depth.
    """
    oval = skin[list(fm.OVAL)]
    ways = (points[:, None] - oval[None, :, :2]) / iod_px
    distances = np.linalg.norm(ways, axis=2)
    distance = distances.min(1)
    # A few points of the face's edge share in each: the nearest alone would make steps.
    share = np.exp((distance[:, None] - distances) / EDGE_BLUR_IOD)
    share /= share.sum(1, keepdims=True)
    edge = share @ oval[:, 2]
    way = (share[..., None] * ways).sum(1)
    down = skin[fm.CHIN, :2] - skin[fm.FOREHEAD, :2]
    sine = way @ (down / np.linalg.norm(down)) / np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    neck = smooth_steps((sine - NECK_FROM) / (NECK_ALONE - NECK_FROM))
    to_neck = skin[list(fm.OUTER_EYE_CORNERS), 2].mean() + NECK_IOD * iod_px - edge
    step = smooth_steps(distance / JAW_STEP_IOD)
    reach = distance + _inside_px(points, matte) / iod_px
    depth = neck * step * to_neck + (1.0 - neck) * _skull_depth(distance, reach) * iod_px
    return np.asarray(edge + depth)


def _skull_depth(distance: Float64Array, reach: Float64Array) -> Float64Array:
    """Depth behind the face's edge, by the distance from it; the outline is at `reach`. IOD."""
    reach = np.clip(reach, MIN_REACH_IOD, MAX_REACH_IOD)
    outline = np.clip(DEPTH_PER_REACH * reach, MIN_OUTLINE_IOD, MAX_OUTLINE_IOD)
    share = np.minimum(distance / reach, BEYOND_OUTLINE)
    return np.asarray(outline * share**ROUNDNESS)


def _inside_px(points: Float64Array, matte: Uint8Array) -> Float64Array:
    """How far from the person's outline points are: positive inside, px.

    Beyond its borders the portrait goes on as on the canvas.
    """
    person = (matte > _INSIDE).astype(np.uint8)
    outlines, _ = cv2.findContours(person, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(person, outlines, -1, 1, cv2.FILLED)  # holes in hair are no outline
    person = cv2.copyMakeBorder(
        person, PAD_TOP_PX, PAD_BOTTOM_PX, PAD_SIDE_PX, PAD_SIDE_PX, cv2.BORDER_REPLICATE
    )
    person = np.pad(person[::SPARSE, ::SPARSE], 1)
    inside = cv2.distanceTransform(person, cv2.DIST_L2, 5)
    inside -= cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    column, row = np.rint((points + np.array([PAD_SIDE_PX, PAD_TOP_PX])) / SPARSE).astype(int).T + 1
    height, width = inside.shape
    picked = inside[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return np.asarray(picked * SPARSE, np.float64)
