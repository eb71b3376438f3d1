"""Lips whose closures, ranking and rhythm are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from parlante.evaluation.lips import (
    CONTROL_SHIFTS_FRAMES,
    PhoneTally,
    auc,
    closures,
    lip_statistics,
    shut_below,
    tally_phones,
)
from parlante.evaluation.phones import PhoneSpan
from parlante.evaluation.tracking import FaceCurves

Face = Callable[..., FaceCurves]


def talk(face: Face) -> tuple[FaceCurves, list[PhoneSpan]]:
    """Every 1.4 s, an M with lips that meet, AA wide open, UW narrow and IY spread."""
    phones = []
    aperture, width = np.full(700, 0.12), np.full(700, 0.55)
    for start_s in np.arange(0.2, 26.0, 1.4):
        for symbol, offset_s in (("M", 0.0), ("AA", 0.24), ("UW", 0.48), ("IY", 0.72)):
            phones.append(PhoneSpan(symbol, start_s + offset_s, start_s + offset_s + 0.12))
            frames = slice(int((start_s + offset_s) * 25) - 1, int((start_s + offset_s) * 25) + 4)
            aperture[frames] = {"M": 0.01, "AA": 0.3}.get(symbol, 0.12)
            width[frames] = {"UW": 0.45, "IY": 0.65}.get(symbol, 0.55)
    return face(700, aperture=aperture, mouth_width=width), phones


def test_known_closures_and_rankings_are_found(face: Face) -> None:
    curves, phones = talk(face)
    tally = tally_phones(curves, phones)
    assert tally.bilabials == 19
    assert (tally.shut_share, tally.auc_aperture, tally.auc_width) == (1.0, 1.0, 1.0)
    assert all(closure.shut for closure in closures(curves, phones))


def test_shifted_controls_fall_to_chance(face: Face) -> None:
    curves, phones = talk(face)
    control = sum(
        (tally_phones(curves, phones, shift) for shift in CONTROL_SHIFTS_FRAMES),
        start=PhoneTally(),
    )
    assert control.shut_share is not None
    assert control.auc_aperture is not None
    assert control.shut_share < 0.6
    assert control.auc_aperture == pytest.approx(0.5, abs=0.2)


def test_lips_that_never_meet_are_not_shut(face: Face) -> None:
    curves, phones = talk(face)
    open_lips = face(700, aperture=np.maximum(curves.aperture, 0.05))
    assert tally_phones(open_lips, phones).shut_share == 0.0


def test_a_phone_during_which_the_face_was_lost_does_not_count(face: Face) -> None:
    tracked = np.ones(100, bool)
    tracked[20:30] = False
    phones = [PhoneSpan("M", 1.0, 1.1), PhoneSpan("B", 2.0, 2.1)]
    assert tally_phones(face(100, tracked=tracked), phones).bilabials == 1


def test_tallies_of_videos_add_up() -> None:
    both = PhoneTally(bilabials=4, shut=1, aperture_wins=2.0, aperture_pairs=4) + PhoneTally(
        bilabials=4, shut=3, aperture_wins=4.0, aperture_pairs=4
    )
    assert (both.shut_share, both.auc_aperture, both.auc_width) == (0.5, 0.75, None)


def test_shut_is_what_the_tracker_can_see() -> None:
    assert shut_below(np.full(10, 0.1)) == 0.03
    assert shut_below(np.full(10, 0.5)) == pytest.approx(0.06)


def test_auc_of_separate_and_of_equal_values() -> None:
    assert auc([0.0, 0.1], [0.2, 0.3]) == 1.0
    assert auc([0.2], [0.2]) == 0.5
    assert np.isnan(auc([], [0.2]))


def test_rhythm_and_spread_of_lips(face: Face) -> None:
    time_s = np.arange(500) / 25
    aperture = 0.1 + 0.05 * np.sin(2 * np.pi * 3.0 * time_s) + 0.05 * np.sin(0.2 * np.pi * time_s)
    speaking = np.arange(500) >= 250
    curves = face(500, aperture=aperture, mouth_width=0.6 - aperture)
    statistics = lip_statistics(curves, speaking)
    assert statistics["aperture_centroid_hz"] == pytest.approx(3.0, abs=0.01)
    assert statistics["aperture_mean_iod"] == pytest.approx(aperture[250:].mean())
    assert statistics["mouth_width_std_iod"] == pytest.approx(0.05, rel=0.01)
    assert statistics["aperture_width_correlation"] == pytest.approx(-1.0)
    # Twice the height of a wave of 3 Hz times the sine of half its step, nearly.
    usual = statistics["mouth_width_change_p95_iod"]
    assert usual == pytest.approx(0.1 * np.sin(np.pi * 3.0 / 25), rel=0.06)
    assert lip_statistics(face(), np.zeros(250, bool))["aperture_mean_iod"] is None
