"""Backgrounds go on behind a head as all sides of it tell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models.room_fill import fill_room

WALL, BOARD = (200.0, 190.0, 180.0), (60.0, 90.0, 80.0)
RED = (255.0, 0.0, 0.0)


@pytest.fixture
def room() -> tuple[np.ndarray, np.ndarray]:
    """A wall above a board, before which a head stands."""
    colours = np.full((160, 160, 3), WALL, np.float32)
    colours[60:] = BOARD
    known = np.ones((160, 160), np.float32)
    known[40:, 50:110] = 0.0
    return colours, known


def _filled(colours: np.ndarray, known: np.ndarray, fill: tuple[float, ...] = RED) -> np.ndarray:
    """Filled, where nothing tells better with one colour."""
    _, labels = cv2.distanceTransformWithLabels(
        (known == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros((int(labels.max()) + 1, 3), np.float32)
    nearest[labels[known > 0]] = colours[known > 0]
    return fill_room(colours, known, np.full_like(colours, fill), nearest[labels])


def test_what_is_level_on_both_sides_is_level_between_them(room) -> None:
    filled = _filled(*room)
    assert np.abs(filled[85:150, 60:100] - BOARD).max() < 4.0
    assert np.abs(filled[42:46, 60:100] - WALL).max() < 8.0


def test_what_is_as_one_side_above_the_head_goes_on_behind_it(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), WALL, np.float32)
    colours[:, 80:] = BOARD  # a post begins behind the head
    filled = _filled(colours, known)
    np.testing.assert_allclose(filled[60:140, 60:70], colours[60:140, 60:70], atol=24.0)
    np.testing.assert_allclose(filled[60:140, 90:100], colours[60:140, 90:100], atol=40.0)


def test_a_light_post_above_the_head_goes_on_behind_it(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), BOARD, np.float32)
    colours[:, 70:90] = WALL
    filled = _filled(colours, known)
    assert filled[70, 80, 0] > 150.0
    assert filled[120, 80, 0] > 110.0
    assert filled[70, 55, 0] == pytest.approx(BOARD[0], abs=12.0)


def test_sides_that_differ_meet_behind_the_head_without_what_is_above_it(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), 120.0, np.float32)
    colours[:45] = RED
    colours[45:, :80], colours[45:, 80:] = WALL, BOARD
    filled = _filled(colours, known)
    assert filled[100, 52:108, 0].max() < 204.0
    assert filled[100, 52, 0] == pytest.approx(WALL[0], abs=6.0)
    assert filled[100, 108, 0] == pytest.approx(BOARD[0], abs=6.0)
    assert (np.diff(filled[100, 56:104, 0]) <= 0.5).all()


def test_there_is_no_step_at_the_rim(room) -> None:
    colours, known = room
    colours[:40] = BOARD  # right above the head; level rows are light there
    colours[40:60] = WALL
    filled = _filled(colours, known)
    assert np.abs(filled[41, 60:100] - BOARD).max() < 30.0


def test_a_strand_of_hair_at_the_rim_is_not_drawn_out(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), WALL, np.float32)
    colours[80:110, 47:50] = 20.0
    filled = _filled(colours, known)
    assert filled[95, 75:, 0].min() > 150.0


def test_rows_that_hardly_show_a_side_are_as_those_above_them(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), WALL, np.float32)
    known[120:] = 0.0
    known[120:140, :8] = 1.0  # above a shoulder, in its shade
    colours[120:140, :8] = BOARD
    filled = _filled(colours, known)
    assert np.abs(filled[125:, 60:100] - WALL).max() < 6.0
    assert np.abs(np.diff(filled[40:, 80, 0])).max() < 6.0


def test_rows_without_a_known_pixel_are_as_their_neighbours(room) -> None:
    colours, known = room
    known[:8] = 0.0
    filled = _filled(colours, known)
    np.testing.assert_allclose(filled[:8], np.broadcast_to(WALL, (8, 160, 3)), atol=1.0)


def test_a_hole_without_any_side_is_left() -> None:
    known = np.zeros((64, 64), np.float32)
    fill = np.full((64, 64, 3), 7.0, np.float32)
    np.testing.assert_array_equal(fill_room(fill, known, fill, fill), fill)


def test_rows_that_lack_a_side_do_not_darken_their_neighbours(room) -> None:
    _, known = room
    wall = np.full((160, 160, 3), WALL, np.float32)
    known[70:90, :50] = 0.0  # an arm, say
    known[120:] = 0.0  # below the picture
    colours = np.where(known[..., None] > 0, wall, np.float32(0.0))
    filled = _filled(colours, known, WALL)
    assert np.abs(filled - wall).max() < 2.0
