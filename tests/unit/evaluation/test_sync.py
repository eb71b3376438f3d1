"""The sync model: its clock, its fit, and its score on faces whose lag is known."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.evaluation.sync import (
    NUM_FEATURES,
    NUM_MELS,
    SYNC_MEASURES,
    SyncModel,
    fit_ridge,
    judge_sync,
    lag_curve,
    load_reference_model,
    peak_of,
    sync_features,
)
from parlante.evaluation.sync_fit import SyntheticConfig, _fit
from parlante.evaluation.tracking import FaceCurves
from parlante.types import Float32Array

Face = Callable[..., FaceCurves]


def test_features_are_on_the_clock_of_the_frames() -> None:
    sound = np.zeros(4 * 16_000, np.float32)
    sound[2 * 16_000 - 80 : 2 * 16_000 + 80] = 0.5  # a click around 2 s, frame 50
    features = sync_features(sound, 100).reshape(100, 11, NUM_MELS).mean(axis=2)
    assert int(np.argmax(features[:, 5])) == 50
    assert int(np.argmax(features[:, 0])) == 55  # the earliest part: 200 ms before the frame
    assert features[49, 5] == pytest.approx(features[51, 5], rel=0.2)


def test_features_do_not_hear_loudness_or_length(voice: Float32Array) -> None:
    features = sync_features(voice, 250)
    np.testing.assert_allclose(features, sync_features(0.1 * voice, 250), atol=1e-6)
    assert sync_features(voice[:16_000], 250).shape == (250, NUM_FEATURES)
    assert np.isfinite(sync_features(np.zeros(100, np.float32), 50)).all()


def test_ridge_finds_a_linear_mouth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((NUM_FEATURES, 4)) / 20
    features = [rng.standard_normal((900, NUM_FEATURES)) for _ in range(2)]
    weights = fit_ridge(features, [x @ truth + 0.3 for x in features], 1e-6)
    np.testing.assert_allclose(weights[:-1], truth, atol=1e-3)
    np.testing.assert_allclose(weights[-1], 0.3, atol=1e-3)


def test_peak_lies_between_frames() -> None:
    lags = np.arange(-10, 11)
    lag, height = peak_of(0.8 - 0.01 * (lags - 1.3) ** 2)
    assert (lag, height) == (pytest.approx(1.3), pytest.approx(0.8))
    assert peak_of(lags / 10.0)[0] is None


def test_lag_is_positive_when_the_face_is_late() -> None:
    rng = np.random.default_rng(0)
    predicted = np.convolve(rng.standard_normal(600), np.hanning(9), "same")
    lag, height = peak_of(lag_curve(predicted, np.roll(predicted, 3)))
    assert (lag, height) == (pytest.approx(3.0, abs=0.1), pytest.approx(1.0, abs=0.02))


def test_known_lag_is_measured_and_wrong_audio_is_chance(face: Face) -> None:
    rng = np.random.default_rng(5)
    level = np.repeat(np.abs(np.convolve(rng.standard_normal(760), np.hanning(9), "same")), 640)
    sound = (0.05 * level * rng.standard_normal(len(level))).astype(np.float32)
    features = sync_features(sound, 760)
    expected = features.reshape(760, 11, NUM_MELS)[:, 5].mean(axis=1)
    weights = fit_ridge([features], [np.repeat(expected[:, None], 4, axis=1)], 0.01)
    model = SyncModel(weights=weights, source="", seconds=0.0, held_out={})
    late = np.roll(expected, 2)
    curves = face(760, aperture=late, mouth_width=late, lip_height=late, jaw=np.roll(expected, -1))
    scores, lags = judge_sync(model, sound, curves)
    assert scores["aperture"].lag_ms == pytest.approx(80.0, abs=8.0)
    assert scores["jaw"].lag_ms == pytest.approx(-40.0, abs=8.0)
    assert scores["aperture"].peak > 0.9 > scores["aperture"].correlation
    assert scores["aperture"].wrong_audio == pytest.approx(0.0, abs=0.1)
    assert lags["aperture"].shape == (21,)


def test_short_clips_have_no_wrong_audio(face: Face, voice: Float32Array) -> None:
    scores, _ = judge_sync(load_reference_model(), voice[: 3 * 16_000], face(75))
    assert scores["aperture"].wrong_audio is None
    assert scores["aperture"].correlation == 0.0


def test_model_survives_its_file(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((NUM_FEATURES + 1, 4)) / 30
    model = SyncModel(weights=weights, source="test", seconds=61.0, held_out={"jaw": 0.5})
    model.save(tmp_path / "model.npz")
    loaded = SyncModel.load(tmp_path / "model.npz")
    np.testing.assert_allclose(loaded.weights, weights, atol=1e-4)
    assert (loaded.source, loaded.seconds, loaded.held_out) == ("test", 61.0, {"jaw": 0.5})


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    for name, weights in (("shape", np.zeros((3, 4))), ("name", None)):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **({} if weights is None else {"weights": weights, "about": "{}"}))
        with pytest.raises(InvalidInput) as refusal:
            SyncModel.load(path)
        assert refusal.value.reason == "BAD_SYNC_MODEL"


def test_the_model_that_ships_is_small_and_says_what_it_is() -> None:
    model = load_reference_model()
    assert model.weights.shape == (NUM_FEATURES + 1, len(SYNC_MEASURES))
    assert "no person" in model.source
    assert str(SyntheticConfig.reference().seed) in model.source
    assert model.held_out["aperture"] > 0.5
    folder = resources.files("parlante.evaluation")
    assert len(folder.joinpath("sync_reference.npz").read_bytes()) < 200_000


def test_a_fit_needs_a_minute_and_says_what_it_is_worth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((NUM_FEATURES, 4)) / 20
    features = [rng.standard_normal((500, NUM_FEATURES)) for _ in range(4)]
    clips = [(x, x @ truth) for x in features]
    assert _fit(clips, 1e-3, "test").held_out["jaw"] > 0.95
    with pytest.raises(InvalidInput) as refusal:
        _fit(clips[:1], 1e-3, "test")
    assert refusal.value.reason == "TOO_LITTLE_VIDEO"
