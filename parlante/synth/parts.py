"""Puts the parts of a person together, at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from parlante.models import face_mesh
from parlante.synth.assets import Float64Array, HeadPack
from parlante.synth.glasses import Glasses, make_glasses
from parlante.synth.hair_strands import make_shells, make_strands
from parlante.synth.head_mesh import (
    MeshPart,
    SkinTopology,
    fit_part,
    label_teeth,
    make_skin,
)
from parlante.synth.kernels import skin_vertices
from parlante.synth.labels import Part
from parlante.synth.landmarks import LandmarkMap
from parlante.synth.look import Look
from parlante.synth.occluders import Occluder
from parlante.synth.regions import Regions
from parlante.synth.rig import FacePose, Rig
from parlante.synth.solids import part_of
from parlante.types import Float32Array

__all__ = ["add_extras", "body_parts"]

# Skin under a garment is pushed in, or it would come through the cloth.
UNDER_GARMENT_DM: Final = 0.16
GARMENT_REACH_DM: Final = 0.32
# The edge of the upper teeth lies below the rim of the upper lip by this and its spread.
TOOTH_SHOW_DM: Final = (0.028, 0.012)
MAX_TOOTH_SHIFT_DM: Final = 0.09
MAX_TOOTH_ASIDE_DM: Final = 0.225
CLOSING_UNIT: Final = "lowerLipUp"
MAX_CLOSING: Final = 0.7
BEARD_LAYERS: Final = tuple((index + 1) / 9 for index in range(9))
LABEL_LAYER: Final = (0.45,)


def body_parts(
    pack: HeadPack,
    topology: SkinTopology,
    landmarks: LandmarkMap,
    regions: Regions,
    rng: np.random.Generator,
    *,
    look: Look,
    vertices: Float64Array,
    rig: Rig,
) -> list[MeshPart]:
    """Skin, eyes, mouth, brows, lashes, hair and garment; the skin is the first.

    Args:
        pack: Gives the parts.
        topology: The subdivided body.
        landmarks: Where lips are.
        regions: Masks of the skin.
        rng: Source of chance.
        look: Which parts.
        vertices: float64 [R, 3], the identity at rest.
        rig: Its bones.
    """
    masks = np.zeros((topology.matrix.shape[0], 8), np.float32)
    for channel, values in enumerate(
        (regions.lips, regions.cavity, regions.beard, regions.shadow, regions.blush)
    ):
        masks[:, channel] = values
    skin = make_skin(topology, vertices, masks, Part.SKIN)
    skin = replace(skin, points=_close_lips(rig, landmarks, skin))
    parts = {"skin": skin}
    for proxy, name, label in (
        ("eyes", "eyes", Part.EYE),
        (look.teeth, "teeth", Part.CAVITY),
        ("tongue", "tongue", Part.TONGUE),
        ("cornea", "cornea", Part.EYE),
        (look.brows, "brows", Part.BROW),
        (look.lashes, "lashes", Part.LASH),
        (look.hair, "hair", Part.HAIR),
        (look.garment, "clothes", Part.GARMENT),
    ):
        if proxy in pack.proxies:
            parts[name] = fit_part(pack, vertices, proxy, name=name, label=label)
    if "teeth" in parts:
        _place_teeth(pack, parts, landmarks, rng)
    if "clothes" in parts:
        points = _push_in(skin.points, parts["clothes"].points, regions.body)
        parts["skin"] = replace(skin, points=points)
    return list(parts.values())


def _close_lips(rig: Rig, landmarks: LandmarkMap, skin: MeshPart) -> Float64Array:
    """Identities are mixed of shapes whose lips part a little: shut them, as part of the shape."""
    if CLOSING_UNIT not in rig.pack.unit_names:
        return skin.points

    def gap(points: Float64Array | Float32Array) -> float:
        marks = landmarks.place(points)
        return float(marks[face_mesh.UPPER_LIP_CENTRE, 1] - marks[face_mesh.LOWER_LIP_CENTRE, 1])

    def closed(weight: float) -> Float32Array:
        matrices = rig.matrices(FacePose(units={CLOSING_UNIT: weight}))
        out = np.empty((len(skin.points), 3), np.float32)
        skin_vertices(skin.points.astype(np.float32), skin.bones, skin.weights, matrices, out)
        return out

    at_rest, moved = gap(skin.points), gap(closed(1.0))
    if at_rest <= 0.0 or at_rest - moved < 1e-3:
        return skin.points
    weight = min(at_rest / (at_rest - moved), MAX_CLOSING)
    return closed(weight).astype(np.float64)


def _place_teeth(
    pack: HeadPack, parts: dict[str, MeshPart], landmarks: LandmarkMap, rng: np.random.Generator
) -> None:
    """Label the teeth, and hang them so that the upper ones show under a lifted lip."""
    teeth = parts["teeth"]
    labels = label_teeth(
        teeth, pack.bones.index("jaw"), upper=Part.UPPER_TEETH, lower=Part.LOWER_TEETH
    )
    lip = landmarks.place(parts["skin"].points)[face_mesh.UPPER_LIP_CENTRE]
    upper = np.unique(teeth.triangles[labels == Part.UPPER_TEETH])
    front = upper[np.abs(teeth.points[upper, 0] - lip[0]) < 0.07]
    shift = 0.0
    if len(front):
        wanted = float(lip[1]) - float(rng.normal(*TOOTH_SHOW_DM))
        shift = wanted - float(teeth.points[front, 1].min())
    down = np.array([0.0, float(np.clip(shift, -MAX_TOOTH_SHIFT_DM, MAX_TOOTH_SHIFT_DM)), 0.0])
    # Molars are hardly seen, and come through the cheek when a mouth is drawn together.
    middle = teeth.points[teeth.triangles, 0].mean(axis=1)
    keep = np.abs(middle - lip[0]) < MAX_TOOTH_ASIDE_DM
    parts["teeth"] = replace(
        teeth,
        labels=labels[keep],
        points=teeth.points + down,
        triangles=teeth.triangles[keep],
        uv_triangles=teeth.uv_triangles[keep],
    )
    if "tongue" in parts:
        parts["tongue"] = replace(parts["tongue"], points=parts["tongue"].points + down)


def _push_in(points: Float64Array, garment: Float64Array, body: Float32Array) -> Float64Array:
    """Move skin that lies under a garment away from it, towards the body's axis."""
    below = np.flatnonzero(body > 0.0)
    distance, _ = cKDTree(garment).query(points[below])
    share = np.clip(2.0 - 2.0 * distance / GARMENT_REACH_DM, 0.0, 1.0)
    inward = -points[below] * [1.0, 0.0, 1.0]
    inward[:, 1] = -0.5
    inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)
    out = points.copy()
    amount = UNDER_GARMENT_DM * share * body[below]
    out[below] += inward * amount[:, None]
    return out


def add_extras(
    parts: list[MeshPart],
    regions: Regions,
    rng: np.random.Generator,
    *,
    look: Look,
    rig: Rig,
    marks: Float32Array,
    glasses: Glasses | None,
    occluder: Occluder | None,
) -> None:
    """Add what the pack does not have: beard, single hairs, glasses, a prop.

    Args:
        parts: Of `body_parts`; more are added.
        regions: Masks of the skin.
        rng: Source of chance.
        look: Which beard.
        rig: The bones.
        marks: float32 [468, 3], landmarks at rest, dm.
        glasses: Worn ones.
        occluder: The prop before the face.
    """
    skin = parts[0]
    if look.beard != "none":
        cover = _beard_cover(look, regions)
        for name, layers in (("beard", BEARD_LAYERS), ("beard_label", LABEL_LAYER)):
            parts.append(
                make_shells(
                    skin,
                    cover,
                    name=name,
                    label=Part.BEARD,
                    length_dm=look.beard_length_dm,
                    layers=layers,
                )
            )
    hair = next((part for part in parts if part.name == "hair"), None)
    if hair is not None:
        is_long = float(np.ptp(hair.points[:, 1])) > 1.8
        parts.append(
            make_strands(
                hair,
                rng,
                number=int(rng.integers(60, 400)),
                length_dm=float(rng.uniform(0.15, 0.45) if is_long else rng.uniform(0.03, 0.09)),
                width_dm=float(rng.uniform(0.004, 0.008)),
                label=Part.HAIR,
            )
        )
    if glasses is not None:
        frame, lenses = make_glasses(glasses, marks)
        head = rig.pack.bones.index("head")
        parts.append(part_of(frame, name="frame", label=Part.GLASSES, bone=head))
        parts.append(part_of(lenses, name="lenses", label=Part.GLASSES, bone=head))
    if occluder is not None:
        bone = rig.num_bones - 1
        parts.append(part_of(occluder.solid, name="prop", label=Part.OCCLUDER, bone=bone))


def _beard_cover(look: Look, regions: Regions) -> Float32Array:
    match look.beard:
        case "goatee":
            cover = np.maximum(regions.chin, np.float32(0.8) * regions.moustache)
            return np.asarray(cover, np.float32)
        case "moustache":
            return regions.moustache
        case _:
            return regions.beard
