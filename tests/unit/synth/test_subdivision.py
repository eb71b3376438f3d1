"""Catmull-Clark subdivision."""

from __future__ import annotations

import numpy as np

from parlante.synth.subdivision import subdivide, subdivide_uv

# Two by two faces in a plane, counter-clockwise.
GRID = np.array([[x, y, 0.0] for y in range(3) for x in range(3)])
QUADS = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6], [4, 5, 8, 7]], np.int32)
CUBE = np.array([[x, y, z] for z in (0.0, 1.0) for y in (0.0, 1.0) for x in (0.0, 1.0)])
CUBE_QUADS = np.array(
    [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]], np.int32
)


def _area(points: np.ndarray, quads: np.ndarray) -> float:
    a, b, c, d = (points[quads[:, k], :2] for k in range(4))
    p, q = c - a, d - b
    return float(0.5 * (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())


def test_every_new_vertex_is_a_mean_of_old_ones() -> None:
    matrix, _ = subdivide(QUADS, len(GRID))
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    assert matrix.shape == (9 + 4 + 12, 9)


def test_plane_keeps_its_orientation_and_its_inner_vertex() -> None:
    matrix, quads = subdivide(QUADS, len(GRID))
    points = matrix @ GRID
    np.testing.assert_allclose(points[4], [1.0, 1.0, 0.0])
    assert len(quads) == 16
    assert 3.0 < _area(points, quads) <= 4.0  # the open corners are rounded off


def test_closed_cube_gets_the_published_corner() -> None:
    """(F + 2 R + (n - 3) P) / n with n = 3 at the corner (0, 0, 0)."""
    matrix, _ = subdivide(CUBE_QUADS, len(CUBE))
    faces = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]).mean(axis=0)
    edges = np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]).mean(axis=0)
    np.testing.assert_allclose((matrix @ CUBE)[0], (faces + 2.0 * edges) / 3.0)


def test_texture_faces_come_in_the_order_of_the_faces() -> None:
    matrix, quads = subdivide(QUADS, len(GRID))
    uv, uv_quads = subdivide_uv(GRID[:, :2].astype(np.float32), QUADS)
    middle = (matrix @ GRID)[quads].mean(axis=1)[:, :2]
    assert np.abs(uv[uv_quads].mean(axis=1) - middle).max() < 0.25


def test_unused_vertex_stays() -> None:
    lonely = np.concatenate([GRID, [[9.0, 9.0, 9.0]]])
    matrix, _ = subdivide(QUADS, len(lonely))
    np.testing.assert_allclose((matrix @ lonely)[9], [9.0, 9.0, 9.0])
