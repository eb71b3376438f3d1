"""A thin plate over the warp mesh: spreads the motion of a few vertices smoothly to the rest."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import splu

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh

Float64Array = npt.NDArray[np.float64]

TENSION: Final = 0.02  # keeps it from overshooting between handles


class FacePlate:
    """Spreads displacements of fixed vertices to the free ones.

    Args:
        mesh: The mesh.
        fixed: int [F], indexes of the vertices whose displacement is given.
    """

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
