"""Measures of drawn faces, on pictures whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.evaluation.face.metrics import (
    flicker,
    psnr_db,
    region_masks,
    squared_error,
    ssim_map,
)
from parlante.models import face_mesh as fm
from parlante.models.decoder_latents import mean_face_latents


@pytest.fixture(scope="module")
def landmarks():
    return np.array(mean_face_latents().tensors["landmarks"], np.float32)


@pytest.fixture(scope="module")
def labels(landmarks):
    import cv2

    parts = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(parts, [np.rint(landmarks[list(fm.OVAL), :2]).astype(np.int32)], 1)
    return parts


def test_equal_pictures_have_no_error_and_full_similarity():
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert squared_error(picture, picture).max() == 0.0
    assert ssim_map(picture, picture).min() > 0.999


def test_psnr_of_a_known_error():
    first = np.full((8, 8, 3), 100, np.uint8)
    assert psnr_db(float(squared_error(first, first + 10).mean())) == pytest.approx(28.13, abs=0.01)


def test_noise_lowers_the_similarity():
    rng = np.random.default_rng(0)
    smooth = np.tile(np.linspace(0, 255, 64)[None, :, None], (64, 1, 3)).astype(np.uint8)
    noisy = np.clip(smooth + rng.normal(0, 40, smooth.shape), 0, 255).astype(np.uint8)
    assert ssim_map(smooth, noisy).mean() < 0.5


def test_regions_are_where_they_are_called(labels, landmarks):
    masks = region_masks(labels, labels, landmarks)
    lip, lid = landmarks[fm.UPPER_LIP_CENTRE, :2], landmarks[fm.RIGHT_UPPER_LID[3], :2]
    chin = landmarks[fm.CHIN, :2]
    for point, region in ((lip, "mouth"), (lid, "eyes"), (chin, "contour")):
        x, y = np.rint(point).astype(int)
        assert masks[region][y, x], region
    assert not masks["misplaced"].any()
    assert not (masks["rest"] & (masks["mouth"] | masks["eyes"] | masks["contour"])).any()
    assert not masks["rest"][labels == 0].any()


def test_misplaced_is_where_the_warp_shows_another_part(labels, landmarks):
    moved = np.roll(labels, 8, axis=1)
    misplaced = region_masks(labels, moved, landmarks)["misplaced"]
    assert misplaced.any()
    assert (labels != moved)[misplaced].all()


def test_flicker_is_of_what_goes_back_and_forth():
    even = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 30, 40)]
    jumping = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 10, 20)]
    assert flicker(even) == 0.0
    assert flicker(jumping) == pytest.approx(20.0)
