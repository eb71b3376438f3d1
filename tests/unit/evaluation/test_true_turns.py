"""How much a tracker sees of true turns."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.evaluation.face.report import make_face_report, summary_lines
from parlante.evaluation.face.true_turns import shared_slope


def test_slope_ignores_what_each_head_adds():
    rng = np.random.default_rng(0)
    true = [rng.uniform(-0.3, 0.3, 8) for _ in range(5)]
    seen = [0.9 * angles + 0.2 * index for index, angles in enumerate(true)]
    assert shared_slope(true, seen) == pytest.approx(0.9)


def test_report_tells_what_the_tracker_sees():
    report = make_face_report(None, None, {}, {"yaw": 1.07, "pitch": 0.89})
    assert report["turns"] == {"yaw": 1.07, "pitch": 0.89}
    assert "yaw x1.07, pitch x0.89" in "\n".join(summary_lines(report))
