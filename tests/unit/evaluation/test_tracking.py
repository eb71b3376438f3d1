"""From measures at any times to curves at 25 Hz."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.evaluation.tracking import MEASURES, tracked_curves


def rows_of(values: np.ndarray) -> list[dict[str, float] | None]:
    return [dict.fromkeys(MEASURES, float(value)) for value in values]


def test_other_rates_are_resampled_to_25_hz() -> None:
    times_s = np.arange(90) / 30
    curves = tracked_curves(times_s, rows_of(np.sin(times_s)))
    assert (curves.num_frames, curves.source_frames) == (75, 90)
    assert curves.source_fps == pytest.approx(30.0)
    np.testing.assert_allclose(curves.jaw, np.sin(np.arange(75) / 25), atol=1e-3)


def test_25_hz_stays_as_it_is() -> None:
    values = np.random.default_rng(0).standard_normal(50)
    curves = tracked_curves(np.arange(50) / 25, rows_of(values))
    np.testing.assert_allclose(curves.aperture, values, atol=1e-9)
    assert curves.seconds == 2.0


def test_lost_frames_are_bridged_marked_and_counted() -> None:
    rows = rows_of(np.arange(30.0))
    rows[10] = rows[11] = None
    curves = tracked_curves(np.arange(30) / 25, rows)
    np.testing.assert_allclose(curves.aperture, np.arange(30.0), atol=1e-9)
    assert np.flatnonzero(~curves.tracked).tolist() == [10, 11]
    assert curves.source_frames_lost == 2
