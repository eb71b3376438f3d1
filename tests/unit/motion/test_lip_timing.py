"""Lips that stay parted between words, and what is heard near a frame."""

import numpy as np
import pytest

from parlante.models.audio_features import LOOK_AHEAD_HOPS, NUM_FEATURES, look_ahead_samples
from parlante.models.lip_timing import LINGER_JAW, linger, sounds_near
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.motion_space import LATENT_DIM, LATENT_INDEX, LATENT_SCALE

ALL = np.ones(BLOCK_FRAMES, bool)


def latents_of(num_frames, **weights):
    latents = np.zeros((num_frames, LATENT_DIM), np.float32)
    for name, weight in weights.items():
        latents[:, LATENT_INDEX[name]] = np.divide(weight, LATENT_SCALE[LATENT_INDEX[name]])
    return latents


def drawn(name, latents):
    return latents[:, LATENT_INDEX[name]] * LATENT_SCALE[LATENT_INDEX[name]]


def test_lips_stay_parted_for_a_while_after_a_vowel():
    vowel, rest = latents_of(4, jawOpen=0.3), latents_of(6, mouthPress=0.35)
    past, shown = vowel, []
    for begin in range(0, 6, 2):
        block = rest[begin : begin + 2]
        shown.append(linger(block, past, ALL))
        past = np.concatenate([past, block])
    jaw = drawn("jawOpen", np.concatenate(shown))
    np.testing.assert_allclose(jaw, LINGER_JAW * np.array([1, 1, 1, 0.5, 0, 0]), atol=1e-6)
    press = drawn("mouthPress", np.concatenate(shown))
    assert press[0] == 0.0
    assert press[-1] == pytest.approx(0.35)


def test_lips_rest_at_once_where_nothing_is_heard():
    rest = latents_of(2, mouthPress=0.35)
    shown = linger(rest, latents_of(4, jawOpen=0.3), ~ALL)
    np.testing.assert_array_equal(shown, rest)


@pytest.mark.parametrize("closed", [{"mouthClose": 0.5}, {"mouthRollLower": 0.3}])
def test_lips_that_close_or_bite_do_not_linger(closed):
    closing = latents_of(2, jawOpen=0.05, **closed)
    shown = linger(closing, latents_of(4, jawOpen=0.3), ALL)
    np.testing.assert_allclose(shown, closing, rtol=1e-6)


def test_lips_that_were_hardly_open_and_those_that_are_open_are_left():
    rest, vowel = latents_of(2), latents_of(2, jawOpen=0.3, mouthPress=0.1)
    np.testing.assert_allclose(linger(rest, rest, ALL), rest)
    np.testing.assert_allclose(linger(vowel, vowel, ALL), vowel, rtol=1e-6)
    np.testing.assert_allclose(linger(rest, rest[:0], ALL), rest)  # a stream that begins


def test_a_block_is_linked_to_the_frame_before_it_within_itself():
    block = latents_of(2, jawOpen=[0.3, 0.0])
    shown = linger(block, latents_of(0), ALL)
    np.testing.assert_allclose(drawn("jawOpen", shown), [0.3, LINGER_JAW], rtol=1e-5)


@pytest.mark.parametrize("look", range(len(LOOK_AHEAD_HOPS)))
def test_sound_is_near_for_a_tenth_of_a_second_whatever_the_look_ahead(look):
    features = np.full((132, NUM_FEATURES), -3.0, np.float32)
    hops_after = 8 + LOOK_AHEAD_HOPS[look]  # windows that end after the last frame does
    first = len(features) - hops_after - 8  # the window at the begin of the first frame
    for moved_hops, near in ((-11, [0, 0]), (-9, [1, 0]), (0, [1, 1]), (5, [0, 1]), (8, [0, 0])):
        heard = features.copy()
        heard[first + moved_hops] = 0.0
        found = sounds_near(heard, BLOCK_FRAMES, look_ahead_samples(look))
        assert found.tolist() == [bool(n) for n in near], moved_hops
