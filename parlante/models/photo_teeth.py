"""The upper teeth that a portrait itself shows, as a texture: a smile keeps its own teeth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import is_grey, redness_of
from parlante.models.mouth_shading import ARCH_DEPTH, MAX_ARCH_X, UPPER_EDGE
from parlante.models.smooth_step import smooth_steps
from parlante.models.teeth import (
    TEXTURE_BOTTOM,
    TEXTURE_HALF_WIDTH,
    TEXTURE_PX_PER_IOD,
    TEXTURE_TOP,
    TOOTH_HEIGHT,
    gum_light,
    texture_columns,
)
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

# Of teeth to be seen in the middle; less does not tell their shape. Where the lower lip hides how
# far down they go more of them must be seen.
MIN_HEIGHT_IOD: Final = 0.038
MIN_HIDDEN_HEIGHT_IOD: Final = 0.045
MAX_HEIGHT_IOD: Final = 0.130  # below which lower teeth would be taken along
GAP_LIGHT: Final = 0.75  # of the tooth above: less is the gap to the lower teeth
MIDDLE_IOD: Final = 0.12
CLEAN_TEXELS: Final = 2  # at the rims, where lips shine in
CLOSING_TEXELS: Final = (9, 3)  # gaps between teeth, but not between the rows
ROUNDING_TEXELS: Final = 13  # the last tooth of a row ends round, not where a shadow cuts it
TOOTH_LIGHT: Final = 0.55  # of the lips'; teeth at the sides lie in shadow
TOOTH_REDNESS: Final = 0.80
LIP_TEXELS: Final = 3  # nearer to the lower lip teeth do not end, they are hidden by it
JOINT_TEXELS: Final = 8  # at each end of the row, from which its light is taken
# What is seen of a tooth lies in the shadow of a lip, or has the lip or the gum mixed into its
# pixels: only its brightest tell what all of it looks like. Above and, where it is hidden, below
# it is drawn so, and so are these shares of what is seen, less and less.
BRIGHT: Final = 0.8
UNDER_UPPER_LIP: Final = 0.5
OVER_LOWER_LIP: Final = 0.35
OWN_HUE: Final = 0.3  # of the row, and of each pixel; the rest is what light and eyes let expect
# Teeth in the shadow of lips are lit by so much of what lacks to teeth in full light, at most.
UNSHADED: Final = 0.5
MOST_UNSHADED: Final = 1.6
EDGE_TEXELS: Final = (15, 3.0)  # of the median and the blur: edges of teeth are no saw
GUM_TEXELS: Final = 4


def find_teeth(
    image: Uint8Array,
    landmarks: Float32Array,
    anchor: Float64Array,
    axes: Float32Array,
    lips: Float64Array,
    gum: Float64Array,
    tooth: Float64Array,
    drawn: Uint8Array,
) -> Uint8Array | None:
    """Take the upper teeth from the photo, continued where lips and their corners hide them.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
        anchor: float64 [3], px, origin of the mouth's frame.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        lips: float64 [3], RGB, mean colour of the lips.
        gum: float64 [3], RGB.
        tooth: float64 [3], RGB of a front tooth in full light.
        drawn: Of `teeth_texture`; teeth that are hidden behind the lower lip end where these do,
            those behind the corners of the mouth are these.

    Returns:
        A texture like that of `teeth_texture`; None when the photo shows too little of the teeth.
    """
    step = 1.0 / TEXTURE_PX_PER_IOD
    x = texture_columns()
    y = UPPER_EDGE + np.arange(TEXTURE_TOP, TEXTURE_BOTTOM, step)
    xx, yy = np.meshgrid(x, y)
    zz = ARCH_DEPTH * np.minimum(xx * xx, MAX_ARCH_X**2)
    points = (anchor + np.stack([xx, yy, zz], -1) @ axes)[..., :2].astype(np.float32)
    colours = cv2.remap(
        image, points[..., 0], points[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)
    is_open = _between_lips(points, landmarks)
    is_tooth = is_open & (colours.mean(-1) > TOOTH_LIGHT * lips.mean())
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
    is_hidden = bottom >= _last(is_open) - LIP_TEXELS
    middle = np.abs(x) < MIDDLE_IOD
    least = MIN_HIDDEN_HEIGHT_IOD if is_hidden[middle].mean() > 0.5 else MIN_HEIGHT_IOD
    if np.median(height[middle]) * step < least:
        return None
    edge = ndimage.gaussian_filter1d(_last(drawn[..., 3] > 128).astype(np.float64), 4.0)
    shift = round(float(np.median((bottom - edge)[middle])))
    nearest = _nearest(height > 0)
    ends = np.where(is_hidden, np.maximum(bottom, edge + shift), bottom)[nearest]
    row = _Row(
        is_seen=height > 0,
        top=top[nearest].astype(np.float64),
        bottom=bottom[nearest].astype(np.float64),
        ends=edge + shift + _calm(ends - edge - shift),
        is_hidden=is_hidden[nearest],
    )
    own = _complete(colours, row, gum, tooth)
    rows = np.clip(np.arange(len(y)) - shift, 0, len(y) - 1)  # gum goes on above, nothing below
    return _beside(own, drawn[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    """Where the teeth of a photo lie in the texture [h, w], by columns [w].

    Attributes:
        is_seen: Whether a tooth is seen in it.
        top: First row of it that is seen; like the others of the nearest column where none is.
        bottom: Last row.
        ends: Last row of the tooth itself.
        is_hidden: Whether the lower lip hides what is below `bottom`.
    """

    is_seen: npt.NDArray[np.bool_]
    top: Float64Array
    bottom: Float64Array
    ends: Float64Array
    is_hidden: npt.NDArray[np.bool_]


def _nearest(is_known: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Give the nearest column where something is known, for every column [w]."""
    known = np.flatnonzero(is_known)
    return np.asarray(known[np.abs(np.arange(len(is_known))[:, None] - known).argmin(1)])


def _calm(rows: Float64Array) -> Float64Array:
    """Take from rows by column [w] the saw that single pixels make of them."""
    taps, blur = EDGE_TEXELS
    calm = ndimage.median_filter(rows, taps, mode="nearest")
    return np.asarray(ndimage.gaussian_filter1d(calm, blur))


def _last(is_there: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Last row of every column [h, w] where something is, 0 where nothing is."""
    return np.asarray(np.where(is_there, np.arange(len(is_there))[:, None], 0).max(0))


def _between_lips(points: Float32Array, landmarks: Float32Array) -> npt.NDArray[np.bool_]:
    rims = []
    for row in (fm.INNER_UPPER_LIP, fm.INNER_LOWER_LIP):
        x, y = landmarks[list(row), :2].astype(np.float64).T
        rims.append(np.interp(points[..., 0], x, y, np.nan, np.nan))
    return np.asarray((points[..., 1] > rims[0]) & (points[..., 1] < rims[1]))


def _complete(
    colours: Float64Array, teeth: _Row, gum: Float64Array, tooth: Float64Array
) -> Uint8Array:
    """Draw a photo's teeth whole: up to their gum, down to where they end; RGBA."""
    row = np.arange(len(colours))[:, None]
    height = np.maximum(teeth.bottom - teeth.top, 1.0)
    inset = np.minimum(CLEAN_TEXELS, height // 3)
    first, last = teeth.top + inset, np.maximum(teeth.bottom - inset, teeth.top + inset)
    clipped = np.clip(row, first, last).astype(np.intp)[..., None]
    seen = np.take_along_axis(colours, clipped, axis=0)
    light = seen.mean(-1)
    inside = (row >= first) & (row <= last)
    whole = np.nanquantile(np.where(inside, light, np.nan), BRIGHT, axis=0)
    whole = ndimage.gaussian_filter1d(whole, 1.2, mode="nearest")
    share = smooth_steps((row - first) / (UNDER_UPPER_LIP * height))
    above_lip = smooth_steps((last - row) / (OVER_LOWER_LIP * height))
    share = np.where(teeth.is_hidden, share * above_lip, share)
    hue = _hue_of(colours[inside & teeth.is_seen], tooth)
    own_hue = seen / np.maximum(light, 1.0)[..., None]
    lacks = tooth.mean() / max(float(np.median(whole[teeth.is_seen])), 1.0)
    lit = min(max(lacks, 1.0), MOST_UNSHADED) ** UNSHADED
    hues = hue + OWN_HUE * share[..., None] * (own_hue - hue)
    rgb = lit * (whole + share * (light - whole))[..., None] * hues
    # A crown is as high as a drawn one, and at least what is seen of it.
    crown = np.minimum(teeth.ends - TOOTH_HEIGHT * TEXTURE_PX_PER_IOD, teeth.top - GUM_TEXELS)
    root = ndimage.gaussian_filter1d(crown, GUM_TEXELS, mode="nearest")
    away = np.abs(np.arange(len(root)) / TEXTURE_PX_PER_IOD - TEXTURE_HALF_WIDTH)
    on_gum = smooth_steps((root - row) / GUM_TEXELS)[..., None]
    rgb += on_gum * (gum * gum_light(away)[:, None] - rgb)
    matte = 255.0 * np.clip(teeth.ends - row + 0.5, 0.0, 1.0) * teeth.is_seen
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (ROUNDING_TEXELS, ROUNDING_TEXELS))
    matte = cv2.GaussianBlur(cv2.morphologyEx(matte, cv2.MORPH_OPEN, shape), (0, 0), 1.2)
    return np.ascontiguousarray(np.clip(np.rint(np.dstack([rgb, matte])), 0, 255), np.uint8)


def _hue_of(seen: Float64Array, tooth: Float64Array) -> Float64Array:
    """Colour of the row by its mean level [3]: what is expected, and a share of what is seen."""
    light = seen.mean(1)
    bright = seen[light >= np.quantile(light, BRIGHT)].mean(0)
    expected = tooth / tooth.mean()
    return np.asarray(expected + OWN_HUE * (bright / max(bright.mean(), 1.0) - expected))


def _beside(own: Uint8Array, drawn: Uint8Array) -> Uint8Array:
    """Lay the photo's teeth over drawn ones, which a wide mouth shows on both sides of them."""
    there = np.flatnonzero((own[..., 3] > 128).any(0))
    if len(there) == 0:
        return own
    first, last = int(there[0]), int(there[-1])
    under = drawn.astype(np.float64)
    under[:, first + JOINT_TEXELS : last + 1 - JOINT_TEXELS, 3] = 0.0
    for side, end in (
        (np.s_[:, : first + JOINT_TEXELS], np.s_[:, first : first + 2 * JOINT_TEXELS]),
        (np.s_[:, last + 1 - JOINT_TEXELS :], np.s_[:, last + 1 - 2 * JOINT_TEXELS : last + 1]),
    ):
        light = _light(own[end]) / max(_light(drawn[end]), 1.0)
        under[side][..., :3] *= min(light, 1.0)
    share = own[..., 3:] / 255.0
    matte = 255.0 * share + (1.0 - share) * under[..., 3:]
    weight = np.where(matte > 0.0, 255.0 * share / np.maximum(matte, 1.0), 1.0)
    rgb = under[..., :3] + weight * (own[..., :3] - under[..., :3])
    return np.ascontiguousarray(np.rint(np.dstack([rgb, matte])), np.uint8)


def _light(columns: Uint8Array) -> float:
    """Mean level of the teeth in columns [h, w, 4], 0 where there are none."""
    there = columns[..., 3] > 128
    return float(columns[there][:, :3].mean()) if there.any() else 0.0
