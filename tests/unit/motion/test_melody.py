"""Pitch, whether there is any, and how lively a voice speaks."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import melody as m
from parlante.models.audio_features import LOOK_AHEAD_HOPS, look_ahead_samples
from parlante.models.motion_channels import to_channels
from parlante.models.motion_space import LATENT_DIM, LATENT_SCALE
from parlante.models.pose_state import PoseState
from parlante.types import MOTION_INDEX, SAMPLES_PER_FRAME, Controls

RATE_HZ = 16_000


def voice(pitch_hz: np.ndarray, *, level: float = 0.2) -> np.ndarray:
    """Sound with harmonics that fall off as a voice's do."""
    turns = 2.0 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = sum(np.sin(k * turns) / k for k in range(1, 12))
    return (level * np.asarray(sound)).astype(np.float32)


def swaying(semitones: float, seconds: float, *, level: float = 0.2) -> np.ndarray:
    """A voice whose pitch sways about 180 Hz, so far to either side."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 180.0 * 2.0 ** (semitones / 12.0 * np.sin(2.0 * np.pi * 0.7 * time_s))
    return voice(pitch_hz, level=level)


def heard(sound: np.ndarray) -> m.Melody:
    """What is made of a sound that comes in blocks of four tones, as in a stream."""
    state, tones = m.usual_melody(), m.no_tones()
    for new in np.split(m.tones_of(sound)[: len(sound) // 1280 * 4 - 4], len(sound) // 1280 - 1):
        tones = np.concatenate([tones, new])[-m.NUM_TONES :]
        state = m.follow_melody(state, tones, len(new))
    return state


@pytest.mark.parametrize("pitch_hz", [85.0, 120.0, 210.0, 390.0])
def test_the_pitch_of_a_voice_is_found_at_any_level_and_through_noise(pitch_hz: float) -> None:
    noise = 0.02 * np.random.default_rng(0).standard_normal(RATE_HZ)
    for level in (0.3, 0.003):
        sound = voice(np.full(RATE_HZ, pitch_hz), level=level) + noise * level / 0.3
        tones = m.tones_of(sound.astype(np.float32))
        assert tones[:, 0].min() > 85
        np.testing.assert_allclose(tones[:, 1] / 3.0, 12 * np.log2(pitch_hz / 70.0), atol=0.5)


def test_noise_and_silence_have_no_pitch() -> None:
    rng = np.random.default_rng(1)
    ahead = look_ahead_samples(0)
    for sound in (np.zeros(RATE_HZ), rng.standard_normal(RATE_HZ), np.full(RATE_HZ, 0.3)):
        tones = m.tones_of(sound.astype(np.float32))[-m.NUM_TONES :]
        assert m.voicing(tones, 2, ahead).max() == 0.0
    tones = m.tones_of(voice(np.full(RATE_HZ, 220.0)))[-m.NUM_TONES :]
    assert m.voicing(tones, 2, ahead).min() == 1.0


def test_who_hardly_moves_is_subdued_and_who_moves_far_is_lively() -> None:
    flat, usual, far = (m.liveliness(heard(swaying(s, 8.0))) for s in (1.0, 4.2, 9.0))
    assert flat < -0.6
    assert -0.3 < usual < 0.3
    assert far > 0.8
    quiet = m.liveliness(heard(swaying(9.0, 8.0, level=0.004)))
    assert quiet == pytest.approx(far, abs=0.1)


def test_silence_is_forgetting_and_noise_says_nothing() -> None:
    state = heard(swaying(9.0, 8.0))
    nothing = m.no_tones()
    for _ in range(25 * 60):
        state = m.follow_melody(state, nothing, 2)
    assert m.liveliness(state) == pytest.approx(0.0, abs=0.02)
    noise = np.random.default_rng(2).standard_normal(8 * RATE_HZ).astype(np.float32)
    assert m.liveliness(heard(noise)) == pytest.approx(0.0, abs=0.02)


def test_slips_of_the_octave_do_not_make_a_voice_lively() -> None:
    tones = np.tile(np.array([95, 50], np.int8), (m.NUM_TONES, 1))
    tones[::3, 1] += 36
    state = m.usual_melody()
    for _ in range(100):
        state = m.follow_melody(state, tones, 4)
    assert m.liveliness(state) < 0.1


@pytest.mark.parametrize("look", range(len(LOOK_AHEAD_HOPS)))
def test_a_frame_has_the_pitch_of_its_own_sound(look: int) -> None:
    ahead = look_ahead_samples(look)
    sound = 0.1 * np.random.default_rng(3).standard_normal(RATE_HZ)
    end = RATE_HZ - ahead  # of the last frame
    inside = slice(end - SAMPLES_PER_FRAME - 200, end + 200)
    sound[inside] = voice(np.full(RATE_HZ, 200.0))[inside]
    tones = m.tones_of(sound[(RATE_HZ - m.WINDOW_SAMPLES) % m.TONE_SAMPLES :].astype(np.float32))
    found = m.voicing(tones[-m.NUM_TONES :], 3, ahead)
    assert found[-1] > 0.9
    assert found[0] == 0.0


def test_a_voice_that_rises_is_emphasised() -> None:
    tones = np.tile(np.array([95, 50], np.int8), (m.NUM_TONES, 1))
    melody = np.array([400.0, 50 / 3.0, 2.6])
    np.testing.assert_allclose(m.emphasis(tones, melody, 2, look_ahead_samples(0)), 1.0)
    tones[:, 1] += 12
    assert m.emphasis(tones, melody, 2, look_ahead_samples(0)).min() > 1.8
    tones[:, 0] = 20  # no pitch, nothing to say
    np.testing.assert_allclose(m.emphasis(tones, melody, 2, look_ahead_samples(0)), 1.0)


def drawn(lively: float, controls: Controls | None = None, num_frames: int = 200) -> np.ndarray:
    """Motion of a head that is pushed to and fro, of a mouth that wants to smile a little."""
    latents = np.random.default_rng(4).standard_normal((num_frames, LATENT_DIM)) * 0.3
    return to_channels(
        latents.astype(np.float32), controls or Controls(), PoseState(), lively=lively
    )[0]


def test_a_lively_voice_moves_the_head_further_and_smiles_and_a_flat_one_does_not() -> None:
    assert len(LATENT_SCALE) == LATENT_DIM
    flat, usual, far = (drawn(lively) for lively in (-1.0, 0.0, 1.0))
    yaw, smile = MOTION_INDEX["headYaw"], MOTION_INDEX["mouthSmileLeft"]
    spread = [values[100:, yaw].std() for values in (flat, usual, far)]
    assert spread[0] < 0.9 * spread[1]
    assert spread[2] > 1.2 * spread[1]
    corners = [values[100:, smile].mean() for values in (flat, usual, far)]
    assert corners[0] < corners[1] < corners[2] - 0.1
    assert np.abs(np.diff(far[:, smile])).max() < 0.5  # it comes by and by
    assert (flat[:, smile] >= 0.0).all()


def test_an_emotion_that_is_asked_for_takes_the_place_of_what_the_voice_says() -> None:
    smile = MOTION_INDEX["mouthSmileLeft"]
    asked = Controls(emotion={"neutral": 1.0})
    np.testing.assert_allclose(drawn(1.0, asked)[:, smile], drawn(0.0, asked)[:, smile])
