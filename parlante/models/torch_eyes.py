"""Eyes of a batch: `parlante.models.eye_shading` in tensor operations, which says what is what.

Axes: E eyes that are not as in the photo, P their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from parlante.models.eye_shading import (
    END_SHARE,
    END_THINNESS,
    FOLD,
    FOLD_IOD,
    FOLD_WIDTH_IOD,
    LASH_LINE,
    LASH_LINE_IOD,
    LASHES_IOD,
    MAX_STEEP,
    NO_RIM,
    OVERHANG,
    RIM_IOD,
    SHUT_RIM,
    WING_SHARE,
)
from parlante.models.eye_state import CURVE_SAMPLES, UPPER_SHARE_OF_BLINK, EyeState
from parlante.models.eyes import EyeLayers
from parlante.models.torch_pixels import Pictures, Pixels, bilinear, smooth, to_levels
from parlante.types import Float32Array

__all__ = ["EyeBatch", "eye_curves", "eye_numbers", "shade_eyes"]

_LAST: Final = CURVE_SAMPLES - 1


class EyeBatch(NamedTuple):
    """What eyes are drawn from.

    Attributes:
        numbers: float32 [E, 17], of `eye_numbers`.
        curves: float32 [E, 4, 64], of `eye_curves`.
        image: The portraits.
        skin: Lids.
        white: Eyeballs.
        iris: Irises.
        rim: What the photo shows more along the lids, + 128.
    """

    numbers: Tensor
    curves: Tensor
    image: Pictures
    skin: Pictures
    white: Pictures
    iris: Pictures
    rim: Pictures


def eye_numbers(eye: EyeLayers, state: EyeState, offset: tuple[float, float]) -> Sequence[float]:
    """The numbers of an eye in a frame."""
    fixed = np.concatenate([eye.frame, eye.zones, eye.patch_origin]).tolist()
    return (*fixed, *offset, eye.crease_px, state.drawn_out, state.blink, *state.shift_px)


def eye_curves(eye: EyeLayers, state: EyeState) -> Float32Array:
    """Rims in the photo and in the frame, float32 [4, 64]."""
    return np.array([eye.upper, eye.lower, state.upper, state.lower], np.float32)


def shade_eyes(
    texels: Tensor,
    eyes: EyeBatch,
    pixels: Pixels,
    maps: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Draw eyes.

    Args:
        texels: int32 [T].
        eyes: All eyes.
        pixels: Their pixels.
        maps: float32 [P] each, source position of every pixel on the canvas.

    Returns:
        uint8 [P, 3], and bool [P], the pixels that belong to an eye.
    """
    (
        corner_x, corner_y, ax, ay, width, iod, zone_above, zone_below, origin_x, origin_y,
        offset_x, offset_y, crease, drawn_out, blink, shift_x, shift_y,
    ) = eyes.numbers[pixels.owner].unbind(1)  # fmt: skip
    px, py = maps[0] - offset_x, maps[1] - offset_y
    dx, dy = px - corner_x, py - corner_y
    along, across = dx * ax + dy * ay, dy * ax - dx * ay
    rim, lashes = RIM_IOD * iod, LASHES_IOD * iod
    position = (along / width).clamp(0.0, 1.0) * _LAST
    u0, l0, u, low = _curves_at(eyes.curves, pixels.owner, position)
    inside_upper, inside_lower = across - u, low - across
    is_drawn = (along > -OVERHANG * width) & (along < (1.0 + OVERHANG) * width)
    is_drawn &= (inside_upper >= -3.0 * zone_above) & (inside_lower >= -3.0 * zone_below)
    weight_upper = 1.0 - smooth(inside_upper / rim)
    weight_lower = (1.0 - smooth(inside_lower / rim)) * (1.0 - weight_upper)
    within = rim * (1.0 - (1.0 - SHUT_RIM) * blink)
    k, run = position.long().clamp(max=_LAST - 1), width / _LAST
    slope_at_rest, _, slope, _ = (step / run for step in _steps_at(eyes.curves, pixels.owner, k))
    steep = ((1.0 + slope_at_rest * slope_at_rest) / (1.0 + slope * slope)).sqrt()
    beyond = torch.maximum(-along, along - width).clamp(min=0.0)
    wing = 1.0 - smooth(beyond / (WING_SHARE * width))
    from_end = smooth(torch.minimum(position, _LAST - position) / (END_SHARE * _LAST))
    squeezed = steep.clamp(max=MAX_STEEP) - 1.0 + END_THINNESS * blink * (1.0 - from_end)
    squeezed *= wing
    above = -torch.minimum(inside_upper, within)
    lashes_above = 1.0 + squeezed * (1.0 - smooth(above / zone_above))
    source_upper = u0 - _stretched(lashes_above * above, lashes, zone_above, u - u0)
    is_out = (drawn_out > 1.0) & (u < u0) & (across < u)
    under_raised = _under_raised(u0 - across, u0 - u, crease, drawn_out, lashes, zone_above)
    source_upper = torch.where(is_out, u0 - under_raised, source_upper)
    source_lower = l0 + _stretched(-torch.minimum(inside_lower, within), rim, zone_below, l0 - low)
    plain = wing * smooth(torch.maximum((u - u0) / (0.5 * zone_above), 2.0 * blink))
    plain *= smooth((1.0 + squeezed) * (u - across) / lashes - 0.6)
    below_brow = (1.4 * zone_above - u0 + source_upper) / (0.5 * zone_above)
    plain *= smooth(torch.maximum(below_brow, (across - u0) / lashes + 1.0))
    hanging = UPPER_SHARE_OF_BLINK * (l0 - u0) - (u - u0)
    hanging *= 1.0 - smooth((u - across) / (zone_above + (u - u0).clamp(min=0.0)))
    hung = across + hanging
    fold = torch.exp(-((((u0 - across) / iod - FOLD_IOD) / FOLD_WIDTH_IOD) ** 2))
    lid_light = 1.0 - FOLD * fold * smooth(blink)
    seam = (across - 0.5 * (u + low)) / (LASH_LINE_IOD * iod)
    ends = smooth(4.0 * torch.minimum(position, _LAST - position) / _LAST)
    line = 1.0 - LASH_LINE * smooth(2.0 * blink - 1.0) * torch.exp(-seam * seam) * ends

    image, skin, white, iris, rims = (
        picture.of(pixels.owner)
        for picture in (eyes.image, eyes.skin, eyes.white, eyes.iris, eyes.rim)
    )
    # In one call, as nine would be nine times as many kernels: skin of the portrait and of the shut
    # eye for the upper and for the lower lid, where the upper lid hangs, iris, white, and twice the
    # rim of the nearer lid.
    upper_x, upper_y = (
        corner_x + along * ax - source_upper * ay,
        corner_y + along * ay + source_upper * ax,
    )
    lower_x, lower_y = (
        corner_x + along * ax - source_lower * ay,
        corner_y + along * ay + source_lower * ax,
    )
    hung_x, hung_y = corner_x + along * ax - hung * ay, corner_y + along * ay + hung * ax
    bx, by = px - origin_x, py - origin_y
    is_upper = inside_upper < inside_lower
    rim_x, rim_y = (
        torch.where(is_upper, upper_x, lower_x) - origin_x,
        torch.where(is_upper, upper_y, lower_y) - origin_y,
    )
    shut_x, shut_y = upper_x - origin_x, upper_y - origin_y
    below_x, below_y = lower_x - origin_x, lower_y - origin_y
    columns = [
        upper_x, shut_x, hung_x - origin_x, lower_x, below_x, bx - shift_x, bx, rim_x,
        rim_x - shift_x * ax,
    ]  # fmt: skip
    rows = [
        upper_y, shut_y, hung_y - origin_y, lower_y, below_y, by - shift_y, by, rim_y,
        rim_y - shift_x * ay,
    ]  # fmt: skip
    places = Pictures.joined([image, skin, skin, image, skin, iris, white, rims, rims])
    x, y = torch.stack(columns, -1), torch.stack(rows, -1)
    colours = bilinear(texels, places, x, y, clamp=True)
    is_known = (x >= 0.0) & (y >= 0.0) & (x <= places.width - 1) & (y <= places.height - 1)
    stray = colours[..., 3] / 255.0 * blink.clamp(min=0.0)[:, None] * is_known
    upper, _, shut, lower, cover_lower, disc, ball, _, more = colours[..., :3].unbind(1)
    plain = plain + (1.0 - plain) * stray[:, 1]
    upper = upper + plain[:, None] * (shut * lid_light[:, None] - upper)
    lower = lower + stray[:, 4:5] * (cover_lower - lower)
    ball = ball + colours[:, 5, 3:] / 255.0 * (disc - ball)
    has_rim = (torch.minimum(inside_upper, inside_lower) < rim) * (1.0 - blink)
    ball = (ball + has_rim[:, None] * (more + colours[:, 7, 3:] - 2.0 * NO_RIM)).clamp(0.0, 255.0)
    weight_ball = (1.0 - weight_upper - weight_lower).clamp(min=0.0)
    value = weight_upper[:, None] * upper + weight_lower[:, None] * lower
    value = value + weight_ball[:, None] * ball
    return to_levels(value * line[:, None]), is_drawn


def _curves_at(curves: Tensor, owner: Tensor, position: Tensor) -> tuple[Tensor, ...]:
    """All curves of an eye at positions [P] along it, in samples: four of [P]."""
    k = position.long().clamp(max=_LAST - 1)
    f = (position - k)[:, None]
    samples = curves.transpose(1, 2)  # [E, 64, 4]
    return torch.lerp(samples[owner, k], samples[owner, k + 1], f).unbind(1)


def _steps_at(curves: Tensor, owner: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """How much all curves of an eye fall from one sample to the next: four of [P]."""
    samples = curves.transpose(1, 2)  # [E, 64, 4]
    return (samples[owner, k + 1] - samples[owner, k]).unbind(1)


def _under_raised(
    height: Tensor, raised: Tensor, crease: Tensor, drawn_out: Tensor, band: Tensor, zone: Tensor
) -> Tensor:
    """As `parlante.models.eye_shading._under_raised`."""
    out = (drawn_out - 1.0) * (raised / band).clamp(max=1.0)
    lid = raised + out * (raised - crease).clamp(min=0.0)
    distance = height + out * (height - crease).clamp(min=0.0) - lid
    stretched = (zone + out * (zone - crease).clamp(min=0.0) - lid - band).clamp(min=1.0)
    further = band + (distance - band) * (zone - band).clamp(min=1.0) / stretched
    return torch.where(height >= zone, height, torch.where(distance < band, distance, further))


def _stretched(distance: Tensor, band: Tensor, zone: Tensor, extra: Tensor) -> Tensor:
    """Rest distance of skin from the rim, for its distance now: `extra` px came into the zone."""
    length = (zone - band).clamp(min=1.0)
    stretched = torch.maximum(length + extra, 0.3 * length)
    within = band + (distance - band) * length / stretched
    beyond = distance - (stretched - length)
    return torch.where(
        distance < band, distance, torch.where(distance < band + stretched, within, beyond)
    )
