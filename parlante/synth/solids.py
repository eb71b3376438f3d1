"""Simple bodies: tubes along a curve, ellipsoids, fans; for glasses and props."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parlante.synth.assets import Float64Array, Int32Array
from parlante.synth.head_mesh import BONES_PER_VERTEX, NUM_MASKS, MeshPart
from parlante.types import Float32Array

__all__ = ["Solid", "ellipsoid", "fan", "join_solids", "part_of", "tube"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solid:
    """A body.

    Attributes:
        points: float64 [N, 3].
        triangles: int32 [M, 3], counter-clockwise from outside.
        uv: float32 [N, 2].
    """

    points: Float64Array
    triangles: Int32Array
    uv: Float32Array


def _grid_triangles(rows: int, columns: int, *, wrap: bool) -> Int32Array:
    """Triangles between neighbouring rows; each row may close around."""
    row, column = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if wrap else columns - 1), indexing="ij"
    )
    following = (column + 1) % columns
    a, b = row * columns + column, row * columns + following
    c, d = (row + 1) * columns + following, (row + 1) * columns + column
    quads = np.stack([a, b, c, d], axis=-1).reshape(-1, 4)
    return np.asarray(quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), np.int32)


def tube(
    path: Float64Array, radius: float | Float64Array, *, sides: int = 6, closed: bool = False
) -> Solid:
    """A tube along a path.

    Args:
        path: float64 [K, 3].
        radius: One for all, or float64 [K].
        sides: Corners of the cross-section.
        closed: The last point joins the first.
    """
    if closed:
        path = np.concatenate([path, path[:1]])
    radii = (
        np.broadcast_to(np.asarray(radius, np.float64), (len(path),))
        if np.ndim(radius) == 0
        else np.resize(np.asarray(radius, np.float64), len(path))
    )
    along = np.gradient(path, axis=0)
    if closed:
        along[0] = along[-1] = path[1] - path[-2]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    helper = np.where(
        np.abs(along[:, 2:3]) > 0.9, np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    )
    right = np.cross(helper, along)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-12)
    up = np.cross(along, right)
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[:, None, None] * right + np.sin(angle)[:, None, None] * up
    points = path[None] + radii[None, :, None] * ring  # [sides, K, 3]
    points = points.transpose(1, 0, 2).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 1, len(path)), np.linspace(0, 1, sides), indexing="ij")
    return Solid(
        points=points,
        triangles=_grid_triangles(len(path), sides, wrap=True),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32),
    )


def ellipsoid(centre: Sequence[float], radii: Sequence[float], *, detail: int = 12) -> Solid:
    """An ellipsoid with axes along x, y, z."""
    polar, around = np.meshgrid(
        np.linspace(1e-3, np.pi - 1e-3, detail),
        np.linspace(0.0, 2.0 * np.pi, 2 * detail, endpoint=False),
        indexing="ij",
    )
    unit = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    )
    points = unit.reshape(-1, 3) * np.asarray(radii) + np.asarray(centre)
    triangles = _grid_triangles(detail, 2 * detail, wrap=True)[:, ::-1]
    uv = np.stack([around / (2 * np.pi), polar / np.pi], axis=-1).reshape(-1, 2)
    return Solid(points=points, triangles=np.ascontiguousarray(triangles), uv=uv.astype(np.float32))


def fan(rim: Float64Array, centre: Float64Array) -> Solid:
    """A surface from a middle to a closed rim, float64 [K, 3], counter-clockwise."""
    number = len(rim)
    index = np.arange(number)
    triangles = np.stack([np.full(number, number), index, (index + 1) % number], axis=1)
    return Solid(
        points=np.concatenate([rim, centre[None]]),
        triangles=triangles.astype(np.int32),
        uv=np.full((number + 1, 2), 0.5, np.float32),
    )


def join_solids(solids: Sequence[Solid]) -> Solid:
    """One body of several."""
    start = np.cumsum([0, *(len(solid.points) for solid in solids)])
    return Solid(
        points=np.concatenate([solid.points for solid in solids]),
        triangles=np.concatenate(
            [solid.triangles + first for solid, first in zip(solids, start[:-1], strict=True)]
        ).astype(np.int32),
        uv=np.concatenate([solid.uv for solid in solids]),
    )


def part_of(solid: Solid, *, name: str, label: int, bone: int) -> MeshPart:
    """A part that one bone carries."""
    number = len(solid.points)
    bones = np.zeros((number, BONES_PER_VERTEX), np.int32)
    bones[:, 0] = bone
    weights = np.zeros((number, BONES_PER_VERTEX), np.float32)
    weights[:, 0] = 1.0
    return MeshPart(
        name=name,
        points=solid.points,
        bones=bones,
        weights=weights,
        triangles=solid.triangles,
        uv=solid.uv,
        uv_triangles=solid.triangles,
        labels=np.full(len(solid.triangles), label, np.uint8),
        masks=np.zeros((number, NUM_MASKS), np.float32),
    )
