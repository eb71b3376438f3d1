"""The comparison that `scripts/check_video_training.py` makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parlante.types import MOTION_DIM, MOTION_INDEX


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "check_video_training.py"
    spec = importlib.util.spec_from_file_location("check_video_training", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compare_correlates_what_moves(script: ModuleType) -> None:
    true = np.zeros((50, MOTION_DIM), np.float32)
    true[:, MOTION_INDEX["jawOpen"]] = 0.3 + 0.2 * np.sin(np.arange(50))
    found = true[:40].copy()
    found[:, MOTION_INDEX["headYaw"]] = np.arange(40) / 100
    row = script.compare(found, true)
    assert row["aperture"] == pytest.approx(1.0)
    assert row["jawOpen"] == pytest.approx(1.0)
    assert np.isnan(row["headYaw"])
