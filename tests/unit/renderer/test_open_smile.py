"""A smile with teeth: the lips close over it, and it keeps its own teeth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.lip_fill import fill_opening
from parlante.models.lip_opening import redness_of
from parlante.models.mouth_colours import teeth_colour
from parlante.models.teeth import TOOTH_WIDTHS, teeth_texture
from tests.unit.renderer.conftest import LIP

TOOTH = (235, 230, 205)
TEETH, GUM = np.array([200.0, 190.0, 180.0]), np.array([150.0, 90.0, 90.0])


def paint(portrait, colour):
    shape = np.round(portrait.landmarks[list(fm.INNER_LIPS), :2] * 16).astype(np.int32)
    cv2.fillPoly(portrait.image, [shape], colour, cv2.LINE_AA, 4)
    return portrait


@pytest.fixture(scope="module")
def smiling(draw):
    return paint(draw(gap=0.14), TOOTH)


@pytest.fixture(scope="module")
def avatar(decoder, smiling, latents_of):
    return decoder.prepare(latents_of(smiling))


def mouth_of(frame, portrait):
    points = portrait.landmarks[list(fm.OUTER_LIPS), :2]
    (x0, y0), (x1, y1) = points.min(0).astype(int), points.max(0).astype(int)
    return frame[y0:y1, x0:x1].astype(int)


def count_teeth(frame, portrait):
    mouth = mouth_of(frame, portrait)
    return int(((mouth[..., 1] > 150) & (mouth[..., 0] - mouth[..., 1] < 25)).sum())


def test_fill_leaves_lips_only(smiling):
    filled = fill_opening(smiling.image, smiling.landmarks)
    assert count_teeth(smiling.image, smiling) > 400
    assert count_teeth(filled, smiling) == 0


def test_fill_leaves_lips_only_where_the_tracker_has_the_rim_too_high(smiling):
    told = smiling.landmarks.copy()
    told[list(fm.LOWER_LIP_ROWS[0]), 1] -= 0.05 * smiling.iod_px
    assert count_teeth(fill_opening(smiling.image, told), smiling) == 0


def test_fill_leaves_the_face_beyond_the_lips(smiling):
    filled = fill_opening(smiling.image, smiling.landmarks)
    changed = np.abs(filled.astype(int) - smiling.image).max(-1) > 0
    y, x = np.nonzero(changed)
    outline = smiling.landmarks[list(fm.OUTER_LIPS), :2]
    margin = 0.05 * smiling.iod_px
    assert x.min() > outline[:, 0].min() - margin
    assert x.max() < outline[:, 0].max() + margin
    assert y.min() > outline[:, 1].min() - margin
    assert y.max() < outline[:, 1].max() + margin


def test_teeth_near_the_corners_of_a_smile_do_not_shine_through_lips_nor_skin_into_thin_ones(draw):
    portrait = paint(draw(gap=0.2, smile=0.06), TOOTH)
    filled = fill_opening(portrait.image, portrait.landmarks).astype(np.float64)
    rims = [
        portrait.landmarks[list(rows[0]), :2] for rows in (fm.UPPER_LIP_ROWS, fm.LOWER_LIP_ROWS)
    ]
    middle = np.rint(0.5 * (rims[0] + rims[1])).astype(int)[[1, 2, -3, -2]]
    lips = redness_of(np.array(LIP, float))
    for x, y in middle:
        assert redness_of(filled[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))) > 0.8 * lips


def test_closed_lips_hide_the_teeth(decoder, avatar, smiling, motion):
    assert count_teeth(decoder.render(avatar, motion(mouthClose=1.0)), smiling) == 0


def test_lips_without_motion_leave_the_smile(decoder, avatar, smiling, motion):
    shown = count_teeth(decoder.render(avatar, motion()), smiling)
    assert shown == pytest.approx(count_teeth(smiling.image, smiling), rel=0.03)


def test_opened_smile_shows_the_teeth_of_the_photo(decoder, avatar, smiling, motion):
    frame = decoder.render(avatar, motion(jawOpen=0.3))
    assert count_teeth(frame, smiling) > 250
    mouth = mouth_of(frame, smiling)
    light = mouth[mouth.sum(-1) >= np.quantile(mouth.sum(-1), 0.99)].mean(0)
    assert light == pytest.approx(TOOTH, abs=30)


def test_open_mouth_without_teeth_gets_drawn_ones(decoder, draw, latents_of, avatar):
    dark = decoder.prepare(latents_of(draw(gap=0.14)))
    assert dark.mouth.upper.shape == avatar.mouth.upper.shape
    assert np.abs(dark.mouth.upper.astype(int) - avatar.mouth.upper).max() > 50


def test_the_row_of_a_smile_goes_on_where_corners_and_lower_lip_hid_it(avatar):
    def row_of(texture):
        is_there = texture[..., 3] > 128
        return is_there.any(0), np.where(is_there, np.arange(len(texture))[:, None], 0).max(0)

    (own, own_edge), (drawn, drawn_edge) = (
        row_of(texture)
        for texture in (avatar.mouth.upper, teeth_texture(TEETH, GUM, TOOTH_WIDTHS, is_upper=True))
    )
    assert own.sum() > 0.95 * drawn.sum()
    middle = len(own) // 2
    sides = own & drawn
    falls = own_edge[middle] - own_edge[sides]
    assert np.abs(falls - (drawn_edge[middle] - drawn_edge[sides])).max() < 8


def test_gums_and_shadows_between_the_teeth_of_a_smile_do_not_go_on_above_and_below_them(
    decoder, draw, latents_of
):
    portrait = paint(draw(gap=0.14), TOOTH)
    points = portrait.landmarks[list(fm.UPPER_LIP_ROWS[0])[1:-1], :2]
    for x, y in np.round(points).astype(int):  # between teeth, down to a third of them
        cv2.line(portrait.image, (x, y), (x, y + 5), (190, 110, 110), 2)
    for x, y in np.round(portrait.landmarks[list(fm.LOWER_LIP_ROWS[0])[2:-2], :2]).astype(int):
        cv2.line(portrait.image, (x, y), (x, y - 4), (60, 20, 20), 2)
    texture = decoder.prepare(latents_of(portrait)).mouth.upper.astype(np.float64)
    is_tooth = texture[..., 3] > 200
    ends = np.where(is_tooth, np.arange(len(texture))[:, None], 0).max(0)
    middle = np.s_[len(ends) // 2 - 20 : len(ends) // 2 + 20]
    assert np.abs(np.diff(ends[middle])).max() <= 2
    crowns = [
        texture[end - 20 : end - 8, column, :3]
        for column, end in enumerate(ends[middle], middle.start)
    ]
    assert redness_of(np.stack(crowns)).max() < redness_of(np.array(TOOTH, float)) + 0.05
    assert np.median(np.stack(crowns).mean(-1)) > 0.85 * np.mean(TOOTH)


def to_grey(portrait):
    grey = np.repeat(portrait.image.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    return replace(portrait, image=grey)


def test_grey_smile_keeps_its_teeth_and_gets_no_colour(decoder, smiling, latents_of, motion):
    avatar = decoder.prepare(latents_of(to_grey(smiling)))
    assert avatar.mouth.shows_teeth
    mouth = mouth_of(decoder.render(avatar, motion(jawOpen=0.4)), smiling)
    assert np.ptp(mouth, axis=-1).max() <= 24


def test_grey_closed_lips_show_no_teeth(decoder, draw, latents_of):
    assert not decoder.prepare(latents_of(to_grey(draw()))).mouth.shows_teeth


@pytest.mark.parametrize("level", [0, 255])
def test_picture_without_any_contrast_is_rendered(decoder, smiling, latents_of, motion, level):
    plain = replace(smiling, image=np.full_like(smiling.image, level))
    frame = decoder.render(decoder.prepare(latents_of(plain)), motion(jawOpen=0.3))
    assert frame.shape == (512, 512, 3)


@pytest.fixture(scope="module")
def gaping(decoder, draw, latents_of):
    """A mouth open by 0.45 IOD."""
    drawn = draw(gap=0.45)
    return drawn, decoder.prepare(latents_of(drawn))


def test_a_gaping_mouth_is_shut_by_its_jaw(gaping, motion):
    drawn, avatar = gaping
    shut = avatar.rig.displace(motion(mouthClose=1.0), avatar.mesh.vertices)
    rise = (avatar.mesh.vertices - shut)[fm.CHIN, 1] / drawn.iod_px
    assert rise > 0.15  # lips alone would leave the chin where it is
    gaps = shut[list(fm.LOWER_LIP_ROWS[0]), 1] - shut[list(fm.UPPER_LIP_ROWS[0]), 1]
    assert np.abs(gaps).max() < 0.04 * drawn.iod_px


def test_a_gaping_mouth_opens_as_asked_from_a_shut_one(gaping, motion):
    _, avatar = gaping
    wide = avatar.rig.apertures(motion(jawOpen=0.6)).max()
    assert wide == pytest.approx(0.01 + 0.6 * 0.5, abs=0.05)


def test_parted_lips_keep_their_jaw(decoder, draw, latents_of):
    avatar = decoder.prepare(latents_of(draw(gap=0.07)))
    assert np.abs(avatar.rig.jaw_rest).max() == 0.0


def test_dark_skin_has_teeth_as_bright_as_the_light_makes_them():
    lips, white = np.array([62.0, 44.0, 38.0]), np.array([150.0, 140.0, 132.0], np.float32)
    assert teeth_colour(None, white, lips, 60.0).mean() > 1.1 * white.mean()
    shaded = np.full((50, 3), 82.0)  # brighter than the lips, and yet in their shadow
    assert teeth_colour(shaded, white, lips, 60.0).mean() > 1.1 * white.mean()


@pytest.mark.parametrize(("shown", "least"), [((95, 70, 63), 140), ((225, 215, 200), 190)])
def test_what_is_darker_than_the_lips_does_not_colour_the_teeth(shown, least):
    lips = np.array([126.0, 74.0, 71.0])
    white = np.array([123.0, 99.0, 89.0], np.float32)
    colour = teeth_colour(np.full((50, 3), shown, np.float64), white, lips, 155.0)
    assert colour.mean() > least


def test_lips_mixed_into_the_pixels_of_narrow_teeth_do_not_redden_them():
    lips, tooth = np.array([132.0, 52.0, 57.0]), np.array([160.0, 152.0, 148.0])
    white = np.array([150.0, 144.0, 140.0], np.float32)
    shares = np.linspace(0.2, 0.8, 60)[:, None]
    seen = teeth_colour(tooth + shares * (lips - tooth), white, lips, 150.0)
    assert redness_of(seen) < redness_of(tooth) + 0.02
    assert seen.mean() > 0.95 * tooth.mean()
