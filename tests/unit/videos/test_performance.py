"""What a face did comes back out of what was measured of it."""

import numpy as np
import pytest

from parlante.models.lip_foresight import SHARES_AHEAD
from parlante.models.motion_channels import (
    ROUNDED_LOSES,
    WANDER_SHARE,
    kept_by_rounded,
    shape_lips,
    to_channels,
)
from parlante.models.motion_space import FACE, GAZE_SLICE, LATENT_INDEX, MOUTH, SHAPES
from parlante.models.pose_state import PoseState
from parlante.training.videos.calibration import CHANNELS, channel_shapes, invert
from parlante.training.videos.cleaning import cut_segments
from parlante.training.videos.clips import latents_of
from parlante.training.videos.lips import UNSEEN_APERTURE, opening_of
from parlante.training.videos.performance import blink_starts, perform
from parlante.types import MOTION_INDEX, Controls
from tests.unit.videos.conftest import BLINKS


@pytest.fixture(scope="module")
def segment(made_face, talking):
    (segment,), losses = cut_segments(made_face.track(talking))
    assert losses == []
    return segment


@pytest.fixture(scope="module")
def performance(segment):
    return perform(segment)


@pytest.fixture(scope="module")
def shown(performance):
    """The performance as the motion stage would show it [T, 60]."""
    latents = latents_of(performance)
    latents[:, GAZE_SLICE] /= WANDER_SHARE  # the motion stage shows no more than that of it
    # Lip shapes are shown by the mean of some frames, of shapes that were seen coming.
    later = np.concatenate([latents, latents[-2:]])[:, _SHAPES]
    latents[:, _SHAPES] = sum(
        share * later[k : k + len(latents)] for k, share in enumerate(SHARES_AHEAD)
    )
    # `head_latents` takes the frame before as at rest where the first one is.
    return to_channels(latents, Controls(), PoseState(deviation=performance.head[0]))[0]


_SHAPES = [LATENT_INDEX[name] for name in SHAPES]
# What moves one landmark alone, or a little, cannot be told from its neighbours.
_HARD_TO_SEE = ("mouthRollLower", "mouthPress", "mouthUpperUp", "mouthLowerDown", "mouthFunnel")


def _alike(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def test_each_channel_alone_comes_back():
    shapes = channel_shapes()
    for index, name in enumerate(CHANNELS):
        if name in _HARD_TO_SEE:
            continue
        found = invert(0.6 * shapes[None, :, index])[0]
        assert found[index] == found.max(), name
        assert 0.2 < found[index] < 0.7, name


def test_no_change_is_no_channel():
    assert not invert(np.zeros((2, len(channel_shapes())))).any()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("jawOpen", 0.89),
        ("mouthPucker", 0.78),  # shown slower than the made face moves it
        ("mouthSmileLeft", 0.55),  # spread lips add to it, of which the made face's know nothing
        ("browInnerUp", 0.9),
        ("browOuterUpRight", 0.85),
        ("headYaw", 0.96),
        ("headPitch", 0.96),
        ("headRoll", 0.96),
        ("headX", 0.9),
        ("eyeBlinkLeft", 0.97),
        ("gazeYaw", 0.9),
        ("gazePitch", 0.8),
    ],
)
def test_channel_comes_back(shown, talking, name, least):
    index = MOTION_INDEX[name]
    inner = slice(12, -5)
    assert _alike(shown[inner, index], talking[inner, index]) > least


def test_aperture_comes_back_in_size(performance, talking):
    drawn = performance.mouth.copy()
    shapes = dict(zip(MOUTH, performance.mouth.T, strict=True))
    shape_lips(shapes)
    for name in ROUNDED_LOSES:
        drawn[:, MOUTH.index(name)] *= kept_by_rounded(name, shapes["mouthPucker"])
    wanted = (
        0.5 * talking[:, MOTION_INDEX["jawOpen"]] * (1 - talking[:, MOTION_INDEX["mouthClose"]])
    )
    found = opening_of(drawn)
    assert _alike(found, wanted) > 0.95
    # A made face has no opening that goes unseen, so what is added for a tracked one is too much.
    assert found.mean() - UNSEEN_APERTURE == pytest.approx(wanted.mean(), rel=0.2)


def test_short_contacts_are_closures_and_rests_are_not(performance):
    close = performance.mouth[:, MOUTH.index("mouthClose")]
    assert not close[:10].any()  # a rest
    assert performance.mouth[:10, MOUTH.index("jawOpen")].max() < 0.05
    for start in range(57, 290, 37):
        assert close[start : start + 3].max() == 1.0
    assert close.mean() < 0.15


def test_blinks_begin_where_they_begin(segment):
    assert blink_starts(segment) == list(BLINKS)


def test_blinks_do_not_squint(performance):
    assert performance.face[:, FACE.index("eyeSquint")].max() < 0.1


def test_whose_face_it_is_does_not_matter(made_face, talking, performance):
    """A wide, smiling mouth, high brows and small eyes are looks, not motion."""
    looks = talking.copy()
    for side in ("Left", "Right"):
        looks[:, MOTION_INDEX[f"mouthSmile{side}"]] += 0.3
        looks[:, MOTION_INDEX[f"browOuterUp{side}"]] += 0.3
    (segment,), _ = cut_segments(made_face.track(looks))
    other = perform(segment)
    np.testing.assert_allclose(other.face.mean(axis=0), performance.face.mean(axis=0), atol=0.06)


def test_main_gaze_and_distance_are_slow(performance):
    assert np.abs(np.diff(performance.gaze, axis=0)).max() < 0.01
    assert np.abs(np.diff(performance.log_distance)).max() < 0.005
