"""The inside of the mouth: teeth, tongue and cavity behind a smooth inner-lip outline.

Upper teeth belong to the skull, lower teeth and tongue to the jaw. Their colour follows the light
of the portrait: its own teeth where it shows them, else the white of its eyes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

# Sizes in inter-ocular distances; one is about 88 mm.
TOOTH_WIDTHS: Final = (0.098, 0.076, 0.070, 0.056, 0.045)  # upper, from the middle outwards
LOWER_TOOTH_WIDTHS: Final = (0.060, 0.066, 0.070, 0.058, 0.050)
TOOTH_HEIGHT: Final = 0.115
UPPER_EDGE: Final = 0.040  # of the middle incisors below the line of closed lips
LOWER_EDGE: Final = 0.004  # of the lower incisors below the same line, jaw closed
ARCH_DEPTH: Final = 3.0  # depth = ARCH_DEPTH x^2: the arch falls back to the sides
TEETH_BEHIND_LIPS: Final = 0.07

TEXTURE_PX_PER_IOD: Final = 192.0
TEXTURE_HALF_WIDTH: Final = 0.36
TEXTURE_TOP: Final = -0.20
TEXTURE_BOTTOM: Final = 0.10
CURVE_SAMPLES: Final = 96
RIM_INSET_IOD: Final = 0.012
TEETH_SEARCH_IOD: Final = 0.025


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthLayers:
    """The mouth of one portrait.

    Attributes:
        upper: uint8 [h, w, 4], upper teeth and gum with matte, TEXTURE_PX_PER_IOD px per IOD.
        lower: uint8 [h, w, 4], lower teeth and gum, edge upwards.
        cavity: float32 [3], RGB of the dark at the back.
        tongue: float32 [3], RGB.
        line: float32 [3], RGB of the shadow between closed lips.
        anchor: float32 [3], px of the portrait: middle of the line of closed lips, behind them.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        is_closed: True when the photo shows closed lips, whose own line can be kept.
        rim_insets: float32 [2, 9], px by which the rims of upper and lower lip must be taken from
            further out, because the photo shows teeth or dark there.
    """

    upper: Uint8Array
    lower: Uint8Array
    cavity: Float32Array
    tongue: Float32Array
    line: Float32Array
    anchor: Float32Array
    axes: Float32Array
    is_closed: bool
    rim_insets: Float32Array


def build_mouth(
    image: Uint8Array, landmarks: Float32Array, axes: Float32Array, white: Float32Array
) -> MouthLayers:
    """Prepare the inside of a portrait's mouth.

    Args:
        image: uint8 [512, 512, 3], RGB.
        landmarks: float32 [>= 468, 3], px, with the depth that the warp uses.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        white: float32 [3], RGB, colour of the eyes' white.
    """
    upper_rim = landmarks[list(fm.UPPER_LIP_ROWS[0])]
    lower_rim = landmarks[list(fm.LOWER_LIP_ROWS[0])]
    iod = float(np.linalg.norm(axes[0]))
    lips = _lip_colour(image, landmarks)
    gap = _gap_pixels(image, upper_rim, lower_rim)
    aperture = float(np.linalg.norm(lower_rim[4] - upper_rim[4])) / iod
    shown, insets = _find_teeth(image, upper_rim, lower_rim, lips, iod)
    shows_teeth = len(shown) > 0
    teeth = _teeth_colour(shown if shows_teeth else None, white, lips)
    is_closed = aperture < 0.035 and not shows_teeth
    closed = 0.35 * upper_rim[4] + 0.65 * lower_rim[4] if aperture > 0.03 else upper_rim[4]
    if shows_teeth:
        closed = 0.7 * upper_rim[4] + 0.3 * lower_rim[4]
    depth = TEETH_BEHIND_LIPS * axes[2]
    light = float(np.clip(lips.mean() / 130.0, 0.35, 1.15))
    gum = np.array([176.0, 96.0, 92.0]) * light * 0.8
    dark = gap[gap.mean(1) <= np.quantile(gap.mean(1), 0.3)].mean(0)
    line = np.minimum(0.42 * lips, 0.9 * dark + 8.0)
    return MouthLayers(
        upper=_teeth_texture(teeth, gum, TOOTH_WIDTHS, is_upper=True),
        lower=_teeth_texture(teeth * 0.86, gum, LOWER_TOOTH_WIDTHS, is_upper=False),
        cavity=(0.42 * lips * np.array([1.0, 0.72, 0.72])).astype(np.float32),
        tongue=(0.5 * lips + 0.5 * light * np.array([168.0, 88.0, 88.0])).astype(np.float32),
        line=line.astype(np.float32),
        anchor=(closed + depth).astype(np.float32),
        axes=axes.astype(np.float32),
        is_closed=bool(is_closed),
        rim_insets=np.zeros_like(insets) if is_closed else insets,
    )


def _lip_colour(image: Uint8Array, landmarks: Float32Array) -> Float64Array:
    points = landmarks[[*fm.UPPER_LIP_ROWS[2], *fm.LOWER_LIP_ROWS[2]], :2]
    return np.asarray(_sample(image, points).mean(0))


def _gap_pixels(image: Uint8Array, upper: Float32Array, lower: Float32Array) -> Float64Array:
    """Colours between the inner lips: [K, 3]."""
    shares = np.linspace(0.25, 0.75, 3)[:, None, None]
    points = upper[None, 1:-1, :2] * (1 - shares) + lower[None, 1:-1, :2] * shares
    return _sample(image, points.reshape(-1, 2))


def _find_teeth(
    image: Uint8Array, upper: Float32Array, lower: Float32Array, lips: Float64Array, iod: float
) -> tuple[Float64Array, Float32Array]:
    """Teeth that the photo shows: their colours [K, 3], and the insets of both rims, [2, 9] px.

    Teeth lack the red of lips, whatever their light: on 22 portraits closed lips keep more than
    0.75 of it everywhere, and shown teeth less than 0.6 somewhere.
    """
    middle = 0.5 * (upper[:, :2] + lower[:, :2])
    half = 0.5 * (lower[:, 1] - upper[:, 1])
    reach = np.arange(-1.0, 1.01, 0.05) * (half + TEETH_SEARCH_IOD * iod)[:, None]
    points = np.stack([np.broadcast_to(middle[:, :1], reach.shape), middle[:, 1:] + reach], -1)
    colours = _sample(image, points.reshape(-1, 2)).reshape(*reach.shape, 3)
    redness = _redness(colours) / max(float(_redness(lips)), 1e-3)
    is_tooth = (redness < 0.70) & (colours.mean(-1) > 0.7 * lips.mean())
    is_tooth[[0, -1]] = False  # beside the corners lies skin
    insets = np.full((2, len(upper)), RIM_INSET_IOD * iod)
    if not (is_tooth & (redness < 0.65)).any():
        return np.zeros((0, 3)), insets.astype(np.float32)
    for column in np.flatnonzero(is_tooth.any(1)):
        teeth = reach[column][is_tooth[column]]
        margin = RIM_INSET_IOD * iod - half[column]
        insets[0, column] = max(insets[0, column], margin - teeth.min())
        insets[1, column] = max(insets[1, column], margin + teeth.max())
    return colours[is_tooth], insets.astype(np.float32)


def _redness(colours: Float64Array) -> Float64Array:
    total = np.maximum(colours.sum(-1), 1.0)
    return np.asarray((colours[..., 0] - colours[..., 1]) / total)


def _sample(image: Uint8Array, points: npt.NDArray[np.floating]) -> Float64Array:
    high = np.array(image.shape[1::-1]) - 1
    x, y = np.clip(np.rint(points), 0, high).astype(int).T
    return np.asarray(image[y, x], np.float64)


def _teeth_colour(
    shown: Float64Array | None, white: Float32Array, lips: Float64Array
) -> Float64Array:
    """Colour of a front tooth in full light."""
    guess = white.astype(np.float64)
    guess *= np.clip(1.65 * lips.mean(), 110.0, 225.0) / max(float(guess.mean()), 1.0)
    guess = 0.45 * guess + 0.55 * guess.mean() * np.array([1.04, 1.0, 0.93])
    if shown is not None:
        seen = shown[shown.mean(1) >= np.quantile(shown.mean(1), 0.5)].mean(0)
        guess = 0.65 * seen + 0.35 * guess
    return np.asarray(np.clip(guess, 60.0, 235.0))


# --- textures ----------------------------------------------------------------------------------


def _teeth_texture(
    teeth: Float64Array, gum: Float64Array, widths: tuple[float, ...], *, is_upper: bool
) -> Uint8Array:
    """A row of teeth on its gum: RGBA; y counts from the incisors' edge, + = towards the edge."""
    step = 1.0 / TEXTURE_PX_PER_IOD
    x = np.arange(-TEXTURE_HALF_WIDTH, TEXTURE_HALF_WIDTH, step)
    y = np.arange(TEXTURE_TOP, TEXTURE_BOTTOM, step)
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
        tooth = _ramp((edge - yy) / 0.012)
        crown = np.where(inside, tooth, crown)
        shade = 1.0 - 0.16 * np.clip(np.abs(t), 0, 1) ** 6 - 0.04 * np.clip(t, 0, 1)
        relief = np.where(inside, shade, relief)
        left = right
    crown = np.where(away < left, crown, 0.0)
    root = -TOOTH_HEIGHT * (1.0 if is_upper else 0.85) + 0.10 * away**2
    on_gum = _ramp((root - yy) / 0.02)
    along = np.clip(-yy / TOOTH_HEIGHT, 0.0, 1.0)
    light = relief * (1.0 - 0.55 * np.clip(away / 0.34, 0, 1) ** 2.0) * (1.0 - 0.18 * along)
    # The edge of an incisor lets the dark shine through and looks a little blue-grey.
    translucent = np.clip(1.0 + (yy + 0.4 * away**2) / 0.03, 0.0, 1.0)[..., None]
    colour = teeth * (1.0 - 0.10 * translucent) * light[..., None]
    gum_light = (1.0 - 0.8 * np.clip(away / 0.34, 0, 1) ** 2)[..., None]
    colour = colour * (1.0 - on_gum[..., None]) + gum * gum_light * on_gum[..., None]
    rgba = np.dstack([colour, 255.0 * np.maximum(crown, on_gum * (away < left))])
    rgba = cv2.GaussianBlur(rgba, (0, 0), 0.9)
    texture = np.clip(np.rint(rgba), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(texture if is_upper else texture[::-1])


def _ramp(t: Float64Array) -> Float64Array:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


# --- drawing -----------------------------------------------------------------------------------


def render_mouth(
    mouth: MouthLayers,
    lips: Float32Array,
    head: Float32Array,
    jaw: Float32Array,
    tongue_out: float,
    out: Uint8Array,
) -> None:
    """Draw the inside of the mouth over a warped frame.

    Args:
        mouth: The mouth.
        lips: float32 [22, 2], screen px: inner upper lip from corner to corner at image left to
            right, then inner lower lip likewise.
        head: float32 [2, 4], screen px from (x, y, z, 1) in IOD in the frame of the skull,
            origin at `MouthLayers.anchor`.
        jaw: float32 [3], displacement of the lower teeth, IOD.
        tongue_out: [0, 1].
        out: uint8 [H, W, 3], changed in place.
    """
    first, last = lips[0], lips[10]
    along = last - first
    width = float(np.hypot(*along))
    if width < 4.0:
        return
    along = along / width
    local = (lips - first) @ np.array([[along[0], -along[1]], [along[1], along[0]]])
    upper, lower = _outline(local[:11], width), _outline(local[11:], width)
    px_per_iod = float(np.hypot(head[0, 0], head[1, 0]))
    gap_px = float(np.max(lower - upper))
    if gap_px < 0.05:
        return
    low = np.maximum(np.floor(lips.min(0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(lips.max(0)).astype(int) + 5, [out.shape[1], out.shape[0]])
    if (high <= low).any():
        return
    frame = np.array([*first, *along, width], np.float32)
    _shade_mouth(
        mouth.upper, mouth.lower, mouth.cavity, mouth.tongue, mouth.line, frame, upper, lower,
        head.astype(np.float32), jaw.astype(np.float32), float(tongue_out), gap_px / px_per_iod,
        mouth.is_closed, int(low[0]), int(low[1]), out[low[1] : high[1], low[0] : high[0]],
    )  # fmt: skip


def _outline(points: Float32Array, width: float) -> Float32Array:
    """A smooth lip outline in the mouth's frame, sampled from corner to corner."""
    x = np.maximum.accumulate(np.clip(points[:, 0], 0.0, width))
    grid = np.linspace(0.0, width, CURVE_SAMPLES)
    linear = np.interp(grid, x, points[:, 1])
    padded = np.pad(linear, 6, mode="reflect", reflect_type="odd")
    return np.asarray(np.convolve(padded, _TAPS, mode="valid"), np.float32)


_TAPS: Final = (
    np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2)
    / np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2).sum()
)


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
def _shade_mouth(
    upper_teeth: Uint8Array,
    lower_teeth: Uint8Array,
    cavity: Float32Array,
    tongue: Float32Array,
    line: Float32Array,
    frame: Float32Array,
    upper: Float32Array,
    lower: Float32Array,
    head: Float32Array,
    jaw: Float32Array,
    tongue_out: float,
    gap: float,
    keep_line: bool,
    origin_x: int,
    origin_y: int,
    out: Uint8Array,
) -> None:
    last = upper.shape[0] - 1
    ax, ay, width = frame[2], frame[3], frame[4]
    determinant = head[0, 0] * head[1, 1] - head[0, 1] * head[1, 0]
    px_per_iod = math.sqrt(max(determinant, 1e-6))
    softness = 1.4
    opened = _smooth(gap / 0.07)  # a narrow slit is mostly shadow
    presence = _smooth((gap - 0.012) / 0.03) if keep_line else 1.0
    if presence <= 0.0:
        return
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            px, py = column + origin_x, row + origin_y
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
            inside_upper, inside_lower = across - u, low - across
            cover = min(max(inside_upper / softness + 0.5, 0.0), 1.0)
            cover *= min(max(inside_lower / softness + 0.5, 0.0), 1.0)
            if cover <= 0.0:
                continue
            cover *= presence
            # Invert the projection of the arch: depth depends on x, two steps are enough.
            z = 0.0
            x, y = 0.0, 0.0
            for _ in range(3):
                sx = px - head[0, 3] - head[0, 2] * z
                sy = py - head[1, 3] - head[1, 2] * z
                x = (head[1, 1] * sx - head[0, 1] * sy) / determinant
                y = (head[0, 0] * sy - head[1, 0] * sx) / determinant
                z = ARCH_DEPTH * min(x * x, 0.09)
            side = min(abs(2.0 * along / width - 1.0), 1.0)
            depth_upper = inside_upper / px_per_iod
            depth_lower = inside_lower / px_per_iod
            # Tongue: a soft mound on the floor of the mouth that rises with `tongue_out`.
            floor = jaw[1] + LOWER_EDGE
            tongue_top = 0.26 * floor + 0.03 - 0.06 * tongue_out + 1.2 * x * x
            on_tongue = _smooth((y - tongue_top) / 0.05) * _smooth((0.27 - abs(x)) / 0.10)
            tongue_light = 0.56 + 0.40 * _smooth((y - tongue_top) / 0.18)
            tongue_light *= 1.0 - 0.06 * _smooth(1.0 - abs(x) / 0.03)
            # Textures: x and y from the middle of the incisors' edges.
            tx = (x + TEXTURE_HALF_WIDTH) * TEXTURE_PX_PER_IOD
            ty = (y - UPPER_EDGE - TEXTURE_TOP) * TEXTURE_PX_PER_IOD
            lx = (x - jaw[0] + TEXTURE_HALF_WIDTH) * TEXTURE_PX_PER_IOD
            ly = (y - floor + TEXTURE_BOTTOM) * TEXTURE_PX_PER_IOD
            upper_matte = _texel(upper_teeth, tx, ty, 3) / 255.0
            lower_matte = _texel(lower_teeth, lx, ly, 3) / 255.0
            under_upper_lip = 0.66 + 0.34 * _smooth(depth_upper / 0.045)
            over_lower_lip = 0.62 + 0.38 * _smooth(depth_lower / 0.06)
            corners = 1.0 - 0.50 * _smooth((side - 0.50) / 0.50)
            for channel in range(3):
                value = cavity[channel] * (0.75 + 0.5 * _smooth(depth_upper / 0.25))
                value += on_tongue * (tongue[channel] * tongue_light * over_lower_lip - value)
                tooth = _texel(lower_teeth, lx, ly, channel) * over_lower_lip * 0.9
                value += lower_matte * (tooth - value)
                tooth = _texel(upper_teeth, tx, ty, channel) * under_upper_lip
                value += upper_matte * (tooth - value)
                value *= corners
                value = line[channel] * (1.0 - opened) + value * opened
                base = out[row, column, channel]
                out[row, column, channel] = np.uint8(base + cover * (value - base) + 0.5)
