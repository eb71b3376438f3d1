"""The shape of one frame: where everything of an avatar lies on screen, before a pixel is drawn.

It comes from motion through the rig, or from landmarks of a picture of the same person; what
draws knows no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh, settle_lip_rows
from parlante.models.eye_state import (
    EYEBALL_RADIUS_IOD,
    EyeState,
    state_from_motion,
    state_from_rims,
)
from parlante.models.face_plate import FacePlate
from parlante.models.face_rig import labiodental
from parlante.models.warp import CAMERA_DISTANCE_IOD, HeadPose, pose_vertices
from parlante.types import MOTION_DIM, MOTION_INDEX, POSE_CHANNELS, Float32Array

if TYPE_CHECKING:
    from parlante.models.decoder import PreparedAvatar
    from parlante.models.eyes import EyeLayers

Float64Array = npt.NDArray[np.float64]

TONGUE_OUT: Final = MOTION_INDEX["tongueOut"]
JAW_BACK_SHARE: Final = 0.35  # of the way down
MAX_JAW_IOD: Final = 0.5
# Around the face, within which its pixels are fetched by cubic interpolation.
SHARP_MARGIN_IOD: Final = 0.25
OVAL: Final = np.array(fm.OVAL)
INNER_LIPS: Final = np.array([*fm.INNER_UPPER_LIP, *fm.INNER_LOWER_LIP])
# What makes a mouth less wide than the photo's, and how fast nothing of its ends may be left.
FREE_NARROWING: Final = 0.1
_NARROWED_BY: Final = {
    MOTION_INDEX["mouthPucker"]: 1.6,
    MOTION_INDEX["mouthFunnel"]: 0.9,
    MOTION_INDEX["jawOpen"]: 0.9,
}

_LIDS: Final = (  # corner at image left, upper lid, lower lid, corner at image right
    (33, fm.RIGHT_UPPER_LID, fm.RIGHT_LOWER_LID, 133),
    (362, fm.LEFT_UPPER_LID[::-1], fm.LEFT_LOWER_LID[::-1], 263),
)
_CREASES: Final = (fm.RIGHT_LID_CREASE, fm.LEFT_LID_CREASE[::-1])
_IRISES: Final = (fm.RIGHT_IRIS, fm.LEFT_IRIS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameGeometry:
    """One frame's shape.

    Attributes:
        posed: float32 [N, 2], screen px of the mesh's vertices.
        rest: float32 [N, 2], the same with this pose and no expression.
        pose: Head pose relative to the portrait.
        angles: float32 [3], yaw, pitch, roll of `pose`, rad.
        mouth_frame: float32 [2, 4], screen px from (x, y, z, 1) in IOD in the skull's frame at
            the mouth.
        jaw: float32 [3], displacement of the lower teeth, IOD.
        tongue_out: [0, 1].
        eyes: Lids and gaze of the subject's right and left eye.
        gaze: float32 [2], yaw and pitch in the head, rad.
        own_mouth: Share of the photo's own mouth that is shown, [0, 1].
        narrowing: How far the mouth ends before the ends of the photo's mouth, [0, 1].
        labiodental: How far the lower lip is at the upper teeth, as in an F, [0, 1].
    """

    posed: Float32Array
    rest: Float32Array
    pose: HeadPose
    angles: Float32Array
    mouth_frame: Float32Array
    jaw: Float32Array
    tongue_out: float
    eyes: tuple[EyeState, EyeState]
    gaze: Float32Array
    own_mouth: float = 0.0
    narrowing: float = 0.0
    labiodental: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceShape:
    """A face in a picture, to which an avatar of the same person is to be brought.

    Attributes:
        landmarks: float32 [478, 3], px of a frame with the avatar's framing.
        pose: float32 [6], of the head relative to the avatar's portrait, as `POSE_CHANNELS`.
        tongue_out: [0, 1].
        iris_share: Share of a true shift of the irises that the landmarks show, sideways and up
            and down: 1 for exact landmarks, `TRACKED_GAZE_SHARE` for the tracker's.
    """

    landmarks: Float32Array
    pose: Float32Array
    tongue_out: float = 0.0
    iris_share: tuple[float, float] = (1.0, 1.0)


LEAST_LID_IOD: Final = 0.01
_RIGHT_LID: Final = (list(fm.RIGHT_LID_CREASE), list(fm.RIGHT_BELOW_BROW))
_LEFT_LID: Final = (list(fm.LEFT_LID_CREASE), list(fm.LEFT_BELOW_BROW))


def geometry_from_motion(avatar: PreparedAvatar, motion: Float32Array) -> FrameGeometry:
    """Shape of a frame from motion, float32 [60], in the order of `MOTION_CHANNELS`."""
    mesh = avatar.mesh
    pose = HeadPose.from_motion(motion, mesh.iod_px, avatar.yaw)
    gaze = motion[[MOTION_INDEX["gazeYaw"], MOTION_INDEX["gazePitch"]]]
    lost_smile = avatar.rig.lost_smile(motion)
    displaced = avatar.rig.displace(motion, mesh.vertices)
    return FrameGeometry(
        posed=_held(avatar, project(mesh, pose, displaced)),
        rest=_held(avatar, project(mesh, pose, mesh.vertices)),
        pose=pose,
        angles=_angles(pose),
        mouth_frame=_mouth_frame(avatar, pose),
        jaw=avatar.rig.jaw_way(motion),
        tongue_out=float(motion[TONGUE_OUT]),
        eyes=(
            state_from_motion(
                avatar.eyes[0], motion, lost_smile, _drawn_out(mesh, displaced, _RIGHT_LID)
            ),
            state_from_motion(
                avatar.eyes[1], motion, lost_smile, _drawn_out(mesh, displaced, _LEFT_LID)
            ),
        ),
        gaze=np.asarray(gaze, np.float32),
        own_mouth=avatar.rig.kept_pixels(motion),
        narrowing=min(_narrowing(motion) + lost_smile, 1.0),
        labiodental=labiodental(motion),
    )


def sharp_box(oval: Float32Array, iod_px: float, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The part of a frame that is to be sharp.

    Args:
        oval: float32 [K, 2], outline of the face, px.
        iod_px: Inter-ocular distance, px.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom, px; empty if the face is outside.
    """
    margin = SHARP_MARGIN_IOD * iod_px
    low = np.clip(np.floor(oval.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(oval.max(0) + margin), 0, size).astype(int)
    return np.concatenate([low, high])


def _drawn_out(mesh: WarpMesh, displaced: Float32Array, lid: tuple[list[int], list[int]]) -> float:
    """How many times as high as at rest the skin between a lid's crease and its brow is."""
    crease, below_brow = lid
    rest, now = (
        float(points[crease, 1].mean() - points[below_brow, 1].mean())
        for points in (mesh.vertices, displaced)
    )
    return max(now / rest, 1.0) if rest > LEAST_LID_IOD * mesh.iod_px else 1.0


def _narrowing(motion: Float32Array) -> float:
    narrow = sum(weight * float(motion[index]) for index, weight in _NARROWED_BY.items())
    return min(max(narrow - FREE_NARROWING, 0.0), 1.0)


def _held(avatar: PreparedAvatar, posed: Float32Array) -> Float32Array:
    """Keep back the vertices that may not make all of their motion."""
    if avatar.hold is None:
        return posed
    still = avatar.mesh.vertices[:, :2]
    return np.asarray(still + avatar.hold[:, None] * (posed - still), np.float32)


def geometry_of_portrait(avatar: PreparedAvatar) -> FrameGeometry:
    """Shape of the portrait itself, with its lips and lids as the photo has them."""
    still = geometry_from_motion(avatar, np.zeros(MOTION_DIM, np.float32))
    return replace(still, posed=still.rest)


class ShapeFitter:
    """Brings an avatar to faces in other pictures of the same person.

    The skin goes where the landmarks are. What lies around follows the head's pose, and what the
    landmarks add to it fades out over hair, neck and shoulders.

    Args:
        avatar: The avatar; used from one thread at a time.
    """

    def __init__(self, avatar: PreparedAvatar) -> None:
        self._avatar = avatar
        far = np.flatnonzero(avatar.mesh.is_far)
        fixed = np.concatenate([np.arange(fm.NUM_SKIN_LANDMARKS), far])
        self._plate = FacePlate(avatar.mesh, fixed)
        self._num_fixed = len(fixed)

    def fit(self, shape: FaceShape) -> FrameGeometry:
        """Shape of the frame that shows the avatar as the picture shows the person."""
        avatar = self._avatar
        mesh = avatar.mesh
        pose = _head_pose(shape.pose, mesh.iod_px)
        rest = project(mesh, pose, mesh.vertices)
        skin = settle_lip_rows(shape.landmarks[: fm.NUM_SKIN_LANDMARKS].astype(np.float64))[:, :2]
        states = []
        for eye, lids, crease, iris in zip(avatar.eyes, _LIDS, _CREASES, _IRISES, strict=True):
            states.append(_eye_of(eye, shape, lids, iris, skin))
            # Lids are drawn in the portrait's plane: the mesh carries them at rest.
            left, upper, lower, right = lids
            moving = [*upper, *lower, *crease]
            skin[moving] = _similarity(mesh.vertices, skin, left, right, moving)
        values = np.zeros((self._num_fixed, 2))
        values[: fm.NUM_SKIN_LANDMARKS] = skin - rest[: fm.NUM_SKIN_LANDMARKS]
        added = self._plate.spread(values)
        return FrameGeometry(
            posed=(rest + added).astype(np.float32),
            rest=rest,
            pose=pose,
            angles=_angles(pose),
            mouth_frame=_mouth_frame(avatar, pose),
            jaw=_jaw_of(avatar, pose, added),
            tongue_out=float(np.clip(shape.tongue_out, 0.0, 1.0)),
            eyes=(states[0], states[1]),
            gaze=np.mean([_gaze_of(*pair) for pair in zip(states, avatar.eyes, strict=True)], 0),
        )


def project(mesh: WarpMesh, pose: HeadPose, vertices: Float32Array) -> Float32Array:
    """Screen px, float32 [N, 2], of vertices, float32 [N, 3], of a mesh in a head pose."""
    out = np.empty((len(vertices), 2), np.float32)
    pose_vertices(
        vertices, mesh.head_weight, mesh.shift_weight, pose.rotation, mesh.pivot, mesh.centre,
        pose.shift, pose.scale, CAMERA_DISTANCE_IOD * mesh.iod_px, out,
    )  # fmt: skip
    return out


def _mouth_frame(avatar: PreparedAvatar, pose: HeadPose) -> Float32Array:
    mesh, mouth = avatar.mesh, avatar.mouth
    frame = np.concatenate([mouth.anchor[None], mouth.anchor + mouth.axes]).astype(np.float32)
    out = np.empty((4, 2), np.float32)
    ones = np.ones(4, np.float32)
    pose_vertices(
        frame, ones, ones, pose.rotation, mesh.pivot, mesh.centre, pose.shift, pose.scale,
        CAMERA_DISTANCE_IOD * mesh.iod_px, out,
    )  # fmt: skip
    return np.column_stack([(out[1:] - out[0]).T, out[0]]).astype(np.float32)


def _angles(pose: HeadPose) -> Float32Array:
    r = pose.rotation
    yaw = math.asin(min(max(float(r[2, 0]), -1.0), 1.0))
    pitch = math.atan2(float(r[2, 1]), float(r[2, 2]))
    return np.array([yaw, pitch, math.atan2(float(r[1, 0]), float(r[0, 0]))], np.float32)


def _head_pose(pose: Float32Array, iod_px: float) -> HeadPose:
    """Head pose of six channels, as it is: a portrait that is turned is not damped here."""
    motion = np.zeros(MOTION_DIM, np.float32)
    motion[[MOTION_INDEX[name] for name in POSE_CHANNELS]] = pose
    return HeadPose.from_motion(motion, iod_px, 0.0)


def _similarity(
    source: Float32Array, target: Float64Array, left: int, right: int, points: list[int]
) -> Float64Array:
    """Carry points as the way of two of them says: moved, turned and scaled."""
    first, second = _complex(source[[left, right]])
    to_first, to_second = _complex(target[[left, right]])
    turn = (to_second - to_first) / (second - first)
    moved = to_first + turn * (_complex(source[points]) - first)
    return np.stack([moved.real, moved.imag], -1)


def _complex(points: npt.NDArray[np.floating]) -> npt.NDArray[np.complex128]:
    return np.asarray(points[..., 0].astype(np.float64) + 1j * points[..., 1])


def _eye_of(
    eye: EyeLayers,
    shape: FaceShape,
    lids: tuple[int, tuple[int, ...], tuple[int, ...], int],
    iris: tuple[int, ...],
    skin: Float64Array,
) -> EyeState:
    """State of an eye that shows the lids and the iris of a picture."""
    left, upper, lower, right = lids
    first, second = _complex(skin[[left, right]])
    width = float(eye.frame[4])
    turn = width / (second - first)  # from the picture to the eye's own frame

    def local(points: npt.NDArray[np.floating]) -> Float64Array:
        moved = (_complex(points) - first) * turn
        return np.stack([moved.real, moved.imag], -1)

    rims = [local(skin[[left, *rim, right]]) for rim in (upper, lower)]
    centre = local(shape.landmarks[[iris[0]]].astype(np.float64))[0]
    shift = (centre - eye.iris_centre) / np.array(shape.iris_share)
    return state_from_rims(eye, rims[0], rims[1], shift)


def _gaze_of(state: EyeState, eye: EyeLayers) -> Float32Array:
    sines = np.array(state.shift_px) / (EYEBALL_RADIUS_IOD * float(eye.frame[5]))
    return np.arcsin(np.clip(sines, -0.9, 0.9)).astype(np.float32)


def _jaw_of(avatar: PreparedAvatar, pose: HeadPose, added: Float64Array) -> Float32Array:
    """How far the lower teeth moved, by the chin, in IOD of the face's frame."""
    frame = _mouth_frame(avatar, pose)[:, :2].astype(np.float64)
    way = np.linalg.solve(frame, added[fm.CHIN])
    down = float(np.clip(way[1], 0.0, MAX_JAW_IOD))
    aside = float(np.clip(way[0], -0.1, 0.1))
    return np.array([aside, down, JAW_BACK_SHARE * down], np.float32)
