"""Spectacles are found where they are worn, and stay stiff before the face.

They were pixels of the face: rims bent with the brows, and became eggs when the head turned.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.frame_geometry import FaceShape, ShapeFitter, geometry_from_motion
from parlante.models.frame_look import FrameLook
from parlante.models.spectacles import find_spectacles
from parlante.models.torch_decoder import TorchDecoder
from parlante.types import BackgroundKind

RIM_COLOUR = (24, 20, 22)
EYES = ((33, 133), (362, 263))


def _centres(portrait):
    points = portrait.landmarks[:, :2]
    below = np.array([0.0, 0.02 * portrait.iod_px])
    return [points[list(eye)].mean(0) + below for eye in EYES]


def _with_rims(portrait, *, colour=RIM_COLOUR, sides=(0, 1), angles=(0, 360), has_bridge=True):
    """The portrait with ellipses around its eyes, on a canvas that is four times as fine."""
    size, zoom, iod = portrait.image.shape[0], 4, portrait.iod_px
    cover = np.zeros((size * zoom, size * zoom), np.uint8)
    centres = [np.round((c + 0.5) * zoom).astype(int).tolist() for c in _centres(portrait)]
    axes = (round(0.25 * iod * zoom), round(0.21 * iod * zoom))
    width = round(0.03 * iod * zoom)
    for side in sides:
        cv2.ellipse(cover, centres[side], axes, 0, *angles, 255, width)
    if has_bridge:
        (x0, y), (x1, _) = centres
        y -= round(0.05 * iod * zoom)
        cv2.line(cover, (x0 + axes[0], y), (x1 - axes[0], y), 255, width)
    share = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    image = np.rint(portrait.image * (1.0 - share) + np.array(colour) * share)
    return replace(portrait, image=image.astype(np.uint8))


@pytest.fixture(scope="module")
def wearer(portrait):
    return _with_rims(portrait)


@pytest.fixture(scope="module")
def worn(decoder, wearer, latents_of):
    return decoder.prepare(latents_of(wearer, key="5c" * 32))


def _with_lenses(portrait, *, colour, through=0.0, has_rims=True, shape=(0.25, 0.21)):
    """The portrait in tinted glasses, with a bridge, and rims or none."""
    size, zoom, iod = portrait.image.shape[0], 4, portrait.iod_px
    cover = np.zeros((size * zoom, size * zoom), np.uint8)
    axes = tuple(round(axis * iod * zoom) for axis in shape)
    for centre in _centres(portrait):
        place = np.round((centre + 0.5) * zoom).astype(int).tolist()
        cv2.ellipse(cover, place, axes, 0, 0, 360, 255, -1)
    share = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    tinted = portrait.image * through + np.array(colour) * (1.0 - through)
    image = portrait.image * (1.0 - share) + tinted * share
    tinted_portrait = replace(portrait, image=np.rint(image).astype(np.uint8))
    return _with_rims(tinted_portrait, sides=(0, 1) if has_rims else ())


def _with_paint(portrait):
    """The portrait with dark paint around its eyes, and over the bridge of the nose."""
    painted = _with_lenses(portrait, colour=RIM_COLOUR, has_rims=False)
    eyes = np.zeros(portrait.image.shape[:2], np.uint8)
    for points in (fm.RIGHT_EYE, fm.LEFT_EYE):
        outline = cv2.convexHull(np.rint(portrait.landmarks[list(points), :2]).astype(np.int32))
        cv2.fillPoly(eyes, [outline], 1)
    image = np.where(eyes[..., None] > 0, portrait.image, painted.image)
    return replace(portrait, image=image)


@pytest.fixture(scope="module")
def dark_wearer(portrait):
    return _with_lenses(portrait, colour=(30, 32, 34), through=0.05)


@pytest.fixture(scope="module")
def in_dark(decoder, dark_wearer, latents_of):
    return decoder.prepare(latents_of(dark_wearer, key="6d" * 32))


@pytest.mark.parametrize("has_rims", [True, False])
@pytest.mark.parametrize("colour", [(16, 16, 18), (120, 12, 20), (20, 60, 150)])
def test_dark_lenses_hide_the_eyes(portrait, colour, has_rims):
    wearer = _with_lenses(portrait, colour=colour, through=0.05, has_rims=has_rims)
    found = find_spectacles(wearer.image, wearer.landmarks)
    assert found is not None
    assert found.hides_eyes


def test_tinted_lenses_let_the_eyes_through(portrait):
    wearer = _with_lenses(portrait, colour=(60, 90, 150), through=0.55)
    found = find_spectacles(wearer.image, wearer.landmarks)
    assert found is not None
    assert found.lenses is not None
    assert not found.hides_eyes
    assert all(0.3 < lens.through.mean() < 0.8 for lens in found.lenses)


def test_clear_lenses_are_none(wearer):
    found = find_spectacles(wearer.image, wearer.landmarks)
    assert found is not None
    assert found.lenses is None


def test_paint_around_eyes_is_none(portrait):
    painted = _with_paint(portrait)
    assert find_spectacles(painted.image, painted.landmarks) is None


@pytest.mark.parametrize(
    "channels",
    [
        {"eyeBlink": 1.0},
        {"gazeYaw": 0.4, "gazePitch": -0.1},
        {"eyeWide": 1.0},
        {"browInnerUp": 1.0, "browOuterUp": 1.0},
        {"browDown": 1.0, "cheekSquint": 1.0},
    ],
)
def test_nothing_moves_within_dark_lenses(decoder, in_dark, portrait, motion, channels):
    rest, moved = (decoder.render(in_dark, motion(**c)).astype(int) for c in ({}, channels))
    inside = np.zeros(rest.shape[:2], np.uint8)
    axes = tuple(round(axis * portrait.iod_px) for axis in (0.22, 0.18))
    for centre in _centres(portrait):
        cv2.ellipse(inside, np.rint(centre).astype(int).tolist(), axes, 0, 0, 360, 1, -1)
    assert np.abs(rest - moved)[inside > 0].max() <= 1


def test_landmarks_of_a_picture_open_no_eye_behind_dark_lenses(in_dark, dark_wearer):
    landmarks = dark_wearer.landmarks.copy()
    landmarks[list(fm.RIGHT_UPPER_LID), 1] += 6.0
    shape = ShapeFitter(in_dark).fit(FaceShape(landmarks=landmarks, pose=np.zeros(6, np.float32)))
    assert all(eye.is_at_rest for eye in shape.eyes)


def test_still_frame_in_tinted_lenses_is_the_photo(decoder, portrait, latents_of, motion, psnr_db):
    wearer = _with_lenses(portrait, colour=(60, 90, 150), through=0.55)
    avatar = decoder.prepare(latents_of(wearer, key="7e" * 32))
    assert psnr_db(decoder.render(avatar, motion()), wearer.image) > 40.0


def test_eyes_move_behind_a_tint_that_stays(decoder, portrait, latents_of, motion, face_box):
    wearer = _with_lenses(portrait, colour=(60, 90, 150), through=0.55)
    avatar = decoder.prepare(latents_of(wearer, key="7e" * 32))
    rest, shut = (decoder.render(avatar, motion(eyeBlink=b)).astype(int) for b in (0.0, 1.0))
    assert np.abs(rest - shut)[face_box(fm.RIGHT_EYE, 0.0)].max() > 20
    bare = np.abs(avatar.image.astype(int) - portrait.image)[face_box(fm.RIGHT_EYE, -0.02)]
    tinted = np.abs(wearer.image.astype(int) - portrait.image)[face_box(fm.RIGHT_EYE, -0.02)]
    assert bare.mean() < 0.6 * tinted.mean()


def _is_rim(frame):
    return frame.max(-1) < 60


@pytest.mark.parametrize("colour", [RIM_COLOUR, (150, 20, 30), (250, 250, 252)])
def test_rims_and_bridge_are_found_where_they_are(portrait, colour):
    wearer = _with_rims(portrait, colour=colour)
    found = find_spectacles(wearer.image, wearer.landmarks)
    assert found is not None
    assert found.bridge is not None
    assert found.arms == (None, None)
    for rim, centre in zip(found.rims, _centres(portrait), strict=True):
        way = (0.5 * (rim.first + rim.second) - centre) / portrait.iod_px
        around = np.hypot(way[:, 0] / 0.25, way[:, 1] / 0.21)
        assert np.abs(around - 1.0).max() < 0.08


@pytest.mark.parametrize(
    "only",
    [
        {"sides": ()},
        {"sides": (0,)},
        {"sides": (1,), "has_bridge": False},
        {"angles": (180, 360), "has_bridge": False},  # brows, and what is painted above eyes
        {"angles": (20, 160), "has_bridge": False},  # rings under eyes
    ],
)
def test_less_than_spectacles_is_none(portrait, only):
    portrait = _with_rims(portrait, **only)
    assert find_spectacles(portrait.image, portrait.landmarks) is None


def test_noise_is_none(portrait):
    noise = np.random.default_rng(2).normal(0.0, 30.0, portrait.image.shape)
    noisy = np.clip(portrait.image + noise, 0, 255).astype(np.uint8)
    assert find_spectacles(noisy, portrait.landmarks) is None


def test_a_bare_face_has_no_layer(avatar):
    assert avatar.stiff is None


def test_still_frame_is_the_photo(decoder, worn, wearer, motion, psnr_db):
    frame = decoder.render(worn, motion())
    assert psnr_db(frame, wearer.image) > 40.0
    assert (_is_rim(frame) != _is_rim(wearer.image)).mean() < 1e-3


@pytest.mark.parametrize(
    "channels",
    [
        {"browInnerUp": 1.0, "browOuterUp": 1.0},
        {"browDown": 1.0},
        {"eyeBlink": 1.0},
        {"eyeSquint": 1.0, "cheekSquint": 1.0},
    ],
)
def test_no_expression_moves_a_rim(decoder, worn, motion, face_box, channels):
    box = face_box((*fm.RIGHT_EYE, *fm.LEFT_EYE), 0.35)
    rest, moved = (decoder.render(worn, motion(**c))[box] for c in ({}, channels))
    assert np.abs(rest.astype(int) - moved).max() > 10
    rims = cv2.erode(_is_rim(rest).astype(np.uint8), np.ones((2, 2), np.uint8)) > 0
    assert rims.sum() > 100
    assert np.abs(rest[rims].astype(int) - moved[rims]).max() <= 12


@pytest.mark.parametrize("turn", [{"headYaw": 0.3}, {"headPitch": 0.2}])
def test_a_turn_leaves_rims_flat(worn, motion, turn):
    """What is flat is seen from aside as an affine map says; an egg is not."""
    layer = worn.stiff
    posed = geometry_from_motion(worn, motion(**turn)).posed[layer.first :]
    known = np.column_stack([layer.source, np.ones(len(layer.source))])
    way = np.linalg.lstsq(known, posed, rcond=None)[0]
    assert np.abs(known @ way - posed).max() < 0.025 * worn.mesh.iod_px
    assert np.abs(way[:2] - np.eye(2)).max() > 0.01


def test_rims_stand_before_the_eyes(worn, motion):
    left, right = (geometry_from_motion(worn, motion(headYaw=yaw)).posed for yaw in (-0.25, 0.25))
    way = (right - left)[:, 0] / worn.mesh.iod_px
    assert way[worn.stiff.first :].mean() > way[list(fm.OUTER_EYE_CORNERS)].mean() + 0.05


def test_landmarks_of_a_picture_do_not_bend_rims(worn, wearer, motion):
    landmarks = wearer.landmarks.copy()
    landmarks[list(fm.RIGHT_BROW), 1] -= 9.0
    still = np.zeros(6, np.float32)
    shape = ShapeFitter(worn).fit(FaceShape(landmarks=landmarks, pose=still))
    first = worn.stiff.first
    np.testing.assert_allclose(shape.posed[first:], shape.rest[first:], atol=1e-3)


def test_the_decoder_for_devices_draws_the_same(
    decoder, wearer, portrait, latents_of, motion
) -> None:
    device = TorchDecoder("cpu")
    latents = [latents_of(wearer, key="5c" * 32), latents_of(portrait)]
    looks = [FrameLook(), FrameLook(size_px=256, background=BackgroundKind.TRANSPARENT)]
    row = motion(headYaw=0.3, browInnerUp=0.6, eyeBlink=0.4)
    for look in looks:
        sent = [device.prepare(each, look) for each in latents]
        got = device.render(sent, [row] * len(sent))
        for own, each in zip(got, latents, strict=True):
            step = np.abs(own.astype(int) - decoder.render(decoder.prepare(each, look), row))
            assert step.max() <= 1
            assert (step > 0).mean() <= 1e-3


def test_rims_beyond_the_face_are_in_the_alpha(decoder, wearer, latents_of, motion):
    clear = FrameLook(background=BackgroundKind.TRANSPARENT)
    avatar = decoder.prepare(latents_of(wearer, key="5c" * 32), clear)
    layer = avatar.stiff
    away = replace(avatar.mesh, vertices=avatar.mesh.vertices + np.float32(0.0))
    away.vertices[layer.first :, 0] += 1.6 * avatar.mesh.iod_px  # beside the head
    frame = decoder.render(replace(avatar, mesh=away), motion())
    bare = decoder.render(replace(avatar, stiff=None), motion())
    added = (frame[..., 3] > 200) & (bare[..., 3] < 50)
    assert added.sum() > 100
    assert np.median(frame[added][:, :3]) < 60


def _with_shut_right_eye(portrait):
    landmarks = portrait.landmarks.copy()
    for upper, lower in zip(fm.RIGHT_UPPER_LID, fm.RIGHT_LOWER_LID, strict=True):
        landmarks[upper, :2] = landmarks[lower, :2] - np.array([0.0, 0.5], np.float32)
    return replace(portrait, landmarks=landmarks)


def test_an_eye_that_is_shut_in_the_photo_stays_as_it_is(decoder, portrait, latents_of, motion):
    """Its lashes were painted over in a blink, and wide eyes opened it by a slit."""
    avatar = decoder.prepare(latents_of(_with_shut_right_eye(portrait), key="8f" * 32))
    for channels in ({"eyeBlink": 1.0}, {"eyeWide": 1.0}, {"gazeYaw": 0.4}):
        right, left = geometry_from_motion(avatar, motion(**channels)).eyes
        assert right.is_at_rest
        assert not left.is_at_rest
