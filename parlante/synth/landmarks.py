"""Which surface point of the head mesh each of the 478 landmarks is.

The points were found once, by `scripts/calibrate_heads.py`, which runs the face tracker on plain
renders of many identities. They belong to the pack's topology, so they hold for every identity,
expression and pose, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models import face_mesh
from parlante.synth.assets import HeadPack, Int32Array
from parlante.synth.head_mesh import HeadMesh, MeshPart
from parlante.types import Float32Array

__all__ = ["EyePoints", "LandmarkMap", "find_eye_points", "load_landmark_map"]

NUM_SKIN: Final = face_mesh.NUM_SKIN_LANDMARKS
PACKAGED_MAP: Final = "landmark_map.npz"
# Where the eye textures show the irises: the subject's right eye, then the left.
IRIS_CENTRES_UV: Final = ((0.7063, 0.7050), (0.2928, 0.2985))
IRIS_RADIUS_UV: Final = 0.115


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LandmarkMap:
    """Points on the subdivided skin.

    Attributes:
        corners: int32 [468, 3], fine skin vertices.
        weights: float32 [468, 3], sum to 1.
        topology_digest: Of the pack that it belongs to.
    """

    corners: Int32Array
    weights: Float32Array
    topology_digest: str

    def place(self, points: npt.NDArray[np.floating]) -> Float32Array:
        """Where the landmarks are: skin vertices [N, 3] -> float32 [468, 3]."""
        return np.asarray(np.einsum("nkc,nk->nc", points[self.corners], self.weights), np.float32)

    def save(self, path: Path) -> None:
        """Write as npz."""
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                corners=self.corners.astype(np.uint16),
                weights=self.weights.astype(np.float32),
                topology_digest=np.array(self.topology_digest),
            )


def load_landmark_map(pack: HeadPack, path: Path | None = None) -> LandmarkMap:
    """Load the map of a pack.

    Args:
        pack: The pack it must belong to.
        path: File of `LandmarkMap.save`; None takes the packaged one.

    Raises:
        FailedPrecondition: The map belongs to another pack (reason ``OTHER_HEAD_PACK``).
        InvalidInput: The file cannot be read.
    """
    try:
        if path is None:
            source = resources.files("parlante.synth").joinpath(PACKAGED_MAP)
            with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
                found = _read(data)
        else:
            with np.load(path, allow_pickle=False) as data:
                found = _read(data)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"cannot read a landmark map from {path or PACKAGED_MAP}; "
            "make one with scripts/calibrate_heads.py",
            reason="BAD_LANDMARK_MAP",
            field="landmarks",
        ) from error
    if found.topology_digest != pack.topology_digest:
        raise FailedPrecondition(
            "the landmark map belongs to another head pack; make one with "
            "scripts/calibrate_heads.py and give it as --landmarks",
            reason="OTHER_HEAD_PACK",
            field="landmarks",
        )
    return found


def _read(data: np.lib.npyio.NpzFile) -> LandmarkMap:
    corners, weights = data["corners"].astype(np.int32), data["weights"].astype(np.float32)
    if corners.shape != (NUM_SKIN, 3) or weights.shape != (NUM_SKIN, 3):
        raise ValueError(f"expected {NUM_SKIN} points, got {corners.shape}")
    return LandmarkMap(
        corners=corners, weights=weights, topology_digest=str(data["topology_digest"])
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyePoints:
    """The iris landmarks of one person.

    Attributes:
        corners: int32 [10, 3], points of the mesh; right eye first: centre, image right, top,
            image left, bottom.
        weights: float32 [10, 3], sum to 1.
    """

    corners: Int32Array
    weights: Float32Array

    def place(self, points: Float32Array) -> Float32Array:
        """Where they are: points [N, 3] -> float32 [10, 3]."""
        return np.asarray(np.einsum("nkc,nk->nc", points[self.corners], self.weights), np.float32)


def find_eye_points(mesh: HeadMesh, eyes: MeshPart) -> EyePoints:
    """Find the irises on the eyeballs, where the eye textures show them.

    Args:
        mesh: The joined mesh.
        eyes: The part ``eyes`` in it, both eyeballs, at rest.
    """
    start = mesh.point_spans["eyes"][0]
    corners: list[Int32Array] = []
    weights: list[Float32Array] = []
    for centre in IRIS_CENTRES_UV:
        place = _UvFinder(eyes, np.array(centre))
        ring = [place.find(angle) for angle in np.linspace(0, 2 * np.pi, 96, endpoint=False)]
        points = np.array([weight @ eyes.points[corner] for corner, weight in ring])
        extremes = (
            int(points[:, 0].argmax()), int(points[:, 1].argmax()),
            int(points[:, 0].argmin()), int(points[:, 1].argmin()),
        )  # fmt: skip
        for corner, weight in (place.find(None), *(ring[index] for index in extremes)):
            corners.append(corner + start)
            weights.append(weight)
    return EyePoints(
        corners=np.stack(corners).astype(np.int32), weights=np.stack(weights).astype(np.float32)
    )


class _UvFinder:
    """Looks up surface points by texture coordinates around the middle of an iris."""

    def __init__(self, eyes: MeshPart, centre: npt.NDArray[np.float64]) -> None:
        self._centre = centre
        uv = eyes.uv[eyes.uv_triangles].astype(np.float64)  # [M, 3, 2]
        near = np.abs(uv - centre).max(axis=2).min(axis=1) < 2.0 * IRIS_RADIUS_UV
        self._triangles = eyes.triangles[near]
        self._uv = uv[near]

    def find(self, angle: float | None) -> tuple[Int32Array, Float32Array]:
        """Corners and weights of a point of the iris's rim, or of its middle."""
        offset = np.zeros(2) if angle is None else np.array([np.cos(angle), np.sin(angle)])
        target = self._centre + IRIS_RADIUS_UV * offset
        a, b, c = self._uv[:, 0], self._uv[:, 1], self._uv[:, 2]
        e, f, g = b - a, c - a, target - a
        area = e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]
        area = np.where(np.abs(area) < 1e-12, 1e-12, area)
        v = (g[:, 0] * f[:, 1] - g[:, 1] * f[:, 0]) / area
        w = (e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / area
        all_weights = np.stack([1.0 - v - w, v, w], axis=1)
        best = int(all_weights.min(axis=1).argmax())
        inside = np.clip(all_weights[best], 0.0, 1.0)
        return self._triangles[best], np.asarray(inside / inside.sum(), np.float32)
