"""The handles of the face rig: how each ARKit channel moves lips, jaw line and brows.

Displacements are [N, 3] over all vertices of the mesh, in the face's own frame (x image right,
y down, z to the back), in inter-ocular distances (IOD). The amounts are the calibration of the
motion space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.smooth_step import smooth_step

Float64Array = npt.NDArray[np.float64]

NUM_COLUMNS: Final = 9  # lip columns between the corners
APERTURE_PER_JAW_OPEN: Final = 0.50
CORNER_DROP_PER_JAW_OPEN: Final = 0.12
UPPER_SHARE_OF_JAW_OPEN: Final = 0.04  # IOD of the aperture that the upper lip gives
CHIN_DROP_PER_JAW_OPEN: Final = 0.40
LOWER_DOWN: Final = 0.10
UPPER_UP: Final = 0.06
WIDE_MOUTH: Final = 0.30  # IOD, half the width from which a mouth is drawn less wide

# How far each lip row (rim to outside) follows when the rim is moved to close the mouth.
CLOSING_FOLLOW: Final = (1.0, 0.9, 0.7, 0.45)
# The jaw line from the chin to the ear: share of the chin's drop.
JAW_LINE_SHARE: Final[Mapping[int, float]] = {
    152: 1.0, 377: 0.98, 148: 0.98, 400: 0.92, 176: 0.92, 378: 0.80, 149: 0.80,
    379: 0.62, 150: 0.62, 365: 0.42, 136: 0.42, 397: 0.24, 172: 0.24, 288: 0.09, 58: 0.09,
    361: 0.02, 132: 0.02,
}  # fmt: skip
# Points that only the jaw, the brows or nothing moves.
STILL_POINTS: Final = (
    1, 2, 4, 5, 6, 94, 98, 327, 168, 195, 197, 9, 8, 117, 346, 116, 345,
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    *fm.RIGHT_EYE, *fm.RIGHT_LID_CREASE, *fm.RIGHT_BELOW_LID,
    *fm.LEFT_EYE, *fm.LEFT_LID_CREASE, *fm.LEFT_BELOW_LID,
)  # fmt: skip

# Share of a lip that a press or a roll may take away; both together must leave some of it.
MAX_THINNING: Final = 0.38

# How the opening of a jaw falls off towards the corners of the mouth, and of lips that round.
_OPENING_POWER: Final = 2.2
_ROUND_POWER: Final = 2.8

# How much of the rise of its corners a smiling mouth loses for each unit.
SMILE_LOST_PER_JAW_OPEN: Final = 2.0  # an open mouth has no corners that point up
SMILE_LOST_PER_FUNNEL: Final = 0.8
SMILE_LOST_PER_PUCKER: Final = 1.2
SMILE_LOST_BY_ROUNDING: Final = 1.2  # for each unit of jawOpen, of lips that round
NEUTRAL_CORNER_RISE: Final = -0.005  # IOD above the lips' line; 22 faces at rest have less
# A broad smile, of which moods let go: corners as high and a mouth as wide (half of it) as these
# are none and all of one. The 22 faces at rest end at 0.008 and 0.304, their means are MEAN_*.
BROAD_SMILE_RISE: Final = (-0.005, 0.03)
BROAD_SMILE_WIDTH: Final = (0.31, 0.35)
MEAN_CORNER_RISE: Final = -0.03
MEAN_WIDTH: Final = 0.28
SMILED_ALREADY: Final = 0.65  # of mouthSmile, which a face that beams has
CHEEK_RISE: Final = 0.05  # IOD, by which a broad smile raises cheeks

CHEEKS: Final = (50, 280)  # image left, image right
NOSE_WINGS: Final = (129, 358)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LipHandles:
    """The lip vertices with their place: upper or lower, row, and u in [-1, 1] along the mouth.

    `thickness` is the height of the lip in each vertex's column, IOD; 0 at the corners.
    """

    vertices: npt.NDArray[np.int64]
    is_upper: npt.NDArray[np.bool_]
    is_corner: npt.NDArray[np.bool_]
    row: Float64Array  # 0 = rim, 1 = outside
    u: Float64Array
    thickness: Float64Array
    centre: Float64Array

    @classmethod
    def of(cls, face: Float64Array) -> LipHandles:
        centre = 0.5 * (face[fm.UPPER_LIP_CENTRE] + face[fm.LOWER_LIP_CENTRE])
        entries: list[tuple[int, bool, bool, float, float, float]] = []
        heights = {
            vertex: abs(float(face[lip[3][column], 1] - face[lip[0][column], 1]))
            for lip in (fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS)
            for row in lip
            for column, vertex in enumerate(row)
        }
        rows = zip(fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS, fm.LIP_ROW_CORNERS, strict=True)
        for index, (upper, lower, corners) in enumerate(rows):
            half = [abs(float(face[c, 0] - centre[0])) for c in corners]
            for vertex in (*upper, *lower, *corners):
                x = float(face[vertex, 0] - centre[0])
                u = float(np.clip(x / half[int(x > 0)], -1.0, 1.0))
                is_corner = vertex in corners
                height = heights.get(vertex, 0.0)
                entries.append((vertex, vertex in upper, is_corner, index / 3.0, u, height))
        vertices, is_upper, is_corner_all, row, u_all, thickness = zip(*entries, strict=True)
        return cls(
            vertices=np.array(vertices),
            is_upper=np.array(is_upper),
            is_corner=np.array(is_corner_all),
            row=np.array(row),
            u=np.array(u_all),
            thickness=np.array(thickness),
            centre=centre,
        )

    @property
    def upper_rim(self) -> list[int]:
        return list(fm.UPPER_LIP_ROWS[0])

    @property
    def lower_rim(self) -> list[int]:
        return list(fm.LOWER_LIP_ROWS[0])

    def thinned(self, amount: Float64Array) -> Float64Array:
        """Displacement along y that thins the lips by an amount, which thin lips do not reach."""
        most = MAX_THINNING * self.thickness
        inwards = np.where(self.is_upper, 1.0, -1.0) * ~self.is_corner
        return np.asarray(inwards * self.row * np.minimum(amount, most), np.float64)

    def field(
        self, num_vertices: int, *, x: Float64Array | float = 0.0, y: Float64Array | float = 0.0,
        z: Float64Array | float = 0.0,
    ) -> Float64Array:  # fmt: skip
        """A displacement [N, 3] that is zero but on the lips."""
        out = np.zeros((num_vertices, 3))
        for axis, value in enumerate((x, y, z)):
            out[self.vertices, axis] = value
        return out


def column_field(lips: LipHandles, column: int, num_vertices: int, *, lower: bool) -> Float64Array:
    out = np.zeros((num_vertices, 3))
    rows = fm.LOWER_LIP_ROWS if lower else fm.UPPER_LIP_ROWS
    for row, follow in zip(rows, CLOSING_FOLLOW, strict=True):
        out[row[column], 1] = follow
    return out


def _side(u: Float64Array, left: bool) -> Float64Array:
    """Weight of one side of the mouth; both sides add to 1. The subject's left is image right."""
    t = np.clip(0.5 + (0.5 if left else -0.5) * u * 1.25, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def channel_fields(lips: LipHandles, face: Float64Array) -> list[tuple[str, Float64Array]]:
    """All channels that move the mesh, with their handles' displacements [N, 3] in IOD."""
    n = len(face)
    u, row, upper = lips.u, lips.row, lips.is_upper
    lower = ~upper & ~lips.is_corner
    size = np.abs(u)
    x = face[lips.vertices, 0] - lips.centre[0]
    room = min(1.0, WIDE_MOUTH / max(float(np.abs(x).max()), 1e-6)) ** 3  # a smile is wide already
    let_go = _smile_of(lips, face)
    smile = 1.0 - SMILED_ALREADY * smile_share(lips, face)
    out: list[tuple[str, Float64Array]] = [
        ("jawOpen", _jaw_open(lips, n) + lips.field(n, y=SMILE_LOST_PER_JAW_OPEN * let_go))
    ]
    jaw = _jaw_line(n, 1.0)
    jaw_share = np.where(lower, 1.0 - 0.5 * size**2, np.where(lips.is_corner, 0.4, 0.15))
    for name, sign in (("jawLeft", 1.0), ("jawRight", -1.0)):
        out.append((name, sign * 0.08 * (lips.field(n, x=jaw_share) + jaw[:, None] * [1, 0, 0])))
    forward = lips.field(n, z=jaw_share, y=0.2 * jaw_share) + jaw[:, None] * [0, 0.2, 1]
    out.append(("jawForward", -0.08 * forward))
    bulge = 1.0 - size**2.0
    out.append(
        (
            "mouthFunnel",
            lips.field(
                n,
                x=-0.20 * x,
                y=np.where(upper, -0.03, np.where(lower, 0.05, 0.01)) * bulge * (1 - 0.3 * row)
                + SMILE_LOST_PER_FUNNEL * let_go,
                z=-0.07 * (1 - 0.4 * row),
            ),
        )
    )
    pout = np.where(upper, -0.012, np.where(lower, 0.012, 0.0)) * row * bulge
    pout = pout + SMILE_LOST_PER_PUCKER * let_go
    out.append(("mouthPucker", lips.field(n, x=-0.35 * x, y=pout, z=-0.09 * (1 - 0.4 * row))))
    out += [
        ("mouthLeft", lips.field(n, x=0.09, y=-0.02 * u)),
        ("mouthRight", lips.field(n, x=-0.09, y=0.02 * u)),
    ]
    for name, left in (("Left", True), ("Right", False)):
        side = _side(u, left)
        half = np.where(u > 0, 1.0, 0.0) if left else np.where(u < 0, 1.0, 0.0)
        curl = half * size**1.6
        thin = np.where(upper, 0.018, -0.018) * ~lips.is_corner * row * side
        press = lips.thinned(np.where(upper, 0.045, 0.05) * (1 - 0.5 * size)) * side
        out += [
            (
                f"mouthSmile{name}",
                smile * lips.field(n, x=0.18 * x * half, y=-0.10 * curl + thin),
            ),
            (f"mouthFrown{name}", lips.field(n, y=0.07 * curl, x=0.02 * x * half)),
            (
                f"mouthDimple{name}",
                lips.field(n, x=0.07 * x * half, y=-0.015 * curl, z=0.02 * curl),
            ),
            # Lips drawn wide thin as well, or a spread mouth is seen as hardly wider than at rest.
            (
                f"mouthStretch{name}",
                lips.field(n, x=0.33 * room * x * half, y=0.014 * curl + 0.5 * thin),
            ),
            (f"mouthPress{name}", lips.field(n, y=press)),
            (f"mouthLowerDown{name}", lips.field(n, y=lower * LOWER_DOWN * bulge * side)),
            (f"mouthUpperUp{name}", lips.field(n, y=-UPPER_UP * upper * bulge * side)),
        ]
    roll = lips.thinned(np.where(upper, 0.055, 0.105) * (1 - 0.6 * size**2))
    out += [
        ("mouthRollLower", lips.field(n, y=lower * roll, z=0.03 * lower * (1 - row))),
        ("mouthRollUpper", lips.field(n, y=upper * roll, z=0.03 * upper * (1 - row))),
        ("mouthShrugLower", _chin_up(lips, n)),
        ("mouthShrugUpper", lips.field(n, y=-0.03 * bulge * (upper + 0.8 * lower))),
    ]
    out += [(name, np.zeros((n, 3))) for name in BUMPS]
    return out + _brow_channels(face)


def _smile_of(lips: LipHandles, face: Float64Array) -> Float64Array:
    """How far down each lip vertex must go to take the portrait's own smile out of its line.

    Lips that round let go of a smile: its corners would make a wedge of every [o].
    """
    rise = _corner_rise(lips, face)
    return np.asarray(max(0.0, rise - NEUTRAL_CORNER_RISE) * np.abs(lips.u) ** 1.6, np.float64)


def smile_share(lips: LipHandles, face: Float64Array) -> float:
    """How broadly a portrait smiles, [0, 1]."""
    rise, half = _corner_rise(lips, face), _half_width(lips, face)
    return _rise(rise, *BROAD_SMILE_RISE) * _rise(half, *BROAD_SMILE_WIDTH)


def smile_lost(lips: LipHandles, face: Float64Array) -> tuple[Float64Array, Float64Array]:
    """What takes a broad smile out of a portrait's mouth: [N, 3] sideways, [N, 3] downwards.

    It is nothing for any other portrait.
    """
    share, n = smile_share(lips, face), len(face)
    drop = max(0.0, _corner_rise(lips, face) - MEAN_CORNER_RISE)
    narrower = max(0.0, 1.0 - MEAN_WIDTH / max(_half_width(lips, face), MEAN_WIDTH))
    x = face[lips.vertices, 0] - lips.centre[0]
    sideways = lips.field(n, x=-share * narrower * x)
    return sideways, lips.field(n, y=share * drop * np.abs(lips.u) ** 1.6)


def cheeks_lost(lips: LipHandles, face: Float64Array) -> Float64Array:
    """What lowers the cheeks that a broad smile has raised: [N, 3]."""
    fall = (0.0, CHEEK_RISE * smile_share(lips, face), 0.0)
    right, left = (_bump(face, cheek, 0.25, fall) for cheek in CHEEKS)
    return right + left


def _corner_rise(lips: LipHandles, face: Float64Array) -> float:
    return float(lips.centre[1] - face[list(fm.MOUTH_CORNERS), 1].mean())


def _half_width(lips: LipHandles, face: Float64Array) -> float:
    return float(np.abs(face[list(fm.MOUTH_CORNERS), 0] - lips.centre[0]).mean())


def _rise(value: float, none: float, all_: float) -> float:
    return smooth_step((value - none) / (all_ - none))


def round_opening(lips: LipHandles, face: Float64Array) -> Float64Array:
    """What lips that round add to each unit of jawOpen [N, 3]: an arc in place of a wedge.

    The opening's outline is made for wide lips; drawn together it would come to a point.
    """
    size = np.abs(lips.u)
    fuller = size**_OPENING_POWER - size**_ROUND_POWER
    drop = APERTURE_PER_JAW_OPEN - UPPER_SHARE_OF_JAW_OPEN
    lower = drop * fuller * (1 - 0.06 * lips.row)
    upper = -UPPER_SHARE_OF_JAW_OPEN * fuller * (1 - 0.5 * lips.row)
    y = np.where(lips.is_corner, 0.0, np.where(lips.is_upper, upper, lower))
    return lips.field(len(face), y=y + SMILE_LOST_BY_ROUNDING * _smile_of(lips, face))


def _jaw_open(lips: LipHandles, num_vertices: int) -> Float64Array:
    size = np.abs(lips.u)
    drop = APERTURE_PER_JAW_OPEN - UPPER_SHARE_OF_JAW_OPEN
    corner = CORNER_DROP_PER_JAW_OPEN
    # The lower lip thins a little as it is stretched: its outer rows stay behind.
    lower = corner + (drop - corner) * (1 - size**_OPENING_POWER) * (1 - 0.06 * lips.row)
    upper = corner * size**2.5 - UPPER_SHARE_OF_JAW_OPEN * (1 - size**2) * (1 - 0.5 * lips.row)
    y = np.where(lips.is_corner, corner, np.where(lips.is_upper, upper, lower))
    x = -0.03 * lips.u * size
    out = lips.field(num_vertices, x=x, y=y, z=np.where(lips.is_upper, 0.0, 0.25 * y))
    return out + _jaw_line(num_vertices, CHIN_DROP_PER_JAW_OPEN)[:, None] * [0, 1, 0.35]


def _jaw_line(num_vertices: int, amount: float) -> Float64Array:
    out = np.zeros(num_vertices)
    for vertex, share in JAW_LINE_SHARE.items():
        out[vertex] = share * amount
    return out


def _chin_up(lips: LipHandles, num_vertices: int) -> Float64Array:
    lower = ~lips.is_upper & ~lips.is_corner
    bulge = 1 - np.abs(lips.u) ** 2.5
    rise, out_z = np.where(lower, -0.05, -0.02), np.where(lower, -0.02, 0.0)
    out = lips.field(num_vertices, y=bulge * rise, z=out_z)
    return out + _jaw_line(num_vertices, -0.02)[:, None] * [0, 1, 0]


# --- brows, cheeks, nose -----------------------------------------------------------------------

BROWS: Final = (*fm.RIGHT_BROW, *fm.LEFT_BROW)
# Thick brows reach further down than the tracker's: what is below goes with them, or they get thin.
BELOW_BROWS: Final = (*fm.RIGHT_BELOW_BROW, *fm.LEFT_BELOW_BROW)
BELOW_BROW_SHARE: Final = 0.65
BELOW_RAISED_BROW_SHARE: Final = 0.42
FOLD_SHARE: Final = 0.35
MAX_LID_SQUEEZE: Final = 0.5  # of the skin between brow and fold, and of that between fold and eye
_BROW_ROWS: Final = (
    (fm.RIGHT_BROW, fm.RIGHT_BELOW_BROW, fm.RIGHT_LID_CREASE, fm.RIGHT_UPPER_LID),
    (fm.LEFT_BROW, fm.LEFT_BELOW_BROW, fm.LEFT_LID_CREASE, fm.LEFT_UPPER_LID),
)


def _brow_channels(face: Float64Array) -> list[tuple[str, Float64Array]]:
    up, down = 0.12, 0.08
    inner = np.zeros((len(face), 3))
    out: list[tuple[str, Float64Array]] = []
    for name, brow in (("Left", fm.LEFT_BROW), ("Right", fm.RIGHT_BROW)):
        points = list(brow)
        x = np.abs(face[points, 0])
        t = (x - x.min()) / max(float(np.ptp(x)), 1e-6)  # 0 = inner end
        inwards = -np.sign(face[points, 0])
        inner[points, 1] = -up * np.clip(1.15 - 1.2 * t, 0.0, 1.0)
        outer, lowered = np.zeros((len(face), 3)), np.zeros((len(face), 3))
        outer[points, 1] = -up * np.clip(1.6 * t, 0.0, 1.0)
        lowered[points, 1] = down * (1.0 - 0.35 * t)
        lowered[points, 0] = 0.03 * inwards * (1.0 - t)
        out += [(f"browOuterUp{name}", outer), (f"browDown{name}", lowered)]
    out.append(("browInnerUp", inner))
    for _, field in out:
        _take_below_along(field, face)
    return out


def _take_below_along(field: Float64Array, face: Float64Array) -> None:
    """Have the skin below brows go with them, fold and all, but not into the eyes; in place."""
    for brow, below, crease, lid in _BROW_ROWS:
        rows, under, fold, rim = list(brow), list(below), list(crease), list(lid)
        x = face[under, 0]
        moved = np.stack([_along(face[rows, 0], field[rows, k], x) for k in (0, 1)], 1)
        # Lashes would be drawn out by a fold that rises.
        falls = moved[:, 1:] > 0.0
        field[under, :2] = np.where(falls, BELOW_BROW_SHARE, BELOW_RAISED_BROW_SHARE) * moved
        field[fold, :2] = np.where(falls, FOLD_SHARE, 0.0) * moved
        lid_y = _along(face[rim, 0], face[rim, 1], face[fold, 0])
        room = MAX_LID_SQUEEZE * np.maximum(lid_y - face[fold, 1], 0.0)
        field[fold, 1] = np.minimum(field[fold, 1], room)
        room = MAX_LID_SQUEEZE * np.maximum(face[fold, 1] - face[under, 1], 0.0) + field[fold, 1]
        field[under, 1] = np.minimum(field[under, 1], room)


def _along(x: Float64Array, values: Float64Array, wanted_x: Float64Array) -> Float64Array:
    """Values of a row of landmarks, in any order, at other places along it."""
    order = np.argsort(x)
    return np.asarray(np.interp(wanted_x, x[order], values[order]))


def _bump(
    face: Float64Array, index: int, radius: float, move: tuple[float, float, float]
) -> Float64Array:
    """A displacement that fades from a landmark outwards and leaves the eyes alone."""
    centre = face[index]
    weight = np.exp(-((face[:, :2] - centre[:2]) ** 2).sum(1) / radius**2)
    eye_y = 0.12  # IOD below the line of the eye corners
    weight *= np.clip((face[:, 1] - eye_y) / 0.15, 0.0, 1.0)
    return np.asarray(weight[:, None] * np.array(move), np.float64)


# Image left is the subject's right.
BUMPS: Final[Mapping[str, Callable[[Float64Array], Float64Array]]] = {
    "cheekPuff": lambda f: (
        _bump(f, 214, 0.25, (-0.05, 0.0, -0.06)) + _bump(f, 434, 0.25, (0.05, 0.0, -0.06))
    ),
    "cheekSquintRight": lambda f: _bump(f, CHEEKS[0], 0.25, (0.0, -0.05, 0.0)),
    "cheekSquintLeft": lambda f: _bump(f, CHEEKS[1], 0.25, (0.0, -0.05, 0.0)),
    "noseSneerRight": lambda f: _bump(f, NOSE_WINGS[0], 0.14, (0.0, -0.04, 0.0)),
    "noseSneerLeft": lambda f: _bump(f, NOSE_WINGS[1], 0.14, (0.0, -0.04, 0.0)),
}
