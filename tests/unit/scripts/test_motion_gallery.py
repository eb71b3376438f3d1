"""What `scripts/motion_gallery.py` measures and how it arranges sheets; nothing is rendered."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parlante.evaluation.controls import Row
from parlante.types import MOTION_DIM, MOTION_INDEX

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("control_table")


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("motion_gallery")


def test_gaze_in_the_camera_frame_is_head_plus_eye(table: ModuleType) -> None:
    motion = np.zeros((3, MOTION_DIM), np.float32)
    for name, degrees in (("headYaw", 9), ("gazeYaw", 16), ("headPitch", -5), ("gazePitch", 2)):
        motion[:, MOTION_INDEX[name]] = np.radians(degrees)
    np.testing.assert_allclose(table.camera_gaze_deg(motion), [[25, -3]] * 3, atol=1e-4)


def test_every_step_acts_on_channels_that_exist(table: ModuleType) -> None:
    motion = np.random.default_rng(0).normal(size=(4, MOTION_DIM)).astype(np.float32)
    for step in table.STEPS:
        curve = step.curve(motion)
        assert curve.shape[0] == 4
        assert curve.shape[1] >= 1


def test_every_measure_has_a_definition(table: ModuleType) -> None:
    for name in ("gaze error", "size", "half time", "largest step", "nods", "closing time"):
        assert name in table.DEFINITIONS


def test_median_needs_more_than_half_of_the_values(table: ModuleType) -> None:
    assert table._median([10.0, None, 30.0]) == 20.0
    assert table._median([10.0, None, None]) is None


def test_silence_has_as_many_samples_as_its_time(gallery: ModuleType) -> None:
    assert len(gallery.silence(2.5).samples) == 40_000
    assert gallery.frame_at(1.0) == 25


def test_the_table_is_written_as_markdown_and_json(gallery: ModuleType, tmp_path: Path) -> None:
    rows = [Row(control="gaze", measure="gaze error", asked="25", value=1.0, unit="deg")]
    gallery.write_table(rows, "abc", tmp_path)
    assert '"bundle_digest": "abc"' in (tmp_path / "controls.json").read_text()
    assert "| gaze " in (tmp_path / "controls.md").read_text()
