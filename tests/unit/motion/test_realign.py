"""Phonemes move to where a network hears them, and no further than their times allow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.viseme_names import VISEMES
from parlante.training import realign as module
from parlante.training.realign import name_hops, realign
from parlante.training.visemes import Phone, segments_of

SAID = [("p", 0.50, 0.62), ("a", 0.62, 0.80), ("s", 0.80, 0.97), ("u", 0.97, 1.20)]
SILENCE = np.zeros(32_000, np.float32)


@pytest.fixture(scope="module")
def listener() -> MotionDiT:
    config = MotionDiTConfig(width=20, num_layers=1, num_heads=2, audio_width=20)
    return MotionDiT(config).eval()


def _phones(late_s: float = 0.0) -> list[Phone]:
    return [Phone(ipa, start + late_s, end + late_s, 1.1) for ipa, start, end in SAID]


def _hear(monkeypatch: pytest.MonkeyPatch, names: np.ndarray) -> None:
    monkeypatch.setattr(module, "name_hops", lambda audio, model: names)


def _true_names(num_hops: int = 200) -> np.ndarray:
    """What a good ear names when `SAID` is said."""
    names = np.full((num_hops, len(VISEMES)), 0.02, np.float32)
    for segment in segments_of(_phones(), 2.0)[0]:
        begin, end = (max(0, round(t * 100)) for t in (segment.start_s, segment.end_s))
        names[begin:end, VISEMES.index(segment.viseme)] = 0.7
    return names


@pytest.mark.parametrize("late_s", [-0.06, 0.0, 0.07])
def test_boundaries_move_to_where_the_sound_is(
    late_s: float, listener: MotionDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hear(monkeypatch, _true_names())
    moved = realign(SILENCE, _phones(late_s), listener)
    assert [p.ipa for p in moved] == [ipa for ipa, _, _ in SAID]
    assert all(p.emphasis == 1.1 for p in moved)
    for phone, (_, start_s, end_s) in zip(moved, SAID, strict=True):
        assert phone.start_s == pytest.approx(start_s, abs=0.021)
        assert phone.end_s == pytest.approx(end_s, abs=0.021)


def test_an_ear_that_hears_nothing_leaves_the_times_as_they_are(
    listener: MotionDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hear(monkeypatch, np.full((200, len(VISEMES)), 1.0 / len(VISEMES), np.float32))
    moved = realign(SILENCE, _phones(), listener)
    for phone, (_, start_s, _) in zip(moved, SAID, strict=True):
        assert phone.start_s == pytest.approx(start_s, abs=0.011)


def test_phonemes_never_overlap_or_run_backwards(
    listener: MotionDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    _hear(monkeypatch, rng.dirichlet(np.ones(len(VISEMES)), 200).astype(np.float32))
    moved = realign(SILENCE, _phones(), listener)
    for before, after in itertools.pairwise(moved):
        assert before.end_s >= before.start_s
        assert after.start_s >= before.end_s - 1e-9
    for phone, (_, start_s, _) in zip(moved, SAID, strict=True):
        assert abs(phone.start_s - start_s) <= module.REACH_S + 0.011


def test_each_hop_of_the_sound_gets_a_name(listener: MotionDiT) -> None:
    names = name_hops(SILENCE, listener)
    assert names.shape == (200, len(VISEMES))
    np.testing.assert_allclose(names.sum(axis=1), 1.0, atol=1e-5)


def test_silence_stays_silence(listener: MotionDiT) -> None:
    assert realign(SILENCE, [], listener) == []
