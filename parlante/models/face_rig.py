"""The face rig: ARKit channels -> displacement of the warp mesh of one portrait.

Every channel is given by the motion of a few handles (lips, jaw line, brows) in the face's own
frame; the rest of the mesh follows as a thin plate through them, so that cheeks, chin and neck
move smoothly with the lips. Eyelids and gaze are not here: see `parlante.models.eyes`.

The amounts are the calibration of the motion space, in inter-ocular distances (IOD).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import splu

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.jit import kernel
from parlante.types import MOTION_INDEX, Float32Array

Float64Array = npt.NDArray[np.float64]
Profile = Callable[[Float64Array], Float64Array]

NUM_COLUMNS: Final = 9  # lip columns between the corners
APERTURE_PER_JAW_OPEN: Final = 0.50
CORNER_DROP_PER_JAW_OPEN: Final = 0.12
UPPER_SHARE_OF_JAW_OPEN: Final = 0.04  # IOD of the aperture that the upper lip gives
CHIN_DROP_PER_JAW_OPEN: Final = 0.40
LOWER_DOWN: Final = 0.10
UPPER_UP: Final = 0.06
FUNNEL_OPENING: Final = 0.08
# The lips' own line that stays between closed lips; a photo with less keeps what it has.
REST_APERTURE: Final = 0.010
# Lower lip's share of the way when lips close (the jaw stays where it is).
LOWER_SHARE_OF_CLOSING: Final = 0.7

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

TENSION: Final = 0.02  # of the plate; keeps it from overshooting between handles
CHEEKS: Final = (50, 280)  # image left, image right
NOSE_WINGS: Final = (129, 358)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceRig:
    """Displacement fields of one portrait.

    Attributes:
        channels: int32 [C], index into the motion vector of each field.
        fields: float32 [C, N, 3], px per unit of the channel.
        opening: float32 [C, 9], aperture each unit adds per lip column, IOD.
        lower_columns: float32 [9, N, 3], px per IOD that a column of the lower lip moves down.
        upper_columns: float32 [9, N, 3], px per IOD that a column of the upper lip moves down.
        photo_aperture: float32 [9], of the portrait's own lips, IOD.
        rest_aperture: float32 [9], at zero motion, IOD.
    """

    channels: npt.NDArray[np.int32]
    fields: Float32Array
    opening: Float32Array
    lower_columns: Float32Array
    upper_columns: Float32Array
    photo_aperture: Float32Array
    rest_aperture: Float32Array

    def displace(self, motion: Float32Array, vertices: Float32Array) -> Float32Array:
        """Move the vertices of the mesh by one frame's dynamics.

        Args:
            motion: float32 [60].
            vertices: float32 [N, 3], px.

        Returns:
            float32 [N, 3].
        """
        amounts = motion[self.channels]
        lower, upper = self._close(motion, amounts)
        out = vertices.copy()
        _accumulate(amounts, self.fields, out)
        _accumulate(lower, self.lower_columns, out)
        _accumulate(upper, self.upper_columns, out)
        return out

    def apertures(self, motion: Float32Array) -> Float32Array:
        """Aperture of each lip column that `displace` gives: float32 [9], IOD."""
        amounts = motion[self.channels]
        lower, upper = self._close(motion, amounts)
        return np.asarray(self.photo_aperture + amounts @ self.opening + lower - upper, np.float32)

    def jaw_way(self, motion: Float32Array) -> Float32Array:
        """How far the lower teeth move: float32 [3], IOD in the face's frame."""
        get = MOTION_INDEX.__getitem__
        jaw = float(motion[get("jawOpen")])
        aside = 0.08 * float(motion[get("jawLeft")] - motion[get("jawRight")])
        forward = 0.08 * float(motion[get("jawForward")])
        return np.array(
            [aside, CHIN_DROP_PER_JAW_OPEN * jaw, 0.35 * CHIN_DROP_PER_JAW_OPEN * jaw - forward],
            np.float32,
        )

    def _close(
        self, motion: Float32Array, amounts: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """How far each lip column must still move, so that the aperture is what is asked for."""
        get = MOTION_INDEX.__getitem__
        roll_lower, roll_upper = motion[get("mouthRollLower")], motion[get("mouthRollUpper")]
        press = 0.5 * (motion[get("mouthPressLeft")] + motion[get("mouthPressRight")])
        shut = max(float(motion[get("mouthClose")]), min(1.0, 2.0 * float(press)))
        keep = (1.0 - min(shut, 1.0)) * (1.0 - 0.85 * float(min(roll_upper, 1.0)))
        opening = np.maximum(amounts @ self.opening, 0.0)
        lin = amounts @ self.opening
        wanted = self.rest_aperture + opening * keep * (1.0 - 0.85 * float(min(roll_lower, 1.0)))
        # What the rolled lower lip closes, it closes alone: it rises to the upper teeth.
        by_roll = opening * keep - (wanted - self.rest_aperture)
        both = self.photo_aperture + lin - wanted - by_roll
        lower = -LOWER_SHARE_OF_CLOSING * both - by_roll
        upper = (1.0 - LOWER_SHARE_OF_CLOSING) * both
        return lower.astype(np.float32), upper.astype(np.float32)


@kernel
def _accumulate(amounts: Float32Array, fields: Float32Array, out: Float32Array) -> None:
    for c in range(amounts.shape[0]):
        amount = amounts[c]
        if amount != 0.0:
            for i in range(out.shape[0]):
                for k in range(3):
                    out[i, k] += amount * fields[c, i, k]


def build_rig(mesh: WarpMesh) -> FaceRig:
    """Build the rig of a portrait from its warp mesh."""
    axes, scale = _face_frame(mesh)
    face = (mesh.vertices - mesh.centre).astype(np.float64) @ axes.T / scale  # IOD
    lips = _Lips.of(face)
    channels = _channels(lips, face)
    handles = np.array(sorted({*lips.vertices.tolist(), *JAW_LINE_SHARE, *STILL_POINTS, *_BROWS}))
    fixed = np.concatenate([handles, np.flatnonzero(mesh.is_far)])
    targets = [field for _, field in channels]
    for lower in (True, False):
        targets += [_column_field(lips, column, len(face), lower=lower) for column in range(9)]
    values = np.stack(targets, 1).reshape(len(face), -1)[fixed]
    plate = _Plate(mesh, fixed)
    solved = plate.spread(values).reshape(len(face), -1, 3)
    for index, (name, _) in enumerate(channels):
        if name in _BUMPS:
            solved[:, index] += _BUMPS[name](face)
    fields = np.ascontiguousarray((solved @ axes * scale).transpose(1, 0, 2), np.float32)
    num = len(channels)
    photo = np.maximum(face[lips.lower_rim, 1] - face[lips.upper_rim, 1], 0.0)
    opening = np.stack([f[lips.lower_rim, 1] - f[lips.upper_rim, 1] for _, f in channels])
    return FaceRig(
        channels=np.array([MOTION_INDEX[name] for name, _ in channels], np.int32),
        fields=fields[:num],
        opening=opening.astype(np.float32),
        lower_columns=fields[num : num + NUM_COLUMNS],
        upper_columns=fields[num + NUM_COLUMNS :],
        photo_aperture=photo.astype(np.float32),
        rest_aperture=np.minimum(photo, REST_APERTURE).astype(np.float32),
    )


def face_axes(mesh: WarpMesh) -> Float32Array:
    """Axes of the face (rows: image right, down, back): float32 [3, 3], px per IOD."""
    axes, scale = _face_frame(mesh)
    return np.asarray(axes * scale, np.float32)


def _face_frame(mesh: WarpMesh) -> tuple[Float64Array, float]:
    """Axes of the face (rows: image right, down, back) and px per IOD along them."""
    v = mesh.vertices.astype(np.float64)
    right, left = fm.OUTER_EYE_CORNERS
    x_axis = v[left] - v[right]
    scale = float(np.linalg.norm(x_axis))
    x_axis /= scale
    down = v[fm.CHIN] - v[fm.FOREHEAD]
    y_axis = down - (down @ x_axis) * x_axis
    y_axis /= np.linalg.norm(y_axis)
    return np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)]), scale


# --- lips --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lips:
    """The lip vertices with their place: upper or lower, row, and u in [-1, 1] along the mouth."""

    vertices: npt.NDArray[np.int64]
    is_upper: npt.NDArray[np.bool_]
    is_corner: npt.NDArray[np.bool_]
    row: Float64Array  # 0 = rim, 1 = outside
    u: Float64Array
    centre: Float64Array

    @classmethod
    def of(cls, face: Float64Array) -> _Lips:
        centre = 0.5 * (face[fm.UPPER_LIP_CENTRE] + face[fm.LOWER_LIP_CENTRE])
        entries: list[tuple[int, bool, bool, float, float]] = []
        rows = zip(fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS, fm.LIP_ROW_CORNERS, strict=True)
        for index, (upper, lower, corners) in enumerate(rows):
            half = [abs(float(face[c, 0] - centre[0])) for c in corners]
            for vertex in (*upper, *lower, *corners):
                x = float(face[vertex, 0] - centre[0])
                u = float(np.clip(x / half[int(x > 0)], -1.0, 1.0))
                entries.append((vertex, vertex in upper, vertex in corners, index / 3.0, u))
        vertices, is_upper, is_corner, row, u_all = zip(*entries, strict=True)
        return cls(
            vertices=np.array(vertices),
            is_upper=np.array(is_upper),
            is_corner=np.array(is_corner),
            row=np.array(row),
            u=np.array(u_all),
            centre=centre,
        )

    @property
    def upper_rim(self) -> list[int]:
        return list(fm.UPPER_LIP_ROWS[0])

    @property
    def lower_rim(self) -> list[int]:
        return list(fm.LOWER_LIP_ROWS[0])

    def field(
        self, num_vertices: int, *, x: Float64Array | float = 0.0, y: Float64Array | float = 0.0,
        z: Float64Array | float = 0.0,
    ) -> Float64Array:  # fmt: skip
        """A displacement [N, 3] that is zero but on the lips."""
        out = np.zeros((num_vertices, 3))
        for axis, value in enumerate((x, y, z)):
            out[self.vertices, axis] = value
        return out


def _column_field(lips: _Lips, column: int, num_vertices: int, *, lower: bool) -> Float64Array:
    out = np.zeros((num_vertices, 3))
    rows = fm.LOWER_LIP_ROWS if lower else fm.UPPER_LIP_ROWS
    for row, follow in zip(rows, CLOSING_FOLLOW, strict=True):
        out[row[column], 1] = follow
    return out


def _side(u: Float64Array, left: bool) -> Float64Array:
    """Weight of one side of the mouth; both sides add to 1. The subject's left is image right."""
    t = np.clip(0.5 + (0.5 if left else -0.5) * u * 1.25, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _channels(lips: _Lips, face: Float64Array) -> list[tuple[str, Float64Array]]:
    """All channels that move the mesh, with their handles' displacements [N, 3] in IOD."""
    n = len(face)
    u, row, upper = lips.u, lips.row, lips.is_upper
    lower = ~upper & ~lips.is_corner
    size = np.abs(u)
    x = face[lips.vertices, 0] - lips.centre[0]
    out: list[tuple[str, Float64Array]] = [("jawOpen", _jaw_open(lips, n))]
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
                y=np.where(upper, -0.03, np.where(lower, 0.05, 0.01)) * bulge * (1 - 0.3 * row),
                z=-0.07 * (1 - 0.4 * row),
            ),
        )
    )
    pout = np.where(upper, -0.012, np.where(lower, 0.012, 0.0)) * row * bulge
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
        press = np.where(upper, 0.045, -0.05) * ~lips.is_corner * row * side * (1 - 0.5 * size)
        out += [
            (f"mouthSmile{name}", lips.field(n, x=0.18 * x * half, y=-0.10 * curl + thin)),
            (f"mouthFrown{name}", lips.field(n, y=0.07 * curl, x=0.02 * x * half)),
            (
                f"mouthDimple{name}",
                lips.field(n, x=0.07 * x * half, y=-0.015 * curl, z=0.02 * curl),
            ),
            (f"mouthStretch{name}", lips.field(n, x=0.20 * x * half, y=0.02 * curl)),
            (f"mouthPress{name}", lips.field(n, y=press)),
            (f"mouthLowerDown{name}", lips.field(n, y=lower * LOWER_DOWN * bulge * side)),
            (f"mouthUpperUp{name}", lips.field(n, y=-UPPER_UP * upper * bulge * side)),
        ]
    roll = row * (1 - 0.6 * size**2)
    out += [
        ("mouthRollLower", lips.field(n, y=-0.075 * lower * roll, z=0.03 * lower * (1 - row))),
        ("mouthRollUpper", lips.field(n, y=0.055 * upper * roll, z=0.03 * upper * (1 - row))),
        ("mouthShrugLower", _chin_up(lips, n)),
        ("mouthShrugUpper", lips.field(n, y=-0.03 * bulge * (upper + 0.8 * lower))),
    ]
    out += [(name, np.zeros((n, 3))) for name in _BUMPS]
    return out + _brow_channels(face)


def _jaw_open(lips: _Lips, num_vertices: int) -> Float64Array:
    size = np.abs(lips.u)
    drop = APERTURE_PER_JAW_OPEN - UPPER_SHARE_OF_JAW_OPEN
    corner = CORNER_DROP_PER_JAW_OPEN
    # The lower lip thins a little as it is stretched: its outer rows stay behind.
    lower = corner + (drop - corner) * (1 - size**1.9) * (1 - 0.06 * lips.row)
    upper = corner * size**2.5 - UPPER_SHARE_OF_JAW_OPEN * (1 - size**2) * (1 - 0.5 * lips.row)
    y = np.where(lips.is_corner, corner, np.where(lips.is_upper, upper, lower))
    x = -0.075 * lips.u * size
    out = lips.field(num_vertices, x=x, y=y, z=np.where(lips.is_upper, 0.0, 0.25 * y))
    return out + _jaw_line(num_vertices, CHIN_DROP_PER_JAW_OPEN)[:, None] * [0, 1, 0.35]


def _jaw_line(num_vertices: int, amount: float) -> Float64Array:
    out = np.zeros(num_vertices)
    for vertex, share in JAW_LINE_SHARE.items():
        out[vertex] = share * amount
    return out


def _chin_up(lips: _Lips, num_vertices: int) -> Float64Array:
    lower = ~lips.is_upper & ~lips.is_corner
    bulge = 1 - np.abs(lips.u) ** 2.5
    rise, out_z = np.where(lower, -0.05, -0.02), np.where(lower, -0.02, 0.0)
    out = lips.field(num_vertices, y=bulge * rise, z=out_z)
    return out + _jaw_line(num_vertices, -0.02)[:, None] * [0, 1, 0]


# --- brows, cheeks, nose -----------------------------------------------------------------------

_BROWS: Final = (*fm.RIGHT_BROW, *fm.LEFT_BROW)


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
    return [*out, ("browInnerUp", inner)]


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
_BUMPS: Final[Mapping[str, Callable[[Float64Array], Float64Array]]] = {
    "cheekPuff": lambda f: (
        _bump(f, 214, 0.25, (-0.05, 0.0, -0.06)) + _bump(f, 434, 0.25, (0.05, 0.0, -0.06))
    ),
    "cheekSquintRight": lambda f: _bump(f, CHEEKS[0], 0.25, (0.0, -0.05, 0.0)),
    "cheekSquintLeft": lambda f: _bump(f, CHEEKS[1], 0.25, (0.0, -0.05, 0.0)),
    "noseSneerRight": lambda f: _bump(f, NOSE_WINGS[0], 0.14, (0.0, -0.04, 0.0)),
    "noseSneerLeft": lambda f: _bump(f, NOSE_WINGS[1], 0.14, (0.0, -0.04, 0.0)),
}


# --- the plate ---------------------------------------------------------------------------------


class _Plate:
    """Thin plate over the mesh: spreads displacements of fixed vertices to the free ones."""

    def __init__(self, mesh: WarpMesh, fixed: npt.NDArray[np.intp]) -> None:
        n = len(mesh.vertices)
        laplacian = _laplacian(mesh)
        energy = csr_matrix(laplacian.T @ laplacian + TENSION * laplacian)
        self._fixed = fixed
        self._free = np.setdiff1d(np.arange(n), fixed)
        self._solver = splu(energy[self._free][:, self._free].tocsc())
        self._coupling = energy[self._free][:, fixed]
        self._num_vertices = n

    def spread(self, values: Float64Array) -> Float64Array:
        """Values of the fixed vertices [F, K] -> of all [N, K]."""
        out = np.zeros((self._num_vertices, values.shape[1]))
        out[self._fixed] = values
        out[self._free] = self._solver.solve(-(self._coupling @ values))
        return out


def _laplacian(mesh: WarpMesh) -> csr_matrix:
    """Graph Laplacian of skin and surroundings, edges weighted by inverse length."""
    n = len(mesh.vertices)
    is_ground = np.all(mesh.triangles < fm.NUM_SKIN_LANDMARKS, axis=1)
    num_skin = len(fm.skin_triangles())
    is_ground[-num_skin:] = False  # the ground under the face must not bridge the mouth
    triangles = mesh.triangles[~is_ground]
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    start, end = edges.T
    xy = mesh.vertices[:, :2].astype(np.float64)
    length = np.linalg.norm(xy[start] - xy[end], axis=1)
    weight = mesh.iod_px * 0.1 / np.maximum(length, 0.02 * mesh.iod_px)
    data = np.concatenate([weight, weight])
    adjacency = coo_matrix((data, (np.r_[start, end], np.r_[end, start])), (n, n)).tocsr()
    degree = np.asarray(adjacency.sum(1)).ravel()
    return csr_matrix(coo_matrix((degree, (range(n), range(n))), (n, n)).tocsr() - adjacency)
