"""Cutting a track into segments: what is kept, bridged, dropped, and why."""

from dataclasses import replace

import numpy as np
import pytest

from parlante.training.videos.cleaning import cut_segments
from parlante.training.videos.following import Flaw, Track
from parlante.training.videos.measures import MEASURE_INDEX, MEASURES
from tests.unit.videos.conftest import waves

YAW, LOWER = MEASURE_INDEX["yaw"], MEASURE_INDEX["lower_lip_y"]


def _track(num_pictures=250, rate_hz=25.0):
    """A face that talks and turns, without flaw."""
    times = np.arange(num_pictures) / rate_hz
    values = np.ones((num_pictures, len(MEASURES)))
    values[:, YAW] = 0.1 * np.sin(2 * np.pi * 0.4 * times)
    values[:, LOWER] = 1.1 + 0.05 * waves(num_pictures, 2.0, 1)
    return Track(
        times,
        values,
        np.zeros(num_pictures, np.uint8),
        np.zeros(num_pictures, np.int32),
    )


def _spoil(track, start, end, flaw):
    values, flaws = track.values.copy(), track.flaws.copy()
    flaws[start:end] = flaw
    if flaw == Flaw.NO_FACE:
        values[start:end] = np.nan
    return replace(track, values=values, flaws=flaws)


def _spans(segments):
    return [(segment.start_frame, segment.end_frame) for segment in segments]


def test_a_good_track_is_one_segment():
    segments, losses = cut_segments(_track())
    assert _spans(segments) == [(0, 250)]
    assert losses == []


def test_short_gaps_are_bridged_smoothly():
    track = _spoil(_track(), 100, 103, Flaw.NO_FACE)
    (segment,), losses = cut_segments(track)
    assert losses == []
    np.testing.assert_allclose(segment.values[:, YAW], _track().values[:, YAW], atol=0.01)


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        (Flaw.NO_FACE, "no face"),
        (Flaw.DOUBTFUL, "doubtful face"),
        (Flaw.PROFILE, "turned away"),
        (Flaw.TOO_SMALL, "face too small"),
        (Flaw.CUT_OFF, "face cut off by the picture's edge"),
    ],
)
def test_longer_flaws_cut_and_are_named(flaw, reason):
    segments, (loss,) = cut_segments(_spoil(_track(), 120, 130, flaw))
    assert _spans(segments) == [(0, 120), (130, 250)]
    assert (loss.start_s, loss.end_s, loss.reason) == (4.8, 5.2, reason)


def test_a_shot_change_cuts_and_is_not_smoothed_over():
    track = _track()
    track.shots[125:] = 1
    track.values[125:, MEASURE_INDEX["x_px"]] = 400.0
    first, second = cut_segments(track)[0]
    assert _spans([first, second]) == [(0, 125), (125, 250)]
    assert first.values[:, MEASURE_INDEX["x_px"]].max() == pytest.approx(1.0)
    assert second.values[:, MEASURE_INDEX["x_px"]].min() == pytest.approx(400.0)


def test_short_segments_are_dropped():
    segments, losses = cut_segments(_spoil(_track(), 60, 70, Flaw.NO_FACE))
    assert _spans(segments) == [(70, 250)]
    assert [loss.reason for loss in losses] == ["shorter than 3 s", "no face"]


def test_a_picture_that_does_not_move_is_no_video():
    track = _track()
    track.values[:] = track.values[0] + 1e-4 * np.random.default_rng(0).standard_normal(
        track.values.shape
    )
    segments, (loss,) = cut_segments(track)
    assert segments == []
    assert loss.reason == "nothing moves"


@pytest.mark.parametrize("rate_hz", [24.0, 29.97, 30.0])
def test_other_rates_are_resampled_by_time(rate_hz):
    track = _track(int(10 * rate_hz), rate_hz)
    (segment,), _ = cut_segments(track)
    frames = np.arange(segment.num_frames)
    wanted = 0.1 * np.sin(2 * np.pi * 0.4 * frames / 25.0)
    np.testing.assert_allclose(segment.raw[:, YAW], wanted, atol=2e-3)


def test_missing_pictures_are_not_invented():
    track = _track()
    keep = np.r_[0:100, 140:250]
    thinned = Track(track.times_s[keep], track.values[keep], track.flaws[keep], track.shots[keep])
    segments, losses = cut_segments(thinned)
    assert _spans(segments) == [(0, 100), (140, 250)]
    assert [loss.reason for loss in losses] == ["pictures missing"]


def test_smoothing_keeps_a_closure_of_two_frames():
    track = _track()
    track.values[:, LOWER] = 1.2
    track.values[100:102, LOWER] = 1.0
    (segment,), _ = cut_segments(track)
    assert segment.raw[100:102, LOWER].max() == 1.0
    assert segment.values[100:102, LOWER].max() < 1.12


def test_nothing_is_nothing():
    empty = Track(
        np.zeros(0), np.zeros((0, len(MEASURES))), np.zeros(0, np.uint8), np.zeros(0, np.int32)
    )
    assert cut_segments(empty) == ([], [])
