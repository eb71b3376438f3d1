"""Colours of what is drawn inside a mouth: in light, hue and sharpness as its portrait is."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import redness_of, sample_colours
from parlante.models.picture_light import face_of, side_light
from parlante.models.teeth import TEXTURE_PX_PER_IOD, texture_columns
from parlante.types import Float32Array, Uint8Array

__all__ = [
    "as_soft",
    "hue_spread",
    "in_hue_of",
    "light_beside",
    "likely_white",
    "lit_from_a_side",
    "teeth_colour",
]

Float64Array = npt.NDArray[np.float64]

SHOWN_SHARE: Final = 0.65  # of the colour of teeth that the photo shows in full light
SURE_TOOTH_LIGHT: Final = 0.3  # by so much teeth in full light are brighter than lips
# Of what teeth in full light are guessed to have: shown with less they lie in shadow, from the
# second on not at all.
SHADED_LIGHT, LIT_LIGHT = 0.55, 0.80
# Of the white of the eyes: 27 synthetic heads have 1.0 to 1.7, photos of smiles 0.9 to 1.15 in the
# shadow of the lip. It tells the light where skin and lips are dark.
TOOTH_BY_WHITE: Final = 1.15
# Teeth that a photo shows between lips that are little apart are a few pixels high: the brightest
# are theirs most, and lie in the lip's shadow, of which opening takes this share away.
BRIGHTEST: Final = 0.8
UNSHADED: Final = 0.5
MOST_OF_LIPS: Final = 0.5  # mixed into these pixels
WHITE_GREENER: Final = 0.03  # than skin may be, by redness: 23 portraits have none
FULL_REDNESS: Final = 0.06  # of lips, see `redness_of`
# Faces of 23 portraits have a spread of 0.037 to 0.07, a sepia print 0.007, grey ones none.
FULL_SPREAD: Final = 0.012
DARKEST_TEETH: Final = 50.0  # as bright as lips, skin and eyes let expect, but for this


def light_beside(
    image: Uint8Array, landmarks: Float32Array, anchor: Float32Array, axes: Float32Array
) -> Float64Array:
    """Light of the columns of a texture of teeth, as lips and what is round them have it."""
    rows = (fm.UPPER_LIP_ROWS[2], fm.LOWER_LIP_ROWS[2])
    points = np.stack([landmarks[list(row), :2] for row in rows])  # [2, 9, 2]
    light = sample_colours(image, points).mean(-1).mean(0)
    along = axes[0, :2].astype(np.float64)
    x = ((points - anchor[:2]) @ along / float(axes[0] @ axes[0])).mean(0)
    return side_light(np.maximum.accumulate(x), light, texture_columns())


def lit_from_a_side(texture: Uint8Array, beside: Float64Array) -> Uint8Array:
    """A texture of teeth in light that comes from a side."""
    rgb = texture[..., :3] * beside[:, None]
    return np.ascontiguousarray(
        np.clip(np.rint(np.dstack([rgb, texture[..., 3]])), 0, 255), np.uint8
    )


def as_soft(texture: Uint8Array, blur_iod: float) -> Uint8Array:
    """A texture of teeth that is no sharper than its picture."""
    sigma = blur_iod * TEXTURE_PX_PER_IOD
    if sigma <= 0.0:
        return texture
    covered = texture.astype(np.float32) * [1.0, 1.0, 1.0, 0.0]
    covered[..., :3] *= texture[..., 3:] / 255.0
    covered[..., 3] = texture[..., 3]
    soft = cv2.GaussianBlur(covered, (0, 0), sigma)
    rgb = soft[..., :3] / np.maximum(soft[..., 3:] / 255.0, 1e-3)
    # Where nothing of it is seen there is no colour to be told, and none that matters.
    rgb = np.where(soft[..., 3:] > 1.0, rgb, texture[..., :3])
    mixed = np.dstack([rgb, soft[..., 3]])
    return np.ascontiguousarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def in_hue_of(flesh: Float64Array, lips: Float64Array, spread: float) -> Float64Array:
    """Colour of flesh in a picture that may have less colour than skin has, or a single hue.

    Args:
        flesh: float64 [3], RGB.
        lips: float64 [3], RGB, whose hue it takes instead.
        spread: Of `hue_spread`.
    """
    share = min(float(redness_of(lips)) / FULL_REDNESS, spread / FULL_SPREAD - 1.0)
    share = min(max(share, 0.0), 1.0)
    hue = np.maximum(lips, 1.0) / max(float(lips.mean()), 1.0)
    return np.asarray(share * flesh + (1.0 - share) * flesh.mean() * hue)


def hue_spread(image: Uint8Array, landmarks: Float32Array) -> float:
    """Standard deviation of redness over a face, of uint8 [H, W, 3]: next to none in one hue."""
    pixels = face_of(image, landmarks)[::3, ::3].astype(np.float64)
    return float(redness_of(pixels).std())


def likely_white(white: Float32Array, skin: Float64Array) -> Float32Array:
    """Colour of the eyes' white, float32 [3], or grey if it is greener than any light on the skin.

    Rims of coloured spectacles lie over the eyes of some, and would give them coloured teeth.
    """
    least = min(float(redness_of(skin)), 0.0) - WHITE_GREENER
    if float(redness_of(white.astype(np.float64))) >= least:
        return white
    return np.full(3, white.mean(), np.float32)


def teeth_colour(
    shown: Float64Array | None, white: Float32Array, lips: Float64Array, skin_light: float
) -> Float64Array:
    """Colour of a front tooth in full light: no darker than lips, cheeks and eyes let expect."""
    guess = white.astype(np.float64)
    light = max(1.65 * float(lips.mean()), 0.95 * skin_light, TOOTH_BY_WHITE * guess.mean())
    guess *= np.clip(light, DARKEST_TEETH, 228.0) / max(float(guess.mean()), 1.0)
    guess = 0.45 * guess + 0.55 * guess.mean() * np.array([1.05, 1.0, 0.90])
    if shown is not None:
        seen = shown[shown.mean(1) >= np.quantile(shown.mean(1), 0.5)].mean(0)
        # What is darker than the lips are teeth in their shadow, or the line between lips.
        trust = np.clip((seen.mean() / max(float(lips.mean()), 1.0) - 1.0) / SURE_TOOTH_LIGHT, 0, 1)
        lit = (seen.mean() / guess.mean() - SHADED_LIGHT) / (LIT_LIGHT - SHADED_LIGHT)
        brightest = shown[shown.mean(1) >= np.quantile(shown.mean(1), BRIGHTEST)].mean(0)
        tooth = _without_lips(brightest, lips, guess)
        tooth *= max(1.0, float(guess.mean() / tooth.mean())) ** UNSHADED
        guess += SHOWN_SHARE * trust * np.clip(lit, 0.0, 1.0) * (tooth - guess)
    return np.asarray(np.clip(guess, 0.6 * DARKEST_TEETH, 235.0))


def _without_lips(seen: Float64Array, lips: Float64Array, tooth: Float64Array) -> Float64Array:
    """Take out of what is seen of narrow teeth the lips that are mixed into their pixels.

    What is left is no redder than the tooth that light and eyes let expect.
    """

    def red_beyond(colour: Float64Array) -> float:
        return float(colour[0] - colour[1] - redness_of(tooth) * colour.sum())

    of_lips = max(red_beyond(lips), 1.0)
    share = min(max(red_beyond(seen) / of_lips, 0.0), MOST_OF_LIPS)
    return np.maximum((seen - share * lips) / (1.0 - share), 1.0)
