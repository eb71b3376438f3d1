"""A drawing stays one when it speaks.

Its lips lost their lines, as what is dark beside an opening was taken for a part of it, and its
mouth was drawn as that of a photo.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.drawing import find_ink, find_seam, is_drawing
from parlante.models.frame_geometry import INNER_LIPS, geometry_from_motion
from parlante.models.lip_opening import refine_lips

PAPER, INK = (250, 244, 226), (24, 20, 30)
WIDTH_PX = 3


def lines_of(portrait, *, mouth=()):
    """The portrait as a drawing in lines, of lips' outline and what is between them."""
    image = np.full_like(portrait.image, PAPER)

    def line(points, is_loop=False):
        shape = np.rint(np.asarray(points) * 16).astype(np.int32)
        cv2.polylines(image, [shape], is_loop, INK, WIDTH_PX, cv2.LINE_AA, 4)

    points = portrait.landmarks[:, :2]
    for loop in (fm.OVAL, fm.RIGHT_EYE, fm.LEFT_EYE, fm.OUTER_LIPS):
        line(points[list(loop)], is_loop=True)
    line(points[[98, 97, 2, 326, 327]])
    for row in mouth:
        line(row)
    return replace(portrait, image=image)


@pytest.fixture(scope="module")
def tracked(draw):
    """Lips that the tracker sees apart."""
    return draw(gap=0.1)


@pytest.fixture(scope="module")
def seam(tracked):
    rows = [tracked.landmarks[list(row), :2] for row in (fm.INNER_UPPER_LIP, fm.INNER_LOWER_LIP)]
    return 0.6 * rows[0] + 0.4 * rows[1]


@pytest.fixture(scope="module")
def closed(tracked, seam):
    return lines_of(tracked, mouth=[seam])


def test_lines_on_paper_are_a_drawing_and_a_portrait_is_none(closed, portrait, tracked):
    assert is_drawing(closed.image, closed.landmarks)
    assert not is_drawing(portrait.image, portrait.landmarks)
    assert not is_drawing(tracked.image, tracked.landmarks)


def test_lips_of_a_drawing_meet_where_their_line_is(closed, seam):
    found = find_seam(closed.image, closed.landmarks)
    refined = refine_lips(closed.image, closed.landmarks, found)
    for row in (fm.UPPER_LIP_ROWS[0], fm.LOWER_LIP_ROWS[0]):
        assert refined[list(row), :2] == pytest.approx(seam[1:-1], abs=2.0)


def test_an_open_mouth_of_a_drawing_has_no_seam(tracked):
    rims = [tracked.landmarks[list(row), :2] for row in (fm.INNER_UPPER_LIP, fm.INNER_LOWER_LIP)]
    inset = [np.array([0.0, 2.0]), np.array([0.0, -2.0])]
    drawn = lines_of(tracked, mouth=[rim + by for rim, by in zip(rims, inset, strict=True)])
    assert find_seam(drawn.image, drawn.landmarks) is None


def test_ink_is_that_of_the_lines(closed):
    ink = find_ink(closed.image, closed.landmarks)
    assert ink.colour == pytest.approx(INK, abs=25)
    assert ink.strength == 1.0
    assert ink.width_iod * closed.iod_px == pytest.approx(WIDTH_PX, abs=1.0)


@pytest.mark.parametrize("is_closed", [True, False])
def test_lines_stay_along_the_opening(decoder, closed, tracked, latents_of, motion, is_closed):
    drawing = closed if is_closed else lines_of(tracked)
    avatar = decoder.prepare(latents_of(drawing, key="9" * 64))
    assert avatar.mouth.is_closed == is_closed
    row = motion(jawOpen=0.4)
    frame = decoder.render(avatar, row).astype(np.float32).mean(-1)
    lips = geometry_from_motion(avatar, row).posed[INNER_LIPS]
    for x, y in np.rint(lips[[3, 5, 7, 14, 16, 18]]).astype(int):
        assert frame[y - 2 : y + 3, x].min() < 90.0


def test_outlines_of_drawn_lips_are_not_painted_over(decoder, closed, latents_of, motion):
    avatar = decoder.prepare(latents_of(closed, key="9" * 64))
    row = motion(mouthPucker=0.8)
    frame = decoder.render(avatar, row).astype(np.float32).mean(-1)
    posed = geometry_from_motion(avatar, row).posed
    for x, y in np.rint(posed[list(fm.OUTER_UPPER_LIP + fm.OUTER_LOWER_LIP[1:-1])]).astype(int):
        assert frame[y - 3 : y + 4, x - 3 : x + 4].min() < 170.0


def test_teeth_of_a_drawing_are_an_even_band(decoder, closed, latents_of, motion):
    avatar = decoder.prepare(latents_of(closed, key="9" * 64))
    assert avatar.mouth.tooth == pytest.approx(PAPER, abs=12)
    teeth = avatar.mouth.upper[avatar.mouth.upper[..., 3] == 255][:, :3]
    assert np.ptp(teeth, 0).max() == 0
    assert avatar.mouth.lower[..., 3].max() == 0
    assert avatar.mouth.grain == 0.0
