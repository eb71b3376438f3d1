"""Textures of the teeth: two rows with their gums, shaded for the light of a portrait."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.smooth_step import smooth_steps
from parlante.types import Uint8Array

Float64Array = npt.NDArray[np.float64]

# Sizes in inter-ocular distances; one is about 88 mm.
TOOTH_WIDTHS: Final = (0.098, 0.076, 0.070, 0.056, 0.045)  # upper, from the middle outwards
LOWER_TOOTH_WIDTHS: Final = (0.060, 0.066, 0.070, 0.058, 0.050)
TOOTH_HEIGHT: Final = 0.115
TEXTURE_PX_PER_IOD: Final = 192.0
TEXTURE_HALF_WIDTH: Final = 0.36
TEXTURE_TOP: Final = -0.20
TEXTURE_BOTTOM: Final = 0.10
DRAWN_HALF_WIDTH: Final = 0.30  # of the row of a drawing
DRAWN_RISE: Final = 0.5


def teeth_texture(
    teeth: Float64Array, gum: Float64Array, widths: tuple[float, ...], *, is_upper: bool
) -> Uint8Array:
    """A row of teeth on its gum: RGBA; y counts from the incisors' edge, + = towards the edge."""
    x, y = texture_columns(), np.arange(TEXTURE_TOP, TEXTURE_BOTTOM, 1.0 / TEXTURE_PX_PER_IOD)
    xx, yy = np.meshgrid(x, y)
    away = np.abs(xx)
    crown = np.zeros_like(xx)  # 1 on a tooth
    relief = np.ones_like(xx)  # shading within a tooth
    left = 0.0
    for index, width in enumerate(widths):
        right = left + width
        t = (away - left) / width * 2.0 - 1.0  # -1 .. 1 across the tooth
        inside = (t >= -1.0) & (t < 1.0)
        round_off = (0.014, 0.016, 0.018, 0.012, 0.010)[index]
        drop = (0.0, 0.007, 0.001, 0.007, 0.009)[index] if is_upper else 0.003 * index
        rise = 0.35 * away**2 if is_upper else 0.15 * away**2
        edge = -drop - rise - round_off * np.clip(np.abs(t), 0, 1) ** 5
        tooth = smooth_steps((edge - yy) / 0.012)
        crown = np.where(inside, tooth, crown)
        shade = 1.0 - 0.20 * np.clip(np.abs(t), 0, 1) ** 6 - 0.04 * np.clip(t, 0, 1)
        relief = np.where(inside, shade, relief)
        left = right
    crown = np.where(away < left, crown, 0.0)
    root = -TOOTH_HEIGHT * (1.0 if is_upper else 0.85) + 0.10 * away**2
    on_gum = smooth_steps((root - yy) / 0.02)
    along = np.clip(-yy / TOOTH_HEIGHT, 0.0, 1.0)
    light = relief * (1.0 - 0.45 * np.clip(away / 0.34, 0, 1) ** 2.0) * (1.0 - 0.12 * along)
    # The edge of an incisor lets the dark shine through and looks a little blue-grey.
    translucent = np.clip(1.0 + (yy + 0.4 * away**2) / 0.03, 0.0, 1.0)[..., None]
    colour = teeth * (1.0 - 0.06 * translucent) * light[..., None]
    colour = colour * (1.0 - on_gum[..., None])
    colour += gum * gum_light(away)[..., None] * on_gum[..., None]
    rgba = np.dstack([colour, 255.0 * np.maximum(crown, on_gum * (away < left))])
    rgba = cv2.GaussianBlur(rgba, (0, 0), 0.9)
    texture = np.clip(np.rint(rgba), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(texture if is_upper else texture[::-1])


def drawn_teeth(tooth: Float64Array, *, is_upper: bool) -> Uint8Array:
    """Teeth of a drawing: one even band without joints and gum; lower ones are not drawn."""
    x, y = texture_columns(), np.arange(TEXTURE_TOP, TEXTURE_BOTTOM, 1.0 / TEXTURE_PX_PER_IOD)
    edge = -DRAWN_RISE * x * x
    inside = np.clip((edge - y[:, None]) * TEXTURE_PX_PER_IOD + 0.5, 0.0, 1.0)
    inside = inside * np.clip((DRAWN_HALF_WIDTH - np.abs(x)) * TEXTURE_PX_PER_IOD, 0.0, 1.0)
    rgba = np.empty((len(y), len(x), 4), np.uint8)
    rgba[..., :3] = np.rint(tooth)
    rgba[..., 3] = np.rint(255.0 * inside) if is_upper else 0
    return rgba


def gum_light(away: Float64Array) -> Float64Array:
    """Light of the gum, of that in the middle, so far beside it (IOD)."""
    return np.asarray(1.0 - 0.8 * np.clip(away / 0.34, 0.0, 1.0) ** 2)


def texture_columns() -> Float64Array:
    """Where the columns of a texture lie beside the middle of the teeth, IOD."""
    return np.arange(-TEXTURE_HALF_WIDTH, TEXTURE_HALF_WIDTH, 1.0 / TEXTURE_PX_PER_IOD)
