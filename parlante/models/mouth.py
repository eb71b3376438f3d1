"""The inside of the mouth: teeth, tongue and cavity behind a smooth inner-lip outline.

Upper teeth belong to the skull, lower teeth and tongue to the jaw. Their colour follows the light
of the portrait: its own teeth where it shows them, else the white of its eyes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.drawing import find_ink
from parlante.models.lip_opening import find_opening, sample_colours
from parlante.models.mouth_colours import (
    as_soft,
    hue_spread,
    in_hue_of,
    light_beside,
    likely_white,
    lit_from_a_side,
    teeth_colour,
)
from parlante.models.mouth_shading import EDGE_PX, shade_mouth
from parlante.models.photo_teeth import find_teeth
from parlante.models.picture_blur import blur_of
from parlante.models.picture_light import black_of, without_black
from parlante.models.screen_box import box_around
from parlante.models.smooth_step import smooth_step
from parlante.models.teeth import (
    LOWER_TOOTH_WIDTHS,
    TOOTH_WIDTHS,
    drawn_teeth,
    teeth_texture,
)
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

LIGHTEST_CAVITY: Final = 60.0  # of 255, mean of its channels; 32 to 55 on 22 photos
TEETH_BEHIND_LIPS_IOD: Final = 0.07
CURVE_SAMPLES: Final = 96
ROUNDED_NARROW: Final = 0.35  # of the photo's width, by which a rounded mouth is less wide
UNSEEN_GAP: Final = 0.012  # IOD, between lips that are closed in the photo
FADE_IN_GAP: Final = 0.03
SLIT_IOD: Final = 0.045  # a narrower gap is mostly shadow
TEETH_IN_GAP: Final = 0.6  # of these gaps is not needed where teeth stand right behind lips
# Lips meet before the ends of an opening of so many IOD, and skin is round there.
BRIDGED_IOD: Final = (0.02, 0.10)
LINE_IOD: Final = 0.002  # of the seam between pressed lips that the photo has open
CHEEKS: Final = (50, 101, 205, 280, 330, 425)  # landmarks that show the light on the face
LOWER_TOOTH: Final = (0.96, 0.92, 0.88)  # of the colour of an upper one
INK_TO_CAVITY: Final = 25.0  # levels by which the inside of a drawn mouth is lighter than ink
DRAWN_TONGUE: Final = 0.7  # of the way from that to the colour of the flesh
EDGE_OF_BLUR: Final = 2.5  # width of a soft edge, of the standard deviation of the blur


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthLayers:
    """The mouth of one portrait.

    Attributes:
        upper: uint8 [h, w, 4], upper teeth and gum with matte, `TEXTURE_PX_PER_IOD`.
        lower: uint8 [h, w, 4], lower teeth and gum, edge upwards.
        tooth: float32 [3], RGB of a front tooth in full light.
        cavity: float32 [3], RGB of the dark at the back.
        tongue: float32 [3], RGB.
        line: float32 [3], RGB of the shadow between closed lips.
        anchor: float32 [3], px of the portrait: middle of the line of closed lips, behind them.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        rest_width: IOD, of the photo's mouth.
        is_closed: True when the photo shows closed lips, whose own line can be kept.
        shows_teeth: True when the photo shows teeth.
        grain: Standard deviation of the photo's grain, of 255; 0 where it is hardly seen.
        black: Level of black in a faded photo, of 255: all colours here are without it.
        edge_px: Over which the outline of the opening is soft.
        is_flat: True for drawings, whose mouths are of even colours.
        ink: float32 [3], RGB of the lines along a drawn opening, as they are seen.
        ink_strength: Share of these lines that covers what is under them; 0 draws none.
        stroke_iod: Width of these lines.
    """

    upper: Uint8Array
    lower: Uint8Array
    tooth: Float32Array
    cavity: Float32Array
    tongue: Float32Array
    line: Float32Array
    anchor: Float32Array
    axes: Float32Array
    rest_width: float
    is_closed: bool
    shows_teeth: bool
    grain: float = 0.0
    black: float = 0.0
    edge_px: float = EDGE_PX
    is_flat: bool = False
    ink: Float32Array = field(default_factory=lambda: np.zeros(3, np.float32))
    ink_strength: float = 0.0
    stroke_iod: float = 0.0

    @property
    def palette(self) -> Float32Array:
        """Colours of tooth, cavity and tongue as they are seen, float32 [3, 3]."""
        colours = np.stack([self.tooth, self.cavity, self.tongue])
        return np.asarray(self.black + colours * (1.0 - self.black / 255.0), np.float32)


def build_mouth(
    image: Uint8Array,
    landmarks: Float32Array,
    axes: Float32Array,
    white: Float32Array,
    grain: float = 0.0,
) -> MouthLayers:
    """Prepare the inside of a portrait's mouth.

    Args:
        image: uint8 [512, 512, 3], RGB.
        landmarks: float32 [>= 468, 3], px, with the depth that the warp uses.
        axes: float32 [3, 3], rows: image right, down and back of the face, px per IOD.
        white: float32 [3], RGB, colour of the eyes' white.
        grain: As of `MouthLayers`.
    """
    black = black_of(image, landmarks)
    if black > 0.0:
        image = np.rint(without_black(image, black)).astype(np.uint8)
        white = without_black(white, black).astype(np.float32)
    blur_px = blur_of(image, landmarks)
    upper_rim = landmarks[list(fm.UPPER_LIP_ROWS[0])]
    lower_rim = landmarks[list(fm.LOWER_LIP_ROWS[0])]
    iod = float(np.linalg.norm(axes[0]))
    opening = find_opening(image, landmarks)
    lips = opening.lips
    gap = _gap_pixels(image, upper_rim, lower_rim)
    aperture = float(np.linalg.norm(lower_rim[4] - upper_rim[4])) / iod
    shows_teeth = len(opening.teeth) > 0
    corners = landmarks[list(fm.INNER_MOUTH_CORNERS)].astype(np.float64)
    cheeks = sample_colours(image, landmarks[list(CHEEKS), :2]).mean(0)
    white = likely_white(white, cheeks)
    spread = hue_spread(image, landmarks)
    shown = opening.teeth if shows_teeth else None

    def _tinted(flesh: Float64Array) -> Float64Array:
        return in_hue_of(flesh, lips, spread)

    teeth = _tinted(teeth_colour(shown, white, lips, float(cheeks.mean())))
    lower_teeth = _tinted(teeth * LOWER_TOOTH)
    is_closed = aperture < 0.035 and not shows_teeth
    closed = 0.35 * upper_rim[4] + 0.65 * lower_rim[4] if aperture > 0.03 else upper_rim[4]
    if shows_teeth:
        closed = 0.7 * upper_rim[4] + 0.3 * lower_rim[4]
    depth = TEETH_BEHIND_LIPS_IOD * axes[2]
    light = float(np.clip(lips.mean() / 130.0, 0.35, 1.15))
    gum = _tinted(np.array([176.0, 96.0, 92.0]) * light * 0.8)
    flesh = _tinted(light * np.array([168.0, 88.0, 88.0]))
    dark = gap[gap.mean(1) <= np.quantile(gap.mean(1), 0.3)].mean(0)
    shadow = _tinted(0.42 * lips * np.array([1.1, 0.82, 0.78]))
    line = np.minimum(shadow, 0.9 * dark + 8.0)
    cavity = _tinted(0.42 * lips * np.array([1.0, 0.72, 0.72]))
    # Lips of drawings are paper, those of bright photos hardly darker: throats are dark anyhow.
    cavity *= min(1.0, LIGHTEST_CAVITY / max(float(cavity.mean()), 1.0))
    anchor = closed + depth
    beside = light_beside(image, landmarks, anchor, axes)
    upper = lit_from_a_side(teeth_texture(teeth, gum, TOOTH_WIDTHS, is_upper=True), beside)
    lower = teeth_texture(lower_teeth, gum, LOWER_TOOTH_WIDTHS, is_upper=False)
    if shows_teeth:
        own = find_teeth(image, landmarks, anchor, axes, lips, gum, teeth, upper)
        upper = upper if own is None else own
    return MouthLayers(
        upper=as_soft(upper, blur_px / iod),
        lower=as_soft(lit_from_a_side(lower, beside), blur_px / iod),
        tooth=teeth.astype(np.float32),
        cavity=cavity.astype(np.float32),
        tongue=(0.5 * lips + 0.5 * flesh).astype(np.float32),
        line=line.astype(np.float32),
        anchor=anchor.astype(np.float32),
        axes=axes.astype(np.float32),
        rest_width=float(abs((corners[1] - corners[0]) @ axes[0])) / iod**2,
        is_closed=bool(is_closed),
        shows_teeth=shows_teeth,
        grain=grain,
        black=black,
        edge_px=math.hypot(EDGE_PX, EDGE_OF_BLUR * blur_px),
    )


def as_drawn(mouth: MouthLayers, image: Uint8Array, landmarks: Float32Array) -> MouthLayers:
    """Turn a portrait's mouth into one that fits a drawing.

    Args:
        mouth: Of `build_mouth`.
        image: uint8 [H, W, 3], RGB, the drawing.
        landmarks: float32 [>= 468, >= 2], px.
    """
    ink = find_ink(image, landmarks)
    paper = float(sample_colours(image, landmarks[list(CHEEKS), :2]).mean())
    # White of a drawing is its paper: what is left as it is.
    tooth = mouth.tooth.astype(np.float64)
    tooth = np.minimum(tooth * max(1.0, paper / float(tooth.mean())), 255.0)
    dark = float(np.clip(ink.colour.mean() + INK_TO_CAVITY, INK_TO_CAVITY, LIGHTEST_CAVITY))
    cavity = mouth.cavity * min(1.0, dark / max(float(mouth.cavity.mean()), 1.0))
    return replace(
        mouth,
        upper=drawn_teeth(tooth, is_upper=True),
        lower=drawn_teeth(tooth, is_upper=False),
        tooth=tooth.astype(np.float32),
        cavity=cavity.astype(np.float32),
        line=np.minimum(mouth.line, ink.colour).astype(np.float32),
        tongue=(cavity + DRAWN_TONGUE * (mouth.tongue - cavity)).astype(np.float32),
        grain=0.0,
        black=0.0,
        is_flat=True,
        ink=ink.colour.astype(np.float32),
        ink_strength=ink.strength,
        stroke_iod=ink.width_iod if ink.strength > 0.0 else 0.0,
    )


def _gap_pixels(image: Uint8Array, upper: Float32Array, lower: Float32Array) -> Float64Array:
    """Colours between the inner lips: [K, 3]."""
    shares = np.linspace(0.25, 0.75, 3)[:, None, None]
    points = upper[None, 1:-1, :2] * (1 - shares) + lower[None, 1:-1, :2] * shares
    return sample_colours(image, points.reshape(-1, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthShape:
    """The opening of a mouth in one frame.

    Attributes:
        frame: float32 [5]: corner at image left (x, y), unit vector to the other one (x, y), and
            the width between them, px.
        upper: float32 [96], y of the upper outline from corner to corner in that frame, px.
        lower: float32 [96], of the lower outline.
        bridged: How far lips bridge the tips of the opening, [0, 1].
        presence: How much of what is drawn is seen, [0, 1]: closed lips keep their own line.
        opened: How much of it is more than the shadow between lips, [0, 1].
        narrow: How far the mouth is rounded, [0, 1].
        box: int64 [4], left, top, right and bottom of all that is drawn, px.
    """

    frame: Float32Array
    upper: Float32Array
    lower: Float32Array
    bridged: float
    presence: float
    opened: float
    narrow: float
    box: npt.NDArray[np.int64]


def mouth_shape(
    mouth: MouthLayers,
    lips: Float32Array,
    head: Float32Array,
    labiodental: float,
    size: tuple[int, int],
) -> MouthShape | None:
    """Find the opening of a mouth; None if nothing is to be drawn.

    Args:
        mouth: The mouth.
        lips: As of `render_mouth`.
        head: As of `render_mouth`.
        labiodental: As of `render_mouth`.
        size: Width and height of the frame, px.
    """
    first, last = lips[0], lips[10]
    along = last - first
    width = float(np.hypot(*along))
    if width < 4.0:
        return None
    along = along / width
    local = (lips - first) @ np.array([[along[0], -along[1]], [along[1], along[0]]])
    upper, lower = _outline(local[:11], width), _outline(local[11:], width)
    px_per_iod = float(np.hypot(head[0, 0], head[1, 0]))
    if not mouth.is_closed:  # pressed lips cross a little; their line must not come and go
        middle = 0.5 * (upper + lower)
        half = np.maximum(lower - upper, LINE_IOD * px_per_iod * _BULGE) * 0.5
        upper, lower = middle - half, middle + half
    gap_px = float(np.max(lower - upper))
    if mouth.is_closed and gap_px < 0.05:
        return None
    margin = 4 + math.ceil(0.5 * mouth.stroke_iod * px_per_iod)
    box = box_around(lips, margin, size)
    if box is None:
        return None
    gap_iod = gap_px / px_per_iod
    presence = smooth_step((gap_iod - UNSEEN_GAP) / _nearer(FADE_IN_GAP, labiodental))
    narrow = 1.0 - width / (px_per_iod * max(mouth.rest_width, 0.1))
    return MouthShape(
        frame=np.array([*first, *along, width], np.float32),
        upper=upper,
        lower=lower,
        bridged=smooth_step((gap_iod - BRIDGED_IOD[0]) / (BRIDGED_IOD[1] - BRIDGED_IOD[0])),
        presence=presence if mouth.is_closed else 1.0,
        opened=smooth_step(gap_iod / _nearer(SLIT_IOD, labiodental)),
        narrow=min(max(narrow / ROUNDED_NARROW, 0.0), 1.0),
        box=box,
    )


def render_mouth(
    mouth: MouthLayers,
    lips: Float32Array,
    head: Float32Array,
    jaw: Float32Array,
    tongue_out: float,
    labiodental: float,
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
        labiodental: How far the lower lip is at the upper teeth, [0, 1].
        out: uint8 [H, W, 3], changed in place.
    """
    shape = mouth_shape(mouth, lips, head, labiodental, (out.shape[1], out.shape[0]))
    if shape is None:
        return
    shade_mouth(
        mouth.upper, mouth.lower, mouth.cavity, mouth.tongue, mouth.line, mouth.grain, mouth.black,
        mouth.edge_px, mouth.is_flat, mouth.ink, mouth.ink_strength, mouth.stroke_iod, shape.frame,
        shape.upper, shape.lower, head.astype(np.float32), jaw.astype(np.float32),
        float(tongue_out), shape.bridged, shape.presence, shape.opened, shape.narrow, shape.box,
        out,
    )  # fmt: skip


def _nearer(gap_iod: float, labiodental: float) -> float:
    """A gap, less where teeth stand right behind it: no shadow hides them."""
    return gap_iod * (1.0 - TEETH_IN_GAP * labiodental)


def _outline(points: Float32Array, width: float) -> Float32Array:
    """A smooth lip outline in the mouth's frame, sampled from corner to corner."""
    x = np.maximum.accumulate(np.clip(points[:, 0], 0.0, width))
    return np.asarray(_SMOOTHING @ np.interp(_PLACES * width, x, points[:, 1]), np.float32)


def _smoothing() -> Float64Array:
    """What smooths samples of an outline and leaves its ends where they are: float64 [96, 96]."""
    taps = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2)
    padded = np.pad(np.eye(CURVE_SAMPLES), ((0, 0), (6, 6)), mode="reflect", reflect_type="odd")
    # One matrix: padding and folding anew would take a third of all that is done for a mouth.
    return np.stack([np.convolve(row, taps / taps.sum(), mode="valid") for row in padded], 1)


_PLACES: Final = np.linspace(0.0, 1.0, CURVE_SAMPLES)
_SMOOTHING: Final = _smoothing()
_BULGE: Final = np.sin(np.linspace(0.0, np.pi, CURVE_SAMPLES)).astype(np.float32)
