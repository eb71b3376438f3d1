"""Frames from landmarks: an avatar brought to a face in another picture."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.frame_geometry import FaceShape, ShapeFitter, geometry_from_motion


@pytest.fixture(scope="module")
def fitter(avatar):
    return ShapeFitter(avatar)


def shape_of(portrait, avatar, values, *, pose=(0.0,) * 6):
    """What a perfect tracker would see in the frame of a motion."""
    geometry = geometry_from_motion(avatar, values)
    landmarks = portrait.landmarks.copy()
    landmarks[: fm.NUM_SKIN_LANDMARKS, :2] += (
        geometry.posed[: fm.NUM_SKIN_LANDMARKS] - avatar.mesh.vertices[: fm.NUM_SKIN_LANDMARKS, :2]
    )
    return FaceShape(landmarks=landmarks, pose=np.array(pose, np.float32)), geometry


def test_own_landmarks_give_the_photo_back(decoder, avatar, portrait, fitter, psnr_db):
    shape = FaceShape(landmarks=portrait.landmarks, pose=np.zeros(6, np.float32))
    frame = decoder.render_posed(avatar, fitter.fit(shape))
    assert psnr_db(frame, portrait.image, portrait.matte > 0) >= 38.0


@pytest.mark.parametrize("channel", ["jawOpen", "mouthSmile", "mouthPucker", "browInnerUp"])
def test_landmarks_of_a_frame_give_that_frame(
    decoder, avatar, portrait, fitter, motion, psnr_db, channel
):
    values = motion(**{channel: 0.5})
    shape, wanted = shape_of(portrait, avatar, values)
    geometry = fitter.fit(shape)
    lips = [*fm.OUTER_LIPS, *fm.OVAL]
    assert np.abs(geometry.posed[lips] - wanted.posed[lips]).max() < 1.0
    frame, truth = decoder.render_posed(avatar, geometry), decoder.render(avatar, values)
    assert psnr_db(frame, truth) > 30.0


def test_jaw_carries_the_lower_teeth(avatar, portrait, fitter, motion):
    shape, wanted = shape_of(portrait, avatar, motion(jawOpen=0.6))
    assert fitter.fit(shape).jaw[1] == pytest.approx(wanted.jaw[1], abs=0.03)


def test_turn_carries_what_lies_around_the_face(avatar, portrait, fitter, motion):
    values = motion(headYaw=0.2)
    shape, wanted = shape_of(portrait, avatar, values, pose=(0.2, 0, 0, 0, 0, 0))
    geometry = fitter.fit(shape)
    assert np.abs(geometry.posed - wanted.posed).max() < 3.0
    assert geometry.angles[0] == pytest.approx(0.2, abs=1e-3)


def test_shut_lids_shut_the_eye(avatar, portrait, fitter):
    landmarks = portrait.landmarks.copy()
    landmarks[list(fm.RIGHT_UPPER_LID), :2] = landmarks[list(fm.RIGHT_LOWER_LID), :2]
    right, left = fitter.fit(FaceShape(landmarks=landmarks, pose=np.zeros(6, np.float32))).eyes
    assert right.blink > 0.95
    assert left.blink < 0.05
    assert np.abs(right.upper - right.lower).max() < 0.5


def test_moved_iris_is_a_gaze(avatar, portrait, fitter):
    landmarks = portrait.landmarks.copy()
    landmarks[468:, 0] += 0.04 * portrait.iod_px
    exact = fitter.fit(FaceShape(landmarks=landmarks, pose=np.zeros(6, np.float32)))
    assert exact.gaze[0] == pytest.approx(np.arcsin(0.04 / 0.13), abs=0.02)
    shape = FaceShape(landmarks=landmarks, pose=np.zeros(6, np.float32), iris_share=(0.6, 0.4))
    tracked = fitter.fit(shape)
    assert tracked.eyes[0].shift_px[0] == pytest.approx(exact.eyes[0].shift_px[0] / 0.6, rel=0.01)
