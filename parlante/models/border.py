"""What lies beyond a tightly cropped picture: background, a rounded head, shoulders running on."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh
from parlante.models.inpaint import fill_background
from parlante.models.nearest import nearest_known
from parlante.types import Float32Array, Uint8Array

__all__ = ["close_borders", "soft_inside"]

# The head with its hair, as an ellipse around the face oval, in heights and widths of the oval.
HEAD_RISE: Final = 0.30  # of the crown above the oval's top
HEAD_HALF_HEIGHT: Final = 0.62
HEAD_WIDENING: Final = 1.25
BODY_ABOVE_CHIN: Final = 0.15  # where an ellipse is narrower than jaw and neck
EDGE_BLUR_PX: Final = 5.0
SEAM_BLUR_PX: Final = 2.0
MISLED_PX: Final = 10


def close_borders(
    crop: Uint8Array, shown: Uint8Array, matte: Float32Array, points: Float32Array
) -> tuple[Uint8Array, Float32Array, Uint8Array]:
    """Make up what the picture does not show.

    Continued edge pixels alone would draw a hair cut by the border as a pillar. Beyond the border
    the person is kept only within a plausible head and below the jaw; the rest is background.

    Args:
        crop: uint8 [512, 512, 3], with continued edges.
        shown: uint8 [512, 512], 255 where the picture shows the pixel.
        matte: float32 [512, 512], 1 = person.
        points: Landmarks in the crop, float32 [>= 468, >= 2].

    Returns:
        The crop and the matte, completed, and the background without the person.
    """
    if shown.all():
        return crop, matte, fill_background(crop, matte)
    seen = np.where(shown > 0, matte, np.float32(0.0))
    background = fill_background(crop, seen, shown=shown)
    # Next to the border the segmentation was misled by the continued edges.
    kernel = np.ones((2 * MISLED_PX + 1, 2 * MISLED_PX + 1), np.uint8)
    trusted = cv2.erode(shown, kernel, borderValue=255)
    continued = nearest_known(matte, trusted > 0)[0] * _plausible_person(points, matte.shape)
    trust = soft_inside(trusted)
    closed = np.asarray(matte * trust + continued * (1.0 - trust), np.float32)
    visible = np.maximum(closed, soft_inside(shown))[..., None]
    mixed = crop * visible + background * (1.0 - visible)
    return np.asarray(np.round(mixed), np.uint8), closed, background


def soft_inside(mask: Uint8Array) -> Float32Array:
    """A mask of 255 as float32, 0 outside, rising to 1 within a few pixels of its edge."""
    soft = cv2.GaussianBlur((mask > 0).astype(np.float32), (0, 0), SEAM_BLUR_PX)
    return np.asarray(np.where(mask > 0, soft, 0.0), np.float32)


def _plausible_person(points: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Where a person may be beyond the border: an ellipse for the head, all below the jaw."""
    oval = points[list(face_mesh.OVAL), :2]
    low, high = oval.min(axis=0), oval.max(axis=0)
    width, height = high - low
    axes = (width / 2 * HEAD_WIDENING, height * HEAD_HALF_HEIGHT)
    centre = ((low[0] + high[0]) / 2, low[1] - HEAD_RISE * height + axes[1])
    allowed = np.zeros(shape, np.float32)
    ints = [tuple(round(float(v)) for v in pair) for pair in (centre, axes)]
    cv2.ellipse(allowed, ints[0], ints[1], 0.0, 0.0, 360.0, 1.0, -1)
    allowed[max(round(float(high[1] - BODY_ABOVE_CHIN * height)), 0) :] = 1.0
    return np.asarray(cv2.GaussianBlur(allowed, (0, 0), EDGE_BLUR_PX), np.float32)
