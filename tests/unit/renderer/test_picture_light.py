"""The inside of the mouth is lit, faded and tinted as the picture is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import redness_of
from parlante.models.mouth_colours import likely_white
from parlante.models.picture_blur import blur_of
from parlante.models.picture_light import black_of, side_light, without_black


def opening_of(decoder, portrait, latents_of, motion):
    """Pixels inside the mouth, wide open: float64 [K, 3], and the avatar's mouth."""
    avatar = decoder.prepare(latents_of(portrait))
    change = motion(jawOpen=0.5)
    frame = decoder.render(avatar, change).astype(np.float64)
    lips = avatar.rig.displace(change, avatar.mesh.vertices)[list(fm.INNER_LIPS), :2]
    mask = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(lips).astype(np.int32)], 1)
    return frame[cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0], avatar.mouth


def test_a_faded_picture_has_a_faded_throat(decoder, draw, latents_of, motion):
    plain = draw()
    faded = replace(plain, image=(120 + plain.image * (135 / 255)).astype(np.uint8))
    before, mouth = opening_of(decoder, plain, latents_of, motion)
    after, faded_mouth = opening_of(decoder, faded, latents_of, motion)
    assert mouth.black == 0.0
    assert faded_mouth.black > 60.0
    assert before.mean(-1).min() < 45.0
    assert after.mean(-1).min() > faded_mouth.black
    assert faded_mouth.palette.min() > faded_mouth.black


def test_black_is_taken_away_and_given_back():
    colours = np.array([[90.0, 120.0, 255.0]])
    back = 80.0 + without_black(colours, 80.0) * (1.0 - 80.0 / 255.0)
    assert back == pytest.approx(colours)


def test_faces_with_dark_pupils_are_not_faded(draw):
    portrait = draw()
    assert black_of(portrait.image, portrait.landmarks) == 0.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_teeth_lie_in_the_shadow_that_half_of_the_face_lies_in(
    decoder, draw, latents_of, motion, sign
):
    plain = draw()
    middle = plain.landmarks[fm.UPPER_LIP_CENTRE, 0]
    across = np.clip(0.5 + sign * (np.arange(512) - middle) / 60.0, 0.05, 1.0)
    image = (plain.image * across[None, :, None]).astype(np.uint8)
    upper = decoder.prepare(latents_of(replace(plain, image=image))).mouth.upper.astype(float)
    light = np.where(upper[..., 3] > 200, upper[..., :3].mean(-1), np.nan)[:, 20:-20]
    half = light.shape[1] // 2
    lit, shaded = np.nanmean(light[:, half + 15 :]), np.nanmean(light[:, : half - 15])
    if sign < 0.0:
        lit, shaded = shaded, lit
    assert shaded < 0.6 * lit


def test_light_that_hardly_differs_tells_nothing():
    x = np.linspace(-0.3, 0.3, 9)
    assert (side_light(x, 100.0 + 60.0 * x, x) == 1.0).all()
    assert (side_light(np.abs(x), 100.0 + 60.0 * x, x) == 1.0).all()  # a face seen from the side


def test_a_picture_of_a_single_hue_has_no_other_in_the_mouth(decoder, draw, latents_of, motion):
    plain = draw()
    sepia = plain.image.mean(-1, keepdims=True) * np.array([1.08, 1.0, 0.8]) * 0.9
    portrait = replace(plain, image=np.clip(sepia, 0, 255).astype(np.uint8))
    inside, _ = opening_of(decoder, portrait, latents_of, motion)
    bright = inside[inside.mean(-1) > 40.0]
    expected = redness_of(np.array([1.08, 1.0, 0.8]) * 100.0)
    assert np.abs(redness_of(bright) - expected).max() < 0.03


def test_lips_as_red_as_dark_skin_leave_teeth_white(decoder, draw, latents_of):
    portrait = draw()
    image = portrait.image.copy()
    lips = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(lips, [np.round(portrait.landmarks[list(fm.OUTER_LIPS), :2]).astype(np.int32)], 1)
    dark = (image * np.array([0.55, 0.42, 0.36])).astype(np.uint8)
    dark[lips > 0] = (dark[100:400, 150:360].mean((0, 1)) * 0.8).astype(np.uint8)
    eyes = [*fm.RIGHT_UPPER_LID, *fm.RIGHT_LOWER_LID, *fm.LEFT_UPPER_LID, *fm.LEFT_LOWER_LID]
    x, y = np.round(portrait.landmarks[eyes, :2]).astype(int).T
    around = np.s_[y.min() : y.max() + 1, x.min() : x.max() + 1]
    dark[around] = np.where(image[around].min(-1, keepdims=True) > 200, image[around], dark[around])
    mouth = decoder.prepare(latents_of(replace(portrait, image=dark))).mouth
    assert redness_of(mouth.tooth.astype(np.float64)) < 0.05


def test_rims_of_spectacles_over_the_eyes_do_not_colour_the_teeth():
    skin, rim = np.array([200.0, 160.0, 140.0]), np.array([110.0, 210.0, 200.0], np.float32)
    assert np.ptp(likely_white(rim, skin)) == 0.0
    white = np.array([190.0, 192.0, 190.0], np.float32)
    assert likely_white(white, skin) is white
    assert likely_white(rim, np.array([80.0, 150.0, 120.0])) is rim  # all of the light is green


def test_a_night_has_no_shining_teeth(decoder, draw, latents_of, motion):
    plain = draw()
    night = replace(plain, image=(plain.image * 0.2).astype(np.uint8))
    inside, _ = opening_of(decoder, night, latents_of, motion)
    skin = night.image[
        np.round(night.landmarks[[50, 280], 1]).astype(int),
        np.round(night.landmarks[[50, 280], 0]).astype(int),
    ].mean()
    assert np.quantile(inside.mean(-1), 0.99) < 1.8 * skin


def test_a_blurred_picture_has_a_blurred_mouth(decoder, draw, latents_of, motion):
    plain = draw()
    soft = replace(plain, image=cv2.GaussianBlur(plain.image, (0, 0), 3.0))
    assert blur_of(plain.image, plain.landmarks) < 0.5
    assert blur_of(soft.image, soft.landmarks) == pytest.approx(2.7, abs=0.6)
    steepest = []
    for portrait in (plain, soft):
        frame = decoder.render(decoder.prepare(latents_of(portrait)), motion(jawOpen=0.5))
        x, y = np.round(portrait.landmarks[fm.UPPER_LIP_CENTRE, :2]).astype(int)
        inside = cv2.GaussianBlur(frame, (0, 0), 0.7)[y : y + 50, x - 25 : x + 25].astype(float)
        steepest.append(np.abs(np.diff(inside.mean(-1), axis=0)).max())
    assert steepest[1] < 0.6 * steepest[0]
