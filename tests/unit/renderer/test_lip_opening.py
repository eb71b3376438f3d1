"""Lips are found in the pixels where the photo shows teeth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import find_opening, refine_lips


@pytest.fixture(scope="module")
def smiling(draw):
    """A portrait with its mouth full of teeth."""
    portrait = draw(gap=0.12)
    shape = np.round(portrait.landmarks[list(fm.INNER_LIPS), :2] * 16).astype(np.int32)
    cv2.fillPoly(portrait.image, [shape], (235, 230, 215), cv2.LINE_AA, 4)
    return portrait


def test_closed_lips_show_no_teeth(portrait):
    opening = find_opening(portrait.image, portrait.landmarks)
    assert len(opening.teeth) == 0
    assert not opening.upper_shift.any()


def test_closed_lips_keep_their_landmarks(portrait):
    assert (refine_lips(portrait.image, portrait.landmarks) == portrait.landmarks).all()


def test_teeth_are_found_with_their_colour(smiling):
    teeth = find_opening(smiling.image, smiling.landmarks).teeth
    assert teeth.mean(0) == pytest.approx((235, 230, 215), abs=20)


def test_misplaced_rim_moves_to_the_edge_of_the_teeth(smiling):
    tracked = smiling.landmarks.copy()
    rim = list(fm.UPPER_LIP_ROWS[0][2:7])
    tracked[list(fm.UPPER_LIP_ROWS[0]), 1] -= 3.0
    refined = refine_lips(smiling.image, tracked)
    error = refined[rim, 1] - smiling.landmarks[rim, 1]
    assert np.abs(error).max() < 1.5
    assert (refined[list(fm.OUTER_LIPS)] == tracked[list(fm.OUTER_LIPS)]).all()


def test_glint_between_closed_lips_is_no_teeth(portrait):
    image = portrait.image.copy()
    x, y = np.round(portrait.landmarks[[13, 14], :2].mean(0)).astype(int)
    image[y : y + 2, x : x + 2] = (235, 230, 215)
    opening = find_opening(image, portrait.landmarks)
    assert len(opening.teeth) == 0
    assert not opening.lower_shift.any()
