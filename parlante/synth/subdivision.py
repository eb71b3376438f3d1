"""Catmull-Clark subdivision of a quad mesh, as a matrix over its vertices."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from parlante.synth.assets import Int32Array
from parlante.types import Float32Array

__all__ = ["subdivide", "subdivide_uv"]


def _edges(quads: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Unique edges, int32 [E, 2], and the edge of each face's side, int32 [F, 4]."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, index = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    return edges.astype(np.int32), index.reshape(-1, 4).astype(np.int32)


def _new_quads(quads: Int32Array, side_edges: Int32Array, num_vertices: int) -> Int32Array:
    """Four faces for each: corner, edge, middle, edge before."""
    num_faces = len(quads)
    middle = np.broadcast_to(num_vertices + np.arange(num_faces)[:, None], quads.shape)
    edge = num_vertices + num_faces + side_edges
    out = np.stack([quads, edge, middle, np.roll(edge, 1, axis=1)], axis=-1)
    return np.asarray(out.reshape(-1, 4), np.int32)


def subdivide(quads: Int32Array, num_vertices: int) -> tuple[scipy.sparse.csr_matrix, Int32Array]:
    """Subdivide once; open borders keep their curve.

    Args:
        quads: int32 [F, 4].
        num_vertices: V; vertices that no face uses stay where they are.

    Returns:
        Sparse float64 [V + F + E, V] that makes the new vertices of the old, and the new faces,
        int32 [4 F, 4].

    Source: E. Catmull, J. Clark, 1978.
    """
    edges, side_edges = _edges(quads)
    num_faces, num_edges = len(quads), len(edges)
    corner = scipy.sparse.csr_matrix(
        (np.ones(quads.size), (np.repeat(np.arange(num_faces), 4), quads.ravel())),
        shape=(num_faces, num_vertices),
    )
    ends = scipy.sparse.csr_matrix(
        (np.ones(edges.size), (np.repeat(np.arange(num_edges), 2), edges.ravel())),
        shape=(num_edges, num_vertices),
    )
    side = scipy.sparse.csr_matrix(
        (np.ones(side_edges.size), (side_edges.ravel(), np.repeat(np.arange(num_faces), 4))),
        shape=(num_edges, num_faces),
    )
    is_border = np.asarray(side.sum(axis=1)).ravel() < 2
    face_points = corner / 4.0
    inner = scipy.sparse.diags(np.where(is_border, 0.0, 0.25))
    border = scipy.sparse.diags(np.where(is_border, 0.5, 0.0))
    edge_points = inner @ (ends + side @ face_points) + border @ ends
    vertices = _vertex_points(corner, ends, face_points, is_border)
    matrix = scipy.sparse.vstack([vertices, face_points, edge_points]).tocsr()
    return matrix, _new_quads(quads, side_edges, num_vertices)


def _vertex_points(
    corner: scipy.sparse.csr_matrix,
    ends: scipy.sparse.csr_matrix,
    face_points: scipy.sparse.csr_matrix,
    is_border: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> scipy.sparse.csr_matrix:
    """Where the old vertices go."""
    valence = np.asarray(corner.sum(axis=0)).ravel()
    border_edges = scipy.sparse.diags(is_border.astype(float)) @ ends
    num_border = np.asarray(border_edges.sum(axis=0)).ravel()
    on_border = num_border > 0
    inside = (valence > 0) & ~on_border
    n = np.maximum(valence, 1.0)
    neighbours = (ends.T @ ends).tolil()
    neighbours.setdiag(0.0)
    eye = scipy.sparse.identity(len(valence), format="csr")
    ends_sum = neighbours.tocsr() + scipy.sparse.diags(valence)  # both ends of each edge
    smooth = (
        scipy.sparse.diags((n - 3.0) / n)
        + scipy.sparse.diags(1.0 / n**2) @ (corner.T @ face_points)
        + scipy.sparse.diags(1.0 / n**2) @ ends_sum
    )
    along = (border_edges.T @ border_edges).tolil()
    along.setdiag(0.0)
    is_curve = on_border & (num_border == 2)
    curve = 0.75 * eye + 0.125 * along.tocsr()
    stay = ~(inside | is_curve)
    pick = scipy.sparse.diags
    return pick(inside * 1.0) @ smooth + pick(is_curve * 1.0) @ curve + pick(stay * 1.0) @ eye


def subdivide_uv(uv: Float32Array, uv_quads: Int32Array) -> tuple[Float32Array, Int32Array]:
    """Subdivide texture coordinates linearly; faces come in the order of `subdivide`.

    Args:
        uv: float32 [U, 2].
        uv_quads: int32 [F, 4].

    Returns:
        float32 [U', 2] and int32 [4 F, 4].
    """
    edges, side_edges = _edges(uv_quads)
    new = np.concatenate([uv, uv[uv_quads].mean(axis=1), uv[edges].mean(axis=1)])
    return new.astype(np.float32), _new_quads(uv_quads, side_edges, len(uv))
