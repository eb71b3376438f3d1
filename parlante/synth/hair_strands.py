"""Hair that is not part of the pack: beards of fine shells, and single strands at the outline."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from parlante.synth.assets import Float64Array, Int32Array
from parlante.synth.head_mesh import MeshPart
from parlante.synth.kernels import accumulate_normals
from parlante.types import Float32Array

__all__ = ["make_shells", "make_strands"]

BEARD_CHANNEL: Final = 2
LAYER_CHANNEL: Final = 7
STRAND_POINTS: Final = 6
# The strands' light comes from what they grow on.
ACCESS_CHANNEL: Final = 5


def make_shells(
    skin: MeshPart,
    cover: Float32Array,
    *,
    name: str,
    label: int,
    length_dm: float,
    layers: tuple[float, ...],
) -> MeshPart:
    """Copies of a region of the skin, one above the other, which a shader fills with hairs.

    Args:
        skin: The skin at rest.
        cover: float32 [N], where hair grows, [0, 1].
        name: Of the part.
        label: Part label.
        length_dm: Height of the outermost layer.
        layers: Height of each layer as a share of that, innermost first.
    """
    chosen = skin.triangles[(cover[skin.triangles] > 0.02).any(axis=1)]
    chosen_uv = skin.uv_triangles[(cover[skin.triangles] > 0.02).any(axis=1)]
    used, corners = np.unique(chosen, return_inverse=True)
    triangles = corners.reshape(-1, 3).astype(np.int32)
    normals = np.empty((len(skin.points), 3), np.float32)
    accumulate_normals(skin.points.astype(np.float32), skin.triangles, normals)
    # Hair is shorter at the edge and hangs down a little.
    height = length_dm * np.clip(1.6 * cover[used], 0.0, 1.0)[:, None]
    points, masks = [], []
    for layer in layers:
        droop = np.array([0.0, -0.55, 0.0]) * layer
        points.append(skin.points[used] + height * layer * (normals[used] + droop))
        mask = skin.masks[used].copy()
        mask[:, BEARD_CHANNEL] = cover[used]
        mask[:, LAYER_CHANNEL] = layer
        masks.append(mask)
    number = len(layers)
    shifts = np.repeat(np.arange(number) * len(used), len(triangles))[:, None]
    return MeshPart(
        name=name,
        points=np.concatenate(points),
        bones=np.tile(skin.bones[used], (number, 1)),
        weights=np.tile(skin.weights[used], (number, 1)),
        triangles=(np.tile(triangles, (number, 1)) + shifts).astype(np.int32),
        uv=skin.uv,
        uv_triangles=np.tile(chosen_uv, (number, 1)),
        labels=np.full(number * len(triangles), label, np.uint8),
        masks=np.concatenate(masks),
    )


def make_strands(
    hair: MeshPart,
    rng: np.random.Generator,
    *,
    number: int,
    length_dm: float,
    width_dm: float,
    label: int,
) -> MeshPart:
    """Single hairs that leave the hair's surface, as ribbons that face the viewer.

    Args:
        hair: The hair at rest.
        rng: Source of chance.
        number: How many.
        length_dm: Mean length.
        width_dm: Of a ribbon at its root.
        label: Part label.
    """
    roots, outward = _roots(hair, rng, number)
    number = len(roots)
    down = np.array([0.0, -1.0, 0.0]) + outward * outward[:, 1:2]
    along = down + rng.normal(0.0, 0.45, (number, 3)) + rng.uniform(0.1, 0.6, (number, 1)) * outward
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    lengths = length_dm * np.exp(rng.normal(0.0, 0.4, number))
    bend = rng.normal(0.0, 0.4, (number, 3)) + 0.2 * outward - [0.0, 0.3, 0.0]
    t = np.linspace(0.0, 1.0, STRAND_POINTS)
    path = (
        roots[:, None]
        + lengths[:, None, None] * (t[None, :, None] * along[:, None])
        + lengths[:, None, None] * (t[None, :, None] ** 2 * bend[:, None] * 0.5)
    )
    side = np.cross(np.gradient(path, axis=1), [0.0, 0.0, 1.0])
    side /= np.maximum(np.linalg.norm(side, axis=2, keepdims=True), 1e-9)
    width = width_dm * (1.0 - 0.7 * t)[None, :, None]
    ribbon = np.stack([path - 0.5 * width * side, path + 0.5 * width * side], axis=2)
    return _ribbon_part(hair, rng, roots, ribbon, label)


def _roots(
    hair: MeshPart, rng: np.random.Generator, number: int
) -> tuple[Float64Array, Float64Array]:
    """Points on the outside of the hair and the way out: float64 [<= number, 3] each."""
    a, b, c = (hair.points[hair.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), number, p=area / area.sum())
    w = rng.dirichlet(np.ones(3), number)
    points = w[:, :1] * a[chosen] + w[:, 1:2] * b[chosen] + w[:, 2:] * c[chosen]
    outward = points - hair.points.mean(axis=0)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    # Over the face a flying hair would look like a scratch.
    keep = (outward[:, 2] < 0.45) | (outward[:, 1] > 0.7)
    return points[keep], outward[keep]


def _ribbon_part(
    hair: MeshPart,
    rng: np.random.Generator,
    roots: Float64Array,
    ribbon: Float64Array,
    label: int,
) -> MeshPart:
    number, steps = ribbon.shape[:2]
    _, nearest = cKDTree(hair.points).query(roots)
    points = ribbon.reshape(-1, 3)
    owner = np.repeat(nearest, steps * 2)
    base = (np.arange(number) * steps * 2)[:, None, None]
    step = (np.arange(steps - 1) * 2)[None, :, None]
    corners = np.array([0, 1, 3, 0, 3, 2])[None, None]
    triangles: Int32Array = (base + step + corners).reshape(-1, 3).astype(np.int32)
    masks = hair.masks[owner].copy()
    masks[:, LAYER_CHANNEL] = np.repeat(rng.random(number), steps * 2)
    across = np.tile(np.array([0.0, 1.0]), number * steps)
    height = np.tile(np.repeat(np.linspace(0.0, 1.0, steps), 2), number)
    return MeshPart(
        name="strands",
        points=points,
        bones=hair.bones[owner],
        weights=hair.weights[owner],
        triangles=triangles,
        # Texture coordinates count from the bottom; the root's is the one the shader calls 0.
        uv=np.stack([across, 1.0 - height], axis=1).astype(np.float32),
        uv_triangles=triangles,
        labels=np.full(len(triangles), label, np.uint8),
        masks=masks,
    )
