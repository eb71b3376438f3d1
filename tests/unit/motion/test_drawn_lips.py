"""What is drawn of the lips that a generator makes."""

import numpy as np
import pytest

from parlante.models.motion_channels import STEADY_FRAMES, to_channels
from parlante.models.motion_space import LATENT_DIM, LATENT_INDEX, LATENT_SCALE
from parlante.models.pose_state import PoseState
from parlante.training.evaluate import aperture
from parlante.types import MOTION_INDEX, Controls


def test_lips_that_the_generator_presses_rest_firmer_and_open_ones_do_not():
    latents = np.zeros((1, LATENT_DIM), np.float32)
    press, jaw = LATENT_INDEX["mouthPress"], LATENT_INDEX["jawOpen"]
    latents[:, press] = 0.33 / LATENT_SCALE[press]
    shut, _ = to_channels(latents, Controls(), PoseState())
    latents[:, jaw] = 0.3 / LATENT_SCALE[jaw]
    opened, _ = to_channels(latents, Controls(), PoseState())
    index = MOTION_INDEX["mouthPressLeft"]
    assert shut[0, index] > 0.4 > opened[0, index]


def lips_of(**weights):
    """Lips that were held until they are as they are drawn."""
    latents = np.zeros((STEADY_FRAMES, LATENT_DIM), np.float32)
    for name, weight in weights.items():
        latents[:, LATENT_INDEX[name]] = weight / LATENT_SCALE[LATENT_INDEX[name]]
    values, _ = to_channels(latents, Controls(), PoseState())
    return lambda name: float(values[-1, MOTION_INDEX[name]])


def test_a_lower_lip_that_is_half_rolled_comes_to_the_teeth():
    lips = lips_of(mouthRollLower=0.38, jawOpen=0.15, mouthLowerDown=0.1, mouthPress=0.1)
    assert lips("mouthRollLower") >= 0.5
    assert lips("mouthUpperUpLeft") > 0.25
    assert lips("jawOpen") < 0.11
    assert lips("mouthLowerDownLeft") == lips("mouthPressLeft") == 0.0


def test_a_lower_lip_that_is_hardly_rolled_is_left():
    plain, hardly = lips_of(jawOpen=0.2), lips_of(jawOpen=0.2, mouthRollLower=0.09)
    assert hardly("jawOpen") == plain("jawOpen")
    assert hardly("mouthUpperUpLeft") == plain("mouthUpperUpLeft")


def test_a_jaw_that_opens_takes_the_lower_lip_from_the_teeth():
    lips = lips_of(mouthRollLower=0.3, jawOpen=0.4)
    assert lips("mouthUpperUpLeft") == 0.0
    assert lips("jawOpen") > 0.36


def test_lips_that_close_do_not_bite():
    lips = lips_of(mouthRollLower=0.4, mouthClose=0.9)
    assert lips("mouthUpperUpLeft") == 0.0
    assert lips("mouthPressLeft") > 0.4


def test_rounded_lips_open_less_than_spread_ones():
    """Over a dropped jaw rounded lips look narrow neither to the eye nor to a tracker."""
    pucker = np.repeat([0.0, 0.08, 0.6], STEADY_FRAMES)
    latents = np.zeros((len(pucker), LATENT_DIM), np.float32)
    latents[:, LATENT_INDEX["jawOpen"]] = 0.3 / LATENT_SCALE[LATENT_INDEX["jawOpen"]]
    latents[:, LATENT_INDEX["mouthPucker"]] = pucker / LATENT_SCALE[LATENT_INDEX["mouthPucker"]]
    values, _ = to_channels(latents, Controls(), PoseState())
    plain, hardly, rounded = aperture(values)[STEADY_FRAMES - 1 :: STEADY_FRAMES]
    assert plain > 0.15
    assert hardly == pytest.approx(plain)
    assert 0.55 * plain < rounded < 0.65 * plain


def test_what_opens_lips_does_not_open_those_that_close():
    apart, closing = lips_of(jawOpen=0.2), lips_of(jawOpen=0.2, mouthClose=0.9)
    assert apart("jawOpen") > 0.21
    assert closing("jawOpen") < 0.11


def test_lips_are_rounded_or_spread():
    """A few passes make half of each where people do the one or the other."""
    alone, both = lips_of(mouthStretch=0.32), lips_of(mouthStretch=0.32, mouthPucker=0.15)
    assert alone("mouthStretchLeft") > both("mouthStretchLeft") > 0.72
    assert both("mouthPucker") < 0.8 * 1.86 * 0.15
    rounded = lips_of(mouthStretch=0.1, mouthPucker=0.4)
    assert rounded("mouthPucker") > 1.86 * 0.4
    assert rounded("mouthStretchLeft") < 0.13


def test_a_lower_lip_bites_over_the_jaw_of_a_vowel_that_is_coming():
    """Real voices' F and V come out weak, and between wide vowels over a jaw that is not shut."""
    lips = lips_of(mouthRollLower=0.2, jawOpen=0.28)
    assert lips("mouthUpperUpLeft") > 0.12
    assert lips("mouthRollLower") > 0.3


def test_a_happy_smile_is_drawn_broad_and_a_friendly_look_is_left():
    assert lips_of(mouthSmile=0.6)("mouthSmileLeft") > 0.85
    assert lips_of(mouthSmile=0.15)("mouthSmileLeft") < 0.16


def test_a_smile_is_no_broader_over_a_dropped_jaw_or_rounded_lips():
    for lips in (lips_of(mouthSmile=0.6, jawOpen=0.4), lips_of(mouthSmile=0.6, mouthPucker=0.6)):
        assert lips("mouthSmileLeft") == pytest.approx(0.6, abs=0.02)


def test_lips_that_smile_are_spread_less():
    plain, smiling = lips_of(mouthStretch=0.5), lips_of(mouthStretch=0.5, mouthSmile=0.6)
    assert smiling("mouthStretchLeft") < 0.8 * plain("mouthStretchLeft")


def test_spread_lips_raise_their_corners_unless_they_are_sour():
    spread = lips_of(mouthStretch=0.5)
    assert 0.3 < spread("mouthSmileLeft") < 0.5
    for mood in ("mouthFrown", "browDown", "noseSneer"):
        assert lips_of(mouthStretch=0.5, **{mood: 0.8})("mouthSmileLeft") < 0.05
    assert lips_of(mouthPucker=0.5)("mouthSmileLeft") == 0.0
