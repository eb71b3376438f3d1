"""The skin of shut eyes: tone of the skin around, grain of the photo, lashes in one thin line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.skin_grain import skin_grain, tile_grain

NOISE_LEVELS = 12.0


@pytest.fixture
def noisy(draw):
    portrait = draw()
    noise = np.random.default_rng(1).normal(0.0, NOISE_LEVELS, portrait.image.shape)
    portrait.image[:] = np.clip(portrait.image + noise, 0, 255).astype(np.uint8)
    return portrait


def test_shut_lid_has_the_grain_of_the_photo(decoder, latents_of, motion, noisy):
    frame = decoder.render(decoder.prepare(latents_of(noisy)), motion(eyeBlink=1.0))
    x, y = noisy.landmarks[list(fm.RIGHT_UPPER_LID), :2].mean(0).astype(int)
    lid = frame[y - 1 : y + 5, x - 8 : x + 9].astype(np.float32)
    # Across and down alike: stretched noise would be streaks.
    for axis in (0, 1):
        steps = np.diff(lid, axis=axis).std()
        expected = np.sqrt(2.0) * NOISE_LEVELS
        assert 0.6 * expected < steps < 1.3 * expected


def test_grain_is_as_strong_as_the_noise_and_the_same_each_time(noisy):
    grain = skin_grain(noisy.image, noisy.landmarks)
    assert grain.std() == pytest.approx(NOISE_LEVELS, rel=0.2)
    assert abs(grain.mean()) < 0.5
    assert (grain == skin_grain(noisy.image, noisy.landmarks)).all()


def test_grain_does_not_show_a_hair_on_the_skin(noisy):
    x, y = noisy.landmarks[fm.RIGHT_IRIS[0], :2].astype(int)
    cheek = round(y + 0.42 * noisy.iod_px)
    cv2.line(noisy.image, (x - 30, cheek), (x + 30, cheek), (20, 20, 20), 1)
    assert skin_grain(noisy.image, noisy.landmarks).std() < 1.3 * NOISE_LEVELS


def test_grain_of_a_face_that_fills_the_picture_is_none(draw):
    portrait = draw()
    near = portrait.landmarks * np.float32(20.0)
    assert not skin_grain(portrait.image, near).any()


def test_grain_repeats_without_a_seam():
    grain = np.random.default_rng(0).normal(size=(5, 5, 3)).astype(np.float32)
    tiled = tile_grain(grain, (12, 7))
    assert tiled.shape == (12, 7, 3)
    assert (tiled[5:10, :5] == grain).all()


def test_lashes_beyond_the_corner_of_an_eye_do_not_stay_above_it_when_it_shuts(
    decoder, draw, latents_of, motion
):
    made_up = draw()
    corner = made_up.landmarks[33, :2].astype(int)  # at image left
    reach = round(0.05 * made_up.iod_px)
    tip = corner + np.array([-reach // 2, -2 * reach])
    cv2.line(made_up.image, tuple(corner.tolist()), tuple(tip.tolist()), (20, 20, 20), 2)
    avatar = decoder.prepare(latents_of(made_up))
    middle = (corner + tip) // 2
    open_light = decoder.render(avatar, motion())[middle[1], middle[0]].mean()
    shut_light = decoder.render(avatar, motion(eyeBlink=1.0))[middle[1], middle[0]].mean()
    assert open_light < 60.0
    assert shut_light > open_light + 60.0


def test_wide_eyes_under_raised_brows_keep_the_height_of_their_lashes(
    decoder, draw, latents_of, motion
):
    portrait = draw()
    for lid in (fm.RIGHT_UPPER_LID, fm.LEFT_UPPER_LID):
        line = np.round(portrait.landmarks[list(lid), :2] * 16).astype(np.int32)
        cv2.polylines(portrait.image, [line - [0, 16]], False, (15, 12, 10), 2, cv2.LINE_AA, 4)
    avatar = decoder.prepare(latents_of(portrait))
    x, y = np.round(portrait.landmarks[list(fm.RIGHT_UPPER_LID), :2].mean(0)).astype(int)

    def lashes(**change):
        frame = decoder.render(avatar, motion(**change)).mean(-1)
        return int((frame[y - 20 : y + 4, x - 10 : x + 11] < 70).sum())

    brows = {"browInnerUp": 1.0, "browOuterUp": 1.0}
    alone = lashes(eyeWide=0.9)
    assert alone > 20
    assert lashes(eyeWide=0.9, **brows) < 1.3 * alone


def test_light_spectacles_around_an_eye_stay_when_it_shuts(decoder, draw, latents_of, motion):
    portrait = draw()
    middle = portrait.landmarks[[33, 133], :2].mean(0)
    centre, radius = tuple(np.round(middle).astype(int).tolist()), round(0.2 * portrait.iod_px)
    cv2.circle(portrait.image, centre, radius, (210, 225, 225), 3, cv2.LINE_AA)
    frame = decoder.render(decoder.prepare(latents_of(portrait)), motion(eyeBlink=1.0))
    for side in (-radius, radius):
        rim = frame[centre[1] - 2 : centre[1] + 3, centre[0] + side].astype(int)
        assert (rim[..., 1] - rim[..., 0]).min() > 5
