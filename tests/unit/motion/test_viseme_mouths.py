"""The mouth that the names of visemes have."""

import numpy as np
import torch

from parlante.models.motion_space import LATENT_SCALE, MOUTH, MOUTH_SLICE
from parlante.models.viseme_mouths import read_twice
from parlante.models.viseme_names import VISEMES


def read(**chances):
    names = torch.zeros(1, len(VISEMES))
    for name, chance in chances.items():
        names[0, VISEMES.index(name)] = chance
    mouth = read_twice(torch.zeros(1, len(MOUTH)), names)[0].numpy() * LATENT_SCALE[MOUTH_SLICE]
    return dict(zip(MOUTH, mouth, strict=True))


def test_names_round_spread_and_close_a_mouth_that_was_read_as_at_rest():
    rounded, spread, shut = read(UU=1.0), read(IH=1.0), read(PP=1.0)
    assert rounded["mouthPucker"] > 0.6 > 0.0 == rounded["mouthStretch"]
    assert spread["mouthStretch"] > 0.6 > 0.0 == spread["mouthPucker"]
    assert shut["mouthClose"] > 0.6


def test_names_that_are_sure_do_not_drown_the_second_best():
    """The chances are surer than they are right."""
    assert read(UU=0.1, IH=0.9)["mouthPucker"] > 0.2 * read(UU=1.0)["mouthPucker"]


def test_what_names_do_not_know_is_left_to_the_other_reading():
    mouth = torch.linspace(-1.0, 1.0, len(MOUTH))[None]
    names = torch.full((1, len(VISEMES)), 1.0 / len(VISEMES))
    joined = read_twice(mouth, names)
    left = [MOUTH.index(n) for n in ("mouthRollLower", "mouthPress", "mouthLowerDown")]
    np.testing.assert_array_equal(joined[0, left], mouth[0, left])
    assert not torch.equal(joined, mouth)
    silent = read_twice(mouth, torch.zeros(1, len(VISEMES)))
    assert torch.isfinite(silent).all()
