"""Irises larger than the tracker's left a part of them behind when they looked aside."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.eyes import build_eyes
from parlante.models.iris_edge import find_irises
from parlante.models.skin_grain import skin_grain

TRACKED = (fm.RIGHT_IRIS[0], fm.LEFT_IRIS[0])


@pytest.mark.parametrize("radius", [0.07, 0.08, 0.09])
def test_a_large_iris_is_measured(draw, radius):
    portrait = draw(iris=radius)
    for iris, middle in zip(find_irises(portrait.image, portrait.landmarks), TRACKED, strict=True):
        assert iris.radius / portrait.iod_px == pytest.approx(radius, rel=0.06)
        off = np.linalg.norm(iris.centre - portrait.landmarks[middle, :2])
        assert off < 0.015 * portrait.iod_px


def test_a_large_iris_is_found_where_it_is(draw):
    portrait = draw(iris=0.08)
    told = portrait.landmarks.copy()
    told[468:, 0] += 0.015 * portrait.iod_px
    for iris, middle in zip(find_irises(portrait.image, told), TRACKED, strict=True):
        off = np.abs(iris.centre - portrait.landmarks[middle, :2])
        assert off[0] < 0.008 * portrait.iod_px


def test_a_usual_iris_stays_the_trackers(portrait):
    for iris, middle in zip(find_irises(portrait.image, portrait.landmarks), TRACKED, strict=True):
        assert iris.radius == pytest.approx(0.06 * portrait.iod_px, rel=1e-6)
        assert np.array_equal(iris.centre, portrait.landmarks[middle, :2].astype(np.float64))


def test_an_iris_stays_the_trackers_when_its_edge_is_not_seen(draw):
    portrait = draw(iris=0.08)
    eye = portrait.landmarks[list(fm.RIGHT_EYE), :2]
    cv2.fillPoly(portrait.image, [np.round(eye).astype(np.int32)], (70, 50, 30))
    irises = find_irises(portrait.image, portrait.landmarks)
    assert irises[1].radius == pytest.approx(0.06 * portrait.iod_px, rel=1e-6)


def test_the_white_behind_a_large_iris_has_nothing_of_it(draw):
    portrait = draw(iris=0.085)
    grain = skin_grain(portrait.image, portrait.landmarks)
    for eye in build_eyes(portrait.image, portrait.landmarks, grain):
        x, y = eye.frame[:2] + eye.iris_centre - eye.patch_origin
        half = int(0.1 * portrait.iod_px)
        row = eye.white[int(y), int(x) - half : int(x) + half + 1]
        assert row.min() > 150


def test_an_eye_beyond_the_picture_stays_the_trackers(portrait):
    beyond = portrait.landmarks + np.float32([600.0, 0.0, 0.0])
    irises = find_irises(portrait.image, beyond)
    assert irises[0].radius == pytest.approx(0.06 * portrait.iod_px, rel=1e-5)
