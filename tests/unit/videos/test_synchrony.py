"""How late the sound is, and whether it is this face's voice."""

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_weights import save_weights
from parlante.training.videos.cleaning import Segment
from parlante.training.videos.measures import MEASURE_INDEX, MEASURES
from parlante.training.videos.synchrony import compare, open_lip_reader, shift


def _segment(opening, start=0):
    values = np.zeros((len(opening), len(MEASURES)))
    values[:, MEASURE_INDEX["lower_lip_y"]] = opening
    return Segment(start, values, values)


def _opening(num_frames=400, seed=3):
    noise = np.random.default_rng(seed).standard_normal(num_frames + 4)
    return 0.1 + 0.05 * np.convolve(noise, np.hanning(5), mode="valid")


@pytest.mark.parametrize("late", [-4, -1, 0, 2, 5])
def test_an_offset_is_found(late):
    truth = _opening()
    found = compare([_segment(truth)], np.roll(truth, late))
    assert found.is_clear
    assert found.offset_ms == pytest.approx(40.0 * late, abs=12.0)
    assert found.correlation > 0.8


def test_half_a_frame_is_found():
    fine = _opening(2000)
    kernel = np.ones(5) / 5
    smooth = np.convolve(fine, kernel, mode="same")
    found = compare([_segment(smooth[2::5])], smooth[0::5])
    assert found.offset_ms == pytest.approx(16.0, abs=12.0) or found.offset_ms == 0.0


def test_another_voice_is_unclear_and_moves_nothing():
    found = compare([_segment(_opening(400, 1))], _opening(400, 2))
    assert not found.is_clear
    assert found.offset_ms == 0.0


def test_a_face_that_does_not_speak_is_strange():
    truth = _opening(700)
    segments = [_segment(truth[:400]), _segment(_opening(300, 8), 400)]
    found = compare(segments, truth)
    assert [found.is_strange(i, s) for i, s in enumerate(segments)] == [False, True]


def test_a_short_face_proves_nothing():
    found = compare([_segment(_opening(90, 1))], _opening(90, 2))
    assert not found.is_clear
    assert not found.is_strange(0, _segment(_opening(90)))


def test_nothing_to_compare():
    assert not compare([], np.zeros(10)).is_clear


def test_shift_undoes_what_compare_finds():
    audio = np.arange(1, 16_001, dtype=np.float32)
    assert shift(audio, 100.0)[0] == audio[1600]
    assert shift(audio, -100.0)[1600] == audio[0]
    assert shift(audio, 100.0)[-1600:].max() == 0.0
    np.testing.assert_array_equal(shift(audio, 0.0), audio)


@pytest.fixture
def tiny_weights(tmp_path):
    torch.manual_seed(2)
    config = MotionDiTConfig(
        width=16, num_layers=1, num_heads=2, feed_forward=2, audio_width=8, past_frames=8
    )
    path = tmp_path / "tiny.safetensors"
    save_weights(MotionDiT(config).state_dict(), config, path)
    return path


def test_lip_reader_gives_a_value_per_frame_however_long(tiny_weights, monkeypatch):
    read = open_lip_reader(tiny_weights)
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal(16_000 * 3 + 100)).astype(np.float32)
    whole = read(audio)
    assert whole.shape == (75,)
    monkeypatch.setattr("parlante.training.videos.synchrony._CHUNK_FRAMES", 20)
    np.testing.assert_allclose(read(audio), whole, atol=1e-5)
    assert read(np.zeros(0, np.float32)).shape == (0,)


def test_lip_reader_names_unreadable_weights(tmp_path):
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        open_lip_reader(tmp_path / "nothing.safetensors")
