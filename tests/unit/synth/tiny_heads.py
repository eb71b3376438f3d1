"""A head pack in the real file formats, made of a few surfaces of revolution."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh
from parlante.models.face_coefficients import load_reference
from parlante.synth.assets import HeadPack
from parlante.synth.head_mesh import SkinTopology
from parlante.synth.landmarks import IRIS_CENTRES_UV, IRIS_RADIUS_UV, LandmarkMap

Array = npt.NDArray[np.float64]

BONES = ("body", "neck01", "neck02", "neck03", "head", "jaw", "eye.L", "eye.R")
PARENTS = (-1, 0, 1, 2, 3, 4, 4, 4)
ROWS, COLUMNS = 30, 40
EYE_Y, EYE_X, EYE_Z, EYE_RADIUS = 7.0, 0.30, 0.72, 0.14
IOD_DM = 0.9
# Radius of head, neck and shoulders by height.
PROFILE = (
    (4.2, 1.7), (4.9, 1.3), (5.2, 0.6), (5.7, 0.5), (6.0, 0.72), (6.5, 0.85), (7.0, 0.9),
    (7.5, 0.82), (7.9, 0.5), (8.05, 0.15),
)  # fmt: skip
UNITS: dict[str, dict[str, tuple[float, float, float]]] = {
    "Rest": {},
    "JawDrop": {"jaw": (0.3, 0.0, 0.0)},
    "LeftUpperLidClosed": {},
    "RightUpperLidClosed": {},
    "MouthLeftPullUp": {"jaw": (0.0, 0.02, 0.0)},
    "MouthRightPullUp": {"jaw": (0.0, -0.02, 0.0)},
}


def write_tiny_pack(folder: Path) -> Path:
    """Write the pack and give its folder."""
    (folder / "proxy").mkdir(parents=True)
    (folder / "tex").mkdir()
    body, quads, uv, uv_quads = _revolve()
    helpers = np.array([
        (EYE_X, EYE_Y, EYE_Z), (-EYE_X, EYE_Y, EYE_Z), (0.0, 6.45, 0.7), (0.0, 6.35, 0.7),
    ])  # fmt: skip
    rest = np.concatenate([body, helpers])
    weights = _weights(body)
    for bone in ("eye.L", "eye.R", "head", "jaw"):
        weights = np.concatenate([weights, _one_bone(bone)])
    np.savez(
        folder / "base.npz", rest=rest.astype(np.float32), orig_index=np.arange(len(rest)),
        quads=quads.astype(np.uint16), uv=uv.astype(np.float32),
        uvquads=uv_quads.astype(np.uint16),
    )  # fmt: skip
    _write_targets(folder, body)
    _write_rig(folder, rest, weights)
    _write_proxies(folder, rest, first_helper=len(body))
    _write_textures(folder / "tex")
    (folder / "expressions.json").write_text(json.dumps({"glad": {"MouthLeftPullUp": 0.7}}))
    visemes = {"viseme_to_units": {"sil": {}, "aa": {"JawDrop": 0.9}}}
    (folder / "visemes.json").write_text(json.dumps(visemes))
    return folder


def tiny_landmarks(pack: HeadPack) -> LandmarkMap:
    """The mean face of the library, projected onto the front of the head."""
    topology = SkinTopology.of(pack)
    points = np.asarray(topology.matrix @ pack.rest)
    triangles = topology.triangles
    front = triangles[points[triangles][:, :, 2].min(axis=1) > 0.0]
    mean = load_reference().mean[: face_mesh.NUM_SKIN_LANDMARKS] * IOD_DM
    corners, weights = [], []
    a, b, c = (points[front[:, k], :2] for k in range(3))
    for x, y, _ in mean:
        target = np.array([np.clip(x, -0.75, 0.75), EYE_Y - y])
        e, f, g = b - a, c - a, target - a
        area = e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]
        v = (g[:, 0] * f[:, 1] - g[:, 1] * f[:, 0]) / area
        w = (e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / area
        all_weights = np.stack([1.0 - v - w, v, w], axis=1)
        best = int(all_weights.min(axis=1).argmax())
        corners.append(front[best])
        weights.append(np.clip(all_weights[best], 0.0, 1.0))
    share = np.array(weights)
    return LandmarkMap(
        corners=np.array(corners, np.int32),
        weights=(share / share.sum(axis=1, keepdims=True)).astype(np.float32),
        topology_digest=pack.topology_digest,
    )


def _revolve() -> tuple[Array, npt.NDArray[np.int64], Array, npt.NDArray[np.int64]]:
    """Head, neck and shoulders: points, faces, texture coordinates and their faces."""
    heights = np.linspace(PROFILE[0][0], PROFILE[-1][0], ROWS)
    radii = np.interp(heights, *np.array(PROFILE).T)
    angle = np.linspace(0.0, 2.0 * np.pi, COLUMNS, endpoint=False) + np.pi  # the seam is behind
    x, z = radii[:, None] * np.sin(angle) * 0.85, radii[:, None] * np.cos(angle)
    points = np.stack([x, np.repeat(heights[:, None], COLUMNS, axis=1), z], axis=-1)
    row, column = np.meshgrid(np.arange(ROWS - 1), np.arange(COLUMNS), indexing="ij")
    following = (column + 1) % COLUMNS
    above = row + 1
    quads = np.stack([row * COLUMNS + column, row * COLUMNS + following,
                      above * COLUMNS + following, above * COLUMNS + column], -1)  # fmt: skip
    wide = COLUMNS + 1
    u, v = np.meshgrid(np.linspace(0, 1, wide), np.linspace(0, 1, ROWS))
    uv_quads = np.stack([row * wide + column, row * wide + column + 1,
                         (row + 1) * wide + column + 1, (row + 1) * wide + column], -1)  # fmt: skip
    return (
        points.reshape(-1, 3), quads.reshape(-1, 4),
        np.stack([u, v], -1).reshape(-1, 2), uv_quads.reshape(-1, 4),
    )  # fmt: skip


def _one_bone(bone: str) -> Array:
    return np.eye(len(BONES))[[BONES.index(bone)]]


def _weights(body: Array) -> Array:
    """Body below, neck between, head above; the jaw is the lower front of the face."""
    y, z = body[:, 1], body[:, 2]
    head = np.clip((y - 5.3) / 0.6, 0.0, 1.0)
    jaw = head * np.clip((6.4 - y) / 0.1, 0.0, 1.0) * np.clip(z / 0.3, 0.0, 1.0)
    neck = (1.0 - head) * np.clip((y - 4.8) / 0.5, 0.0, 1.0)
    out = np.zeros((len(body), len(BONES)))
    out[:, BONES.index("jaw")] = jaw
    out[:, BONES.index("head")] = head - jaw
    out[:, BONES.index("neck02")] = neck
    out[:, 0] = 1.0 - head - neck
    return out


def _write_targets(folder: Path, body: Array) -> None:
    names = ["macro/caucasian-male-young", "nose/nose-hump-decr", "nose/nose-hump-incr"]
    nose = np.flatnonzero((np.abs(body[:, 0]) < 0.2) & (body[:, 2] > 0.5))
    rows, vertices, offsets = [0], [], []
    for gain in (0.02, -0.05, 0.05):
        vertices.append(nose)
        offsets.append(np.tile([0.0, 0.0, gain], (len(nose), 1)))
        rows.append(rows[-1] + len(nose))
    np.savez(
        folder / "targets.npz", names=np.array(names), ptr=np.array(rows, np.int32),
        idx=np.concatenate(vertices).astype(np.uint16),
        delta=np.concatenate(offsets).astype(np.float16),
    )  # fmt: skip


def _write_rig(folder: Path, rest: Array, weights: Array) -> None:
    heights = (4.2, 5.0, 5.2, 5.5, 6.0, 6.6)
    joints = [int(np.argmin(np.abs(rest[:, 1] - y))) for y in heights]
    joints += [len(rest) - 4, len(rest) - 3]
    order = np.argsort(-weights, axis=1, kind="stable")[:, :8]
    np.savez(
        folder / "rig.npz", bone_names=np.array(BONES), parent=np.array(PARENTS, np.int16),
        joint_ptr=np.arange(len(BONES) + 1, dtype=np.int32),
        joint_idx=np.array(joints, np.uint16), weight_bone=order.astype(np.uint8),
        weight=np.take_along_axis(weights, order, axis=1).astype(np.float16),
    )  # fmt: skip
    turns = np.zeros((len(UNITS), len(BONES), 4), np.float32)
    turns[..., 0] = 1.0
    for index, bones in enumerate(UNITS.values()):
        for bone, vector in bones.items():
            angle = float(np.linalg.norm(vector))
            axis = np.array(vector) / angle
            quaternion = np.r_[np.cos(angle / 2), np.sin(angle / 2) * axis]
            turns[index, BONES.index(bone)] = quaternion
    np.savez(folder / "poseunits.npz", names=np.array(list(UNITS)), quat=turns)


def _proxy(
    folder: Path, name: str, kind: str, points: Array, faces: npt.NDArray[np.int64], uv: Array,
    rest: Array, carrier: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    """Write a part whose vertices each hang on one body vertex."""
    share = np.tile([1.0, 0.0, 0.0], (len(points), 1))
    across = [COLUMNS // 4, 3 * COLUMNS // 4]
    spread = np.array([across, [0, (ROWS - 1) * COLUMNS], [0, COLUMNS // 2]])
    den = np.abs(np.diagonal(rest[spread[:, 0]] - rest[spread[:, 1]]))
    np.savez(
        folder / "proxy" / f"{name}.npz", kind=np.array(kind),
        refs=np.repeat(carrier[:, None], 3, axis=1).astype(np.uint16), w=share.astype(np.float32),
        off=(points - rest[carrier]).astype(np.float32), scale_ref=spread.astype(np.uint16),
        scale_den=np.maximum(den, 1e-3).astype(np.float32), quads=faces.astype(np.uint16),
        uv=uv.astype(np.float32), uvquads=faces.astype(np.uint16),
    )  # fmt: skip


def _sheet(
    corners: Array, rows: int = 4, columns: int = 8
) -> tuple[Array, npt.NDArray[np.int64], Array]:
    """A bilinear patch between four corners, counter-clockwise from the lower left."""
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    a, b, c, d = corners
    u3, v3 = u[..., None], v[..., None]
    points = (1 - v3) * ((1 - u3) * a + u3 * b) + v3 * ((1 - u3) * d + u3 * c)
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    first = row * columns + column
    quads = np.stack([first, first + 1, first + columns + 1, first + columns], -1).reshape(-1, 4)
    return points.reshape(-1, 3), quads, np.stack([u, v], -1).reshape(-1, 2)


def _flat(x0: float, x1: float, y0: float, y1: float, z: float) -> Array:
    return np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])


def _write_proxies(folder: Path, rest: Array, *, first_helper: int) -> None:
    left_eye, right_eye, upper, lower = (first_helper + k for k in range(4))

    def add(name: str, kind: str, patches: list[tuple[Array, int]]) -> None:
        points, faces, uv, carrier = [], [], [], []
        start = 0
        for corners, ref in patches:
            p, f, t = _sheet(corners)
            points.append(p), faces.append(f + start), uv.append(t)
            nearest = np.argmin(((rest[:first_helper, None] - p[None]) ** 2).sum(-1), axis=0)
            carrier.append(np.full(len(p), ref) if ref >= 0 else nearest)
            start += len(p)
        _proxy(
            folder, name, kind, np.concatenate(points), np.concatenate(faces), np.concatenate(uv),
            rest, np.concatenate(carrier),
        )  # fmt: skip

    _write_eyes(folder, rest, (right_eye, left_eye))
    teeth = [(_flat(x, x + 0.07, 6.45, 6.52, 0.86), upper) for x in (-0.14, -0.07, 0.0, 0.07)]
    teeth += [(_flat(x, x + 0.07, 6.37, 6.44, 0.85), lower) for x in (-0.14, -0.07, 0.0, 0.07)]
    add("teeth_tiny", "teeth", teeth)
    add("tongue", "tongue", [(_flat(-0.1, 0.1, 6.3, 6.38, 0.8), lower)])
    brow = 7.17
    for kind, y, z in (("brows", brow, 0.96), ("lashes", 7.05, 0.97)):
        both = [(_flat(s - 0.18, s + 0.18, y, y + 0.06, z), -1) for s in (-EYE_X, EYE_X)]
        add(f"{kind}_tiny", kind, both)
    add("hair_tiny", "hair", [
        (_flat(-0.8, 0.8, 7.5, 8.1, 0.95), -1), (_flat(0.8, -0.8, 7.0, 8.1, -0.95), -1),
    ])  # fmt: skip
    for sex in ("female", "male"):
        add(f"{sex}_shirt", "clothes", [(_flat(-1.6, 1.6, 4.2, 5.0, 1.75), -1)])


def _write_eyes(folder: Path, rest: Array, carriers: tuple[int, int]) -> None:
    """Two discs before the head with the irises where the eye textures have them."""
    points, uv, carrier = [], [], []
    faces = []
    start = 0
    for side, centre, ref in zip((-1, 1), IRIS_CENTRES_UV, carriers, strict=True):
        corners = _flat(-1.0, 1.0, -1.0, 1.0, 0.0)
        p, f, _ = _sheet(corners, 7, 7)
        reach = 2.2 * IRIS_RADIUS_UV
        uv.append(np.array(centre) + reach * p[:, :2])
        bulge = 0.06 * (1.0 - 0.5 * (p[:, :2] ** 2).sum(axis=1, keepdims=True))
        flat = EYE_RADIUS * p[:, :2] + [side * EYE_X, EYE_Y]
        points.append(np.c_[flat, 0.9 + bulge])
        faces.append(f + start)
        carrier.append(np.full(len(p), ref))
        start += len(p)
    _proxy(
        folder, "eyes", "eyes", np.concatenate(points), np.concatenate(faces), np.concatenate(uv),
        rest, np.concatenate(carrier),
    )  # fmt: skip


def _write_textures(folder: Path) -> None:
    rng = np.random.default_rng(0)

    def colour(name: str, bgr: tuple[int, int, int], size: int = 32) -> None:
        noise = rng.integers(-12, 12, (size, size, 3))
        cv2.imwrite(str(folder / name), np.clip(np.array(bgr) + noise, 0, 255).astype(np.uint8))

    for skin in ("young_lightskinned_female_tiny", "young_darkskinned_male_tiny"):
        colour(f"skin_{skin}_body.jpg", (130, 160, 210))
        colour(f"skin_{skin}_head.jpg", (130, 160, 210), size=64)
    for name in ("eye_brown.jpg", "teeth.jpg", "tongue.jpg", "hair_hair_tiny.jpg"):
        colour(name, (200, 200, 200))
    for sex in ("female", "male"):
        colour(f"cloth_{sex}_shirt.jpg", (120, 60, 40))
    for name in ("hair_hair_tiny", "brows_tiny", "lashes_tiny"):
        cv2.imwrite(str(folder / f"{name}_a.png"), np.full((16, 16), 255, np.uint8))
