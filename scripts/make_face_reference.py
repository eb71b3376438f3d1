"""Make `parlante/models/face_reference.npz`: the mean face mesh and the basis of the shape code.

Run as ``python scripts/make_face_reference.py PICTURE...`` with about twenty frontal portraits
whose lips are closed. The result holds shape averages only:
    mean: float32 [468, 3], symmetric, frontal, in inter-ocular distances, origin between the
        outer eye corners.
    rigid: int32 [R], landmarks that neither jaw, lips, lids nor brows move.
    basis: float32 [R, K], the K smoothest functions over the rigid landmarks (eigenvectors of
        the mesh's Laplacian), orthonormal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parlante.media.image import decode_image
from parlante.models import face_mesh
from parlante.models.face_tracker import FaceTracker

NUM_MODES = 24
OUTPUT = Path(__file__).parents[1] / "parlante" / "models" / "face_reference.npz"
Array = npt.NDArray[np.float64]


def fit_similarity(source: Array, target: Array) -> tuple[Array, float]:
    """Rotation and scale that carry centred `source` to centred `target`, least squares."""
    u, singular, vt = np.linalg.svd(target.T @ source)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return u @ flip @ vt, float((singular * np.diag(flip)).sum() / (source**2).sum())


def find_rigid(mean: Array) -> npt.NDArray[np.int32]:
    """Landmarks above the base of the nose, less lids, brows and the skin next to them."""
    moving = {
        *face_mesh.RIGHT_EYE[1:7],
        *face_mesh.LEFT_EYE[1:7],
        *face_mesh.RIGHT_BROW,
        *face_mesh.LEFT_BROW,
        *face_mesh.RIGHT_LID_CREASE,
        *face_mesh.LEFT_LID_CREASE,
        *face_mesh.RIGHT_BELOW_BROW,
        *face_mesh.LEFT_BELOW_BROW,
        *face_mesh.RIGHT_LOWER_LID,
        *face_mesh.LEFT_LOWER_LID,
        *face_mesh.RIGHT_UPPER_LID,
        *face_mesh.LEFT_UPPER_LID,
    }
    nose_base = mean[2, 1]
    near_mouth = (np.abs(mean[:, 0]) > 0.22) & (mean[:, 1] > 0.6 * nose_base)
    above = (mean[:, 1] < nose_base) & ~(near_mouth & (np.abs(mean[:, 0]) < 0.6))
    return np.array([i for i in np.flatnonzero(above) if i not in moving], np.int32)


def average(meshes: list[Array], num_rounds: int = 5) -> Array:
    """Generalised Procrustes mean, made symmetric."""
    mirror = face_mesh.mirror_indices()
    right, left = face_mesh.OUTER_EYE_CORNERS
    mean = meshes[0] - meshes[0].mean(axis=0)
    for _ in range(num_rounds):
        aligned = []
        for mesh in meshes:
            centred = mesh - mesh.mean(axis=0)
            rotation, scale = fit_similarity(centred, mean)
            aligned.append(scale * centred @ rotation.T)
        mean = np.mean(aligned, axis=0)
        # Turn the mirror plane into x = 0 before averaging with the mirror image.
        mirrored = mean[mirror] * [-1.0, 1.0, 1.0]
        rotation, _scale = fit_similarity(mirrored, mean)
        mean = (mean + mirrored @ rotation.T) / 2
        axis = mean[left] - mean[right]
        yaw = np.arctan2(axis[2], axis[0])
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        mean = mean @ turn.T
        roll = np.arctan2(*(mean[left] - mean[right])[[1, 0]])
        turn = np.array(
            [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
        )
        mean = mean @ turn.T
        mean = (mean + mean[mirror] * [-1.0, 1.0, 1.0]) / 2
        mean /= np.linalg.norm(mean[left] - mean[right])
        mean -= (mean[left] + mean[right]) / 2
    return level(mean, meshes)


def level(mean: Array, meshes: list[Array]) -> Array:
    """Nod the mean so that the pictures' pitch is 0 on average."""
    pitches = []
    for mesh in meshes:
        rotation, _scale = fit_similarity(mean - mean.mean(axis=0), mesh - mesh.mean(axis=0))
        pitches.append(np.arctan2(rotation[2, 1], rotation[2, 2]))
    cosine, sine = np.cos(np.mean(pitches)), np.sin(np.mean(pitches))
    return mean @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])


def smooth_basis(rigid: npt.NDArray[np.int32], num_modes: int) -> Array:
    """Eigenvectors of the graph Laplacian over the triangles' edges between rigid landmarks."""
    place = {int(v): k for k, v in enumerate(rigid)}
    laplacian = np.zeros((len(rigid), len(rigid)))
    for triangle in face_mesh.skin_triangles():
        for a, b in zip(triangle, np.roll(triangle, 1), strict=True):
            if int(a) in place and int(b) in place:
                i, j = place[int(a)], place[int(b)]
                laplacian[i, j] = laplacian[j, i] = -1.0
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1) + 1e-3)
    return np.linalg.eigh(laplacian)[1][:, :num_modes]


def main() -> None:
    """Track the pictures and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    args = parser.parse_args()
    tracker = FaceTracker()
    meshes = []
    for path in args.pictures:
        rgb = decode_image(path.read_bytes())
        faces = tracker.detect(rgb)
        if faces:
            points = tracker.landmarks(rgb, faces[0]).points
            meshes.append(points[: face_mesh.NUM_SKIN_LANDMARKS].astype(np.float64))
    mean = average(meshes)
    rigid = find_rigid(mean)
    np.savez_compressed(
        OUTPUT,
        mean=mean.astype(np.float32),
        rigid=rigid,
        basis=smooth_basis(rigid, NUM_MODES).astype(np.float32),
    )
    print(f"{OUTPUT.name}: {len(meshes)} faces, {len(rigid)} rigid landmarks")


if __name__ == "__main__":
    main()
