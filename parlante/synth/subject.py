"""Puts a person together: identity, look, mesh, light and camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from parlante.models import face_mesh
from parlante.synth.assets import Float64Array, HeadPack
from parlante.synth.background import sample_background
from parlante.synth.camera import Camera, frame_face
from parlante.synth.glasses import Glasses, sample_glasses
from parlante.synth.head_mesh import HeadMesh, SkinTopology
from parlante.synth.identity import Identity, sample_identity
from parlante.synth.landmarks import EyePoints, LandmarkMap, find_eye_points
from parlante.synth.light import sample_light
from parlante.synth.look import LEANS, TONES, Look, sample_look
from parlante.synth.materials import draw_calls, shared_uniforms
from parlante.synth.occluders import AWAY_DM, Occluder, sample_occluder, sample_offsets
from parlante.synth.parts import add_extras, body_parts
from parlante.synth.performance import FrameScript
from parlante.synth.regions import Regions, find_regions
from parlante.synth.renderer import Renderer
from parlante.synth.rig import FacePose, Rig
from parlante.synth.scene import Scene
from parlante.types import Float32Array, Uint8Array

__all__ = ["Studio", "SyntheticSubject", "build_subject"]

NUM_ACCESS_DIRECTIONS: Final = 14
OPEN_FACE: Final = {"JawDrop": 0.3}
CLOSED_LIDS: Final = {"LeftUpperLidClosed": 1.0, "RightUpperLidClosed": 1.0, "JawDrop": 0.1}
GLASSES_SHARE: Final = 0.28  # of subjects
OCCLUDER_SHARE: Final = 0.16  # of subjects
CLOSE_UP_SHARE: Final = 0.25  # of subjects that are framed closer than the policy's usual
DISTANCE_DM: Final = (9.0, 26.0)  # of the camera
HAND_ALBEDO: Final = (0.45, 0.25, 0.18)  # before the tint of the skin
DARK_HAND_ALBEDO: Final = (0.14, 0.065, 0.04)


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
        glasses: Worn ones.
        occluder: The prop before the face.
        prop_offsets_dm: Where it is in each frame.
        neutral_marks: float32 [468, 3], landmarks of the neutral face in the scene, dm.
    """

    mesh: HeadMesh
    scene: Scene
    eye_points: EyePoints
    identity: Identity
    look: Look
    background: str
    glasses: Glasses | None
    occluder: Occluder | None
    prop_offsets_dm: tuple[tuple[float, float, float], ...]
    neutral_marks: Float32Array

    def face_pose(self, frame: FrameScript, number: int) -> FacePose:
        """Turn the shifts and the scale of the number-th frame into a translation in the scene."""
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
            prop_dm=self.prop_offsets_dm[number],
            move_dm=(frame.shift_x * iod_dm, -frame.shift_y * iod_dm, nearer),
        )


def build_subject(
    studio: Studio,
    renderer: Renderer,
    rng: np.random.Generator,
    *,
    number: int,
    frames: Sequence[FrameScript],
) -> SyntheticSubject:
    """Draw a person and load the mesh into the renderer.

    Args:
        studio: The pack, prepared.
        renderer: Draws later; here it measures how open each point is to light.
        rng: Source of chance.
        number: Of the subject; sexes and skin tones take turns.
        frames: What happens; the camera is set up for frame 0.
    """
    pack = studio.pack
    sex, tone = ("female", "male")[number % 2], TONES[number // 2 % len(TONES)]
    identity = sample_identity(pack, rng, sex=sex, lean=LEANS[tone])
    look = sample_look(pack, rng, identity, tone=tone)
    vertices = pack.morph(identity.weights)
    rig = Rig.of(pack, vertices)
    parts = body_parts(
        pack, studio.topology, studio.landmarks, studio.regions, rng,
        look=look, vertices=vertices, rig=rig,
    )  # fmt: skip
    marks = studio.landmarks.place(parts[0].points)
    glasses = sample_glasses(rng) if rng.random() < GLASSES_SHARE else None
    albedo = DARK_HAND_ALBEDO if "dark" in look.skin else HAND_ALBEDO
    skin_colour = tuple(tint * base for tint, base in zip(look.tint, albedo, strict=True))
    occluder = None
    if rng.random() < OCCLUDER_SHARE:
        occluder = sample_occluder(rng, marks, (skin_colour[0], skin_colour[1], skin_colour[2]))
    offsets = [AWAY_DM] * len(frames)
    if occluder is not None:
        offsets = sample_offsets(rng, occluder, len(frames))
    add_extras(
        parts, studio.regions, rng,
        look=look, rig=rig, marks=marks, glasses=glasses, occluder=occluder,
    )  # fmt: skip
    mesh = HeadMesh.join(rig, parts)
    background, background_kind = sample_background(rng, renderer.size_px)
    eyes = next(part for part in parts if part.name == "eyes")
    subject = SyntheticSubject(
        mesh=mesh,
        scene=_scene(renderer, rng, mesh, look, glasses, occluder, background),
        eye_points=find_eye_points(mesh, eyes),
        identity=identity,
        look=look,
        background=background_kind,
        glasses=glasses,
        occluder=occluder,
        prop_offsets_dm=tuple(offsets),
        neutral_marks=marks,
    )
    return _before_camera(studio, renderer, rng, subject, frames[0])


def _scene(
    renderer: Renderer,
    rng: np.random.Generator,
    mesh: HeadMesh,
    look: Look,
    glasses: Glasses | None,
    occluder: Occluder | None,
    background: Uint8Array,
) -> Scene:
    """Light and materials; the camera is a stand-in until the source portrait is posed."""
    hair_grey = 1.0 if look.hair == "none" else renderer.mean_grey(f"hair_{look.hair}.jpg")
    span = mesh.point_spans.get("teeth")
    teeth = mesh.rest[slice(*span)] if span else mesh.rest[:1]
    camera = Camera(
        eye=np.array([0.0, 0.0, DISTANCE_DM[0]]),
        focal_px=1.0,
        centre_x_px=0.0,
        centre_y_px=0.0,
        size_px=renderer.size_px,
        middle_depth_dm=float(np.exp(rng.uniform(*np.log(DISTANCE_DM)))),
    )
    return Scene(
        camera=camera,
        light=sample_light(rng),
        calls=draw_calls(look, hair_grey=hair_grey, glasses=glasses, occluder=occluder),
        background=background,
        uniforms=shared_uniforms(look),
        mouth=np.array([0.0, float(teeth[:, 1].mean()), float(teeth[:, 2].max())]),
    )


def _before_camera(
    studio: Studio,
    renderer: Renderer,
    rng: np.random.Generator,
    subject: SyntheticSubject,
    source: FrameScript,
) -> SyntheticSubject:
    """Frame the source portrait, measure light access, and load the mesh."""
    mesh = subject.mesh
    zoom = float(rng.uniform(1.0, 1.5)) if rng.random() < CLOSE_UP_SHARE else 1.0
    skin = mesh.rest[slice(*mesh.point_spans["skin"])]
    head = skin[studio.regions.body <= 0.0]
    centre = np.asarray(0.5 * (head.min(axis=0) + head.max(axis=0)), np.float64)
    posed = mesh.pose(subject.face_pose(source, 0))[0]
    camera = frame_face(
        studio.landmarks.place(posed),
        centre=centre,
        distance_dm=subject.scene.camera.middle_depth_dm,
        size_px=renderer.size_px,
        zoom=zoom,
    )
    scene = replace(subject.scene, camera=camera)
    renderer.load(mesh, scene)
    mesh.masks[:, 5] = _light_access(renderer, mesh, centre)
    renderer.load(mesh, scene)
    return replace(subject, scene=scene)


def _light_access(renderer: Renderer, mesh: HeadMesh, centre: Float64Array) -> Float32Array:
    """Share of the sky that each point sees, with the face open and with it closed."""
    directions = _spread_directions(NUM_ACCESS_DIRECTIONS)
    best = np.zeros(len(mesh.rest), np.float32)
    for units in (OPEN_FACE, CLOSED_LIDS):
        known = {n: w for n, w in units.items() if n in mesh.rig.pack.unit_names}
        points, normals, _ = mesh.pose(FacePose(units=known, prop_dm=AWAY_DM))
        best = np.maximum(best, renderer.access(mesh, points, normals, centre, directions))
    return np.asarray(0.15 + 0.85 * best, np.float32)


def _spread_directions(number: int) -> Float64Array:
    """Even directions over the front and the sides, from a golden spiral."""
    index = np.arange(number) + 0.5
    z = 1.0 - 1.4 * index / number
    angle = np.pi * (1.0 + 5.0**0.5) * index
    flat = np.sqrt(1.0 - z**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=1)
