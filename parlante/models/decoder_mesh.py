"""The mesh of the warp: the skin, a grid around it, and the weights with which it follows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import Delaunay

from parlante.models import face_mesh as fm
from parlante.models.decoder_canvas import (
    CANVAS_HEIGHT_PX,
    CANVAS_WIDTH_PX,
    PAD_SIDE_PX,
    PAD_TOP_PX,
)
from parlante.models.face_mesh import Int32Array
from parlante.models.outer_depth import outer_depth
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

GRID_PX: Final = 32.0
# The tracker's depth is too flat: a photo warped with it looks less turned than it is told. Of true
# turns (synthetic heads) the tracker sees 1.07 in yaw and 0.89 in pitch; of warped photos with a
# gain of 1.2 it saw 0.88 and 0.90, with 1.4 0.97 and 1.02.
DEPTH_GAIN: Final = 1.35
# A steeper side of the face would fold over itself in a turn: 1.8 is safe to 29 degrees.
MAX_DEPTH_SLOPE: Final = 1.8
CORNER_EXTENSION: Final = 0.6
# Of expressions beyond the outline of the face: a neck hardly goes with the jaw, and a collar not.
FACE_REACH_IOD: Final = 0.8
NECK_REACH_IOD: Final = 0.5
BODY_SHIFT_WEIGHT: Final = 0.35


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarpMesh:
    """Vertices and triangles of one portrait.

    The first 468 vertices are the face landmarks, untangled; the others lie around the face.

    Attributes:
        vertices: float32 [N, 3], px of the portrait, z to the back.
        triangles: int32 [M, 3], far ones first, clockwise on screen.
        head_weight: float32 [N], 1 = turns with the head, 0 = stays.
        shift_weight: float32 [N], share of the head's shift.
        is_far: bool [N], vertices that no expression moves.
        pivot: float32 [3], px, where the head turns on the neck.
        centre: float32 [3], px, middle of the outer eye corners: rotations leave it in place.
        iod_px: Inter-ocular distance.
    """

    vertices: Float32Array
    triangles: Int32Array
    head_weight: Float32Array
    shift_weight: Float32Array
    is_far: npt.NDArray[np.bool_]
    pivot: Float32Array
    centre: Float32Array
    iod_px: float


def build_mesh(landmarks: Float32Array, matte: Uint8Array) -> WarpMesh:
    """Build the warp mesh of a portrait.

    Args:
        landmarks: float32 [478, 3], px of the portrait.
        matte: uint8 [512, 512], of the portrait, 255 = person.
    """
    iod = fm.inter_ocular_px(landmarks)
    skin = _untangle(landmarks[: fm.NUM_SKIN_LANDMARKS].astype(np.float64))
    skin[:, 2] *= DEPTH_GAIN
    skin[:, 2] = _flatten_depth(skin)
    oval = skin[list(fm.OVAL)]
    grid, distance = _outer_grid(oval, iod)
    depth = outer_depth(grid, skin, matte, iod)
    vertices = np.concatenate([skin, np.c_[grid, depth]])
    chin_y = float(skin[fm.CHIN, 1])
    below = np.clip((grid[:, 1] - (chin_y - 0.1 * iod)) / (0.95 * iod), 0.0, 1.0)
    aside = np.clip((distance / iod - 0.8) / 0.9, 0.0, 1.0)
    follow = _fade(below) * _fade(aside)
    head_weight = np.concatenate([np.ones(len(skin)), follow])
    reach = np.where(grid[:, 1] > skin[fm.CHIN, 1], NECK_REACH_IOD, FACE_REACH_IOD) * iod
    is_far = (distance > reach) | (grid[:, 1] < skin[fm.FOREHEAD, 1])
    mean = oval.mean(0)
    return WarpMesh(
        vertices=vertices.astype(np.float32),
        triangles=np.concatenate([_outer_triangles(vertices), fm.skin_triangles()]),
        head_weight=head_weight.astype(np.float32),
        shift_weight=np.maximum(head_weight, BODY_SHIFT_WEIGHT).astype(np.float32),
        is_far=np.concatenate([np.zeros(len(skin), bool), is_far]),
        pivot=np.array([mean[0], 0.5 * (mean[1] + chin_y), mean[2] + 0.5 * iod], np.float32),
        centre=vertices[list(fm.OUTER_EYE_CORNERS)].mean(0).astype(np.float32),
        iod_px=iod,
    )


def _fade(t: Float64Array) -> Float64Array:
    return np.asarray(1.0 - t * t * (3.0 - 2.0 * t))


def settle_lip_rows(skin: Float64Array) -> Float64Array:
    """Bring inner mouth corners and lip rows to where the warp has them; a copy.

    The tracker ends the inner lips short of the seam's dark ends, which belong to the opening.

    Args:
        skin: float64 [468, D], D >= 2, px.
    """
    skin = skin.copy()
    rim, *middle, outer = _lip_rows()
    inner, outer_corners = list(fm.INNER_MOUTH_CORNERS), list(fm.MOUTH_CORNERS)
    skin[inner] += CORNER_EXTENSION * (skin[outer_corners] - skin[inner])
    for share, row in zip((0.3, 0.65), middle, strict=True):
        skin[row] = skin[rim] + share * (skin[outer] - skin[rim])
    return skin


def _lip_rows() -> list[list[int]]:
    """Vertices of the four rows around the mouth, rim to outside."""
    rows = zip(fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS, fm.LIP_ROW_CORNERS, strict=True)
    return [[*upper, *lower, *corners] for upper, lower, corners in rows]


def _untangle(skin: Float64Array) -> Float64Array:
    """Move inner lip rows and folded vertices so that no triangle is seen from behind."""
    skin = settle_lip_rows(skin)
    lips = [i for row in _lip_rows() for i in row]
    rigid = [*fm.RIGHT_EYE, *fm.LEFT_EYE, fm.CHIN, fm.FOREHEAD]
    # The lips keep their place even where a three-quarter view folds their far corner: moving
    # them tears the photo's lips at rest.
    return _relax(skin, fixed=[*lips, *rigid], min_area=1.0, num_rounds=30)


def _areas(skin: Float64Array) -> Float64Array:
    """Twice the signed area of each skin triangle, px^2."""
    a, b, c = (skin[fm.skin_triangles()[:, k], :2] for k in range(3))
    first, second = b - a, c - a
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _relax(
    skin: Float64Array, *, fixed: list[int], min_area: float, num_rounds: int
) -> Float64Array:
    """Move vertices of triangles below an area (`_areas`) towards the mean of their neighbours."""
    triangles = fm.skin_triangles()
    average = _averaging_matrix()
    skin = skin.copy()
    for _ in range(num_rounds):
        is_folded = np.zeros(len(skin), bool)
        is_folded[triangles[_areas(skin) < min_area]] = True
        is_folded[fixed] = False
        if not is_folded.any():
            break
        mean = average[is_folded] @ skin
        skin[is_folded] += 0.4 * (mean - skin[is_folded])
    return skin


@functools.cache
def _averaging_matrix() -> csr_matrix:
    """Rows that average the neighbours of each skin vertex."""
    triangles = fm.skin_triangles()
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    start, end = np.concatenate([edges, edges[:, ::-1]]).T
    shape = (fm.NUM_SKIN_LANDMARKS, fm.NUM_SKIN_LANDMARKS)
    adjacency = coo_matrix((np.ones(len(start)), (start, end)), shape).tocsr()
    adjacency.data[:] = 1.0
    return csr_matrix(adjacency.multiply(1.0 / adjacency.sum(1)))


def _flatten_depth(skin: Float64Array) -> Float64Array:
    """Limit the slope of the depth, so that turns do not fold the sides of the face."""
    triangles = fm.skin_triangles()
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    start, end = edges.T
    limit = MAX_DEPTH_SLOPE * np.hypot(*(skin[start, :2] - skin[end, :2]).T)
    z = skin[:, 2].copy()
    for _ in range(40):  # the back is drawn forward: what faces the viewer keeps its depth
        np.minimum.at(z, start, z[end] + limit)
        np.minimum.at(z, end, z[start] + limit)
    return z


def _outer_grid(oval: Float64Array, iod: float) -> tuple[Float64Array, Float64Array]:
    """Grid points outside the face, and their distance to the nearest oval point."""
    x = np.linspace(-PAD_SIDE_PX, CANVAS_WIDTH_PX - PAD_SIDE_PX - 1, _count(CANVAS_WIDTH_PX))
    y = np.linspace(-PAD_TOP_PX, CANVAS_HEIGHT_PX - PAD_TOP_PX - 1, _count(CANVAS_HEIGHT_PX))
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    contour = oval[:, :2].astype(np.float32).reshape(-1, 1, 2)
    outside = np.array([-cv2.pointPolygonTest(contour, (px, py), True) for px, py in points])
    points = points[outside > 0.14 * iod]
    distance = np.linalg.norm(points[:, None] - oval[None, :, :2], axis=2)
    return points, distance.min(1)


def _count(length_px: int) -> int:
    return round(length_px / GRID_PX) + 1


def _outer_triangles(vertices: Float64Array) -> Int32Array:
    """Triangles over oval and grid; those under the face stay as a ground for the skin."""
    indexes = np.concatenate([fm.OVAL, np.arange(fm.NUM_SKIN_LANDMARKS, len(vertices))])
    triangles = indexes[Delaunay(vertices[indexes, :2]).simplices].astype(np.int32)
    a, b, c = (vertices[triangles[:, k], :2] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    return np.asarray(triangles, np.int32)


# --- holes ---------------------------------------------------------------------------------
# The mesh has a hole at the mouth whose outline is a polygon. Flaps continue the lips into the
# hole, so that the smooth outline of the mouth layer never uncovers anything else. The holes at
# the eyes are closed: lids move within the portrait's plane.

_EYE_APERTURES: Final = (  # upper and lower lid, image left to right
    ((33, *fm.RIGHT_UPPER_LID, 133), (33, *fm.RIGHT_LOWER_LID, 133)),
    ((362, *fm.LEFT_UPPER_LID[::-1], 263), (362, *fm.LEFT_LOWER_LID[::-1], 263)),
)
_UPPER_RIM: Final = np.array(fm.UPPER_LIP_ROWS[0])
_LOWER_RIM: Final = np.array(fm.LOWER_LIP_ROWS[0])


def with_flaps(mesh: WarpMesh) -> tuple[Float32Array, Int32Array]:
    """Source points and triangles of the mesh with the flaps, which lie under the skin."""
    n = len(mesh.vertices)
    source = mesh.vertices[:, :2].copy()
    upper, lower = source[_UPPER_RIM], source[_LOWER_RIM]
    # The flaps carry what lies between the photo's lips: their line, or its own open mouth.
    middle = 0.5 * (upper + lower)
    left, right = fm.INNER_MOUTH_CORNERS
    upper_flap = (left, *range(n, n + 9), right)
    lower_flap = (left, *range(n + 9, n + 18), right)
    flaps = np.concatenate(
        [
            fm.strip_triangles(fm.INNER_UPPER_LIP, upper_flap),
            fm.strip_triangles(lower_flap, fm.INNER_LOWER_LIP),
            *(fm.strip_triangles(upper, lower) for upper, lower in _EYE_APERTURES),
        ]
    )
    num_outer = len(mesh.triangles) - len(fm.skin_triangles())
    triangles = np.concatenate([mesh.triangles[:num_outer], flaps, mesh.triangles[num_outer:]])
    points = np.concatenate([source, middle, middle])
    return np.ascontiguousarray(points, np.float32), np.ascontiguousarray(triangles, np.int32)


def flap_targets(posed: Float32Array) -> Float32Array:
    middle = 0.5 * (posed[_UPPER_RIM] + posed[_LOWER_RIM])
    return np.concatenate([middle, middle])
