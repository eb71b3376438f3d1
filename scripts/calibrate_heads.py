"""Find out which surface points of the head mesh the 468 landmarks are.

Draws plain heads, runs the face tracker on them, reads off the surface under each landmark, and
keeps the median over many identities. Run it again only when the pack's body mesh changes:

    python scripts/calibrate_heads.py --heads HEADS --output parlante/synth/landmark_map.npz
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh
from parlante.models.face_tracker import FaceTracker
from parlante.synth.assets import Float64Array, HeadPack, Int32Array, load_pack
from parlante.synth.camera import Camera
from parlante.synth.head_mesh import HeadMesh, SkinTopology, fit_part, make_skin
from parlante.synth.identity import ANCESTRIES, sample_identity
from parlante.synth.labels import Part
from parlante.synth.landmarks import NUM_SKIN, LandmarkMap
from parlante.synth.light import Light
from parlante.synth.renderer import Renderer
from parlante.synth.rig import FacePose, Rig
from parlante.synth.scene import DrawCall, Scene
from parlante.types import Float32Array, Uint8Array

SIZE_PX: Final = 640
OPEN_MOUTH: Final = {"JawDrop": 0.30}
LIPS: Final = sorted(
    {index for row in (*face_mesh.UPPER_LIP_ROWS, *face_mesh.LOWER_LIP_ROWS) for index in row}
)
# How far from a landmark the skin is looked for: on an eyeball or between lips there is none.
REACH_PX: Final = 16


@dataclass(frozen=True)
class _Pose:
    """One pose of the mean head, which points are averaged and snapped in."""

    units: dict[str, float]
    points: Float64Array  # of the mean head, [N, 3]


def _mean_weights(pack: HeadPack) -> dict[str, float]:
    macros = {f"macro/{a}-{s}-young": 1 / 6 for a in ANCESTRIES for s in ("female", "male")}
    bodies = {
        f"macro/universal-{s}-young-averagemuscle-averageweight": 0.5 for s in ("female", "male")
    }
    return {name: weight for name, weight in (macros | bodies).items() if name in pack.target_names}


def _light() -> Light:
    even = np.full(3, 0.25)
    return Light(
        key_direction=np.array([0.3, 0.5, 0.81]),
        key=np.full(3, 0.45),
        softness_dm=0.15,
        fill_directions=np.array([[-0.6, 0.2, 0.77], [0.6, 0.1, 0.79]]),
        fills=np.stack([even, even]),
        sky=np.full(3, 0.35),
        ground=np.full(3, 0.25),
        kind="even",
    )


def _scene(pack: HeadPack, mesh: HeadMesh, skin: str) -> Scene:
    points = mesh.rest[: mesh.point_spans["skin"][1]]
    top, bottom = float(points[:, 1].max()), float(points[:, 1].max()) - 2.3
    camera = Camera(
        eye=np.array([0.0, (top + bottom) / 2, 20.0]),
        focal_px=SIZE_PX * 0.6 / 2.3 * 20.0,
        centre_x_px=SIZE_PX / 2,
        centre_y_px=SIZE_PX / 2,
        size_px=SIZE_PX,
        middle_depth_dm=20.0,
    )
    flat = {"tint": (1.0, 1.0, 1.0)}
    calls = (
        DrawCall(part="skin", material="skin", albedo=f"skin:{skin}", uniforms=flat),
        DrawCall(part="eyes", material="eyes", albedo="eye_brown.jpg", uniforms=flat),
        DrawCall(
            part="teeth", material="mouth", albedo="teeth.jpg",
            uniforms=flat | {"plain": (0.0, 0.0, 0.0, 0.0)},
        ),
        DrawCall(
            part="brows", material="card", alpha="eyebrow001_a.png", blend="over",
            uniforms={"plain": (0.02, 0.012, 0.01, 1.0)}, two_sided=True, index_cut=2.0,
            casts_shadow=False,
        ),
        DrawCall(
            part="lashes", material="card", alpha="eyelashes01_a.png", blend="over",
            uniforms={"plain": (0.01, 0.01, 0.01, 1.0)}, two_sided=True, index_cut=2.0,
            casts_shadow=False,
        ),
    )  # fmt: skip
    names = ("hair_colour", "lipstick", "shadow_colour", "blush")
    uniforms = {name: (0.03, 0.02, 0.015, 0.0) for name in names} | {"oil": 1.0, "bump": 1.0}
    uniforms |= {"seed": 1.0, "lip_gloss": 0.0, "stubble": 0.0, "freckles": 0.0}
    return Scene(
        camera=camera, light=_light(), calls=calls, uniforms=uniforms,
        background=np.full((SIZE_PX, SIZE_PX, 3), 150, np.uint8), mouth=np.array([0.0, -9.0, 9.0]),
    )  # fmt: skip


def _hits(picture_index: Int32Array, tracked: Float32Array, is_skin: Uint8Array) -> Int32Array:
    """Nearest skin pixel (y, x) of each landmark, int32 [468, 2]; -1 where there is none."""
    skin_pixel = is_skin[picture_index]
    out = np.full((NUM_SKIN, 2), -1, np.int32)
    for index, (x, y) in enumerate(tracked[:NUM_SKIN, :2]):
        x0, y0 = round(float(x)), round(float(y))
        window = skin_pixel[y0 - REACH_PX : y0 + REACH_PX + 1, x0 - REACH_PX : x0 + REACH_PX + 1]
        if window.shape != (2 * REACH_PX + 1,) * 2 or not window.any():
            continue
        found = np.argwhere(window)
        best = found[np.argmin(((found - REACH_PX) ** 2).sum(axis=1))]
        out[index] = best + np.array([y0 - REACH_PX, x0 - REACH_PX])
    return out


def _surface(
    hits: Int32Array, index: Int32Array, mesh: HeadMesh, projected: Float32Array, mean: Float64Array
) -> Float64Array:
    """Position on the mean head under each hit, float64 [468, 3]; NaN where there is none."""
    out = np.full((NUM_SKIN, 3), np.nan)
    for landmark, (y, x) in enumerate(hits):
        if y < 0:
            continue
        corners = mesh.triangles[index[y, x] - 1]
        flat = projected[corners, :2].astype(np.float64)
        matrix = np.r_[flat.T, np.ones((1, 3))]
        weights = np.linalg.lstsq(matrix, np.array([x, y, 1.0]), rcond=None)[0]
        out[landmark] = weights @ mean[corners]
    return out


def _nearest_on_mesh(
    targets: Float64Array, points: Float64Array, triangles: Int32Array
) -> tuple[Int32Array, Float32Array]:
    """Nearest surface point of each target: corners and weights."""
    corners = np.zeros((len(targets), 3), np.int32)
    weights = np.zeros((len(targets), 3), np.float32)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    middle = (a + b + c) / 3
    for index, target in enumerate(targets):
        near = np.argsort(((middle - target) ** 2).sum(axis=1))[:40]
        best = np.inf
        for t in near:
            w = _closest_weights(a[t], b[t], c[t], target)
            distance = float(np.linalg.norm(w @ np.stack([a[t], b[t], c[t]]) - target))
            if distance < best:
                best, corners[index], weights[index] = distance, triangles[t], w
    return corners, weights


def _closest_weights(
    a: Float64Array, b: Float64Array, c: Float64Array, target: Float64Array
) -> Float64Array:
    """Barycentric weights of the point of a triangle nearest to a target (by sampling edges)."""
    u, v = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), target - a, rcond=None)[0]
    if u >= 0 and v >= 0 and u + v <= 1:
        return np.array([1 - u - v, u, v])
    corners = np.stack([a, b, c])
    best, out = np.inf, np.array([1.0, 0.0, 0.0])
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[j] - corners[i]
        t = float(np.clip((target - corners[i]) @ edge / max(edge @ edge, 1e-12), 0.0, 1.0))
        distance = float(np.linalg.norm(corners[i] + t * edge - target))
        if distance < best:
            best, out = distance, np.zeros(3)
            out[i], out[j] = 1 - t, t
    return out


def calibrate(pack: HeadPack, *, num_identities: int, seed: int, look: Path | None) -> LandmarkMap:
    """Run the tracker on many heads and average."""
    topology = SkinTopology.of(pack)
    masks = np.zeros((topology.matrix.shape[0], 8), np.float32)
    masks[:, 5] = 1.0
    mean_rest = pack.morph(_mean_weights(pack))
    mean_mesh = HeadMesh.join(
        Rig.of(pack, mean_rest), [make_skin(topology, mean_rest, masks, Part.SKIN)]
    )
    poses = []
    for units in ({}, OPEN_MOUTH):
        points = mean_mesh.pose(FacePose(units=units))[0]
        poses.append(_Pose(units, points.astype(np.float64).copy()))
    tracker, rng = FaceTracker(), np.random.default_rng(seed)
    found: list[list[Float64Array]] = [[], []]
    seen = np.zeros(len(mean_mesh.triangles), bool)
    skins = pack.textures("skin_", "_head.jpg")
    with Renderer(pack, size_px=SIZE_PX) as renderer:
        for number in range(num_identities):
            sex = ("female", "male")[number % 2]
            identity = sample_identity(pack, rng, sex=sex, lean=(0.5, 0.5, 0.5))
            even = {n: w for n, w in identity.weights.items() if not n.startswith("asym/")}
            mesh = _mesh_of(pack, topology, masks, pack.morph(even))
            scene = _scene(pack, mesh, skins[number % len(skins)])
            renderer.load(mesh, scene)
            for kind, pose in enumerate(poses):
                points, normals, matrices = mesh.pose(FacePose(units=pose.units))
                picture = renderer.draw(mesh, scene, points, normals, matrices)
                faces = tracker.detect(picture.rgb)
                if not faces:
                    continue
                tracked = tracker.landmarks(picture.rgb, faces[0]).points
                is_skin = np.zeros(len(mesh.triangles) + 1, np.uint8)
                is_skin[1 : len(mean_mesh.triangles) + 1] = 1
                hits = _hits(picture.index, tracked, is_skin)
                projected = scene.camera.project(points)
                found[kind].append(_surface(hits, picture.index, mesh, projected, pose.points))
                shown = np.unique(picture.index[is_skin[picture.index] > 0]) - 1
                seen[shown] = True
                if look is not None and number < 4:
                    _draw_points(picture.rgb, tracked, look / f"track-{number}-{kind}.png")
    targets = [np.nanmedian(np.stack(places), axis=0) for places in found]
    spread = np.nanmedian(np.abs(np.stack(found[0]) - targets[0]).max(axis=-1), axis=0)
    print(f"{len(found[0])} heads; median deviation of a point {np.nanmedian(spread):.3f} dm")
    return _snap(pack, mean_mesh, poses, targets, seen)


def _snap(
    pack: HeadPack,
    mesh: HeadMesh,
    poses: list[_Pose],
    targets: list[Float64Array],
    seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> LandmarkMap:
    mirror = face_mesh.mirror_indices()
    triangles = mesh.triangles[seen]
    corners, weights = np.zeros((NUM_SKIN, 3), np.int32), np.zeros((NUM_SKIN, 3), np.float32)
    for kind, pose in enumerate(poses):
        target = 0.5 * (targets[kind] + targets[kind][mirror] * [-1.0, 1.0, 1.0])
        if kind == 0:
            corners, weights = _nearest_on_mesh(target, pose.points, triangles)
        else:
            c, w = _nearest_on_mesh(target[LIPS], pose.points, triangles)
            corners[LIPS], weights[LIPS] = c, w
    return LandmarkMap(corners=corners, weights=weights, topology_digest=pack.topology_digest)


def _mesh_of(
    pack: HeadPack, topology: SkinTopology, masks: Float32Array, rest: Float64Array
) -> HeadMesh:
    parts = [make_skin(topology, rest, masks, Part.SKIN)]
    for proxy, name in (
        ("eyes", "eyes"), ("teeth_base", "teeth"),
        ("eyebrow001", "brows"), ("eyelashes01", "lashes"),
    ):  # fmt: skip
        parts.append(fit_part(pack, rest, proxy, name=name, label=Part.EYE))
        parts[-1].masks[:, 5] = 1.0
    return HeadMesh.join(Rig.of(pack, rest), parts)


def _draw_points(rgb: Uint8Array, points: Float32Array, path: Path) -> None:
    picture = cv2.resize(rgb, None, fx=2, fy=2)
    for x, y in points[:, :2]:
        cv2.circle(picture, (int(2 * x), int(2 * y)), 1, (0, 255, 0), -1)
    cv2.imwrite(str(path), picture[..., ::-1])


def main() -> None:
    """Read the options and write the map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--num-identities", type=int, default=48, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", type=Path, metavar="DIR", help="write pictures of the tracking")
    args = parser.parse_args()
    pack = load_pack(args.heads)
    found = calibrate(pack, num_identities=args.num_identities, seed=args.seed, look=args.look)
    found.save(args.output)
    print(args.output)


if __name__ == "__main__":
    main()
