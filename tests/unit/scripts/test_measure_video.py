"""The arithmetic that judges lips in `scripts/measure_video.py`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parlante.models.decoder import mean_face_latents
from parlante.models.face_coefficients import FaceMeasures, measure_face


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "measure_video.py"
    spec = importlib.util.spec_from_file_location("measure_video", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def face() -> FaceMeasures:
    landmarks = np.asarray(mean_face_latents().tensors["landmarks"], np.float32)
    return measure_face(landmarks)


def test_auc_of_separate_and_of_equal_values(script: ModuleType) -> None:
    assert script.auc([0.0, 0.1], [0.2, 0.3]) == 1.0
    assert script.auc([0.2], [0.2]) == 0.5
    assert np.isnan(script.auc([], [0.2]))


def test_closures_are_seen_at_bilabials_only_when_aligned(
    script: ModuleType, face: FaceMeasures
) -> None:
    spoken = [replace(face, aperture=0.0 if i % 50 in (20, 21) else 0.2) for i in range(200)]
    phones = [
        (name, start + offset, start + offset + 0.06)
        for start in (0.0, 2.0, 4.0, 6.0)
        for name, offset in (("M", 0.82), ("AA", 1.2))
    ]
    result = script.lip_statistics(spoken, phones)
    assert result["aligned"]["bilabials_shut"] == 1.0
    assert result["aligned"]["auc_bilabial_below_open"] == 1.0
    assert result["shifted_by_17_frames"]["bilabials_shut"] == 0.0


def test_a_lost_frame_is_counted_and_bridged(script: ModuleType, face: FaceMeasures) -> None:
    measures = [replace(face, aperture=0.1), None, replace(face, aperture=0.3)]
    assert script.curve(measures, "aperture")[1] == pytest.approx(0.2)
    assert script.motion_statistics(measures, np.zeros(3))["frames_lost"] == 1
