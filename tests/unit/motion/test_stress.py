"""Brows and head go with what a speaker stresses."""

import numpy as np
import pytest

from parlante.models.audio_features import HOPS_PER_FRAME, NUM_FEATURES, NUM_MELS
from parlante.models.motion_channels import to_channels
from parlante.models.motion_space import LATENT_DIM, LATENT_INDEX, LATENT_SCALE
from parlante.models.pose_state import PoseState
from parlante.models.stress import USUAL_STRESS, stresses
from parlante.types import MOTION_INDEX, Controls


def _features(*levels):
    """Frames of so many levels each."""
    features = np.zeros((len(levels) * HOPS_PER_FRAME, NUM_FEATURES), np.float32)
    features[:, :NUM_MELS] = np.repeat(levels, HOPS_PER_FRAME)[:, None]
    return features


def test_loud_frames_are_stressed_and_usual_ones_are_not():
    quiet, loud, loudest = (
        stresses(_features(*[level] * 8), 2, ahead=0) for level in (-0.1, 0.6, 3.0)
    )
    assert quiet == pytest.approx([0.0, 0.0])
    assert loud == pytest.approx([0.5 / USUAL_STRESS] * 2)
    assert loudest == pytest.approx([1.0 / USUAL_STRESS] * 2)


def test_stress_is_heard_ahead():
    """Of frames 4 and 5 in eight, whose sound is known up to two frames later."""
    ahead = 2 * 640
    comes, is_there = stresses(_features(0, 0, 0, 0, 0, 1.1, 1.1, 1.1), 2, ahead)
    assert 0.0 < comes < is_there


def _speak(stressed):
    """Ten seconds of one open vowel."""
    latents = np.zeros((250, LATENT_DIM), np.float32)
    latents[:, LATENT_INDEX["jawOpen"]] = 0.3 / LATENT_SCALE[LATENT_INDEX["jawOpen"]]
    chances = np.random.default_rng(5).random(250).astype(np.float32)
    values, _ = to_channels(latents, Controls(), PoseState(), chances, stressed=stressed)
    return values


def test_brows_and_head_move_where_the_voice_is_stressed():
    stressed = np.zeros(250, np.float32)
    stressed[100:110] = 1.0 / USUAL_STRESS
    values = _speak(stressed)
    brows = values[:, MOTION_INDEX["browInnerUp"]] + values[:, MOTION_INDEX["browDownLeft"]]
    assert not brows[:100].any()
    assert brows[100:125].max() > 0.1
    pitch = values[:, MOTION_INDEX["headPitch"]]
    assert np.ptp(pitch[:100]) < 1e-6
    assert 103 < np.argmax(pitch) < 122
    assert pitch.max() > 0.01
