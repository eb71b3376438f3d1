"""Puts a person together: identity, look, mesh, light and camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.spatial import cKDTree

from parlante.models import face_mesh
from parlante.synth.assets import Float64Array, HeadPack
from parlante.synth.background import sample_background
from parlante.synth.camera import Camera, frame_face
from parlante.synth.head_mesh import (
    HeadMesh,
    MeshPart,
    SkinTopology,
    fit_part,
    label_teeth,
    make_skin,
)
from parlante.synth.identity import Identity, sample_identity
from parlante.synth.labels import Part
from parlante.synth.landmarks import EyePoints, LandmarkMap, find_eye_points
from parlante.synth.light import Light, sample_light
from parlante.synth.look import LEANS, TONES, Look, sample_look
from parlante.synth.performance import FrameScript
from parlante.synth.regions import Regions, find_regions
from parlante.synth.renderer import DrawCall, Renderer, Scene
from parlante.synth.rig import FacePose, Rig
from parlante.types import Float32Array

__all__ = ["Studio", "SyntheticSubject", "build_subject"]

NUM_ACCESS_DIRECTIONS: Final = 20
OPEN_FACE: Final = {"JawDrop": 0.3}
CLOSED_LIDS: Final = {"LeftUpperLidClosed": 1.0, "RightUpperLidClosed": 1.0, "JawDrop": 0.1}
# Skin under a garment is pushed in, or it would come through the cloth.
UNDER_GARMENT_DM: Final = 0.16
GARMENT_REACH_DM: Final = 0.32
CLOSE_UP_SHARE: Final = 0.25  # of subjects that are framed closer than the policy's usual
DEFAULT_DISTANCE_DM: Final = (9.0, 26.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Studio:
    """What all subjects of a pack share.

    Attributes:
        pack: The parts.
        topology: The subdivided body.
        landmarks: Which surface point each landmark is.
        regions: Regions of the skin.
    """

    pack: HeadPack
    topology: SkinTopology
    landmarks: LandmarkMap
    regions: Regions

    @classmethod
    def of(cls, pack: HeadPack, landmarks: LandmarkMap) -> Studio:
        """Prepare a pack."""
        topology = SkinTopology.of(pack)
        return cls(
            pack=pack,
            topology=topology,
            landmarks=landmarks,
            regions=find_regions(pack, topology, landmarks),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticSubject:
    """One person before the camera.

    Attributes:
        mesh: All parts.
        scene: Camera, light, materials.
        eye_points: The irises.
        identity: Who.
        look: How.
        background: Name of its kind.
        neutral_marks: float32 [468, 3], landmarks of the neutral face in the scene, dm.
    """

    mesh: HeadMesh
    scene: Scene
    eye_points: EyePoints
    identity: Identity
    look: Look
    background: str
    neutral_marks: Float32Array

    def face_pose(self, frame: FrameScript) -> FacePose:
        """Turn shifts and scale into a translation in the scene."""
        distance = self.scene.camera.middle_depth_dm
        right, left = self.neutral_marks[list(face_mesh.OUTER_EYE_CORNERS)]
        iod_dm = float(np.linalg.norm(left - right))
        nearer = distance * (1.0 - float(np.exp(-frame.log_scale)))
        return FacePose(
            units=frame.units,
            yaw_rad=frame.yaw_rad,
            pitch_rad=frame.pitch_rad,
            roll_rad=frame.roll_rad,
            gaze_yaw_rad=frame.gaze_yaw_rad,
            gaze_pitch_rad=frame.gaze_pitch_rad,
            move_dm=(frame.shift_x * iod_dm, -frame.shift_y * iod_dm, nearer),
        )


def build_subject(
    studio: Studio,
    renderer: Renderer,
    rng: np.random.Generator,
    *,
    number: int,
    source: FrameScript,
) -> SyntheticSubject:
    """Draw a person and load the mesh into the renderer.

    Args:
        studio: The pack, prepared.
        renderer: Draws later; here it measures how open each point is to light.
        rng: Source of chance.
        number: Of the subject; sexes and skin tones take turns.
        source: Frame 0, which the camera is set up for.
    """
    pack = studio.pack
    sex, tone = ("female", "male")[number % 2], TONES[number // 2 % len(TONES)]
    identity = sample_identity(pack, rng, sex=sex, lean=LEANS[tone])
    look = sample_look(pack, rng, identity, tone=tone)
    vertices = pack.morph(identity.weights)
    parts = _parts(studio, identity, look, vertices)
    mesh = HeadMesh.join(Rig.of(pack, vertices), parts)
    neutral = studio.landmarks.place(mesh.rest)
    centre = _head_centre(studio, mesh)
    distance = float(np.exp(rng.uniform(*np.log(DEFAULT_DISTANCE_DM))))
    background, background_kind = sample_background(rng, renderer.size_px)
    light = sample_light(rng)
    zoom = float(rng.uniform(1.0, 1.5)) if rng.random() < CLOSE_UP_SHARE else 1.0
    scene = _scene(studio, mesh, look, light, background)
    subject = SyntheticSubject(
        mesh=mesh,
        scene=scene,
        eye_points=find_eye_points(mesh, next(p for p in parts if p.name == "eyes")),
        identity=identity,
        look=look,
        background=background_kind,
        neutral_marks=neutral,
    )
    posed = mesh.pose(subject.face_pose(source))[0]
    camera = frame_face(
        studio.landmarks.place(posed),
        centre=centre,
        distance_dm=distance,
        size_px=renderer.size_px,
        zoom=zoom,
    )
    scene = replace(scene, camera=camera)
    renderer.load(mesh, scene)
    mesh.masks[:, 5] = _light_access(renderer, mesh, centre)
    renderer.load(mesh, scene)
    return replace(subject, scene=scene)


def _head_centre(studio: Studio, mesh: HeadMesh) -> Float64Array:
    skin = mesh.rest[slice(*mesh.point_spans["skin"])]
    head = skin[studio.regions.body <= 0.0]
    return np.asarray(0.5 * (head.min(axis=0) + head.max(axis=0)), np.float64)


def _light_access(renderer: Renderer, mesh: HeadMesh, centre: Float64Array) -> Float32Array:
    """Share of the sky that each point sees, with the face open and with it closed."""
    directions = _spread_directions(NUM_ACCESS_DIRECTIONS)
    best = np.zeros(len(mesh.rest), np.float32)
    for units in (OPEN_FACE, CLOSED_LIDS):
        known = {n: w for n, w in units.items() if n in mesh.rig.pack.unit_names}
        points, normals, _ = mesh.pose(FacePose(units=known))
        best = np.maximum(best, renderer.access(mesh, points, normals, centre, directions))
    return np.asarray(0.15 + 0.85 * best, np.float32)


def _spread_directions(number: int) -> Float64Array:
    """Even directions over the front and the sides, from a golden spiral."""
    index = np.arange(number) + 0.5
    z = 1.0 - 1.4 * index / number
    angle = np.pi * (1.0 + 5.0**0.5) * index
    flat = np.sqrt(1.0 - z**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=1)


def _parts(
    studio: Studio, identity: Identity, look: Look, vertices: Float64Array
) -> list[MeshPart]:
    pack = studio.pack
    masks = np.zeros((studio.topology.matrix.shape[0], 8), np.float32)
    regions = studio.regions
    for channel, values in enumerate(
        (regions.lips, regions.cavity, regions.beard, regions.shadow, regions.blush)
    ):
        masks[:, channel] = values
    skin = make_skin(studio.topology, vertices, masks, Part.SKIN)
    parts = [skin]

    def add(proxy: str, name: str, label: Part) -> None:
        if proxy in pack.proxies:
            parts.append(fit_part(pack, vertices, proxy, name=name, label=label))

    add("eyes", "eyes", Part.EYE)
    add(look.teeth, "teeth", Part.CAVITY)
    if parts[-1].name == "teeth":
        labels = label_teeth(
            parts[-1], pack.bones.index("jaw"), upper=Part.UPPER_TEETH, lower=Part.LOWER_TEETH
        )
        parts[-1] = replace(parts[-1], labels=labels)
    add("tongue", "tongue", Part.TONGUE)
    add("cornea", "cornea", Part.EYE)
    add(look.brows, "brows", Part.BROW)
    add(look.lashes, "lashes", Part.LASH)
    add(look.hair, "hair", Part.HAIR)
    add(look.garment, "clothes", Part.GARMENT)
    if parts[-1].name == "clothes":
        parts[0] = replace(skin, points=_push_in(skin.points, parts[-1].points, regions.body))
    return parts


def _push_in(
    points: Float64Array, garment: Float64Array, body: Float32Array
) -> Float64Array:
    """Move skin that lies under a garment away from it, towards the body's axis."""
    below = np.flatnonzero(body > 0.0)
    distance, _ = cKDTree(garment).query(points[below])
    share = np.clip(1.0 - (distance - 0.5 * GARMENT_REACH_DM) / (0.5 * GARMENT_REACH_DM), 0.0, 1.0)
    inward = -points[below] * [1.0, 0.0, 1.0]
    inward[:, 1] = -0.5
    inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)
    out = points.copy()
    amount = UNDER_GARMENT_DM * share * body[below]
    out[below] += inward * amount[:, None]
    return out


def _scene(
    studio: Studio, mesh: HeadMesh, look: Look, light: Light, background: Any
) -> Scene:
    span = mesh.point_spans.get("teeth")
    teeth = mesh.rest[slice(*span)] if span else mesh.rest[:1]
    camera = Camera(
        eye=np.array([0.0, 0.0, 1.0]), focal_px=1.0, centre_x_px=0.0, centre_y_px=0.0,
        size_px=background.shape[0], middle_depth_dm=10.0,
    )  # fmt: skip
    uniforms = {
        "hair_colour": (*look.hair_colour, 1.0),
        "seed": look.seed,
        "oil": look.oil,
        "bump": 1.0,
        "lipstick": (0.0, 0.0, 0.0, 0.0),
        "lip_gloss": 0.0,
        "shadow_colour": (1.0, 1.0, 1.0, 0.0),
        "blush": (1.0, 1.0, 1.0, 0.0),
        "stubble": look.stubble,
        "freckles": look.freckles,
    }
    return Scene(
        camera=camera,
        light=light,
        calls=_calls(look),
        background=background,
        uniforms=uniforms,
        mouth=np.array([0.0, float(teeth[:, 1].mean()), float(teeth[:, 2].max())]),
    )


def _calls(look: Look) -> tuple[DrawCall, ...]:
    """Opaque parts first, then what is blended over them."""
    hair = {"albedo": f"hair_{look.hair}.jpg", "alpha": f"hair_{look.hair}_a.png"}
    calls = [
        DrawCall(
            part="clothes", material="cloth", albedo=f"cloth_{look.garment}.jpg", two_sided=True,
            uniforms={"tint": look.garment_tint},
        ),
        DrawCall(
            part="skin", material="skin", albedo=f"skin:{look.skin}",
            uniforms={"tint": look.tint},
        ),
        DrawCall(
            part="eyes", material="eyes", albedo=f"eye_{look.eyes}.jpg",
            uniforms={"tint": (look.eye_tint,) * 3},
        ),
        DrawCall(
            part="teeth", material="mouth", albedo="teeth.jpg",
            uniforms={"tint": look.tooth_tint, "plain": (0.0, 0.0, 0.0, 0.0)},
        ),
        DrawCall(
            part="tongue", material="mouth", albedo="tongue.jpg",
            uniforms={"tint": (1.0, 1.0, 1.0), "plain": (1.0, 0.0, 0.0, 0.0)},
        ),
        DrawCall(
            part="hair", material="hair", two_sided=True, index_cut=0.5,
            uniforms={"soft_pass": 0}, **hair,
        ),
        DrawCall(
            part="cornea", material="cornea", blend="add", casts_shadow=False, index_cut=2.0
        ),
        DrawCall(
            part="brows", material="card", alpha=f"{look.brows}_a.png", blend="over",
            uniforms={"plain": (*look.brow_colour, 0.95)}, two_sided=True, index_cut=0.5,
            casts_shadow=False,
        ),
        DrawCall(
            part="lashes", material="card", alpha=f"{look.lashes}_a.png", blend="over",
            uniforms={"plain": (0.008, 0.007, 0.006, look.lash_strength)}, two_sided=True,
            index_cut=0.5, casts_shadow=False,
        ),
        DrawCall(
            part="hair", material="hair", blend="over", two_sided=True,
            uniforms={"soft_pass": 1}, **hair,
        ),
    ]  # fmt: skip
    missing = {"none"}
    if look.hair in missing:
        calls = [call for call in calls if call.part != "hair"]
    if look.garment in missing:
        calls = [call for call in calls if call.part != "clothes"]
    return tuple(calls)
