"""Loops over vertices, triangles and pixels of synthetic heads, compiled."""

from __future__ import annotations

import numpy as np

from parlante.models.jit import kernel
from parlante.synth.assets import Int32Array
from parlante.types import Float32Array

__all__ = [
    "NO_TRIANGLE",
    "accumulate_normals",
    "add_access",
    "gather_corners",
    "resolve_pixels",
    "shade_points",
    "skin_vertices",
]

NO_TRIANGLE = 0  # the index map counts triangles from 1


@kernel
def skin_vertices(
    rest: Float32Array,
    bones: Int32Array,
    weights: Float32Array,
    matrices: Float32Array,
    out: Float32Array,
) -> None:
    """Linear blend skinning.

    Args:
        rest: float32 [N, 3].
        bones: int32 [N, 8].
        weights: float32 [N, 8], sum to 1.
        matrices: float32 [B, 3, 4].
        out: float32 [N, 3], written.
    """
    for i in range(rest.shape[0]):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        px = np.float32(0.0)
        py = np.float32(0.0)
        pz = np.float32(0.0)
        for k in range(bones.shape[1]):
            w = weights[i, k]
            if w > 0.0:
                m = matrices[bones[i, k]]
                px += w * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3])
                py += w * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3])
                pz += w * (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3])
        out[i, 0] = px
        out[i, 1] = py
        out[i, 2] = pz


@kernel
def accumulate_normals(points: Float32Array, triangles: Int32Array, out: Float32Array) -> None:
    """Vertex normals, weighted by area.

    Args:
        points: float32 [N, 3].
        triangles: int32 [M, 3], counter-clockwise from outside.
        out: float32 [N, 3], unit length; written.
    """
    out[:] = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            points[b, 0] - points[a, 0],
            points[b, 1] - points[a, 1],
            points[b, 2] - points[a, 2],
        )
        vx, vy, vz = (
            points[c, 0] - points[a, 0],
            points[c, 1] - points[a, 1],
            points[c, 2] - points[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 1e-12:
            for k in range(3):
                out[i, k] /= length


@kernel
def add_access(
    points: Float32Array,
    normals: Float32Array,
    clip: Float32Array,
    direction: Float32Array,
    depth: Float32Array,
    seen: Float32Array,
    total: Float32Array,
) -> None:
    """Add what one direction of light gives to each point.

    Args:
        points: float32 [N, 3].
        normals: float32 [N, 3].
        clip: float32 [3, 4], scene -> depth map, all axes in [0, 1].
        direction: float32 [3], towards the light.
        depth: float32 [S, S].
        seen: float32 [N], light that arrives; added to.
        total: float32 [N], light that would without obstacles; added to.
    """
    size = depth.shape[0]
    for i in range(points.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        weight = nx * direction[0] + ny * direction[1] + nz * direction[2]
        if weight <= 0.0:
            continue
        x = points[i, 0] + np.float32(0.04) * nx
        y = points[i, 1] + np.float32(0.04) * ny
        z = points[i, 2] + np.float32(0.04) * nz
        u = (clip[0, 0] * x + clip[0, 1] * y + clip[0, 2] * z + clip[0, 3]) * size
        v = (clip[1, 0] * x + clip[1, 1] * y + clip[1, 2] * z + clip[1, 3]) * size
        w = clip[2, 0] * x + clip[2, 1] * y + clip[2, 2] * z + clip[2, 3]
        column = min(max(int(u), 0), size - 1)
        row = min(max(int(v), 0), size - 1)
        total[i] += weight
        if w <= depth[row, column] + 4e-3:
            seen[i] += weight


@kernel
def gather_corners(
    points: Float32Array,
    normals: Float32Array,
    lit: Float32Array,
    corner_point: Int32Array,
    out: Float32Array,
) -> None:
    """Write point, normal and light of each vertex of the graphics card, float32 [C, 7]."""
    for i in range(corner_point.shape[0]):
        p = corner_point[i]
        for k in range(3):
            out[i, k] = points[p, k]
            out[i, 3 + k] = normals[p, k]
        out[i, 6] = lit[p]


@kernel
def shade_points(
    points: Float32Array,
    normals: Float32Array,
    clip: Float32Array,
    depth: Float32Array,
    taps: Float32Array,
    bias: float,
    out: Float32Array,
) -> None:
    """How much of the key light reaches each point, by percentage-closer filtering.

    Args:
        points: float32 [N, 3].
        normals: float32 [N, 3].
        clip: float32 [3, 4], scene -> shadow map, all axes in [0, 1].
        depth: float32 [S, S], the shadow map.
        taps: float32 [K, 2], where it is looked up, px.
        bias: Depth that a point may lie behind what the map holds.
        out: float32 [N], written; 1 = lit.
    """
    size = depth.shape[0]
    for i in range(points.shape[0]):
        x = points[i, 0] + np.float32(0.025) * normals[i, 0]
        y = points[i, 1] + np.float32(0.025) * normals[i, 1]
        z = points[i, 2] + np.float32(0.025) * normals[i, 2]
        u = (clip[0, 0] * x + clip[0, 1] * y + clip[0, 2] * z + clip[0, 3]) * size
        v = (clip[1, 0] * x + clip[1, 1] * y + clip[1, 2] * z + clip[1, 3]) * size
        w = clip[2, 0] * x + clip[2, 1] * y + clip[2, 2] * z + clip[2, 3] - bias
        count = 0
        for k in range(taps.shape[0]):
            column = min(max(int(u + taps[k, 0]), 0), size - 1)
            row = min(max(int(v + taps[k, 1]), 0), size - 1)
            if w <= depth[row, column]:
                count += 1
        out[i] = np.float32(count) / np.float32(taps.shape[0])


@kernel
def resolve_pixels(
    index: Int32Array,
    triangles: Int32Array,
    projected: Float32Array,
    masks: Float32Array,
    triangle_parts: np.ndarray,
    parts: np.ndarray,
    depth: Float32Array,
    barycentric: np.ndarray,
    lips_part: int,
    cavity_part: int,
    skin_part: int,
) -> None:
    """Turn the map of triangle indexes into parts, depth and barycentric coordinates.

    Args:
        index: int32 [H, W], triangle + 1 of each pixel, `NO_TRIANGLE` where there is none.
        triangles: int32 [M, 3].
        projected: float32 [N, 3], px x, px y (pixel centres at integers), distance along the axis.
        masks: float32 [N, 2], lips and mouth cavity of each vertex.
        triangle_parts: uint8 [M].
        parts: uint8 [H, W], written.
        depth: float32 [H, W], written; infinite where there is nothing.
        barycentric: uint16 [H, W, 2], weights of the first two corners times 65535, written.
        lips_part: Label of lips.
        cavity_part: Label of the cavity.
        skin_part: Label of skin, of which lips and cavity are taken out.
    """
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            t = index[y, x] - 1
            if t < 0:
                parts[y, x] = 0
                depth[y, x] = np.inf
                barycentric[y, x, 0] = 0
                barycentric[y, x, 1] = 0
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay = projected[a, 0] - x, projected[a, 1] - y
            bx, by = projected[b, 0] - x, projected[b, 1] - y
            cx, cy = projected[c, 0] - x, projected[c, 1] - y
            # Over the distance they become weights in space instead of in the picture.
            wa = (bx * cy - by * cx) / projected[a, 2]
            wb = (cx * ay - cy * ax) / projected[b, 2]
            wc = (ax * by - ay * bx) / projected[c, 2]
            total = wa + wb + wc
            if total == 0.0:
                wa, wb, wc = np.float32(1.0), np.float32(0.0), np.float32(0.0)
            else:
                wa, wb, wc = wa / total, wb / total, wc / total
            wa = min(max(wa, np.float32(0.0)), np.float32(1.0))
            wb = min(max(wb, np.float32(0.0)), np.float32(1.0) - wa)
            wc = np.float32(1.0) - wa - wb
            depth[y, x] = wa * projected[a, 2] + wb * projected[b, 2] + wc * projected[c, 2]
            barycentric[y, x, 0] = np.uint16(wa * 65535.0 + 0.5)
            barycentric[y, x, 1] = np.uint16(wb * 65535.0 + 0.5)
            part = triangle_parts[t]
            if part == skin_part:
                lips = wa * masks[a, 0] + wb * masks[b, 0] + wc * masks[c, 0]
                cavity = wa * masks[a, 1] + wb * masks[b, 1] + wc * masks[c, 1]
                if cavity > 0.5:
                    part = cavity_part
                elif lips > 0.5:
                    part = lips_part
            parts[y, x] = part
