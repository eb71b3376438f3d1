"""Turns of the head, limited to what a portrait can give."""

from __future__ import annotations

import pytest

from parlante.models.warp import MAX_BOTH, damp_both, damp_pitch, damp_yaw


@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.3])
def test_frontal_portraits_turn_as_asked(yaw):
    assert damp_yaw(yaw, 0.1) == yaw


def test_three_quarter_view_hardly_turns_to_the_front():
    assert 0.0 < damp_yaw(0.4, -0.6) < 0.12


def test_three_quarter_view_turns_further_away_than_to_the_front():
    assert -0.25 < damp_yaw(-0.4, -0.6) < -damp_yaw(0.4, -0.6)


def test_small_turns_are_hardly_damped():
    assert damp_yaw(0.03, -0.6) == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize("pitch", [-0.25, 0.25])
def test_nods_of_a_three_quarter_view_are_limited_and_others_are_not(pitch):
    assert damp_pitch(pitch, 0.1) == pitch
    assert 0.1 < abs(damp_pitch(pitch, -0.6)) < 0.12
    assert damp_pitch(0.03, -0.6) == pytest.approx(0.03, rel=0.05)


def test_a_turn_and_a_nod_at_once_are_less_than_either_alone():
    assert damp_both(0.43, 0.0) == (0.43, 0.0)
    assert damp_both(0.26, -0.17) == (0.26, -0.17)
    yaw, pitch = damp_both(-0.43, 0.43)
    assert (yaw, pitch) == pytest.approx((-pitch, -yaw))
    assert 0.25 < pitch <= MAX_BOTH / 2
    near, far = damp_both(0.3, 0.3), damp_both(0.5, 0.5)
    assert near[0] < far[0]
