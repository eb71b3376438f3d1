"""The face rig: signs, order of rotations, gaze, units."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.models.face_coefficients import rotation_matrix
from parlante.synth.assets import HeadPack
from parlante.synth.rig import FacePose, Rig, head_turn, turn_matrix

# Image axes (right, down, back) of the scene's (left of the character, up, towards the viewer).
TO_IMAGE = np.diag([1.0, -1.0, -1.0])


@pytest.fixture
def rig(pack: HeadPack) -> Rig:
    return Rig.of(pack, pack.rest)


def _turn_of(rig: Rig, bone: str, pose: FacePose) -> np.ndarray:
    return rig.matrices(pose)[rig.pack.bones.index(bone), :, :3]


@pytest.mark.parametrize(
    ("pose", "axis", "sign"),
    [
        (FacePose(yaw_rad=0.3), 0, 1.0),  # to image right
        (FacePose(pitch_rad=0.3), 1, -1.0),  # down
    ],
)
def test_nose_goes_where_the_channel_says(rig: Rig, pose: FacePose, axis: int, sign: float) -> None:
    nose = _turn_of(rig, "head", pose) @ [0.0, 0.0, 1.0]
    assert sign * nose[axis] == pytest.approx(np.sin(0.3), abs=1e-5)


def test_roll_is_clockwise_in_the_image(rig: Rig) -> None:
    top = _turn_of(rig, "head", FacePose(roll_rad=0.3)) @ [0.0, 1.0, 0.0]
    assert top[0] == pytest.approx(np.sin(0.3), abs=1e-5)


def test_rotation_is_that_of_the_library() -> None:
    ours = TO_IMAGE @ head_turn(0.4, -0.2, 0.15) @ TO_IMAGE
    np.testing.assert_allclose(ours, rotation_matrix(0.4, -0.2, 0.15), atol=1e-9)


def test_neck_shares_sum_to_the_head_turn(rig: Rig) -> None:
    pose = FacePose(yaw_rad=0.4, pitch_rad=-0.2, roll_rad=0.15)
    np.testing.assert_allclose(_turn_of(rig, "head", pose), head_turn(0.4, -0.2, 0.15), atol=1e-5)


def test_body_stays_while_the_head_turns(rig: Rig) -> None:
    np.testing.assert_allclose(_turn_of(rig, "body", FacePose(yaw_rad=0.4)), np.eye(3))


def test_gaze_turns_the_eye_in_the_head(rig: Rig) -> None:
    pose = FacePose(yaw_rad=0.3, gaze_yaw_rad=0.2)
    eye = _turn_of(rig, "head", pose).T @ _turn_of(rig, "eye.L", pose)
    np.testing.assert_allclose(eye, turn_matrix(np.array([0.0, 0.2, 0.0])), atol=1e-5)


def test_move_takes_the_person_and_leaves_the_prop(rig: Rig) -> None:
    matrices = rig.matrices(FacePose(move_dm=(1.0, 2.0, 3.0), prop_dm=(0.5, 0.0, 0.0)))
    np.testing.assert_allclose(matrices[0, :, 3], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(matrices[-1, :, 3], [0.5, 0.0, 0.0])


def test_unknown_unit_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidInput, match="NoSuchUnit"):
        rig.matrices(FacePose(units={"NoSuchUnit": 1.0}))
