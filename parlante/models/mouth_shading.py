"""Pixel loop of the inside of the mouth."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.jit import kernel
from parlante.models.teeth import (
    TEXTURE_BOTTOM,
    TEXTURE_HALF_WIDTH,
    TEXTURE_PX_PER_IOD,
    TEXTURE_TOP,
)
from parlante.types import Float32Array, Uint8Array

# In inter-ocular distances.
UPPER_EDGE: Final = 0.040  # of the middle incisors below the line of closed lips
LOWER_EDGE: Final = 0.004  # of the lower incisors below the same line, jaw closed
SHADOW_IOD: Final = 0.022  # reach of the soft shadow that the opening casts on the lips' rims
TIP_OF_WIDTH: Final = 0.12  # at each end of an open mouth, where lips bridge the opening
EDGE_PX: Final = 1.4  # over which the outline is soft in sharp pictures
SHADOW: Final = 0.30
ARCH_DEPTH: Final = 3.0  # depth = ARCH_DEPTH x^2: the arch falls back to the sides
MAX_ARCH_X: Final = 0.3
# Shares of light.
BACK_DARK: Final = 0.55  # right under the upper teeth, where one looks into the throat
TONGUE_RISE: Final = 0.20  # of the way from the lower teeth's edge, where its back is
TONGUE_BACK: Final = 0.40  # its light there, and at its tip
TONGUE_TIP: Final = 0.94
TONGUE_ROUND: Final = 5.0  # lost by IOD^2 beside the tongue's middle
WET: Final = 0.06
UNDER_UPPER_LIP: Final = 0.88
LOWER_TEETH: Final = 0.85
THIN_IOD: Final = 0.07  # height of the opening below which it is thin
THIN_FROM: Final = 0.35  # of the way from its middle to its corners
FLESH_LIGHT: Final = 0.7
ROUNDED_DARK: Final = 0.22
ROUNDED_LOWER: Final = 0.42
POINTED: Final = 0.3  # of its width, with which a stroke begins at the corners
STROKE_END_IOD: Final = 0.06  # over which it becomes as wide as it is
DRAWN_EDGE: Final = 0.25  # of the softness that edges between flesh and dark have in photos


@kernel
def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel
def _texel(texture: Uint8Array, x: float, y: float, channel: int) -> float:
    x0, y0 = math.floor(x), math.floor(y)
    if x0 < 0 or y0 < 0 or x0 >= texture.shape[1] - 1 or y0 >= texture.shape[0] - 1:
        return 0.0
    fx, fy = x - x0, y - y0
    top = texture[y0, x0, channel] * (1.0 - fx) + texture[y0, x0 + 1, channel] * fx
    bottom = texture[y0 + 1, x0, channel] * (1.0 - fx) + texture[y0 + 1, x0 + 1, channel] * fx
    return float(top * (1.0 - fy) + bottom * fy)


@kernel
def _dice(x: int, y: int) -> float:
    """A number of a place, the same for ever: even in [-1.73, 1.73], standard deviation 1."""
    mixed = (x * 73856093 ^ y * 19349663) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 16)
    return float((mixed / 4294967296.0 - 0.5) * 3.4641016)


@kernel
def speckle(x: int, y: int) -> float:
    """Grain of a place, standard deviation 1; neighbours are alike, as in photos."""
    upper, lower = _dice(x, y) + _dice(x + 1, y), _dice(x, y + 1) + _dice(x + 1, y + 1)
    return 0.5 * (upper + lower)


@kernel
def shade_mouth(
    upper_teeth: Uint8Array,
    lower_teeth: Uint8Array,
    cavity: Float32Array,
    tongue: Float32Array,
    line: Float32Array,
    grain: float,
    black: float,
    edge_px: float,
    is_flat: bool,
    ink: Float32Array,
    ink_strength: float,
    stroke_iod: float,
    frame: Float32Array,
    upper: Float32Array,
    lower: Float32Array,
    head: Float32Array,
    jaw: Float32Array,
    tongue_out: float,
    bridged: float,
    presence: float,
    opened: float,
    narrow: float,
    box: npt.NDArray[np.int64],
    out: Uint8Array,
) -> None:
    last = upper.shape[0] - 1
    ax, ay, width = frame[2], frame[3], frame[4]
    determinant = head[0, 0] * head[1, 1] - head[0, 1] * head[1, 0]
    px_per_iod = math.sqrt(max(determinant, 1e-6))
    shadow = 0.0 if is_flat else SHADOW * presence
    half_stroke = 0.5 * stroke_iod * px_per_iod
    flesh_edge = DRAWN_EDGE if is_flat else 1.0
    if presence <= 0.0:
        return
    # Grain goes with the head, from pixel to pixel.
    at_x, at_y = math.floor(head[0, 3] + 0.5), math.floor(head[1, 3] + 0.5)
    for py in range(box[1], box[3]):
        for px in range(box[0], box[2]):
            dx, dy = px - frame[0], py - frame[1]
            along = dx * ax + dy * ay
            if along <= 0.0 or along >= width:
                continue
            across = dy * ax - dx * ay
            position = along / width * last
            k = min(int(position), last - 1)
            f = position - k
            u = upper[k] * (1.0 - f) + upper[k + 1] * f
            low = lower[k] * (1.0 - f) + lower[k + 1] * f
            # Across a steep side an edge is as wide as a pixel, not as its column.
            slope_upper = (upper[k + 1] - upper[k]) * last / width
            slope_lower = (lower[k + 1] - lower[k]) * last / width
            inside_upper = (across - u) / math.sqrt(1.0 + slope_upper * slope_upper)
            inside_lower = (low - across) / math.sqrt(1.0 + slope_lower * slope_lower)
            end = min(along, width - along) / px_per_iod
            near = max(-inside_upper, -inside_lower, 0.0) / px_per_iod
            shade = shadow * math.exp(-((near / SHADOW_IOD) ** 2)) * _smooth(end / 0.10)
            if shade > 0.004:
                for channel in range(3):
                    base = out[py, px, channel]
                    out[py, px, channel] = np.uint8(base * (1.0 - shade) + 0.5)
            cover = min(max(inside_upper / edge_px + 0.5, 0.0), 1.0)
            cover *= min(max(inside_lower / edge_px + 0.5, 0.0), 1.0)
            stroke = 0.0
            if ink_strength > 0.0:  # the line of a drawn lip stays along the opening
                away = min(abs(inside_upper), abs(inside_lower))
                half = half_stroke * min(POINTED + end / STROKE_END_IOD, 1.0)
                stroke = min(max(half - away + 0.5, 0.0), 1.0) * ink_strength * presence
            if cover <= 0.0 and stroke <= 0.0:
                continue
            tip = end * px_per_iod / (TIP_OF_WIDTH * width)
            cover *= presence
            if not is_flat:
                cover *= 1.0 - bridged * (1.0 - _smooth(tip))
            # Invert the projection of the arch: depth depends on x, two steps are enough.
            z = 0.0
            x, y = 0.0, 0.0
            for _ in range(3):
                sx = px - head[0, 3] - head[0, 2] * z
                sy = py - head[1, 3] - head[1, 2] * z
                x = (head[1, 1] * sx - head[0, 1] * sy) / determinant
                y = (head[0, 0] * sy - head[1, 0] * sx) / determinant
                z = ARCH_DEPTH * min(x * x, MAX_ARCH_X * MAX_ARCH_X)
            side = min(abs(2.0 * along / width - 1.0), 1.0)
            depth_upper = inside_upper / px_per_iod
            depth_lower = inside_lower / px_per_iod
            # Tongue: a mound on the floor of the mouth that rises with `tongue_out`, lit from the
            # front and above: its back and its sides turn away from the light.
            floor = jaw[1] + LOWER_EDGE
            tongue_top = TONGUE_RISE * floor + 0.03 - 0.06 * tongue_out + 1.2 * x * x
            on_tongue = _smooth((y - tongue_top) / (0.05 * flesh_edge))
            on_tongue *= _smooth((0.27 - abs(x)) / 0.10)
            height = (y - tongue_top) / max(floor - tongue_top, 0.05)
            tongue_light = TONGUE_BACK + (TONGUE_TIP - TONGUE_BACK) * _smooth(height / 0.70)
            tongue_light -= 0.16 * _smooth(height - 0.55)
            tongue_light *= 1.0 - TONGUE_ROUND * x * x
            groove = (x / 0.022) ** 2
            tongue_light *= 1.0 - 0.10 * math.exp(-groove) * (1.0 - _smooth(height / 0.8))
            # A wet shine on both sides of its groove.
            wet_x, wet_y = (abs(x) - 0.055) / 0.035, (height - 0.62) / 0.16
            shine = WET * math.exp(-wet_x * wet_x - wet_y * wet_y) * on_tongue
            # Textures: x and y from the middle of the incisors' edges.
            tx = (x + TEXTURE_HALF_WIDTH) * TEXTURE_PX_PER_IOD
            ty = (y - UPPER_EDGE - TEXTURE_TOP) * TEXTURE_PX_PER_IOD
            lx = (x - jaw[0] + TEXTURE_HALF_WIDTH) * TEXTURE_PX_PER_IOD
            ly = (y - floor + TEXTURE_BOTTOM) * TEXTURE_PX_PER_IOD
            upper_matte = _texel(upper_teeth, tx, ty, 3) / 255.0
            lower_matte = _texel(lower_teeth, lx, ly, 3) / 255.0
            under_upper_lip = UNDER_UPPER_LIP + (1.0 - UNDER_UPPER_LIP) * _smooth(
                depth_upper / 0.045
            )
            over_lower_lip = 0.70 + 0.30 * _smooth(depth_lower / 0.06)
            corners = 1.0 - 0.50 * _smooth((side - 0.50) / 0.50)
            # In the thin ends of the opening the inner sides of the lips are seen, not the throat.
            thin = _smooth((side - THIN_FROM) / (1.0 - THIN_FROM))
            thin *= 1.0 - _smooth((depth_upper + depth_lower) / THIN_IOD)
            # Lips that round stand out before the teeth and keep the light off them.
            lit = 1.0 - ROUNDED_DARK * narrow
            lower_light = LOWER_TEETH * over_lower_lip * lit * (1.0 - ROUNDED_LOWER * narrow)
            upper_light = under_upper_lip * lit
            depth = BACK_DARK + (1.25 - BACK_DARK) * _smooth(depth_upper / 0.28)
            if is_flat:  # even colours, as all of a drawing is
                tongue_light = over_lower_lip = corners = lit = depth = 1.0
                lower_light = upper_light = 1.0
                shine = thin = 0.0
            noise = 0.0
            if grain > 0.0:
                noise = grain * speckle(int(px - at_x), int(py - at_y))
            for channel in range(3):
                value = cavity[channel] * depth * lit
                flesh = tongue[channel] * tongue_light * over_lower_lip * lit
                value += on_tongue * (flesh - value) + shine * tongue[channel]
                # What is dark in here is dark red, not grey: the flesh around lights it.
                tooth = _texel(lower_teeth, lx, ly, channel) * lower_light
                tooth += (1.0 - lower_light) * FLESH_LIGHT * cavity[channel]
                value += lower_matte * (tooth - value)
                tooth = _texel(upper_teeth, tx, ty, channel) * upper_light
                tooth += (1.0 - upper_light) * FLESH_LIGHT * cavity[channel]
                value += upper_matte * (tooth - value)
                value *= corners
                value += thin * (line[channel] - value)
                value = line[channel] * (1.0 - opened) + value * opened
                value = black + value * (1.0 - black / 255.0)
                value = min(max(value + noise, 0.0), 255.0)
                base = out[py, px, channel]
                shown = base + cover * (value - base)
                shown += stroke * (ink[channel] - shown)
                out[py, px, channel] = np.uint8(shown + 0.5)
