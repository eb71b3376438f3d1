"""Measures of what controls do, on constructed curves."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.evaluation.controls import (
    Row,
    additive_effect,
    angle_between_deg,
    closing_ms,
    count_blinks,
    count_nods,
    half_time_ms,
    scaling_effect,
    step_ratio,
    table_lines,
)


def test_half_time_counts_from_the_last_old_frame() -> None:
    assert half_time_ms(np.ones(10)) == pytest.approx(20.0)
    ramp = np.minimum(1.0, np.arange(1, 21) / 10)
    assert half_time_ms(ramp) == pytest.approx(5 * 40.0)


def test_half_time_of_an_effect_that_does_not_stay_is_none() -> None:
    effect = np.zeros(30)
    effect[4] = 1.0
    assert half_time_ms(effect) is None


def test_additive_effect_is_one_where_the_change_is_whole() -> None:
    reference = np.random.default_rng(0).normal(size=(50, 2))
    share = np.minimum(1.0, np.arange(1, 51) / 20)
    changed = reference + share[:, None] * [0.3, -0.1]
    effect = additive_effect(changed, reference, 20)
    assert effect is not None
    np.testing.assert_allclose(effect, share)
    assert additive_effect(reference, reference, 20) is None


def test_scaling_effect_bridges_frames_at_rest() -> None:
    reference = np.ones((20, 3))
    reference[5] = 0.0
    effect = scaling_effect(reference * np.linspace(1, 0, 20)[:, None], reference)
    assert effect is not None
    np.testing.assert_allclose(effect, np.linspace(0, 1, 20))
    assert scaling_effect(reference, np.zeros((20, 3))) is None


def test_step_ratio_compares_the_largest_steps() -> None:
    calm = np.sin(np.arange(100) / 5)[:, None]
    jump = calm.copy()
    jump[50:] += 1.0
    assert step_ratio(calm, calm) == pytest.approx(1.0)
    ratio = step_ratio(jump, calm)
    assert ratio is not None
    assert 4.0 < ratio < 7.0
    assert step_ratio(jump, np.zeros((9, 1))) is None


def test_blinks_are_counted_once_each() -> None:
    lids = np.zeros(100)
    for start in (0, 30, 60):
        lids[start : start + 6] = (0.45, 1.0, 1.0, 0.72, 0.38, 0.12)
    assert count_blinks(lids) == 3


@pytest.mark.parametrize(
    ("depth_deg", "period_s", "expected"), [(4.0, 0.8, 5), (1.0, 0.8, 0), (4.0, 4.0, 0)]
)
def test_nods_are_deep_and_quick(depth_deg: float, period_s: float, expected: int) -> None:
    times_s = np.arange(int(25 * 5 * period_s)) / 25
    pitch = depth_deg * 0.5 * (1 - np.cos(2 * np.pi * times_s / period_s))
    assert count_nods(pitch) == expected


def test_closing_time_runs_from_the_end_of_speech() -> None:
    aperture = np.where(np.arange(100) < 55, 0.2, 0.01)
    assert closing_ms(aperture, 2.0) == pytest.approx(200.0)
    assert closing_ms(aperture, 3.0) == 0.0
    assert closing_ms(np.full(100, 0.2), 2.0) is None


def test_angle_between_directions() -> None:
    assert angle_between_deg((10, 0), (-15, 0)) == pytest.approx(25.0)
    assert angle_between_deg((0, 5), (0, 5)) == pytest.approx(0.0, abs=1e-5)


def test_table_names_what_was_missed() -> None:
    rows = [
        Row(control="gaze", measure="error", asked="25", value=7.25, unit="deg", ok=False),
        Row(control="gaze", measure="error", asked="0", value=None, unit="deg"),
    ]
    lines = table_lines(rows)
    assert len({len(line) for line in lines}) == 1
    assert "7.25 deg" in lines[2]
    assert "MISSED" in lines[2]
    assert "-" in lines[3]
