"""What lies beyond the portrait's frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models.decoder_canvas import PAD_SIDE_PX, PAD_TOP_PX, make_canvas

BOTTOM = PAD_TOP_PX + 512


@pytest.fixture(scope="module")
def canvas():
    """A person whose shoulders leave the frame at the bottom, in a striped shirt."""
    matte = np.zeros((512, 512), np.uint8)
    shoulders = np.array([[200, 300], [312, 300], [420, 512], [92, 512]])
    cv2.fillPoly(matte, [shoulders], 255)
    image = np.full((512, 512, 3), 60, np.uint8)
    image[:, ::8] = image[:, 1::8] = image[:, 2::8] = 200
    return make_canvas(image, matte)


def test_portrait_itself_is_kept(canvas):
    inside = canvas[PAD_TOP_PX:BOTTOM, PAD_SIDE_PX : PAD_SIDE_PX + 512, :3]
    assert set(np.unique(inside)) == {60, 200}


def test_outline_of_shoulders_goes_on_below_the_frame(canvas):
    widths = [(canvas[BOTTOM + below, :, 3] > 127).sum() for below in (-2, 30, 80)]
    assert widths[1] > widths[0] + 15
    assert widths[2] > widths[1] + 15


def test_nobody_is_beyond_sides_that_the_outline_does_not_reach(canvas):
    assert canvas[PAD_TOP_PX:BOTTOM, : PAD_SIDE_PX + 60, 3].max() == 0
    assert canvas[:, : PAD_SIDE_PX // 2, 3].max() == 0


def test_cloth_below_the_frame_shows_no_streaks(canvas):
    middle = slice(PAD_SIDE_PX + 200, PAD_SIDE_PX + 312)
    assert np.ptp(canvas[BOTTOM - 4, middle, 0].astype(int)) > 100
    assert np.ptp(canvas[BOTTOM + 60, middle, 0].astype(int)) < 15


def test_a_head_that_the_frame_cuts_off_goes_on_as_a_circle():
    matte = np.zeros((512, 512), np.uint8)
    cv2.circle(matte, (256, 90), 110, 255, -1)  # its top is 20 px above the frame
    canvas = make_canvas(np.full((512, 512, 3), 60, np.uint8), matte)
    above = canvas[:PAD_TOP_PX, PAD_SIDE_PX : PAD_SIDE_PX + 512, 3] > 127
    height = int(above.any(axis=1).sum())
    assert 17 <= height <= 23
    expected = 2 * np.sqrt(110**2 - 100**2)
    assert above[PAD_TOP_PX - 10].sum() == pytest.approx(expected, rel=0.12)


def test_hair_above_the_frame_has_no_streaks():
    matte = np.zeros((512, 512), np.uint8)
    matte[:200, 150:362] = 255
    image = np.zeros((512, 512, 3), np.uint8)
    image[4:8] = 200  # a lock that lies level
    canvas = make_canvas(image, matte)
    column = canvas[PAD_TOP_PX - 12 : PAD_TOP_PX, PAD_SIDE_PX + 256, 0]
    assert column.max() == 200
    assert column.min() == 0


def test_no_second_forehead_lies_above_little_hair():
    matte = np.zeros((512, 512), np.uint8)
    matte[:200, 150:362] = 255
    image = np.full((512, 512, 3), 40, np.uint8)
    image[20:] = 200  # the forehead
    above = make_canvas(image, matte, hair_px=16.0)[:PAD_TOP_PX, PAD_SIDE_PX + 256, 0]
    assert above.max() < 60
    assert make_canvas(image, matte)[:PAD_TOP_PX, PAD_SIDE_PX + 256, 0].max() > 150


def test_arms_hang_down_from_shoulders_that_leave_the_frame_at_its_sides():
    matte = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(
        matte,
        [np.array([[200, 300], [312, 300], [530, 420], [530, 520], [-20, 520], [-20, 420]])],
        255,
    )
    canvas = make_canvas(np.full((512, 512, 3), 60, np.uint8), matte)
    near, far = ((canvas[BOTTOM + below, :, 3] > 127).sum() for below in (30, 330))
    assert near > 512 + 80
    assert far < near + 140


def _broad(colour: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A person whose shoulders leave the frame at its sides, with a V of skin at the bottom."""
    matte = np.zeros((512, 512), np.uint8)
    outline = [[200, 300], [312, 300], [530, 420], [530, 520], [-20, 520], [-20, 420]]
    cv2.fillPoly(matte, [np.array(outline)], 255)
    image = np.full((512, 512, 3), colour, np.uint8)
    image[:, 240:272] = (220, 160, 140)
    return image, matte


def test_a_collar_closes_below_the_frame():
    canvas = make_canvas(*_broad())[BOTTOM:, PAD_SIDE_PX + 256, :3].astype(int)
    assert canvas[4, 0] > 180
    assert np.abs(canvas[120:] - 120).max() < 8


def test_sleeves_are_told_from_the_chest_below_the_frame():
    row = make_canvas(*_broad())[BOTTOM + 200]
    cloth = row[row[:, 3] > 250, 0].astype(int)
    left, middle, right = np.array_split(cloth, 3)
    assert min(left[30:].min(), right[:-30].min()) < 100  # folds
    assert middle.min() > 110
    assert left[:8].min() < 110  # rounded off


def test_an_outline_that_is_made_up_has_no_steps():
    alpha = make_canvas(*_broad())[BOTTOM + 100 : BOTTOM + 300, :, 3]
    partly = (alpha > 20) & (alpha < 235)
    assert (partly[:, : alpha.shape[1] // 2].sum(axis=1) >= 2).all()
