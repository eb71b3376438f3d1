"""Backgrounds go on behind a head as both sides of it tell."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models.row_fill import fill_rows

WALL, BOARD = (200.0, 190.0, 180.0), (60.0, 90.0, 80.0)


@pytest.fixture
def room() -> tuple[np.ndarray, np.ndarray]:
    """A wall above a board, before which a head stands; fills come from above."""
    colours = np.full((160, 160, 3), WALL, np.float32)
    colours[60:] = BOARD
    known = np.ones((160, 160), np.float32)
    known[40:, 50:110] = 0.0
    return colours, known


def test_what_is_level_on_both_sides_is_level_between_them(room) -> None:
    colours, known = room
    dome = np.full_like(colours, WALL)
    filled = fill_rows(colours, known, dome)
    assert np.abs(filled[80:150, 60:100] - BOARD).max() < 2.0
    assert np.abs(filled[42:48, 60:100] - WALL).max() < 2.0


def test_what_is_upright_above_the_head_is_left_to_the_fill(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), WALL, np.float32)
    colours[:, 80:] = BOARD  # a post begins behind the head
    filled = fill_rows(colours, known, colours)
    np.testing.assert_allclose(filled[60:140, 60:100], colours[60:140, 60:100], atol=1.0)


def test_sides_that_differ_meet_behind_the_head_without_what_is_above_it(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), 120.0, np.float32)
    colours[:45] = (255.0, 0.0, 0.0)
    colours[45:, :80], colours[45:, 80:] = WALL, BOARD
    filled = fill_rows(colours, known, np.full_like(colours, (255.0, 0.0, 0.0)))
    assert filled[100, 52:108, 0].max() < 202.0
    assert filled[100, 52, 0] == pytest.approx(WALL[0], abs=6.0)
    assert filled[100, 108, 0] == pytest.approx(BOARD[0], abs=6.0)
    assert (np.diff(filled[100, 50:110, 0]) <= 0.5).all()


def test_rows_without_a_known_pixel_are_as_their_neighbours(room) -> None:
    colours, known = room
    known[:8] = 0.0
    filled = fill_rows(colours, known, np.zeros_like(colours))
    np.testing.assert_allclose(filled[:8], np.broadcast_to(WALL, (8, 160, 3)), atol=1.0)


def test_holes_that_no_side_bounds_are_left(room) -> None:
    colours, known = room
    known[40:, :110] = 0.0
    fill = np.full_like(colours, 7.0)
    np.testing.assert_array_equal(fill_rows(colours, known, fill)[40:], 7.0)


def test_rows_that_lack_a_side_do_not_darken_their_neighbours(room) -> None:
    _, known = room
    colours = np.full((160, 160, 3), WALL, np.float32)
    known[70:90, :50] = 0.0  # an arm, say
    known[120:] = 0.0  # below the picture
    wall = colours.copy()
    colours[known == 0] = 0.0
    assert np.abs(fill_rows(colours, known, wall.copy()) - wall).max() < 2.0
