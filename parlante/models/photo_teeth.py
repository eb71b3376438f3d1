"""The upper teeth that a portrait itself shows, as a texture: a smile keeps its own teeth."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import is_grey, redness_of
from parlante.models.mouth_shading import ARCH_DEPTH, MAX_ARCH_X, UPPER_EDGE
from parlante.models.teeth import (
    TEXTURE_BOTTOM,
    TEXTURE_HALF_WIDTH,
    TEXTURE_PX_PER_IOD,
    TEXTURE_TOP,
)
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

MIN_HEIGHT_IOD: Final = 0.045  # of teeth to be seen in the middle; less does not tell their shape
MAX_HEIGHT_IOD: Final = 0.130  # below which lower teeth would be taken along
GAP_LIGHT: Final = 0.75  # of the tooth above: less is the gap to the lower teeth
MIDDLE_IOD: Final = 0.12
CLEAN_TEXELS: Final = 2  # at the rims, where lips shine in
CLOSING_TEXELS: Final = (9, 3)  # gaps between teeth, but not between the rows
ROUNDING_TEXELS: Final = 13  # the last tooth of a row ends round, not where a shadow cuts it
TOOTH_LIGHT: Final = 0.55  # of the lips'; teeth at the sides lie in shadow
TOOTH_REDNESS: Final = 0.80
GUM_ABOVE_IOD: Final = 0.045  # above the highest row of the teeth that is seen


def find_teeth(
    image: Uint8Array,
    landmarks: Float32Array,
    anchor: Float64Array,
    axes: Float32Array,
    lips: Float64Array,
    gum: Float64Array,
) -> Uint8Array | None:
    """Take the upper teeth from the photo, continued upwards under the lip.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
        anchor: float64 [3], px, origin of the mouth's frame.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        lips: float64 [3], RGB, mean colour of the lips.
        gum: float64 [3], RGB.

    Returns:
        A texture like that of `teeth_texture`; None when the photo shows too little of the teeth.
    """
    step = 1.0 / TEXTURE_PX_PER_IOD
    x = np.arange(-TEXTURE_HALF_WIDTH, TEXTURE_HALF_WIDTH, step)
    y = UPPER_EDGE + np.arange(TEXTURE_TOP, TEXTURE_BOTTOM, step)
    xx, yy = np.meshgrid(x, y)
    zz = ARCH_DEPTH * np.minimum(xx * xx, MAX_ARCH_X**2)
    points = (anchor + np.stack([xx, yy, zz], -1) @ axes)[..., :2].astype(np.float32)
    colours = cv2.remap(
        image, points[..., 0], points[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)
    is_tooth = _between_lips(points, landmarks)
    is_tooth &= colours.mean(-1) > TOOTH_LIGHT * lips.mean()
    if not is_grey(lips):
        is_tooth &= redness_of(colours) < TOOTH_REDNESS * float(redness_of(lips))
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, CLOSING_TEXELS)
    seen = cv2.morphologyEx(is_tooth.astype(np.uint8), cv2.MORPH_CLOSE, shape) > 0
    top = seen.argmax(0)
    is_below = np.arange(len(y))[:, None] > top
    light = np.where(is_below, cv2.blur(colours.mean(-1), (5, 1)), 0.0)
    seen &= light >= GAP_LIGHT * np.maximum.accumulate(light, 0)
    bottom = np.where(is_below & ~seen, np.arange(len(y))[:, None], len(y)).min(0) - 1
    bottom = np.minimum(bottom, top + round(MAX_HEIGHT_IOD / step))
    height = np.where(seen.any(0), bottom - top, 0)
    if np.median(height[np.abs(x) < MIDDLE_IOD]) * step < MIN_HEIGHT_IOD:
        return None
    return _complete(colours, top, bottom, height, gum)


def _between_lips(points: Float32Array, landmarks: Float32Array) -> npt.NDArray[np.bool_]:
    rims = []
    for row in (fm.INNER_UPPER_LIP, fm.INNER_LOWER_LIP):
        x, y = landmarks[list(row), :2].astype(np.float64).T
        rims.append(np.interp(points[..., 0], x, y, np.nan, np.nan))
    return np.asarray((points[..., 1] > rims[0]) & (points[..., 1] < rims[1]))


def _complete(
    colours: Float64Array,
    top: npt.NDArray[np.intp],
    bottom: npt.NDArray[np.intp],
    height: npt.NDArray[np.intp],
    gum: Float64Array,
) -> Uint8Array:
    """Continue each column of teeth upwards, with gum above; RGBA."""
    row = np.arange(len(colours))[:, None]
    inset = np.minimum(CLEAN_TEXELS, height // 3)
    source = np.clip(row, top + inset, np.maximum(bottom - inset, top + inset))
    rgb = np.take_along_axis(colours, source[..., None], axis=0)
    # What is continued upwards would show stripes: it is smoothed sideways, the more the higher.
    above = np.clip((top + inset - row) * 0.15, 0.0, 1.0)[..., None]
    rgb += above * (cv2.GaussianBlur(rgb, (0, 0), 1.5) - rgb)
    on_gum = np.clip(((top - row) / TEXTURE_PX_PER_IOD - GUM_ABOVE_IOD) / 0.02, 0.0, 1.0)[..., None]
    rgb += on_gum * (gum - rgb)
    matte = 255.0 * ((row <= bottom) & (height > 0))
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (ROUNDING_TEXELS, ROUNDING_TEXELS))
    matte = cv2.morphologyEx(matte, cv2.MORPH_OPEN, shape)
    matte = cv2.GaussianBlur(matte, (0, 0), 1.2)
    return np.ascontiguousarray(np.clip(np.rint(np.dstack([rgb, matte])), 0, 255), np.uint8)
