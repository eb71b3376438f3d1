"""Sizes, backgrounds and whole pictures: one code path, and nothing of the old behind the new."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.models.frame_look import FrameLook, build_stage, fit_backdrop
from parlante.models.portrait_layers import (
    Layers,
    cut_out,
    fine_over,
    keep_still,
    size_layers,
    unmix,
)
from parlante.types import FRAME_SIZES_PX, BackgroundKind

GREEN = (20, 200, 60)


@pytest.fixture(scope="module")
def speaking(motion):
    return motion(
        headYaw=0.12, headX=0.1, jawOpen=0.4, mouthLowerDown=0.2, eyeBlink=1.0, browInnerUp=0.5
    )


@pytest.fixture(scope="module")
def plain(decoder, avatar, speaking):
    return decoder.render(avatar, speaking)


def with_tensors(latents, **tensors):
    return replace(latents, tensors=MappingProxyType({**latents.tensors, **tensors}))


# --- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_px", FRAME_SIZES_PX)
def test_every_size_shows_the_same_face(decoder, latents, speaking, plain, psnr_db, size_px):
    frame = decoder.render(decoder.prepare(latents, FrameLook(size_px=size_px)), speaking)
    assert frame.shape == (size_px, size_px, 3)
    way = cv2.INTER_AREA if size_px > 512 else cv2.INTER_CUBIC
    assert psnr_db(cv2.resize(frame, (512, 512), interpolation=way), plain) > 26.0


def test_the_default_size_is_what_it_was(decoder, latents, avatar, speaking, plain):
    again = decoder.render(decoder.prepare(latents, FrameLook()), speaking)
    np.testing.assert_array_equal(again, plain)


def test_large_frames_use_the_fine_pixels_of_the_portrait(decoder, latents, portrait, motion):
    fine = cv2.resize(portrait.image, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:1024, :1024]
    fine = np.where(((x + y) % 4 < 2)[..., None], fine, np.uint8(0.8 * fine))  # too fine for 512
    look, still = FrameLook(size_px=1024), motion()
    sharp = decoder.render(decoder.prepare(with_tensors(latents, image_fine=fine), look), still)
    soft = decoder.render(decoder.prepare(latents, look), still)
    chin = np.s_[640:700, 460:560]

    def detail(frame):
        patch = frame[chin].astype(np.float32)
        return float(np.abs(patch - cv2.GaussianBlur(patch, (0, 0), 2.0)).mean())

    assert detail(sharp) > 3.0 * detail(soft)


def test_streams_of_different_sizes_take_turns(decoder, latents, avatar, speaking, plain):
    small = decoder.prepare(latents, FrameLook(size_px=256))
    first = decoder.render(small, speaking)
    np.testing.assert_array_equal(decoder.render(avatar, speaking), plain)
    np.testing.assert_array_equal(decoder.render(small, speaking), first)


def test_fine_pixels_are_taken_only_where_they_are_shown():
    coarse = np.full((64, 64, 3), 100, np.uint8)
    fine = np.full((128, 128, 3), 200, np.uint8)
    shown = np.zeros((128, 128), np.uint8)
    shown[:, 64:] = 255
    out = fine_over(coarse, fine, shown)
    assert (out[:, :60] == 100).all()
    assert (out[:, 76:] == 200).all()


# --- background --------------------------------------------------------------------------------


def test_a_colour_replaces_the_background_and_leaves_the_person(
    decoder, latents, speaking, plain, portrait
):
    look = FrameLook(background=BackgroundKind.COLOUR, colour_rgb=GREEN)
    frame = decoder.render(decoder.prepare(latents, look), speaking)
    corner = np.s_[:60, :60]
    assert (frame[corner] == GREEN).all()
    face = np.s_[200:300, 220:290]
    assert np.abs(frame[face].astype(int) - plain[face]).mean() < 1.0


def test_nothing_of_the_old_background_shines_at_the_rim(decoder, draw, latents_of, motion):
    drawn = draw()
    soft = cv2.GaussianBlur(drawn.matte, (0, 0), 3.0)
    share = soft[..., None] / 255.0
    magenta = np.full_like(drawn.image, (255, 0, 255))
    image = np.rint(drawn.image * share + magenta * (1 - share)).astype(np.uint8)
    made = replace(drawn, image=image, matte=soft, background=magenta)
    look = FrameLook(background=BackgroundKind.COLOUR, colour_rgb=(0, 0, 0))
    frame = decoder.render(decoder.prepare(latents_of(made), look), motion()).astype(int)
    spill = np.minimum(frame[..., 0], frame[..., 2]) - frame[..., 1]
    plain = decoder.render(decoder.prepare(latents_of(made)), motion()).astype(int)
    assert (np.minimum(plain[..., 0], plain[..., 2]) - plain[..., 1]).max() > 200
    assert spill[60:, :].max() < 70


def test_transparent_frames_carry_the_matte_as_alpha(decoder, latents, speaking, plain):
    look = FrameLook(background=BackgroundKind.TRANSPARENT)
    frame = decoder.render(decoder.prepare(latents, look), speaking)
    assert frame.shape == (512, 512, 4)
    assert (frame[:60, :60, 3] == 0).all()
    assert (frame[200:300, 220:290, 3] == 255).all()  # eyes and mouth have no hole
    face = np.s_[200:300, 220:290]
    assert np.abs(frame[face][..., :3].astype(int) - plain[face]).mean() < 1.0
    over = frame[..., :3] * (frame[..., 3:] / 255.0) + np.array(GREEN) * (
        1 - frame[..., 3:] / 255.0
    )
    colour = FrameLook(background=BackgroundKind.COLOUR, colour_rgb=GREEN)
    composed = decoder.render(decoder.prepare(latents, colour), speaking)
    assert np.abs(over - composed).mean() < 0.5


def test_blur_and_picture_are_behind_the_person(decoder, latents, motion):
    picture = np.zeros((300, 500, 3), np.uint8)
    picture[:, :250] = (250, 10, 10)
    shown = FrameLook(background=BackgroundKind.PICTURE, picture=fit_backdrop(picture))
    frame = decoder.render(decoder.prepare(latents, shown), motion())
    assert frame[10, 10].tolist() == [250, 10, 10]
    assert frame[10, 500].tolist() == [0, 0, 0]
    noisy = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    blurred = FrameLook(background=BackgroundKind.BLURRED)
    made = decoder.prepare(with_tensors(latents, background=noisy), blurred)
    assert decoder.render(made, motion())[:50, :50].std() < 12.0


def test_looks_have_keys_of_their_own():
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (0, 1)]
    looks = [
        FrameLook(),
        FrameLook(size_px=256),
        FrameLook(background=BackgroundKind.BLURRED),
        FrameLook(background=BackgroundKind.TRANSPARENT),
        FrameLook(background=BackgroundKind.COLOUR),
        FrameLook(background=BackgroundKind.COLOUR, colour_rgb=GREEN),
        *(FrameLook(background=BackgroundKind.PICTURE, picture=p) for p in pictures),
    ]
    assert len({look.key for look in looks}) == len(looks)


def test_a_person_that_fills_the_frame_is_kept_whole():
    rng = np.random.default_rng(0)
    image, behind = (rng.integers(0, 255, (512, 512, 3), np.uint8) for _ in range(2))
    full = np.full((512, 512), 255, np.uint8)
    rgb, alpha = cut_out(Layers(image=image, matte=full, background=behind))
    np.testing.assert_array_equal(rgb, image)
    assert (alpha == 255).all()
    nobody = Layers(image=image, matte=np.zeros_like(full), background=behind)
    assert (cut_out(nobody)[1] == 0).all()


def test_layers_of_the_same_size_are_left_alone(portrait):
    layers = Layers(image=portrait.image, matte=portrait.matte, background=portrait.background)
    assert size_layers(layers, 512) is layers


# --- the whole picture -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(latents, portrait):
    """The drawn portrait at half size within a larger picture."""
    y, x = np.mgrid[:480, :640]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    small = cv2.resize(portrait.image, (288, 288), interpolation=cv2.INTER_AREA)
    picture[100:388, 200:488] = small
    return with_tensors(latents, picture=picture, placement=np.array([200, 100, 288], np.float32))


def test_at_rest_the_picture_is_as_it_was(decoder, scene, motion):
    frame = decoder.render(decoder.prepare(scene), motion())
    picture = scene.tensors["picture"]
    assert frame.shape == picture.shape
    outside = np.ones(picture.shape[:2], bool)
    outside[100:388, 200:488] = False
    np.testing.assert_array_equal(frame[outside], picture[outside])
    inside = np.abs(frame[100:388, 200:488].astype(int) - picture[100:388, 200:488])
    assert inside.mean() < 4.0  # the drawn background has no grain


def test_motion_fades_out_before_the_squares_edge(decoder, scene, motion):
    avatar = decoder.prepare(scene)
    rest = decoder.render(avatar, motion()).astype(int)
    moved = decoder.render(avatar, motion(headX=1.0, headYaw=0.3, headLogScale=0.7, jawOpen=0.5))
    change = np.abs(moved.astype(int) - rest).max(-1)
    assert change[200:300, 300:400].mean() > 5.0
    outside = np.ones(change.shape, bool)
    outside[104:384, 204:484] = False
    assert change[outside].max() <= 12
    assert change[outside].mean() < 0.05


def test_a_square_that_reaches_over_the_pictures_edge_is_cut_there():
    picture = np.full((200, 300, 3), 50, np.uint8)
    stage = build_stage(picture, np.array([-40, 60, 256], np.float32))
    assert stage.box == (0, 60, 216, 200)
    assert stage.fades == (False, True, True, False)
    frame = stage.paste(np.full((256, 256, 3), 200, np.uint8))
    assert frame.shape == picture.shape
    assert (frame[150, :150] == 200).all()
    assert (frame[:60] == 50).all()
    assert (frame[:, 217:] == 50).all()
    hold = stage.hold(np.array([[1.0, 128.0], [128.0, 1.0], [128.0, 128.0], [255.0, 128.0]]))
    np.testing.assert_allclose(hold[[0, 2]], 1.0)
    assert hold[[1, 3]].max() < 0.01


def test_the_whole_picture_keeps_its_background(decoder, scene):
    with pytest.raises(InvalidInput) as caught:
        decoder.prepare(scene, FrameLook(background=BackgroundKind.BLURRED))
    assert caught.value.reason == "BACKGROUND_FIXED"


def test_unmixed_person_over_its_background_is_the_photo() -> None:
    rng = np.random.default_rng(3)
    background = np.full((64, 64, 3), (180, 160, 140), np.uint8)
    image = background.copy()
    image[20:44, 20:44] = (40, 30, 30)
    image[4:-4, 50] = (90, 70, 60)  # a hair outside the matte
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    image = np.clip(image + rng.integers(-2, 3, image.shape), 0, 255).astype(np.uint8)
    matte = np.zeros((64, 64), np.uint8)
    matte[20:44, 20:44] = 255
    layers = Layers(image=image, matte=matte, background=background)
    person, alpha = unmix(layers, cv2.GaussianBlur(matte, (0, 0), 2.0))
    share = alpha[..., None] / 255.0
    both = person * share + background * (1.0 - share)
    assert np.abs(both - image).max() <= 5.0
    assert alpha[10, 50] > 100  # the hair goes with the head
    assert alpha[5, 5] < 20
    assert np.abs(person.astype(int) - image)[alpha > 20].max() <= 64


def test_a_line_along_the_edge_of_a_photo_is_not_drawn_out_beyond_it() -> None:
    background = np.full((512, 512, 3), (180, 160, 140), np.uint8)
    image = background.copy()
    image[:2] = (40, 30, 30)  # a frame, painted out of the background behind the head
    image[60:, 200:312] = (60, 40, 30)
    matte = np.zeros((512, 512), np.uint8)
    matte[60:, 200:312] = 255
    layers = keep_still(Layers(image=image, matte=matte, background=background))
    np.testing.assert_array_equal(layers.background[:3], image[:3])
    _, alpha = unmix(layers, matte)
    assert (alpha[:8] == 0).all()
    assert (alpha[-1, 200:312] == 255).all()  # shoulders run on


def test_what_is_far_from_the_person_stays_where_it_is() -> None:
    background = np.full((512, 512, 3), (180, 160, 140), np.uint8)
    image = background.copy()
    image[200:240] = (40, 30, 30)  # a shelf that the background has lost
    matte = np.zeros((512, 512), np.uint8)
    matte[60:, 230:282] = 255
    layers = keep_still(Layers(image=image, matte=matte, background=background))
    np.testing.assert_array_equal(layers.background[:, :120], image[:, :120])
    np.testing.assert_array_equal(layers.background[100:400, 200:310], background[:300, :110])
