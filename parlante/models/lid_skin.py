"""Skin of a shut eye, painted once per portrait: what a lid that comes down shows.

A photo of an open eye hardly shows its lids. Theirs is the tone of the skin around the eye, carried
on without a seam, rounded by light over the eyeball, with grain of the same photo. Axis letters: H
and W, height and width of a patch around an eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.eye_shading import LASHES_IOD
from parlante.models.eye_state import UPPER_SHARE_OF_BLINK
from parlante.models.push_pull import push_pull
from parlante.models.skin_grain import GRAIN_BLUR_IOD
from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array, Uint8Array

__all__ = ["EyeOpening", "lid_skin"]

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STRAY_REDNESS: Final = 0.4  # of the skin's; the white of eyes has less
STRAY_REACH_IOD: Final = 0.09
CALM_IOD: Final = 0.012  # against noise, which is not to be taken for strokes or white
STROKE_IOD: Final = 0.03  # half the width of the widest lash or wrinkle that is no skin
LEAST_SKIN_LIGHT: Final = 0.5  # of the median: brows, lashes and iris are darker
# Skin a little further from the rims is surer to have no lashes than that right beside them.
CLEAR_IOD: Final = 0.055
LIT_REACH_IOD: Final = 0.09
UPPER_SKIN_SHARE: Final = 0.75
LID_COLOUR: Final = 0.65
MAX_LID_GAIN: Final = 1.12
LEAST_LID_LIGHT: Final = 0.6  # of the skin's below the eye
LID_EDGE_IOD: Final = 0.04  # over which the lid's own tone goes into that of the skin around
# Light of a lid over the round eyeball, of its tone: at its lashes, and at its brightest.
LASHES_LIGHT: Final = 0.88
TOP_LIGHT: Final = 1.03
TOP_PLACE: Final = 0.55  # of the way from lashes to fold
TOP_WIDTH: Final = 0.30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyeOpening:
    """Where the pixels of a patch lie towards the rims of the open eye.

    Attributes:
        below_upper: float64 [H, W], px below the upper rim; far above it beside the eye.
        above_lower: float64 [H, W], px above the lower rim; far below it beside the eye.
        iod_px: Inter-ocular distance.
    """

    below_upper: Float64Array
    above_lower: Float64Array
    iod_px: float

    @property
    def is_inside(self) -> Mask:
        """Between the rims, bool [H, W]."""
        return (self.below_upper > 0.0) & (self.above_lower > 0.0)

    def is_further(self, distance_px: float) -> Mask:
        """Further from the opening than a distance, bool [H, W]."""
        outside = (~self.is_inside).astype(np.uint8)
        return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, 5) > distance_px)

    def beyond(self, distance_px: float) -> tuple[Mask, Mask]:
        """Above the upper and below the lower rim by more than a distance, bool [H, W] each."""
        return self.below_upper < -distance_px, self.above_lower < -distance_px


def lid_skin(
    patch: Uint8Array, opening: EyeOpening, grain: Float32Array, *, is_even: bool = False
) -> Uint8Array:
    """Paint the skin of a shut eye.

    Args:
        patch: uint8 [H, W, 3], RGB, the photo around the eye.
        opening: Of the eye.
        grain: float32 [H, W, 3], of `skin_grain`.
        is_even: Without light that rounds it, as lids of drawings are.

    Returns:
        uint8 [H, W, 4]: RGB without lashes, and a matte of what is white of the eye outside the
        tracked lids.
    """
    above, below = opening.beyond(LASHES_IOD * opening.iod_px)
    is_skin = above | below
    stray = _stray_white(patch, is_skin, opening)
    is_skin &= stray < 64
    skin = _without_lashes(patch, is_skin, opening)
    skin = _with_lid_tone(patch, skin, (above & is_skin, below & is_skin), opening)
    light = np.float32(1.0) if is_even else _light(opening)[..., None]
    skin = np.clip(np.rint(skin * light + grain), 0.0, 255.0)
    return np.dstack([skin.astype(np.uint8), stray])


def _stray_white(patch: Uint8Array, is_skin: Mask, opening: EyeOpening) -> Uint8Array:
    """Matte of white around the eye: light without the red of skin (paintings, turned heads)."""
    colours = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), CALM_IOD * opening.iod_px)
    total = np.maximum(colours.sum(-1), 1.0)
    redness = (colours[..., 0] - colours[..., 1]) / total
    if not is_skin.any():
        return np.zeros(patch.shape[:2], np.uint8)
    is_white = redness < STRAY_REDNESS * np.median(redness[is_skin])
    is_white &= total > 0.7 * np.median(total[is_skin])
    reach = 2 * round(STRAY_REACH_IOD * opening.iod_px) + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    near = cv2.dilate(opening.is_inside.astype(np.uint8), shape)
    white = (is_white & (near > 0)).astype(np.uint8)
    # The rim of spectacles is light as well, but there is skin between it and the eye.
    _, labels = cv2.connectedComponents(white | opening.is_inside.astype(np.uint8))
    white[~np.isin(labels, np.unique(labels[opening.is_inside]))] = 0
    stray = cv2.dilate(white * 255, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.GaussianBlur(stray, (0, 0), 1.0), np.uint8)


def _without_lashes(patch: Uint8Array, is_skin: Mask, opening: EyeOpening) -> Float32Array:
    """Tone of the skin, carried on over lashes and the eye itself, float32 [H, W, 3]."""
    iod = opening.iod_px
    size = max(3, 2 * round(STROKE_IOD * iod) + 1)
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    # Closing takes the lightest of what is near: of noise, too, unless that is smoothed before.
    calm = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), CALM_IOD * iod)
    closed = cv2.morphologyEx(calm, cv2.MORPH_CLOSE, shape)
    light = closed.sum(-1)
    is_clear = is_skin & opening.is_further(CLEAR_IOD * iod)
    if is_clear.any():  # brows, lashes and what the tracker left of the iris are no skin
        is_clear &= light > LEAST_SKIN_LIGHT * np.median(light[is_clear])
    filled = push_pull(closed, is_clear.astype(np.float32))
    return np.asarray(cv2.GaussianBlur(filled, (0, 0), GRAIN_BLUR_IOD * iod), np.float32)


def _with_lid_tone(
    patch: Uint8Array, skin: Float32Array, beside: tuple[Mask, Mask], opening: EyeOpening
) -> Float32Array:
    """Give the lid, and no more than the lid, the tone of lit skin above and below the eye.

    What little is seen of an upper lid lies in the shadow of its fold: carried on over the eye it
    would look grey and flat.
    """
    iod = opening.iod_px
    light = patch.astype(np.float32).sum(-1)
    below = light[beside[1]]
    least = LEAST_LID_LIGHT * float(np.median(below)) if len(below) else 0.0  # brows are darker
    total, weights = np.zeros(patch.shape, np.float32), np.zeros(patch.shape[:2], np.float32)
    for is_beside, share in zip(beside, (UPPER_SKIN_SHARE, 1.0 - UPPER_SKIN_SHARE), strict=True):
        if not is_beside.any():
            continue
        low, high = np.quantile(light[is_beside], (0.5, 0.95))
        lit = (is_beside & (light >= max(low, least)) & (light <= high)).astype(np.float32)
        if not lit.any():
            continue
        weight = cv2.GaussianBlur(lit, (0, 0), LIT_REACH_IOD * iod) + 1e-4 * float(lit.mean())
        mean = patch[lit > 0].mean(0) * 1e-4 * float(lit.mean())
        colour = cv2.GaussianBlur(patch * lit[..., None], (0, 0), LIT_REACH_IOD * iod) + mean
        total += share * colour / np.maximum(weight, 1e-9)[..., None]
        weights += share
    target = total / np.maximum(weights, 1e-6)[..., None]
    own = np.maximum(skin.mean(-1, keepdims=True), 1.0)
    lit_light = np.maximum(target.mean(-1, keepdims=True), 1.0)
    toned = np.minimum(0.7 * own + 0.3 * lit_light, np.maximum(MAX_LID_GAIN * own, least / 3.0))
    hue = (1.0 - LID_COLOUR) * skin / own + LID_COLOUR * target / lit_light
    is_lid = (opening.is_inside & (weights > 0)).astype(np.float32)
    share_of_lid = cv2.GaussianBlur(is_lid, (0, 0), LID_EDGE_IOD * iod)[..., None]
    return np.asarray(skin + share_of_lid * (hue * toned - skin), np.float32)


def _light(opening: EyeOpening) -> Float32Array:
    """Light of a shut lid over the round eyeball, [H, W], 1 = its tone as it is."""
    gap = np.maximum(opening.below_upper + opening.above_lower, 0.0)  # none beside the eye
    widest = max(float(gap.max()), 1.0)
    above_rim = UPPER_SHARE_OF_BLINK * gap - opening.below_upper
    height = np.clip(above_rim / np.maximum(gap, 1.0), -1.0, 3.0)
    shade = (1.0 - LASHES_LIGHT) * (1.0 - smooth_steps(height / TOP_PLACE))
    shine = (TOP_LIGHT - 1.0) * np.exp(-(((height - TOP_PLACE) / TOP_WIDTH) ** 2))
    return np.asarray(1.0 + gap / widest * (shine - shade), np.float32)
