"""Heads that follow loudness, and heads that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.evaluation.head_sound import (
    HEAD_MEASURES,
    fit_head_sound,
    judge_head_sound,
    load_head_sound_model,
)


def people(path: Path, *, num_clips: int) -> Path:
    """Heads that turn faster when it is loud, at 30 frames/s."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for index in range(num_clips):
        loud = np.repeat(rng.uniform(-30, 0, 30), 20)
        angles = np.cumsum(10 ** (loud / 20)[:, None] * rng.standard_normal((600, 3)), axis=0)
        arrays |= {f"clip{index}": angles, f"clip{index}.fps": np.array(30.0)}
        arrays[f"clip{index}.loudness_db"] = loud
    np.savez(path, **arrays)
    return path


def test_a_head_that_follows_loudness_is_predicted_on_clips_left_out(tmp_path: Path) -> None:
    model = fit_head_sound(people(tmp_path / "people.npz", num_clips=4))
    assert min(model.held_out["speed"]) > 0.5
    assert len(model.held_out["nod"]) == 4


def test_one_clip_is_too_little(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refusal:
        fit_head_sound(people(tmp_path / "people.npz", num_clips=1))
    assert refusal.value.reason == "TOO_LITTLE_VIDEO"


def test_the_model_that_ships_brings_the_baseline_of_people() -> None:
    model = load_head_sound_model()
    assert model.weights.shape == (20, 2)
    assert [len(model.held_out[name]) for name in HEAD_MEASURES] == [3, 3]


def test_a_head_that_does_not_move_has_no_score(voice: np.ndarray) -> None:
    result = judge_head_sound(load_head_sound_model(), voice, np.zeros((250, 3)))
    assert result["speed"]["correlation"] is None
    assert result["speed"]["wrong_audio"] == 0.0
