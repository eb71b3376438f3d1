"""The decoder on a drawn portrait: what moves, and what must not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models import face_mesh as fm
from parlante.models.eye_shading import NO_RIM
from parlante.models.eyes import build_eyes
from parlante.models.skin_grain import skin_grain
from services.renderer.engine import clamp_motion


@pytest.fixture(scope="module")
def still(decoder, avatar):
    return decoder.render(avatar, np.zeros(60, np.float32))


def change(first, second):
    """Largest change of any channel per pixel."""
    return np.abs(first.astype(int) - second.astype(int)).max(-1)


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.08, 0.45])
def test_render_returns_the_photo_when_motion_is_zero(
    decoder, draw, latents_of, motion, psnr_db, gap
):
    portrait = draw(gap=gap)
    frame = decoder.render(decoder.prepare(latents_of(portrait)), motion())
    assert psnr_db(frame, portrait.image) >= 50.0
    lips = portrait.landmarks[list(fm.OUTER_LIPS), :2].astype(int)
    (x0, y0), (x1, y1) = lips.min(0), lips.max(0)
    assert psnr_db(frame[y0:y1, x0:x1], portrait.image[y0:y1, x0:x1]) >= 46.0


SHUT = [{"mouthClose": 1.0}, {"mouthPress": 0.35}, {"jawOpen": 0.3, "mouthClose": 1.0}]


@pytest.mark.parametrize("told", SHUT)
def test_lips_that_the_photo_has_open_shut_when_told(decoder, draw, latents_of, motion, told):
    avatar = decoder.prepare(latents_of(draw(gap=0.08)))
    assert avatar.rig.photo_aperture[4] == pytest.approx(0.08, abs=0.005)
    assert avatar.rig.apertures(motion())[4] == pytest.approx(0.08, abs=0.005)
    assert avatar.rig.apertures(motion(**told))[4] <= 0.012


def test_lips_that_the_photo_has_open_shut_smoothly(decoder, draw, latents_of, motion):
    avatar = decoder.prepare(latents_of(draw(gap=0.08)))
    steps = np.linspace(0.0, 0.5, 26)
    shutting = [avatar.rig.apertures(motion(mouthClose=x))[4] for x in steps]
    assert np.diff(shutting).max() <= 1e-6
    assert np.abs(np.diff(shutting)).max() < 0.008
    opening = [avatar.rig.apertures(motion(jawOpen=x))[4] for x in steps]
    assert np.diff(opening).min() > -0.002  # hardly shuts before it opens
    assert np.abs(np.diff(opening)).max() < 0.014


def test_render_draws_the_lips_shut_over_an_open_photo(decoder, draw, latents_of, motion, still):
    portrait = draw(gap=0.08)
    frame = decoder.render(decoder.prepare(latents_of(portrait)), motion(mouthClose=1.0))
    x, y = portrait.landmarks[[13, 14], :2].mean(0).astype(int)
    dark = [(image[y - 12 : y + 12, x].sum(-1) < 200).sum() for image in (portrait.image, frame)]
    assert dark[0] >= 6
    assert dark[1] <= 2


def test_jaw_moves_the_lower_face_only(decoder, avatar, motion, still, face_box):
    moved = change(decoder.render(avatar, motion(jawOpen=0.5)), still)
    assert moved[face_box(fm.INNER_LIPS, 0.1)].max() > 60
    upper_face = (*fm.RIGHT_BROW, *fm.LEFT_BROW, *fm.RIGHT_EYE, *fm.LEFT_EYE)
    assert moved[face_box(upper_face, 0.05)].max() <= 8
    assert moved[:100].max() == 0


def test_background_stays_when_the_face_moves(decoder, avatar, motion, still, portrait):
    moved = change(decoder.render(avatar, motion(jawOpen=0.6, mouthSmile=1.0)), still)
    assert moved[:, :60][portrait.matte[:, :60] == 0].max() == 0


def test_blink_covers_the_eyeball(decoder, avatar, motion, portrait, still):
    frame = decoder.render(avatar, motion(eyeBlink=1.0))
    x, y = portrait.landmarks[fm.LEFT_IRIS[0], :2].astype(int)
    assert still[y, x].sum() < 250  # the dark iris
    assert frame[y, x].sum() > 380  # skin


def test_blink_of_one_eye_leaves_the_other(decoder, avatar, motion, still, face_box):
    moved = change(decoder.render(avatar, motion(eyeBlinkLeft=1.0)), still)
    assert moved[face_box(fm.LEFT_EYE)].max() > 60  # the subject's left: image right
    assert moved[face_box(fm.RIGHT_EYE)].max() == 0


def iris_x(frame, box):
    dark = np.clip(200.0 - frame[box].mean(-1), 0.0, None)
    return float((dark.sum(0) * np.arange(dark.shape[1])).sum() / dark.sum())


def test_gaze_turns_the_iris_and_leaves_the_skin(
    decoder, avatar, motion, portrait, still, face_box
):
    frame = decoder.render(avatar, motion(gazeYaw=0.35))
    box = face_box(fm.LEFT_EYE, -0.02)
    shift = iris_x(frame, box) - iris_x(still, box)
    assert shift > 0.4 * 0.13 * np.sin(0.35) * portrait.iod_px
    brow = face_box(fm.LEFT_BROW)
    assert change(frame, still)[brow].max() == 0


def test_pose_shift_moves_the_face_by_inter_ocular_distances(
    decoder, avatar, motion, portrait, psnr_db, face_box
):
    frame = decoder.render(avatar, motion(headX=0.2, headY=-0.1))
    dx, dy = round(0.2 * portrait.iod_px), round(-0.1 * portrait.iod_px)
    back = np.roll(frame, (-dy, -dx), (0, 1))
    box = face_box((*fm.RIGHT_EYE, *fm.LEFT_EYE, *fm.INNER_LIPS), 0.1)
    assert psnr_db(back[box], portrait.image[box]) > 24.0


@pytest.mark.parametrize(
    ("yaw", "pitch"), [(0.26, 0.0), (-0.26, 0.0), (0.0, 0.26), (0.0, -0.26), (0.2, 0.2)]
)
def test_turning_head_shows_no_hole(decoder, motion, portrait, latents_of, yaw, pitch):
    magenta = np.full_like(portrait.image, (255, 0, 255))
    avatar = decoder.prepare(latents_of(replace(portrait, background=magenta)))
    frame = decoder.render(avatar, motion(headYaw=yaw, headPitch=pitch)).astype(int)
    points = portrait.landmarks[list(fm.OVAL), :2]
    inner = ((points - points.mean(0)) * 0.75 + points.mean(0)).astype(np.int32)
    core = cv2.fillPoly(np.zeros((512, 512), np.uint8), [inner], 1) > 0
    assert (frame[core][:, 1] > 10).all()
    assert not (frame[core][:, 2] > frame[core][:, 1] + 80).any()


def test_far_head_leaves_no_border_of_the_portrait(decoder, avatar, motion):
    frame = decoder.render(avatar, motion(headLogScale=-0.65)).astype(int)
    bottom_row, above = frame[511, 200:312], frame[507, 200:312]
    assert np.abs(bottom_row - above).mean() < 12  # cloth goes on to the edge of the frame
    assert bottom_row[:, 2].mean() > bottom_row[:, 0].mean() + 20


def test_render_is_deterministic(decoder, avatar, motion):
    values = motion(jawOpen=0.3, headYaw=0.1, eyeBlink=0.4, gazePitch=0.2)
    assert (decoder.render(avatar, values) == decoder.render(avatar, values)).all()


def test_render_refuses_motion_that_is_not_finite(decoder, avatar, motion):
    values = motion()
    values[3] = np.nan
    with pytest.raises(InvalidInput) as caught:
        decoder.render(avatar, values)
    assert caught.value.reason == "NON_FINITE_MOTION"


def test_prepare_refuses_latents_of_another_space(decoder, portrait, latents_of):
    with pytest.raises(FailedPrecondition) as caught:
        decoder.prepare(latents_of(portrait, space="parlante.avatar/99"))
    assert caught.value.reason == "LATENT_SPACE_MISMATCH"


def test_prepare_refuses_landmarks_that_are_no_face(decoder, portrait, latents_of):
    point = np.full_like(portrait.landmarks, 256.0)
    with pytest.raises(FailedPrecondition, match="landmarks of a face"):
        decoder.prepare(latents_of(replace(portrait, landmarks=point)))


def test_prepare_refuses_latents_without_a_tensor(decoder, portrait, latents_of):
    latents = latents_of(portrait)
    tensors = {name: t for name, t in latents.tensors.items() if name != "matte"}
    with pytest.raises(FailedPrecondition, match="matte"):
        decoder.prepare(replace(latents, tensors=tensors))


def test_render_survives_any_motion_within_the_limits(decoder, avatar):
    random = np.random.default_rng(3)
    for _ in range(40):
        motion = clamp_motion(random.normal(0.0, 1.5, 60).astype(np.float32))
        assert decoder.render(avatar, motion).shape == (512, 512, 3)


def test_prepare_accepts_read_only_latents(decoder, portrait, latents_of, motion):
    latents = latents_of(portrait)
    for tensor in latents.tensors.values():
        tensor.flags.writeable = False
    try:
        frame = decoder.render(decoder.prepare(latents), motion(eyeBlink=0.5))
    finally:
        for tensor in latents.tensors.values():
            tensor.flags.writeable = True
    assert frame.shape == (512, 512, 3)


def test_lid_in_shadow_gets_the_colour_of_skin(decoder, draw, latents_of, motion):
    shaded = draw()
    lid = np.round(shaded.landmarks[[33, *fm.RIGHT_UPPER_LID, 133], :2]).astype(np.int32)
    width = round(0.07 * shaded.iod_px)
    shadow = cv2.polylines(np.zeros((512, 512), np.uint8), [lid - [0, width]], False, 1, width)
    shaded.image[shadow > 0] = (96, 94, 92)  # the fold of a deep-set eye
    frame = decoder.render(decoder.prepare(latents_of(shaded)), motion(eyeBlink=1.0))
    x, y = shaded.landmarks[fm.RIGHT_IRIS[0], :2].astype(int)
    red, green, _ = frame[y - 4 : y + 1, x - 3 : x + 4].reshape(-1, 3).mean(0)
    assert red / green > 1.08


def test_shut_lids_meet_in_a_dark_line(decoder, draw, latents_of, motion):
    shiny = draw()
    rim = np.round(shiny.landmarks[list(fm.RIGHT_UPPER_LID[2:5]), :2]).astype(np.int32)
    cv2.polylines(shiny.image, [rim], False, (255, 255, 255), 3)  # light on the wet rim
    frame = decoder.render(decoder.prepare(latents_of(shiny)), motion(eyeBlink=1.0))
    x, y = shiny.landmarks[145, :2].astype(int)
    light = frame[y - 6 : y + 7, x - 3 : x + 4].mean((1, 2))
    assert light.min() < 0.85 * light[-1]
    assert light.max() < 1.05 * light[-1]  # nothing of the eyeball


def test_hidden_white_of_an_eye_is_not_lighter_than_the_skin(draw):
    narrow = draw()
    for lids in ((fm.RIGHT_UPPER_LID, fm.RIGHT_LOWER_LID), (fm.LEFT_UPPER_LID, fm.LEFT_LOWER_LID)):
        upper, lower = (list(lid) for lid in lids)
        middle = 0.5 * (narrow.landmarks[upper] + narrow.landmarks[lower])
        narrow.landmarks[upper], narrow.landmarks[lower] = middle, middle
    x = narrow.landmarks[33, 0].astype(int)
    narrow.image[:, : x - 8] = 255  # a bright window behind the head
    skin = narrow.image[narrow.landmarks[50, 1].astype(int), narrow.landmarks[50, 0].astype(int)]
    grain = skin_grain(narrow.image, narrow.landmarks)
    for eye in build_eyes(narrow.image, narrow.landmarks, grain):
        assert eye.white.mean() < 1.1 * skin.mean()


def test_eye_that_hardly_turns_keeps_the_shadow_of_its_lashes(decoder, draw, latents_of, motion):
    shaded = draw()
    for lid in (fm.RIGHT_UPPER_LID, fm.LEFT_UPPER_LID):
        rim = np.round(shaded.landmarks[list(lid), :2]).astype(np.int32)
        cv2.polylines(shaded.image, [rim + np.array([0, 1])], False, (60, 50, 45), 2)
    avatar = decoder.prepare(latents_of(shaded))
    bare = [replace(eye, rim=np.full_like(eye.rim, NO_RIM)) for eye in avatar.eyes]
    rest = decoder.render(avatar, motion()).astype(int)
    turned, without = (
        np.abs(decoder.render(each, motion(gazePitch=0.004)) - rest).sum()
        for each in (avatar, replace(avatar, eyes=tuple(bare)))
    )
    assert 0 < turned < 0.6 * without


def test_the_mouth_of_a_grainy_photo_has_its_grain(decoder, draw, latents_of, motion):
    portrait = draw()
    noise = np.random.default_rng(4).normal(0.0, 12.0, (512, 512, 1))
    grainy = np.clip(portrait.image + noise, 0, 255).astype(np.uint8)
    fine = []
    for image in (portrait.image, grainy):
        avatar = decoder.prepare(latents_of(replace(portrait, image=image)))
        frame = decoder.render(avatar, motion(jawOpen=0.9)).astype(np.float32)
        x, y = portrait.landmarks[fm.UPPER_LIP_CENTRE, :2].astype(int)
        inside = frame[y + 14 : y + 34, x - 8 : x + 9].mean(axis=-1)
        fine.append(float((inside - cv2.GaussianBlur(inside, (0, 0), 1.5)).std()))
    assert fine[0] < 2.5
    assert 5.0 < fine[1] < 13.0


def test_the_mouth_has_no_grain_of_leaves_behind_the_head(decoder, draw, latents_of):
    portrait = draw()
    latents = latents_of(portrait)
    leaves = np.random.default_rng(4).normal(0.0, 30.0, (512, 512, 1))
    is_behind = latents.tensors["matte"][..., None] == 0
    image = np.clip(portrait.image + is_behind * leaves, 0, 255).astype(np.uint8)
    tensors = {**latents.tensors, "image": image}
    assert decoder.prepare(replace(latents, tensors=tensors)).mouth.grain < 4.0


@pytest.mark.parametrize("tint", [1.0, 1.8])
def test_an_open_mouth_is_dark_inside_however_light_its_lips_are(decoder, draw, latents_of, tint):
    mouth = decoder.prepare(latents_of(draw(tint=tint))).mouth
    assert 20.0 < mouth.cavity.mean() < 60.5
