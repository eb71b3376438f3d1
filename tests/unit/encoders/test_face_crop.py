"""The crop lies where the eyes are, upright, and tells how to come back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh
from parlante.models.face_crop import CROP_PX, PX_PER_IOD, cut_face, frame_of_landmarks


def eyes_at(right, left):
    """Landmarks of which only the outer eye corners matter."""
    points = np.zeros((478, 3), np.float32)
    points[list(face_mesh.OUTER_EYE_CORNERS)] = (right, left)
    return points


def test_a_tilted_face_is_brought_upright():
    frame = frame_of_landmarks(eyes_at((100, 100, 0), (180, 160, 0)))
    assert frame.roll_rad == pytest.approx(math.atan2(60, 80))
    corners = np.array([[100, 100, 1], [180, 160, 1]]) @ frame.to_crop().T
    assert corners[0, 1] == pytest.approx(corners[1, 1], abs=1e-2)
    assert corners[1, 0] - corners[0, 0] == pytest.approx(PX_PER_IOD, abs=1e-2)
    assert corners[:, 0].mean() == pytest.approx((CROP_PX - 1) / 2, abs=1e-2)


def test_a_turned_face_is_not_blown_up():
    ahead = frame_of_landmarks(eyes_at((100, 100, 0), (200, 100, 0)))
    turned = frame_of_landmarks(eyes_at((100, 100, 0), (180, 100, 60)))
    assert turned.iod_px == pytest.approx(ahead.iod_px)


@pytest.mark.parametrize("scale", [1.0, 2.0, 5.0])
def test_pictures_of_all_sizes_show_the_same(scale):
    """Shrinking by area first must not move what is shown."""
    y, x = np.mgrid[0:400, 0:400].astype(np.float32)
    small = (127 + 100 * np.sin(x / 25) * np.cos(y / 30)).astype(np.uint8)
    picture = np.repeat(small[..., None], 3, axis=2)
    frame = frame_of_landmarks(eyes_at((160, 180, 0), (230, 190, 0)))
    size = round(400 * scale)
    large = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
    places = (np.array([[160, 180, 0], [230, 190, 0]]) + 0.5) * scale - 0.5
    other = frame_of_landmarks(eyes_at(*places))
    difference = cut_face(large, other).astype(int) - cut_face(picture, frame)
    assert np.abs(difference).mean() < 1.5


def test_what_lies_outside_is_filled():
    picture = np.full((50, 50, 3), 90, np.uint8)
    crop = cut_face(picture, frame_of_landmarks(eyes_at((-200, 5, 0), (-10, 5, 0))))
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    assert (crop == 90).all()
