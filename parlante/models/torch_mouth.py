"""Mouths of a batch: `parlante.models.mouth_shading` and `mouth_patches` in tensor operations.

Axes: E mouths that are drawn, P their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from parlante.models.mouth import CURVE_SAMPLES, MouthLayers, MouthShape
from parlante.models.mouth_shading import (
    ARCH_DEPTH,
    BACK_DARK,
    DRAWN_EDGE,
    FLESH_LIGHT,
    LOWER_EDGE,
    LOWER_TEETH,
    MAX_ARCH_X,
    POINTED,
    ROUNDED_DARK,
    ROUNDED_LOWER,
    SHADOW,
    SHADOW_IOD,
    STROKE_END_IOD,
    THIN_FROM,
    THIN_IOD,
    TIP_OF_WIDTH,
    TONGUE_BACK,
    TONGUE_RISE,
    TONGUE_ROUND,
    TONGUE_TIP,
    UNDER_UPPER_LIP,
    UPPER_EDGE,
    WET,
)
from parlante.models.teeth import (
    TEXTURE_BOTTOM,
    TEXTURE_HALF_WIDTH,
    TEXTURE_PX_PER_IOD,
    TEXTURE_TOP,
)
from parlante.models.torch_pixels import Pictures, Pixels, bilinear, smooth, to_levels
from parlante.types import Float32Array

__all__ = ["MouthBatch", "blend_patches", "mouth_numbers", "shade_mouths"]

_LAST: Final = CURVE_SAMPLES - 1
_LEAST_SHADE: Final = 0.004


class MouthBatch(NamedTuple):
    """What mouths are drawn from.

    Attributes:
        numbers: float32 [E, 27], of `mouth_numbers`.
        colours: float32 [E, 4, 3], RGB of cavity, tongue, line and ink.
        curves: float32 [E, 2, 96], upper and lower outline, px.
        upper: Textures of the upper teeth.
        lower: Of the lower teeth.
    """

    numbers: Tensor
    colours: Tensor
    curves: Tensor
    upper: Pictures
    lower: Pictures


def mouth_numbers(
    shape: MouthShape, head: Float32Array, jaw: Float32Array, tongue_out: float, mouth: MouthLayers
) -> Sequence[float]:
    """The numbers of a mouth in a frame; what is the same for all of its pixels is worked out."""
    determinant = float(head[0, 0] * head[1, 1] - head[0, 1] * head[1, 0])
    return (
        *shape.frame.tolist(), *head.reshape(-1).tolist(), float(jaw[0]), float(jaw[1]),
        tongue_out, shape.presence, shape.opened, shape.bridged, shape.narrow, determinant,
        mouth.grain, mouth.black, mouth.edge_px, float(mouth.is_flat), mouth.ink_strength,
        mouth.stroke_iod,
    )  # fmt: skip


def shade_mouths(texels: Tensor, mouths: MouthBatch, pixels: Pixels, base: Tensor) -> Tensor:
    """Draw the insides of mouths.

    Args:
        texels: int32 [T].
        mouths: All mouths.
        pixels: Their pixels.
        base: uint8 [P, 3], what is there.

    Returns:
        uint8 [P, 3].
    """
    (
        first_x, first_y, ax, ay, width, h00, h01, h02, h03, h10, h11, h12, h13, jaw_x, jaw_y,
        tongue_out, presence, opened, bridged, narrow, determinant, grain, black, edge_px,
        flat, ink_strength, stroke_iod,
    ) = mouths.numbers[pixels.owner].unbind(1)  # fmt: skip
    cavity, tongue, line, ink = mouths.colours[pixels.owner].unbind(1)
    relief = 1.0 - flat  # drawings have none
    px_per_iod = determinant.clamp(min=1e-6).sqrt()
    dx, dy = pixels.x - first_x, pixels.y - first_y
    along, across = dx * ax + dy * ay, dy * ax - dx * ay
    is_drawn = (along > 0.0) & (along < width)
    inside_upper, inside_lower = _inside(mouths.curves, pixels.owner, along, across, width)
    end = torch.minimum(along, width - along) / px_per_iod
    near = torch.maximum(-inside_upper, -inside_lower).clamp(min=0.0) / px_per_iod
    shade = relief * SHADOW * presence * torch.exp(-((near / SHADOW_IOD) ** 2)) * smooth(end / 0.10)
    shade = torch.where(is_drawn & (shade > _LEAST_SHADE), shade, 0.0)[:, None]
    shaded = (base * (1.0 - shade) + 0.5).floor()
    cover = (inside_upper / edge_px + 0.5).clamp(0.0, 1.0)
    cover = cover * (inside_lower / edge_px + 0.5).clamp(0.0, 1.0)
    tip = end * px_per_iod / (TIP_OF_WIDTH * width)
    cover = cover * presence * (1.0 - relief * bridged * (1.0 - smooth(tip)))
    cover = torch.where(is_drawn, cover, 0.0)[:, None]
    away = torch.minimum(inside_upper.abs(), inside_lower.abs())
    half = 0.5 * stroke_iod * px_per_iod * (POINTED + end / STROKE_END_IOD).clamp(max=1.0)
    stroke = (half - away + 0.5).clamp(0.0, 1.0) * ink_strength * presence
    stroke = torch.where(is_drawn, stroke, 0.0)[:, None]
    # Invert the projection of the arch: depth depends on x, few steps are enough.
    x = y = z = torch.zeros_like(along)
    for _ in range(3):
        sx, sy = pixels.x - h03 - h02 * z, pixels.y - h13 - h12 * z
        x, y = (h11 * sx - h01 * sy) / determinant, (h00 * sy - h10 * sx) / determinant
        z = ARCH_DEPTH * (x * x).clamp(max=MAX_ARCH_X * MAX_ARCH_X)
    side = (2.0 * along / width - 1.0).abs().clamp(max=1.0)
    depth_upper, depth_lower = inside_upper / px_per_iod, inside_lower / px_per_iod
    floor = jaw_y + LOWER_EDGE
    flesh_edge = 1.0 - flat * (1.0 - DRAWN_EDGE)
    on_tongue, tongue_light, shine = _tongue(x, y, floor, tongue_out, flesh_edge)
    tongue_light, shine = tongue_light + flat * (1.0 - tongue_light), relief * shine
    upper_teeth = _texture(texels, mouths.upper.of(pixels.owner), x, y - UPPER_EDGE - TEXTURE_TOP)
    lower_teeth = _texture(
        texels, mouths.lower.of(pixels.owner), x - jaw_x, y - floor + TEXTURE_BOTTOM
    )
    under_upper_lip = UNDER_UPPER_LIP + (1.0 - UNDER_UPPER_LIP) * smooth(depth_upper / 0.045)
    over_lower_lip = 0.70 + 0.30 * smooth(depth_lower / 0.06)
    corners = 1.0 - 0.50 * smooth((side - 0.50) / 0.50)
    lit = 1.0 - ROUNDED_DARK * narrow
    lower_light = LOWER_TEETH * over_lower_lip * lit * (1.0 - ROUNDED_LOWER * narrow)
    depth = BACK_DARK + (1.25 - BACK_DARK) * smooth(depth_upper / 0.28)
    under_upper_lip, over_lower_lip, corners, lit, lower_light, depth = (
        light + flat * (1.0 - light)
        for light in (under_upper_lip, over_lower_lip, corners, lit, lower_light, depth)
    )
    value = cavity * (depth * lit)[:, None]
    flesh = tongue * (tongue_light * over_lower_lip * lit)[:, None]
    value = value + on_tongue[:, None] * (flesh - value) + shine[:, None] * tongue
    value = _with_teeth(value, lower_teeth, lower_light, cavity)
    value = _with_teeth(value, upper_teeth, under_upper_lip * lit, cavity)
    thin = smooth((side - THIN_FROM) / (1.0 - THIN_FROM))
    thin = relief * thin * (1.0 - smooth((depth_upper + depth_lower) / THIN_IOD))
    value = torch.lerp(value * corners[:, None], line, thin[:, None])
    value = torch.lerp(line, value, opened[:, None])
    value = black[:, None] + value * (1.0 - black[:, None] / 255.0)
    at_x, at_y = (h03 + 0.5).floor(), (h13 + 0.5).floor()
    noise = grain * _speckle((pixels.x - at_x).long(), (pixels.y - at_y).long())
    value = (value + noise[:, None]).clamp(0.0, 255.0)
    return to_levels(torch.lerp(shaded + cover * (value - shaded), ink, stroke))


def _inside(
    curves: Tensor, owner: Tensor, along: Tensor, across: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Distance to the upper and the lower outline, px, + inside."""
    position = (along / width).clamp(0.0, 1.0) * _LAST
    k = position.long().clamp(max=_LAST - 1)
    f = (position - k)[:, None]
    samples = curves.transpose(1, 2)  # [E, 96, 2]
    here, after = samples[owner, k], samples[owner, k + 1]
    upper, lower = torch.lerp(here, after, f).unbind(1)
    # Across a steep side an edge is as wide as a pixel, not as its column.
    slope = (after - here) * (_LAST / width)[:, None]
    flat_upper, flat_lower = (1.0 + slope * slope).rsqrt().unbind(1)
    return (across - upper) * flat_upper, (lower - across) * flat_lower


def _tongue(
    x: Tensor, y: Tensor, floor: Tensor, tongue_out: Tensor, edge: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the tongue is, its light, and the shine on it."""
    top = TONGUE_RISE * floor + 0.03 - 0.06 * tongue_out + 1.2 * x * x
    on_tongue = smooth((y - top) / (0.05 * edge)) * smooth((0.27 - x.abs()) / 0.10)
    height = (y - top) / (floor - top).clamp(min=0.05)
    light = TONGUE_BACK + (TONGUE_TIP - TONGUE_BACK) * smooth(height / 0.70)
    light = light - 0.16 * smooth(height - 0.55)
    light = light * (1.0 - TONGUE_ROUND * x * x)
    groove = (x / 0.022) ** 2
    light = light * (1.0 - 0.10 * torch.exp(-groove) * (1.0 - smooth(height / 0.8)))
    wet_x, wet_y = (x.abs() - 0.055) / 0.035, (height - 0.62) / 0.16
    return on_tongue, light, WET * torch.exp(-wet_x * wet_x - wet_y * wet_y) * on_tongue


def _texture(texels: Tensor, pictures: Pictures, x: Tensor, y: Tensor) -> Tensor:
    """Sample a texture at x, y in IOD from its middle and its top, [P, 4]; clear beyond it."""
    x = (x + TEXTURE_HALF_WIDTH) * TEXTURE_PX_PER_IOD
    y = y * TEXTURE_PX_PER_IOD
    is_there = (x >= 0.0) & (y >= 0.0) & (x < pictures.width - 1) & (y < pictures.height - 1)
    x, y = torch.where(is_there, x, 0.0), torch.where(is_there, y, 0.0)
    return bilinear(texels, pictures, x, y) * is_there[:, None]


def _dice(x: Tensor, y: Tensor) -> Tensor:
    mixed = ((x * 73856093) ^ (y * 19349663)) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 16)
    return (mixed.to(torch.float32) / 4294967296.0 - 0.5) * 3.4641016


def _speckle(x: Tensor, y: Tensor) -> Tensor:
    """`parlante.models.mouth_shading.speckle` of places, int64 [P]."""
    upper, lower = _dice(x, y) + _dice(x + 1, y), _dice(x, y + 1) + _dice(x + 1, y + 1)
    return 0.5 * (upper + lower)


def _with_teeth(value: Tensor, teeth: Tensor, light: Tensor, cavity: Tensor) -> Tensor:
    dark = (1.0 - light)[:, None] * FLESH_LIGHT * cavity
    tooth = teeth[:, :3] * light[:, None] + dark
    return value + teeth[:, 3:] / 255.0 * (tooth - value)


def blend_patches(
    texels: Tensor,
    patches: Pictures,
    numbers: Tensor,
    pixels: Pixels,
    maps: tuple[Tensor, Tensor],
    base: Tensor,
) -> Tensor:
    """Blend patches over frames, as `parlante.models.mouth_patches.show_patch`.

    Args:
        texels: int32 [T].
        patches: Of E frames.
        numbers: float32 [E, 3], share of the patch, and its position on the canvas, px.
        pixels: Those that they may change.
        maps: float32 [P] each, source position of every pixel on the canvas.
        base: uint8 [P, 3], what is there.

    Returns:
        uint8 [P, 3].
    """
    share, offset_x, offset_y = numbers[pixels.owner].unbind(1)
    own = patches.of(pixels.owner)
    x, y = maps[0] - offset_x, maps[1] - offset_y
    is_there = (x >= 0.0) & (y >= 0.0) & (x < own.width - 1) & (y < own.height - 1)
    x, y = torch.where(is_there, x, 0.0), torch.where(is_there, y, 0.0)
    seen = bilinear(texels, own, x, y)
    weight = (share * is_there)[:, None] * seen[:, 3:] / 255.0
    return to_levels(base + weight * (seen[:, :3] - base))


def mouth_colours(mouth: MouthLayers) -> Float32Array:
    """RGB of cavity, tongue, line and ink, float32 [4, 3]."""
    return np.array([mouth.cavity, mouth.tongue, mouth.line, mouth.ink], np.float32)
