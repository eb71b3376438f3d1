"""Heads, lids and block borders whose motion is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from parlante.evaluation.head import blinks, eye_statistics, head_statistics
from parlante.evaluation.seams import judge_seams, seam_ratio
from parlante.evaluation.tracking import FaceCurves

Face = Callable[..., FaceCurves]
TIME_S = np.arange(250) / 25


def test_head_statistics_of_a_known_swing(face: Face) -> None:
    yaw = 3.0 * np.sin(2 * np.pi * 0.5 * TIME_S)
    statistics = head_statistics(face(yaw_deg=yaw, roll_deg=-yaw / 3))
    assert statistics["yaw_std_deg"] == pytest.approx(3.0 / np.sqrt(2), rel=0.01)
    assert statistics["yaw_roll_correlation"] == pytest.approx(-1.0)
    steps = np.abs(np.diff(yaw)).mean()
    assert statistics["pose_variation_deg"] == pytest.approx(steps * (1 + 1 / 3) / 3, rel=0.01)
    assert statistics["head_speed_deg_s"] == pytest.approx(25 * steps * np.hypot(1, 1 / 3))
    assert head_statistics(face())["yaw_roll_correlation"] is None


def test_blinks_are_counted_and_timed(face: Face) -> None:
    lids = np.full(250, 0.3)
    lids[:3] = lids[50:54] = lids[150:156] = lids[248:] = 0.05
    assert blinks(lids) == [4, 6, 2]
    statistics = eye_statistics(face(eye_ratio=lids))
    assert statistics["blinks_per_min"] == pytest.approx(18.0)
    assert statistics["blink_ms"] == pytest.approx(160.0)
    assert eye_statistics(face())["blink_ms"] is None


def test_eyes_that_hold_on_go_against_the_head(face: Face) -> None:
    yaw = 5.0 * np.sin(TIME_S)
    statistics = eye_statistics(face(yaw_deg=yaw, gaze_yaw_deg=-0.9 * yaw))
    assert statistics["gaze_against_head"] == pytest.approx(-1.0)
    assert statistics["saccades_per_min"] == 0.0


def test_saccades_are_counted(face: Face) -> None:
    gaze = np.where((TIME_S > 2) & (TIME_S < 5), 10.0, 0.0)
    assert eye_statistics(face(gaze_yaw_deg=gaze))["saccades_per_min"] == pytest.approx(12.0)


def test_steps_at_block_borders_are_seen() -> None:
    rng = np.random.default_rng(0)
    blocks = np.repeat(rng.standard_normal(125), 2) + 0.01 * rng.standard_normal(250)
    seam = seam_ratio(blocks[:, None], 2, order=1)
    assert seam is not None
    assert seam.low > 10.0


@pytest.mark.parametrize(("block_frames", "order"), [(2, 1), (5, 1), (5, 2)])
def test_motion_without_seams_has_a_ratio_of_one(block_frames: int, order: int) -> None:
    walk = np.cumsum(np.random.default_rng(1).standard_normal((1000, 3)), axis=0)
    seam = seam_ratio(walk, block_frames, order=order)
    assert seam is not None
    assert seam.ratio == pytest.approx(1.0, abs=0.12)
    assert seam.low < seam.ratio < seam.high


def test_kinks_at_block_borders_are_seen_in_acceleration() -> None:
    slopes = np.random.default_rng(2).standard_normal(50)
    curve = np.cumsum(np.repeat(slopes, 5)) + 1e-3 * np.random.default_rng(3).standard_normal(250)
    # The step into a block already has the block's slope: kinks lie one frame before borders.
    seam = seam_ratio(curve[:, None], 5, order=2)
    assert seam is not None
    assert seam.ratio > 10.0


def test_blocks_of_two_frames_have_no_acceleration_inside(face: Face) -> None:
    result = judge_seams(face(), 2)
    assert result["aperture_acceleration"] is None
    assert result["aperture_velocity"] is not None


def test_blocks_of_one_frame_have_no_inside(face: Face) -> None:
    assert judge_seams(face(), 1)["head_velocity"] is None
