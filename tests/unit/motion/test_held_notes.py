"""While a voice sounds there is no silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parlante.models.audio_features import NATS, NUM_FEATURES, NUM_MELS, look_ahead_samples
from parlante.models.held_notes import LOUD, VOICE, voiced
from parlante.models.motion_dit import BLOCK_FRAMES, NUM_READ
from parlante.models.viseme_names import VISEMES

HOPS = 60


USUAL = np.linspace(6.0, 3.0, NUM_MELS)


def features_of(nats: float) -> np.ndarray:
    """All bands so many nats above the usual ones."""
    return np.full((HOPS, NUM_FEATURES), nats / NATS, np.float32)


def sure_of(value: float) -> np.ndarray:
    return np.full(BLOCK_FRAMES, value, np.float32)


def test_a_loud_sure_voice_is_voiced_and_nothing_else_is() -> None:
    def share(nats: float, sure: float, pitched: float = 1.0) -> np.ndarray:
        voicing, ahead = sure_of(pitched), look_ahead_samples(0)
        return voiced(features_of(nats), USUAL, sure_of(sure), voicing, ahead)

    np.testing.assert_allclose(share(LOUD[1], VOICE[1]), 1.0, atol=1e-5)
    np.testing.assert_allclose(share(LOUD[0], 1.0), 0.0, atol=1e-5)
    np.testing.assert_allclose(share(1.0, VOICE[0]), 0.0, atol=1e-5)
    np.testing.assert_allclose(share(sum(LOUD) / 2, 1.0), 0.5, atol=1e-5)
    np.testing.assert_allclose(share(1.0, 1.0, pitched=0.0), 0.0, atol=1e-5)


def test_a_high_voice_of_few_harmonics_is_loud() -> None:
    features = features_of(-7.0)
    features[:, 8:NUM_MELS:8] = 0.8
    found = voiced(features, USUAL, sure_of(1.0), sure_of(1.0), look_ahead_samples(0))
    np.testing.assert_allclose(found, 1.0, atol=1e-5)


@pytest.mark.parametrize("look", range(4))
def test_loudness_is_that_of_the_frame_itself(look: int) -> None:
    ahead, hop = look_ahead_samples(look), 160
    features = features_of(-5.0)
    # The last frame of the block ends `ahead` samples before the features do.
    end = HOPS - ahead // hop
    features[end - 3 : end - 1] = 3.0
    found = voiced(features, USUAL, sure_of(1.0), sure_of(1.0), ahead)
    assert found[-1] == pytest.approx(1.0)
    assert found[:-1].max(initial=0.0) == 0.0


def test_a_code_that_is_no_silence_names_what_was_likely_beside_it(tiny_model) -> None:
    torch.manual_seed(0)
    code = torch.randn(1, 2, tiny_model.config.audio_width + NUM_READ)
    silence, vowel = VISEMES.index("sil"), VISEMES.index("AA")
    names = torch.full((len(VISEMES),), 0.01)
    names[silence], names[vowel] = 0.56, 0.3
    code[..., -len(VISEMES) :] = names
    told = tiny_model.without_silence(code, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(told[0, 0], code[0, 0])
    after = tiny_model.names_of(told)[0, 1]
    assert after[silence] == 0.0
    assert int(after.argmax()) == vowel
    assert float(after.sum()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(tiny_model.mouth_of(told), tiny_model.mouth_of(code))
