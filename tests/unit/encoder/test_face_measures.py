"""Measures of a face: pose, openings, gaze; closed-form on the mean face."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh
from parlante.models.face_coefficients import (
    TRACKED_GAZE_SHARE,
    canonicalize,
    load_reference,
    measure_face,
    measures_to_motion,
    rotation_matrix,
)
from parlante.models.identity import encode_identity
from parlante.types import MOTION_INDEX, Float32Array


@pytest.fixture
def face() -> Float32Array:
    """The mean face with irises, 150 px between the outer eye corners."""
    mean = load_reference().mean
    irises = [
        np.repeat(mean[list(corners)].mean(axis=0)[None], 5, axis=0)
        for corners in (face_mesh.RIGHT_EYE_CORNERS, face_mesh.LEFT_EYE_CORNERS)
    ]
    points = np.concatenate([mean, *irises]) * 150.0 + [256.0, 220.0, 0.0]
    return points.astype(np.float32)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0.4, 0, 0), (0, -0.3, 0), (0, 0, 0.5), (-0.5, 0.3, -0.2)]
)
def test_pose_is_recovered(face: Float32Array, yaw: float, pitch: float, roll: float) -> None:
    turned = (face @ rotation_matrix(yaw, pitch, roll).T).astype(np.float32)
    measures = measure_face(turned)
    assert measures.yaw_rad == pytest.approx(yaw, abs=1e-3)
    assert measures.pitch_rad == pytest.approx(pitch, abs=1e-3)
    assert measures.roll_rad == pytest.approx(roll, abs=1e-3)


def test_signs_follow_the_pose_channels(face: Float32Array) -> None:
    nose, between = face_mesh.NOSE_TIP, face[[33, 263]].mean(axis=0)
    to_right = (face - between) @ rotation_matrix(0.3, 0, 0).T
    down = (face - between) @ rotation_matrix(0, 0.3, 0).T
    clockwise = (face - between) @ rotation_matrix(0, 0, 0.3).T
    level = face - between
    assert to_right[nose, 0] > level[nose, 0] + 10  # image right
    assert down[nose, 1] > level[nose, 1] + 10
    assert clockwise[263, 1] > level[263, 1] + 10  # the eye on image right sinks


def test_measures_do_not_depend_on_place_and_size(face: Float32Array) -> None:
    one, other = measure_face(face), measure_face((face * 2.5 + 30).astype(np.float32))
    assert other.aperture == pytest.approx(one.aperture, abs=1e-4)
    assert other.eye_opening == pytest.approx(one.eye_opening, abs=1e-4)
    assert other.iod_px == pytest.approx(2.5 * one.iod_px, rel=1e-4)


def test_measures_do_not_depend_on_pose(face: Float32Array) -> None:
    turned = (face @ rotation_matrix(0.4, -0.2, 0.1).T).astype(np.float32)
    one, other = measure_face(face), measure_face(turned)
    assert other.aperture == pytest.approx(one.aperture, abs=1e-3)
    assert other.mouth_width == pytest.approx(one.mouth_width, abs=1e-3)
    assert other.brow_height == pytest.approx(one.brow_height, abs=1e-3)


def test_aperture_is_the_distance_of_the_inner_lips(face: Float32Array) -> None:
    closed = measure_face(face).aperture
    face[face_mesh.LOWER_LIP_CENTRE, 1] += 0.2 * 150
    assert measure_face(face).aperture == pytest.approx(closed + 0.2, abs=0.01)


def test_open_mouth_becomes_jaw_open(face: Float32Array) -> None:
    face[face_mesh.LOWER_LIP_CENTRE, 1] += 0.25 * 150
    motion = measures_to_motion(measure_face(face))
    assert motion[MOTION_INDEX["jawOpen"]] == pytest.approx(0.5, abs=0.08)


def test_shut_eye_becomes_a_blink_of_its_side(face: Float32Array) -> None:
    upper, lower = list(face_mesh.LEFT_UPPER_LID), list(face_mesh.LEFT_LOWER_LID)
    face[upper, 1] = face[lower, 1]
    motion = measures_to_motion(measure_face(face))
    assert motion[MOTION_INDEX["eyeBlinkLeft"]] == 1.0
    assert motion[MOTION_INDEX["eyeBlinkRight"]] == 0.0


def test_gaze_follows_the_irises(face: Float32Array) -> None:
    level = measure_face(face)
    irises = [face_mesh.RIGHT_IRIS[0], face_mesh.LEFT_IRIS[0]]
    face[irises, 0] += TRACKED_GAZE_SHARE[0] * 0.13 * np.sin(0.3) * 150
    face[irises, 1] += 0.01 * 150
    moved = measure_face(face)
    assert moved.gaze_yaw_rad - level.gaze_yaw_rad == pytest.approx(0.3, abs=0.01)
    assert moved.gaze_pitch_rad > level.gaze_pitch_rad + 0.1


def test_resting_face_has_no_expression(face: Float32Array) -> None:
    motion = measures_to_motion(measure_face(face))
    named = [i for name, i in MOTION_INDEX.items() if name.startswith(("mouth", "brow", "eyeB"))]
    assert np.abs(motion[named]).max() == 0.0
    assert motion[MOTION_INDEX["headX"]] == 0.0


def test_canonical_face_is_the_mean_face(face: Float32Array) -> None:
    turned = (face @ rotation_matrix(-0.3, 0.2, 0.4).T).astype(np.float32)
    canonical, _ = canonicalize(turned)
    np.testing.assert_allclose(canonical[:468], load_reference().mean, atol=2e-3)


def test_identity_ignores_pose_and_speech(face: Float32Array) -> None:
    other = face.copy()
    other[[14, 17, 152, 61, 291, 159, 386, 105, 334], 1] += 20
    other = (other @ rotation_matrix(0.2, 0.1, 0.1).T).astype(np.float32)
    codes = [encode_identity(canonicalize(points)[0]) for points in (face, other)]
    np.testing.assert_allclose(codes[0], codes[1], atol=5e-3)


def test_identity_tells_shapes_apart(face: Float32Array) -> None:
    wide = face.copy()
    wide[[234, 454, 93, 323, 127, 356], 0] += np.array([-20, 20, -20, 20, -20, 20], np.float32)
    codes = [encode_identity(canonicalize(points)[0]) for points in (face, wide)]
    assert np.linalg.norm(codes[0] - codes[1]) > 0.05
