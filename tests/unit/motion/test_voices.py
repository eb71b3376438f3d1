"""Music is no voice: the mouth rests while nobody is heard to speak or sing."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models.motion_sampling import RESTING_MOUTH
from parlante.models.motion_space import LATENT_DIM, MOUTH_SLICE
from parlante.models.viseme_names import VISEMES
from parlante.models.voices import NO_VOICE, SURE, VOICE, certainty, rest_without_voice
from parlante.types import FRAME_RATE_HZ


def names_of(viseme: str, chance: float, num_frames: int) -> np.ndarray:
    names = np.full((num_frames, len(VISEMES)), (1.0 - chance) / (len(VISEMES) - 1), np.float32)
    names[:, VISEMES.index(viseme)] = chance
    return names


def test_a_certain_viseme_counts_for_a_while() -> None:
    unsure = names_of("AX", 0.3, 6 * FRAME_RATE_HZ)
    sure = certainty(unsure, SURE)
    assert sure[FRAME_RATE_HZ] > VOICE  # a held note of a second
    assert sure[-1] == pytest.approx(0.3)
    assert sure[-1] < NO_VOICE
    again = certainty(names_of("PP", 0.9, 1), float(sure[-1]))
    assert again[0] == pytest.approx(0.9)  # at once


def test_silence_is_no_voice() -> None:
    assert certainty(names_of("sil", 0.99, 6 * FRAME_RATE_HZ), SURE)[-1] < NO_VOICE


def test_blocks_are_as_certain_as_the_whole() -> None:
    rng = np.random.default_rng(0)
    names = rng.dirichlet(np.ones(len(VISEMES)), 12).astype(np.float32)
    whole, before, parts = certainty(names, SURE), SURE, []
    for part in np.split(names, 6):
        parts.append(certainty(part, before))
        before = float(parts[-1][-1])
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_only_the_mouth_rests_and_only_without_a_voice() -> None:
    latents = np.random.default_rng(0).normal(size=(3, LATENT_DIM)).astype(np.float32)
    out = rest_without_voice(latents, np.array([0.0, 0.5 * (NO_VOICE + VOICE), 1.0], np.float32))
    np.testing.assert_allclose(out[0, MOUTH_SLICE], RESTING_MOUTH, atol=1e-6)
    np.testing.assert_allclose(
        out[1, MOUTH_SLICE], 0.5 * (RESTING_MOUTH + latents[1, MOUTH_SLICE]), atol=1e-6
    )
    np.testing.assert_allclose(out[2], latents[2], atol=1e-6)
    others = np.ones(LATENT_DIM, bool)
    others[MOUTH_SLICE] = False
    np.testing.assert_array_equal(out[:, others], latents[:, others])
