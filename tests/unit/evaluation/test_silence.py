"""Where nobody speaks, and how soon the mouth is shut there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from parlante.evaluation.silence import find_speech, judge_silence
from parlante.evaluation.tracking import FaceCurves
from parlante.types import Float32Array

Face = Callable[..., FaceCurves]


def mouth(face: Face, *, late_frames: int) -> FaceCurves:
    """Open while the fixture's voice speaks, and so many frames longer."""
    aperture = np.full(250, 0.01)
    for start_s, end_s in ((2, 4), (6, 9)):
        aperture[start_s * 25 : end_s * 25 + late_frames] = 0.2
    return face(250, aperture=aperture)


def test_pauses_are_found(voice: Float32Array) -> None:
    pauses = find_speech(voice).pauses()
    np.testing.assert_allclose(pauses, [(0, 2), (4, 6), (9, 10)], atol=0.04)


def test_short_gaps_are_no_pauses_and_clicks_no_speech(voice: Float32Array) -> None:
    voice[3 * 16_000 : 3 * 16_000 + 4000] = 0.0
    voice[5 * 16_000 : 5 * 16_000 + 400] = 0.1
    np.testing.assert_allclose(find_speech(voice).pauses(), [(0, 2), (4, 6), (9, 10)], atol=0.04)


def test_noise_behind_a_voice_is_no_speech(voice: Float32Array) -> None:
    noise = 0.004 * np.random.default_rng(1).standard_normal(len(voice))
    pauses = find_speech(voice + noise.astype(np.float32)).pauses()
    np.testing.assert_allclose(pauses, [(0, 2), (4, 6), (9, 10)], atol=0.04)


def test_speech_without_a_pause_has_no_silence(voice: Float32Array, face: Face) -> None:
    activity = find_speech(voice[6 * 16_000 : 9 * 16_000])
    tally = judge_silence(face(75), activity)
    assert (tally.frames, tally.shut_share, tally.delay_ms(50)) == (0, None, None)


@pytest.mark.parametrize("late_frames", [0, 5])
def test_delay_to_a_shut_mouth_is_measured(
    voice: Float32Array, face: Face, late_frames: int
) -> None:
    tally = judge_silence(mouth(face, late_frames=late_frames), find_speech(voice))
    # The last open frame lasts until the lips pass the limit on the way to the next one.
    expected_ms = max(0.0, 40.0 * late_frames)
    assert tally.delays_ms == pytest.approx([expected_ms] * 2, abs=40.0)
    assert tally.never_shut == 0
    assert tally.shut_share == pytest.approx(1.0 if late_frames == 0 else 0.97, abs=0.03)


def test_a_mouth_that_stays_open_is_counted(voice: Float32Array, face: Face) -> None:
    tally = judge_silence(face(), find_speech(voice))
    assert (tally.shut_share, tally.never_shut) == (0.0, 2)
    assert tally.delays_ms == pytest.approx([2000.0, 1000.0], abs=60.0)


def test_silence_alone_is_all_silent(face: Face) -> None:
    activity = find_speech(np.zeros(16_000, np.float32))
    tally = judge_silence(face(25, aperture=np.zeros(25)), activity)
    assert (tally.frames, tally.shut_share) == (25, 1.0)
