"""Pixel loops of the eyes: lids and eyeball as a function of the portrait's plane."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.eye_state import UPPER_SHARE_OF_BLINK
from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

RIM_IOD: Final = 0.020  # inner side of the rim, with the lashes' roots and the wet line
LASHES_IOD: Final = 0.030  # outer side of the rim, kept unstretched
FOLD_IOD: Final = 0.03  # above the rim of the open eye
FOLD_WIDTH_IOD: Final = 0.040
FOLD: Final = 0.05  # more is an arc on pale faces, which have the shadow of their own fold too
SHUT_RIM: Final = -0.6  # of the rim's inner side is left when shut: a little less than none
LASH_LINE: Final = 0.45  # darkness of the line between shut lids
LASH_LINE_IOD: Final = 0.014
NO_RIM: Final = 128.0  # level of a rim that is as eyeball and iris are
# Shut lashes: how much thinner at the corners, over which share of the eye's width from there; and
# beyond the corners, over which share they have skin above them.
END_THINNESS: Final = 1.0
END_SHARE: Final = 0.2
WING_SHARE: Final = 0.25
MAX_STEEP: Final = 2.0  # more would fold what is above the lashes
OVERHANG: Final = 0.3  # of the eye's width, beyond the corners


@kernel
def _bilinear(image: Uint8Array, x: float, y: float, channel: int) -> float:
    x = min(max(x, 0.0), image.shape[1] - 1.001)
    y = min(max(y, 0.0), image.shape[0] - 1.001)
    x0, y0 = int(x), int(y)
    fx, fy = x - x0, y - y0
    top = image[y0, x0, channel] * (1.0 - fx) + image[y0, x0 + 1, channel] * fx
    bottom = image[y0 + 1, x0, channel] * (1.0 - fx) + image[y0 + 1, x0 + 1, channel] * fx
    return float(top * (1.0 - fy) + bottom * fy)


@kernel
def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel
def _stretched(distance: float, band: float, zone: float, extra: float) -> float:
    """Rest distance of skin from the rim, for its distance now: `extra` px came into the zone."""
    if distance < band:
        return distance
    length = max(zone - band, 1.0)
    stretched = max(length + extra, 0.3 * length)
    if distance < band + stretched:
        return band + (distance - band) * length / stretched
    return distance - (stretched - length)


@kernel
def _under_raised(
    height: float, raised: float, crease: float, drawn_out: float, band: float, zone: float
) -> float:
    """Rest distance from the rim of skin above a raised one.

    Heights are px above the rim at rest, without what brows draw out of the skin above the crease:
    what carries the lashes must not be drawn out with it.
    """
    if height >= zone:
        return height
    out = (drawn_out - 1.0) * min(raised / band, 1.0)
    lid = raised + out * max(raised - crease, 0.0)
    distance = height + out * max(height - crease, 0.0) - lid
    if distance < band:
        return distance
    stretched = max(zone + out * max(zone - crease, 0.0) - lid - band, 1.0)
    return band + (distance - band) * max(zone - band, 1.0) / stretched


@kernel
def _stray_at(
    skin: Uint8Array, x: float, y: float, origin: npt.NDArray[np.int32], blink: float
) -> float:
    """Share of white outside the tracked lids that is to be covered, as far as the eye is shut."""
    px, py = x - origin[0], y - origin[1]
    if blink <= 0.0 or px < 0.0 or py < 0.0:
        return 0.0
    if px > skin.shape[1] - 1 or py > skin.shape[0] - 1:
        return 0.0
    return float(_bilinear(skin, px, py, 3) / 255.0 * blink)


@kernel
def shade_eye(
    image: Uint8Array,
    skin: Uint8Array,
    white: Uint8Array,
    iris: Uint8Array,
    rims: Uint8Array,
    origin: npt.NDArray[np.int32],
    frame: Float32Array,
    rest_upper: Float32Array,
    rest_lower: Float32Array,
    upper: Float32Array,
    lower: Float32Array,
    zones: Float32Array,
    crease: float,
    drawn_out: float,
    blink: float,
    shift_x: float,
    shift_y: float,
    map_x: Float32Array,
    map_y: Float32Array,
    offset_x: float,
    offset_y: float,
    box: npt.NDArray[np.int64],
    out: Uint8Array,
) -> None:
    ax, ay, width, iod = frame[2], frame[3], frame[4], frame[5]
    rim, lashes = RIM_IOD * iod, LASHES_IOD * iod
    last = rest_upper.shape[0] - 1
    bx0, by0 = frame[0] - origin[0], frame[1] - origin[1]
    for row in range(box[1], box[3]):
        for column in range(box[0], box[2]):
            px = map_x[row, column] - offset_x
            py = map_y[row, column] - offset_y
            dx, dy = px - frame[0], py - frame[1]
            along = dx * ax + dy * ay
            if along <= -OVERHANG * width or along >= (1.0 + OVERHANG) * width:
                continue
            across = dy * ax - dx * ay
            position = min(max(along / width, 0.0), 1.0) * last
            k = min(int(position), last - 1)
            f = position - k
            u0 = rest_upper[k] * (1.0 - f) + rest_upper[k + 1] * f
            l0 = rest_lower[k] * (1.0 - f) + rest_lower[k + 1] * f
            u = upper[k] * (1.0 - f) + upper[k + 1] * f
            low = lower[k] * (1.0 - f) + lower[k + 1] * f
            inside_upper, inside_lower = across - u, low - across
            if inside_upper < -3.0 * zones[0] or inside_lower < -3.0 * zones[1]:
                continue
            weight_upper = 1.0 - _smooth(inside_upper / rim)
            weight_lower = (1.0 - _smooth(inside_lower / rim)) * (1.0 - weight_upper)
            weight_ball = 1.0 - weight_upper - weight_lower
            # Within the eye a shutting lid has only its rim, not the eyeball that was below it.
            within = rim * (1.0 - (1.0 - SHUT_RIM) * blink)
            # A rim that was steep has less height for the same lashes when it lies flat, and shut
            # lashes end thin at the corners.
            run = width / last
            slope_at_rest = (rest_upper[k + 1] - rest_upper[k]) / run
            slope = (upper[k + 1] - upper[k]) / run
            steep = math.sqrt((1.0 + slope_at_rest * slope_at_rest) / (1.0 + slope * slope))
            beyond = max(-along, along - width, 0.0)
            from_end = _smooth(min(position, last - position) / (END_SHARE * last))
            squeezed = min(steep, MAX_STEEP) - 1.0 + END_THINNESS * blink * (1.0 - from_end)
            above = -min(inside_upper, within)
            wing = 1.0 - _smooth(beyond / (WING_SHARE * width))
            squeezed *= wing
            lashes_above = 1.0 + squeezed * (1.0 - _smooth(above / zones[0]))
            source_upper = u0 - _stretched(lashes_above * above, lashes, zones[0], u - u0)
            if drawn_out > 1.0 and u < u0 and across < u:
                source_upper = u0 - _under_raised(
                    u0 - across, u0 - u, crease, drawn_out, lashes, zones[0]
                )
            # Where the lid is stretched, skin without lashes takes over beyond the rim, and beyond
            # the corners where lashes were that now lie below.
            plain = _smooth(max((u - u0) / (0.5 * zones[0]), 2.0 * blink))
            plain *= wing
            plain *= _smooth((1.0 + squeezed) * (u - across) / lashes - 0.6)
            below_brow = (1.4 * zones[0] - u0 + source_upper) / (0.5 * zones[0])
            plain *= _smooth(max(below_brow, (across - u0) / lashes + 1.0))
            # The lid hangs at its rim, where the shut eye has it; further up it is at rest.
            hanging = UPPER_SHARE_OF_BLINK * (l0 - u0) - (u - u0)
            hanging *= 1.0 - _smooth((u - across) / (zones[0] + max(u - u0, 0.0)))
            hung = across + hanging
            # It has a fold where it goes into the socket.
            fold = math.exp(-((((u0 - across) / iod - FOLD_IOD) / FOLD_WIDTH_IOD) ** 2))
            lid_light = 1.0 - FOLD * fold * _smooth(blink)
            source_lower = l0 + _stretched(-min(inside_lower, within), rim, zones[1], l0 - low)
            seam = (across - 0.5 * (u + low)) / (LASH_LINE_IOD * iod)
            line = 1.0 - LASH_LINE * _smooth(2.0 * blink - 1.0) * math.exp(-seam * seam) * _smooth(
                4.0 * min(position, last - position) / last
            )
            upper_x = frame[0] + along * ax - source_upper * ay
            upper_y = frame[1] + along * ay + source_upper * ax
            lower_x = frame[0] + along * ax - source_lower * ay
            lower_y = frame[1] + along * ay + source_lower * ax
            hung_x = frame[0] + along * ax - hung * ay - origin[0]
            hung_y = frame[1] + along * ay + hung * ax - origin[1]
            stray = _stray_at(skin, upper_x, upper_y, origin, blink)
            plain += (1.0 - plain) * stray
            stray = _stray_at(skin, lower_x, lower_y, origin, blink)
            for channel in range(3):
                value = 0.0
                if weight_upper > 0.0:
                    lid = _bilinear(image, upper_x, upper_y, channel)
                    if plain > 0.0:
                        shut = _bilinear(skin, hung_x, hung_y, channel) * lid_light
                        lid += plain * (shut - lid)
                    value += weight_upper * lid
                if weight_lower > 0.0:
                    lid = _bilinear(image, lower_x, lower_y, channel)
                    if stray > 0.0:
                        sx, sy = lower_x - origin[0], lower_y - origin[1]
                        lid += stray * (_bilinear(skin, sx, sy, channel) - lid)
                    value += weight_lower * lid
                if weight_ball > 0.0:
                    bx, by = px - origin[0], py - origin[1]
                    matte = _bilinear(iris, bx - shift_x, by - shift_y, 3) / 255.0
                    ball = _bilinear(white, bx, by, channel)
                    ball += matte * (_bilinear(iris, bx - shift_x, by - shift_y, channel) - ball)
                    if min(inside_upper, inside_lower) < rim:
                        is_upper = inside_upper < inside_lower
                        source = source_upper if is_upper else source_lower
                        sx = bx0 + along * ax - source * ay
                        sy = by0 + along * ay + source * ax
                        more = _bilinear(rims, sx, sy, 3) - NO_RIM
                        sx, sy = sx - shift_x * ax, sy - shift_x * ay
                        more += _bilinear(rims, sx, sy, channel) - NO_RIM
                        ball = min(max(ball + (1.0 - blink) * more, 0.0), 255.0)
                    value += weight_ball * ball
                out[row, column, channel] = np.uint8(value * line + 0.5)
