"""One person's mesh: all parts at render resolution, with bones, textures and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from parlante.synth.assets import Float64Array, HeadPack, Int32Array
from parlante.synth.kernels import accumulate_normals, skin_vertices
from parlante.synth.rig import FacePose, Rig
from parlante.synth.subdivision import subdivide, subdivide_uv
from parlante.types import Float32Array

__all__ = ["BONES_PER_VERTEX", "HeadMesh", "MeshPart", "SkinTopology", "fit_part", "make_skin"]

BONES_PER_VERTEX: Final = 8
NUM_MASKS: Final = 8
TOOTH_VERTICES: Final = 200  # a connected piece of the teeth with fewer vertices is one tooth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeshPart:
    """One part of a person, in the rest pose.

    Attributes:
        name: Which draw call it belongs to: ``skin``, ``eyes``, ``hair`` ...
        points: float64 [N, 3], dm.
        bones: int32 [N, 8].
        weights: float32 [N, 8].
        triangles: int32 [M, 3], counter-clockwise from outside.
        uv: float32 [U, 2].
        uv_triangles: int32 [M, 3].
        labels: uint8 [M], part label of each triangle; see `parlante.synth.labels`.
        masks: float32 [N, 8], what the shader needs to know of each vertex; see `regions`.
    """

    name: str
    points: Float64Array
    bones: Int32Array
    weights: Float32Array
    triangles: Int32Array
    uv: Float32Array
    uv_triangles: Int32Array
    labels: npt.NDArray[np.uint8]
    masks: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkinTopology:
    """The subdivided body, the same for every identity of a pack.

    Attributes:
        matrix: Sparse [N, R]: fine vertices of the pack's.
        quads: int32 [F, 4], fine.
        uv: float32 [U, 2], fine.
        uv_quads: int32 [F, 4], fine.
        bones: int32 [N, 8].
        weights: float32 [N, 8].
    """

    matrix: scipy.sparse.csr_matrix
    quads: Int32Array
    uv: Float32Array
    uv_quads: Int32Array
    bones: Int32Array
    weights: Float32Array

    @classmethod
    def of(cls, pack: HeadPack) -> SkinTopology:
        """Subdivide the pack's body once."""
        full, quads = subdivide(pack.quads, len(pack.rest))
        uv, uv_quads = subdivide_uv(pack.uv, pack.uv_quads)
        used, flat = np.unique(quads, return_inverse=True)
        matrix = full[used]
        dense = np.zeros((len(pack.rest), len(pack.bones)))
        np.put_along_axis(dense, pack.skin_bones, pack.skin_weights, axis=1)
        bones, weights = strongest_bones(matrix @ dense)
        return cls(
            matrix=matrix,
            quads=flat.reshape(-1, 4).astype(np.int32),
            uv=uv,
            uv_quads=uv_quads,
            bones=bones,
            weights=weights,
        )

    @property
    def triangles(self) -> Int32Array:
        """Two triangles for each quad: int32 [2 F, 3], the pairs side by side."""
        return split_quads(self.quads)


def split_quads(quads: Int32Array) -> Int32Array:
    """Two triangles for each quad, side by side: int32 [2 F, 3]."""
    return np.asarray(quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), np.int32)


def strongest_bones(dense: Float64Array) -> tuple[Int32Array, Float32Array]:
    """Keep the eight strongest bones: [N, B] -> int32 [N, 8] and float32 [N, 8] that sum to 1."""
    padded = np.pad(dense, ((0, 0), (0, max(0, BONES_PER_VERTEX - dense.shape[1]))))
    bones = np.argsort(-padded, axis=1, kind="stable")[:, :BONES_PER_VERTEX]
    weights = np.take_along_axis(padded, bones, axis=1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return np.where(weights > 0, bones, 0).astype(np.int32), weights.astype(np.float32)


def make_skin(
    topology: SkinTopology, vertices: Float64Array, masks: Float32Array, label: int
) -> MeshPart:
    """The body of an identity.

    Args:
        topology: Of the pack.
        vertices: float64 [R, 3], of `HeadPack.morph`.
        masks: float32 [N, 8].
        label: Part label.
    """
    triangles = topology.triangles
    return MeshPart(
        name="skin",
        points=np.asarray(topology.matrix @ vertices),
        bones=topology.bones,
        weights=topology.weights,
        triangles=triangles,
        uv=topology.uv,
        uv_triangles=split_quads(topology.uv_quads),
        labels=np.full(len(triangles), label, np.uint8),
        masks=masks,
    )


def fit_part(
    pack: HeadPack, vertices: Float64Array, proxy_name: str, *, name: str, label: int
) -> MeshPart:
    """Fit a proxy onto an identity; degenerate triangles are left out."""
    proxy = pack.proxies[proxy_name]
    points, dense = pack.fit(vertices, proxy_name)
    bones, weights = strongest_bones(dense)
    triangles, uv_triangles = split_quads(proxy.quads), split_quads(proxy.uv_quads)
    a, b, c = triangles.T
    keep = (a != b) & (b != c) & (a != c)
    return MeshPart(
        name=name,
        points=points,
        bones=bones,
        weights=weights,
        triangles=triangles[keep],
        uv=proxy.uv,
        uv_triangles=uv_triangles[keep],
        labels=np.full(int(keep.sum()), label, np.uint8),
        masks=np.zeros((len(points), NUM_MASKS), np.float32),
    )


def label_teeth(part: MeshPart, jaw: int, *, upper: int, lower: int) -> npt.NDArray[np.uint8]:
    """Label of each triangle of the teeth: upper and lower teeth; the gum keeps its label."""
    ends = part.triangles[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = scipy.sparse.coo_matrix(
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(part.points),) * 2
    )
    _, piece = scipy.sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(piece)
    on_jaw = (part.weights * (part.bones == jaw)).sum(axis=1) > 0.5
    first = part.triangles[:, 0]
    is_tooth = sizes[piece[first]] < TOOTH_VERTICES
    kind = np.where(on_jaw[first], lower, upper)
    return np.where(is_tooth, kind, part.labels).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMesh:
    """All parts in one set of buffers.

    Attributes:
        rig: The bones.
        rest: float32 [N, 3], dm.
        bones: int32 [N, 8].
        weights: float32 [N, 8].
        masks: float32 [N, 8].
        triangles: int32 [M, 3], into the N points.
        labels: uint8 [M].
        corner_point: int32 [C], the point of each vertex of the graphics card.
        corner_uv: float32 [C, 2].
        corner_triangles: int32 [M, 3], into the C vertices.
        spans: Triangles of each part, (first, last + 1), in the order they were given.
        point_spans: Points of each part.
    """

    rig: Rig
    rest: Float32Array
    bones: Int32Array
    weights: Float32Array
    masks: Float32Array
    triangles: Int32Array
    labels: npt.NDArray[np.uint8]
    corner_point: Int32Array
    corner_uv: Float32Array
    corner_triangles: Int32Array
    spans: dict[str, tuple[int, int]]
    point_spans: dict[str, tuple[int, int]]
    _points: Float32Array = field(repr=False)
    _normals: Float32Array = field(repr=False)

    @classmethod
    def join(cls, rig: Rig, parts: Sequence[MeshPart]) -> HeadMesh:
        """Put parts together; parts of the same name must follow one another."""
        point_start = np.cumsum([0, *(len(part.points) for part in parts)])
        uv_start = np.cumsum([0, *(len(part.uv) for part in parts)])
        triangles = np.concatenate(
            [part.triangles + start for part, start in zip(parts, point_start[:-1], strict=True)]
        ).astype(np.int32)
        uv_triangles = np.concatenate(
            [part.uv_triangles + start for part, start in zip(parts, uv_start[:-1], strict=True)]
        )
        uv = np.concatenate([part.uv for part in parts])
        key = triangles.astype(np.int64).ravel() * len(uv) + uv_triangles.ravel()
        corners, index = np.unique(key, return_inverse=True)
        rest = np.concatenate([part.points for part in parts]).astype(np.float32)
        return cls(
            rig=rig,
            rest=rest,
            bones=np.concatenate([part.bones for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
            masks=np.concatenate([part.masks for part in parts]),
            triangles=triangles,
            labels=np.concatenate([part.labels for part in parts]),
            corner_point=(corners // len(uv)).astype(np.int32),
            corner_uv=uv[corners % len(uv)].astype(np.float32),
            corner_triangles=index.reshape(-1, 3).astype(np.int32),
            spans=_spans(parts, [len(part.triangles) for part in parts]),
            point_spans=_spans(parts, [len(part.points) for part in parts]),
            _points=np.empty_like(rest),
            _normals=np.empty_like(rest),
        )

    def pose(self, pose: FacePose) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Move the mesh.

        Returns:
            Points and normals, float32 [N, 3], valid until the next call, and the bone matrices,
            float32 [B + 1, 3, 4].
        """
        matrices = self.rig.matrices(pose)
        skin_vertices(self.rest, self.bones, self.weights, matrices, self._points)
        accumulate_normals(self._points, self.triangles, self._normals)
        return self._points, self._normals, matrices


def _spans(parts: Sequence[MeshPart], sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        first = spans.get(part.name, (start, start))[0]
        spans[part.name] = (first, start + size)
        start += size
    return spans
