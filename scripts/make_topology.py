"""Make the triangles of the face mesh from tracked faces: parlante/models/face_topology.npz.

The mean face of many portraits is made symmetric and unfolded onto a plane, the rows of its lips
are spread to rings, and it is triangulated by Delaunay. Holes for the mouth and the eyes are cut
out, and edges are flipped where that makes better triangles on the curved face.

Usage: python scripts/make_topology.py LANDMARKS.npy
with float32 [num_faces, >= 468, 3], as `FaceTracker` gives them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from parlante.models import face_mesh as fm

OUTPUT = Path(__file__).parents[1] / "parlante" / "models" / "face_topology.npz"
Float64Array = npt.NDArray[np.float64]
Edge = tuple[int, int]


def mean_face(faces: Float64Array) -> Float64Array:
    """Average faces [N, 468, 3] in the frame of the eyes: IOD 1, centre between the eyes."""
    aligned = []
    for face in faces:
        right, left = face[33], face[263]
        x_axis = (left - right) / np.linalg.norm(left - right)
        down = face[152] - face[10]
        y_axis = down - (down @ x_axis) * x_axis
        y_axis /= np.linalg.norm(y_axis)
        frame = np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)])
        aligned.append((face - (right + left) / 2) @ frame.T / np.linalg.norm(left - right))
    return np.mean(aligned, 0)


def mirror_pairs(face: Float64Array) -> npt.NDArray[np.int32]:
    """Pair each landmark with the one nearest to its mirror image."""
    mirrored = face * [-1, 1, 1]
    distance = np.linalg.norm(mirrored[:, None] - face[None], axis=2)
    pairs = distance.argmin(1)
    assert (pairs[pairs] == np.arange(len(face))).all(), "the pairing must be one to one"
    return pairs.astype(np.int32)


def unfold(face: Float64Array) -> Float64Array:
    """Azimuthal equidistant projection about a point behind the nose: [468, 2]."""
    ray = face - [0.0, 0.55, 0.75]
    radius = np.hypot(ray[:, 0], ray[:, 1])
    angle = np.arctan2(radius, -ray[:, 2])
    return ray[:, :2] / np.maximum(radius, 1e-9)[:, None] * angle[:, None]


def spread_lips(plane: Float64Array) -> Float64Array:
    """Nest the four rows of the lips, which nearly coincide when seen from the front."""
    spread = plane.copy()
    centre = plane[list(fm.OUTER_LIPS)].mean(0)
    rows = zip(fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS, fm.LIP_ROW_CORNERS, strict=True)
    outer = [*fm.UPPER_LIP_ROWS[3], *fm.LOWER_LIP_ROWS[3], *fm.LIP_ROW_CORNERS[3]]
    for scale, (upper, lower, corners) in zip((0.55, 0.7, 0.85, 1.0), rows, strict=True):
        spread[[*upper, *lower, *corners]] = centre + scale * (plane[outer] - centre)
    return spread


def loop_edges(loop: tuple[int, ...]) -> set[Edge]:
    return {(min(e), max(e)) for e in zip(loop, loop[1:] + loop[:1], strict=True)}


def is_inside(points: Float64Array, loop: tuple[int, ...], plane: Float64Array) -> list[bool]:
    contour = plane[list(loop)].astype(np.float32).reshape(-1, 1, 2)
    return [cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0 for x, y in points]


def cut(triangles: npt.NDArray[np.int32], plane: Float64Array) -> npt.NDArray[np.int32]:
    """Remove the triangles outside the oval and inside the mouth and the eyes."""
    centres = plane[triangles].mean(1)
    keep = np.array(is_inside(centres, fm.OVAL, plane))
    for hole in (fm.INNER_LIPS, fm.RIGHT_EYE, fm.LEFT_EYE):
        keep &= ~np.array(is_inside(centres, hole, plane))
    return triangles[keep]


def orient(triangles: npt.NDArray[np.int32], plane: Float64Array) -> npt.NDArray[np.int32]:
    first, second, third = (plane[triangles[:, k]] for k in range(3))
    flip = cross(second - first, third - first) < 0
    triangles = triangles.copy()
    triangles[flip] = triangles[flip][:, ::-1]
    return triangles


def cross(a: Float64Array, b: Float64Array) -> Float64Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def smallest_angle(a: Float64Array, b: Float64Array, c: Float64Array) -> float:
    sides = (b - a, c - b, a - c)
    lengths = [max(float(np.linalg.norm(s)), 1e-12) for s in sides]
    cosines = [-(sides[k - 1] @ sides[k]) / lengths[k - 1] / lengths[k] for k in range(3)]
    return float(np.arccos(np.clip(max(cosines), -1, 1)))


def flip_edges(
    triangles: npt.NDArray[np.int32], plane: Float64Array, face: Float64Array, fixed: set[Edge]
) -> npt.NDArray[np.int32]:
    """Flip inner edges while that enlarges the smallest angle in space."""
    faces = [tuple(int(v) for v in t) for t in triangles]
    lips = {i for rows in (fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS) for row in rows for i in row}
    lips |= {i for corners in fm.LIP_ROW_CORNERS for i in corners}
    for _ in range(20):
        owners: dict[Edge, list[int]] = {}
        for index, t in enumerate(faces):
            for k in range(3):
                edge = (min(t[k], t[k - 1]), max(t[k], t[k - 1]))
                owners.setdefault(edge, []).append(index)
        touched: set[int] = set()
        num_flips = 0
        for (a, b), pair in owners.items():
            if len(pair) != 2 or (a, b) in fixed or touched & set(pair):
                continue
            c, d = (next(v for v in faces[i] if v not in (a, b)) for i in pair)
            if {a, b, c, d} <= lips:
                continue
            if (
                cross(plane[d] - plane[c], plane[a] - plane[c])
                * cross(plane[d] - plane[c], plane[b] - plane[c])
                >= -1e-9
            ):
                continue
            before = min(smallest_angle(*face[[a, b, c]]), smallest_angle(*face[[a, b, d]]))
            after = min(smallest_angle(*face[[c, d, a]]), smallest_angle(*face[[c, d, b]]))
            if after > before + 1e-3:
                faces[pair[0]], faces[pair[1]] = (c, d, a), (c, d, b)
                touched |= set(pair)
                num_flips += 1
        if num_flips == 0:
            break
    return orient(np.array(faces, np.int32), plane)


def check(triangles: npt.NDArray[np.int32], fixed: set[Edge]) -> None:
    """Every fixed loop is the boundary, nothing else is, and all points are used."""
    edges: dict[Edge, int] = {}
    for t in triangles.tolist():
        for k in range(3):
            edge = (min(t[k], t[k - 1]), max(t[k], t[k - 1]))
            edges[edge] = edges.get(edge, 0) + 1
    boundary = {edge for edge, count in edges.items() if count == 1}
    assert max(edges.values()) <= 2, "an edge has more than two triangles"
    assert boundary == fixed, f"missing {fixed - boundary}, extra {boundary - fixed}"
    assert set(triangles.ravel().tolist()) == set(range(468)), "unused landmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("landmarks", type=Path)
    faces = np.load(parser.parse_args().landmarks)[:, : fm.NUM_SKIN_LANDMARKS].astype(np.float64)
    face = mean_face(faces)
    mirror = mirror_pairs(face)
    face = (face + face[mirror] * [-1, 1, 1]) / 2
    plane = spread_lips(unfold(face))
    fixed = set().union(
        *(loop_edges(x) for x in (fm.OVAL, fm.INNER_LIPS, fm.RIGHT_EYE, fm.LEFT_EYE))
    )
    triangles = orient(cut(Delaunay(plane).simplices.astype(np.int32), plane), plane)
    triangles = flip_edges(triangles, plane, face, fixed)
    check(triangles, fixed)
    order = np.lexsort(triangles.T[::-1])
    np.savez_compressed(
        OUTPUT, skin=triangles[order].astype(np.int16), mirror=mirror.astype(np.int16)
    )
    print(f"{len(triangles)} triangles -> {OUTPUT.name}")


if __name__ == "__main__":
    main()
