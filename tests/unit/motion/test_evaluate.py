"""The measures by which motion is judged, on motion whose measures are known."""

import wave

import numpy as np
import pytest

from parlante.training.evaluate import aperture, judge, level_db, read_wav, silent_frames, width
from parlante.types import MOTION_DIM, MOTION_INDEX


def _motion(num_frames: int = 250) -> np.ndarray:
    return np.zeros((num_frames, MOTION_DIM), np.float32)


def test_aperture_follows_the_calibration():
    values = _motion(2)
    values[:, MOTION_INDEX["jawOpen"]] = 0.4
    values[1, MOTION_INDEX["mouthClose"]] = 1.0
    assert aperture(values).tolist() == pytest.approx([0.2, 0.0])


def test_width_falls_when_puckered_and_grows_when_stretched():
    values = _motion(3)
    values[1, MOTION_INDEX["mouthPucker"]] = 1.0
    values[2, MOTION_INDEX["mouthStretchLeft"]] = 1.0
    assert width(values).tolist() == pytest.approx([1.0, 0.65, 1.2])


def test_judge_counts_blinks_and_measures_the_head():
    values = _motion()
    values[50:54, MOTION_INDEX["eyeBlinkLeft"]] = 1.0
    values[150:154, MOTION_INDEX["eyeBlinkLeft"]] = 1.0
    values[:, MOTION_INDEX["headYaw"]] = np.radians(3.0) * np.sin(np.arange(250) / 5)
    values[:, MOTION_INDEX["headRoll"]] = -values[:, MOTION_INDEX["headYaw"]]
    report = judge(values)
    assert report["blinks_per_minute"] == pytest.approx(12.0)
    assert report["blink_depth"] == pytest.approx(1.0)
    assert report["yaw_std_deg"] == pytest.approx(3.0 / np.sqrt(2), rel=0.03)
    assert report["yaw_roll_correlation"] == pytest.approx(-1.0)


def test_silent_frames_keep_clear_of_speech():
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(32_000) * 3000).astype(np.int16)
    samples[16_000:] = 0
    silent = silent_frames(samples, 16_000, 50)
    assert not silent[:30].any()
    assert silent[31:].all()
    assert level_db(samples, 16_000, 50)[:20].mean() == pytest.approx(-20.8, abs=0.5)


def test_read_wav_takes_the_first_channel(tmp_path):
    path = tmp_path / "two.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(np.array([[1, 9], [2, 9]], np.int16).tobytes())
    samples, rate_hz = read_wav(path)
    assert (samples.tolist(), rate_hz) == ([1, 2], 22_050)
