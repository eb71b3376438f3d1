"""The face rig: pose units, head pose and gaze -> one matrix per bone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.synth.assets import Float64Array, HeadPack
from parlante.types import Float32Array

__all__ = ["PROP_BONE_NAME", "FacePose", "Rig", "turn_matrix"]

# The turn of the head is spread over neck and head, so that the neck bends.
NECK_SHARES: Final = (("neck01", 0.15), ("neck02", 0.2), ("neck03", 0.25), ("head", 0.4))
# A jaw that drops takes a resting tongue along.
TONGUE_UNITS: Final = ("TongueUp", "TonguePointUp", "TongueOut")
RESTING_TONGUE: Final = 0.9
# The bone after the rig's own: things in the scene that are not part of the person.
PROP_BONE_NAME: Final = "prop"


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePose:
    """What a head does in one frame.

    Attributes:
        units: Weights of pose units, about [0, 1].
        yaw_rad: + = the nose moves towards image right.
        pitch_rad: + = the nose moves down.
        roll_rad: + = clockwise in the image.
        gaze_yaw_rad: Eye in head, + = towards image right.
        gaze_pitch_rad: Eye in head, + = down.
        move_dm: Translation of the whole person in the scene.
        prop_dm: Translation of the occluding prop in the scene.
    """

    units: Mapping[str, float] = field(default_factory=dict)
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    gaze_yaw_rad: float = 0.0
    gaze_pitch_rad: float = 0.0
    move_dm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    prop_dm: tuple[float, float, float] = (0.0, 0.0, 0.0)


def turn_matrix(vectors: Float64Array) -> Float64Array:
    """Rotation matrices of rotation vectors: [..., 3] rad -> [..., 3, 3]."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    axis = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*vectors.shape[:-1], 3, 3)
    turned = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return np.asarray(turned, np.float64)


def head_turn(yaw_rad: float, pitch_rad: float, roll_rad: float) -> Float64Array:
    """The head's rotation in the scene: roll after yaw after pitch; signs as `POSE_CHANNELS`."""
    about_x = turn_matrix(np.array([pitch_rad, 0.0, 0.0]))
    about_y = turn_matrix(np.array([0.0, yaw_rad, 0.0]))
    about_z = turn_matrix(np.array([0.0, 0.0, -roll_rad]))
    return np.asarray(about_z @ about_y @ about_x)


def _power(rotation: Float64Array, share: float) -> Float64Array:
    """The part of a rotation about the same axis."""
    cosine = np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0)
    angle = float(np.arccos(cosine))
    if angle < 1e-9:
        return np.eye(3)
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    ) / (2.0 * np.sin(angle))
    return turn_matrix(axis * angle * share)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rig:
    """The bones of one identity.

    Attributes:
        pack: The head pack.
        joints: float64 [B, 3], head of each bone at rest, dm.
    """

    pack: HeadPack
    joints: Float64Array

    @classmethod
    def of(cls, pack: HeadPack, vertices: Float64Array) -> Rig:
        """Place the bones in an identity's rest vertices, float64 [R, 3]."""
        rows = pack.joint_rows
        joints = [
            vertices[pack.joint_vertices[start:stop]].mean(axis=0) if stop > start else np.zeros(3)
            for start, stop in pairwise(rows)
        ]
        return cls(pack=pack, joints=np.array(joints))

    @property
    def num_bones(self) -> int:
        """The rig's bones and the prop's."""
        return len(self.pack.bones) + 1

    def matrices(self, pose: FacePose) -> Float32Array:
        """Where each bone takes a point of the rest pose.

        Returns:
            float32 [B + 1, 3, 4]; the last one moves the prop.
        """
        turns = self._turns(pose)
        out = np.zeros((self.num_bones, 3, 4))
        for bone, parent in enumerate(self.pack.parents.tolist()):
            joint = self.joints[bone]
            local = np.c_[turns[bone], joint - turns[bone] @ joint]
            if parent >= 0:
                above = out[parent]
                local = np.c_[above[:, :3] @ local[:, :3], above[:, :3] @ local[:, 3] + above[:, 3]]
            out[bone] = local
        out[:, :, 3] += pose.move_dm
        out[-1, :, :3] = np.eye(3)
        out[-1, :, 3] = pose.prop_dm
        return out.astype(np.float32)

    def _turns(self, pose: FacePose) -> Float64Array:
        """Each bone's rotation at its joint, float64 [B, 3, 3]."""
        pack = self.pack
        vectors = np.zeros((len(pack.bones), 3))
        units = dict(pose.units)
        if "TongueDown" in pack.unit_names:
            units = _with_resting_tongue(units)
        for name, weight in units.items():
            if name not in pack.unit_names:
                raise InvalidInput(
                    f"the head pack has no pose unit {name!r}", reason="UNKNOWN_POSE_UNIT"
                )
            vectors += weight * pack.unit_turns[pack.unit_names[name]]
        turns = turn_matrix(vectors)
        turn = head_turn(pose.yaw_rad, pose.pitch_rad, pose.roll_rad)
        for name, share in NECK_SHARES:
            bone = pack.bones.index(name)
            turns[bone] = _power(turn, share) @ turns[bone]
        gaze = head_turn(pose.gaze_yaw_rad, pose.gaze_pitch_rad, 0.0)
        for name in ("eye.L", "eye.R"):
            bone = pack.bones.index(name)
            turns[bone] = gaze @ turns[bone]
        return turns


def _with_resting_tongue(units: Mapping[str, float]) -> dict[str, float]:
    jaw = units.get("JawDrop", 0.0) + units.get("JawDropStretched", 0.0)
    out = dict(units)
    if sum(units.get(name, 0.0) for name in TONGUE_UNITS) < 0.1:
        out["TongueDown"] = out.get("TongueDown", 0.0) + RESTING_TONGUE * min(jaw, 1.0)
    return out
