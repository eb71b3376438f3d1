"""Regions of the skin: lips, mouth cavity, beard, make-up; one value per fine vertex.

They are drawn once per pack, in texture space and on the mean head, with the landmarks as corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from parlante.models import face_mesh
from parlante.models.smooth_step import smooth_steps
from parlante.synth.assets import Float64Array, HeadPack, Int32Array
from parlante.synth.head_mesh import SkinTopology
from parlante.synth.landmarks import LandmarkMap
from parlante.types import Float32Array

__all__ = ["Regions", "find_regions"]

# How wide the edge of a region is, as a share of the atlas.
LIP_EDGE: Final = 0.004
BEARD_EDGE: Final = 0.022
SHADOW_EDGE: Final = 0.008
BLUSH_RADIUS_DM: Final = 0.22
CHEEKS: Final = (50, 280)
# The beard's upper border from the ear to below the nose, image left to right.
BEARD_TOP: Final = (234, 177, 215, 207, 206, 165, 167, 164, 393, 391, 426, 427, 435, 401, 454)
# Its lower border runs under the jaw: the jaw line, moved away from the nose.
JAW_LINE: Final = (
    361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132,
)  # fmt: skip
UNDER_JAW: Final = 1.22
NOSE_TIP: Final = face_mesh.NOSE_TIP
# The cavity is an own piece of the atlas; no vertex of it is far from the mouth.
CAVITY_REACH_DM: Final = 1.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """Values in [0, 1] for each fine skin vertex, float32 [N] each.

    Attributes:
        lips: Red of the lips.
        cavity: Inside of the mouth.
        beard: Where a full beard grows.
        moustache: The part of it above the mouth.
        chin: The part of it around the chin.
        shadow: Upper lids up to the brow.
        blush: Cheeks.
        body: Below the jaw: 1 on shoulders and chest, 0 on the head.
        uv: float32 [N, 2], texture coordinates.
    """

    lips: Float32Array
    cavity: Float32Array
    beard: Float32Array
    moustache: Float32Array
    chin: Float32Array
    shadow: Float32Array
    blush: Float32Array
    body: Float32Array
    uv: Float32Array


def find_regions(pack: HeadPack, topology: SkinTopology, landmarks: LandmarkMap) -> Regions:
    """Draw all regions."""
    points = np.asarray(topology.matrix @ pack.rest)
    uv = np.zeros((len(points), 2), np.float32)
    uv[topology.quads.ravel()] = topology.uv[topology.uv_quads.ravel()]
    marks_uv, marks = landmarks.place(uv), landmarks.place(points)
    cavity = _cavity(topology, points, marks)
    outside = 1.0 - cavity
    lips = _inside(uv, marks_uv[list(face_mesh.OUTER_LIPS)], LIP_EDGE) * outside
    nose = marks_uv[NOSE_TIP]
    under = nose + UNDER_JAW * (marks_uv[list(JAW_LINE)] - nose)
    outline = np.concatenate([marks_uv[list(BEARD_TOP)], under])
    beard = _inside(uv, outline, BEARD_EDGE) * (1.0 - lips) * outside
    mouth = 0.5 * (marks[face_mesh.UPPER_LIP_CENTRE] + marks[face_mesh.LOWER_LIP_CENTRE])
    half_width = 0.5 * float(np.ptp(marks[list(face_mesh.MOUTH_CORNERS), 0]))
    aside = np.abs(points[:, 0]) / half_width
    return Regions(
        lips=_single(lips),
        cavity=_single(cavity),
        beard=_single(beard),
        moustache=_single(
            beard * _step(mouth[1] - 0.04, mouth[1] + 0.02, points[:, 1]) * _step(1.5, 1.1, aside)
        ),
        chin=_single(
            beard * _step(1.25, 0.85, aside) * _step(mouth[1] + 0.03, mouth[1] - 0.03, points[:, 1])
        ),
        shadow=_single(_lids(uv, marks_uv) * outside),
        blush=_single(_cheeks(points, marks) * outside),
        body=_single(
            _step(marks[face_mesh.CHIN, 1] - 0.35, marks[face_mesh.CHIN, 1] - 0.75, points[:, 1])
        ),
        uv=uv,
    )


def _single(values: npt.NDArray[np.floating]) -> Float32Array:
    return np.ascontiguousarray(values, np.float32)


def _step(low: float, high: float, x: Float64Array) -> Float64Array:
    """0 at `low`, 1 at `high`, smooth between; `high` may be the smaller one."""
    return smooth_steps((x - low) / (high - low))


def _inside(uv: Float32Array, outline: Float32Array, edge: float) -> Float64Array:
    """1 inside of a polygon in texture space, 0 outside, with an edge of this width."""
    polygon = np.ascontiguousarray(outline.reshape(-1, 1, 2), np.float32)
    low, high = outline.min(axis=0) - edge, outline.max(axis=0) + edge
    near = np.flatnonzero(((uv > low) & (uv < high)).all(axis=1))
    out = np.zeros(len(uv))
    for vertex in near:
        x, y = (float(value) for value in uv[vertex])
        out[vertex] = 0.5 + cv2.pointPolygonTest(polygon, (x, y), True) / edge
    return np.clip(out, 0.0, 1.0)


def _lids(uv: Float32Array, marks_uv: Float32Array) -> Float64Array:
    total = np.zeros(len(uv))
    sides: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (
        (face_mesh.RIGHT_UPPER_LID, face_mesh.RIGHT_BELOW_BROW),
        (face_mesh.LEFT_UPPER_LID, face_mesh.LEFT_BELOW_BROW),
    )
    for lid, below_brow in sides:
        crease = 0.5 * (marks_uv[list(lid)] + marks_uv[list(below_brow)])
        outline = np.concatenate([marks_uv[list(lid)], crease[::-1]])
        total = np.maximum(total, _inside(uv, outline, SHADOW_EDGE))
    return total


def _cheeks(points: Float64Array, marks: Float32Array) -> Float64Array:
    out = np.zeros(len(points))
    for landmark in CHEEKS:
        distance = np.linalg.norm(points - marks[landmark], axis=1)
        out = np.maximum(out, np.exp(-0.5 * (distance / BLUSH_RADIUS_DM) ** 2))
    return out


def _cavity(topology: SkinTopology, points: Float64Array, marks: Float32Array) -> Float64Array:
    """Vertices of the atlas pieces that lie within the mouth."""
    piece = _uv_pieces(topology.uv_quads, len(topology.uv))
    of_vertex = np.zeros(len(points), np.int64)
    of_vertex[topology.quads.ravel()] = piece[topology.uv_quads.ravel()]
    mouth = 0.5 * (marks[face_mesh.UPPER_LIP_CENTRE] + marks[face_mesh.LOWER_LIP_CENTRE])
    away = np.linalg.norm(points - mouth - [0.0, 0.0, -0.4], axis=1)
    out = np.zeros(len(points))
    face = of_vertex[np.argmin(np.linalg.norm(points - marks[face_mesh.NOSE_TIP], axis=1))]
    for number in np.unique(of_vertex):
        inside = of_vertex == number
        is_mouth = float(away[inside].max()) < CAVITY_REACH_DM
        is_low = float(points[inside, 1].max()) < marks[face_mesh.NOSE_TIP, 1]
        if number != face and is_mouth and is_low:
            out[inside] = 1.0
    return out


def _uv_pieces(uv_quads: Int32Array, num_uv: int) -> npt.NDArray[np.int64]:
    ends = np.stack([uv_quads, np.roll(uv_quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    graph = scipy.sparse.coo_matrix(
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(num_uv, num_uv)
    )
    _, piece = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(piece, np.int64)
