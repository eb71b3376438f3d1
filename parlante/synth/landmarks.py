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
# From the middle of the eyeball to the rim of the iris, as the eye textures have it.
IRIS_ANGLE_RAD: Final = 0.395


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
        return np.asarray(
            np.einsum("nkc,nk->nc", points[self.corners], self.weights), np.float32
        )

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
        corners: int32 [10, 4], points of the mesh; right eye first: centre, image right, top,
            image left, bottom.
        weights: float32 [10, 4], sum to 1; any affine motion of the eyeball carries them exactly.
    """

    corners: Int32Array
    weights: Float32Array

    def place(self, points: Float32Array) -> Float32Array:
        """Where they are: points [N, 3] -> float32 [10, 3]."""
        return np.asarray(np.einsum("nkc,nk->nc", points[self.corners], self.weights), np.float32)


def find_eye_points(mesh: HeadMesh, eyes: MeshPart) -> EyePoints:
    """Find the irises on the eyeballs; at rest both look along +z.

    Args:
        mesh: The joined mesh.
        eyes: The part ``eyes`` in it, both eyeballs.
    """
    start = mesh.point_spans["eyes"][0]
    corners: list[npt.NDArray[np.int64]] = []
    weights: list[npt.NDArray[np.float64]] = []
    middle = float(np.median(eyes.points[:, 0]))
    for side in (-1.0, 1.0):  # the subject's right eye first
        ball = np.flatnonzero((eyes.points[:, 0] - middle) * side > 0)
        points = eyes.points[ball]
        centre, radius = _fit_sphere(points)
        carriers = _spread_points(points)
        system = np.r_[points[carriers].T, np.ones((1, 4))]
        flat, depth = radius * np.sin(IRIS_ANGLE_RAD), radius * np.cos(IRIS_ANGLE_RAD)
        for dx, dy in ((0.0, 0.0), (flat, 0.0), (0.0, flat), (-flat, 0.0), (0.0, -flat)):
            target = centre + np.array([dx, dy, radius if dx == dy == 0.0 else depth])
            corners.append(ball[carriers] + start)
            weights.append(np.linalg.solve(system, np.r_[target, 1.0]))
    return EyePoints(
        corners=np.array(corners, np.int32), weights=np.array(weights, np.float32)
    )


def _fit_sphere(
    points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], float]:
    """Least-squares centre and radius."""
    system = np.c_[2.0 * points, np.ones(len(points))]
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(max(solution[3] + centre @ centre, 1e-9)))


def _spread_points(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Four points that span the space well."""
    first = int(np.argmax(points[:, 0]))
    second = int(np.argmax(np.linalg.norm(points - points[first], axis=1)))
    axis = points[second] - points[first]
    off_line = np.linalg.norm(np.cross(points - points[first], axis), axis=1)
    third = int(np.argmax(off_line))
    normal = np.cross(axis, points[third] - points[first])
    fourth = int(np.argmax(np.abs((points - points[first]) @ normal)))
    return np.array([first, second, third, fourth])
