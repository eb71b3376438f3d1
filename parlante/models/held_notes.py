"""While a voice sounds there is no silence: long notes keep their vowel.

The reader of sound knows speech. Of a note that is held it hears how it begins, and then takes what
does not change any more for a pause; high voices it takes for one from the beginning. `voice_net`
hears better whether there is a voice, so where it is sure of one and it is loud, the reader has to
say which sound it is. What has no pitch is no note: noise in the pauses of somebody who speaks
opened the mouth in half of them.

Axis letters: T frames, N hops, F features, M mel bands.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from parlante.models.audio_features import NATS, NUM_MELS, Float64Array, frame_means
from parlante.types import Float32Array

__all__ = ["voiced"]

# From where on a voice counts as one, and for sure; a frame's energy against the usual one
# likewise, nats. All bands together: a high voice has few harmonics, and nothing in between.
VOICE: Final = (0.5, 0.8)
LOUD: Final = (-1.5, -0.5)


def voiced(
    features: Float32Array,
    usual: Float64Array,
    sure: Float32Array,
    voicing: Float32Array,
    ahead: int,
) -> Float32Array:
    """How surely each frame sounds with a voice.

    Args:
        features: [N, F] of `audio_features.normalise`; the last window ends `ahead` samples after
            the last frame does.
        usual: [M] of `audio_features.usual_spectrum`.
        sure: [T] of `voices.follow`.
        voicing: [T] of `melody.voicing`.
        ahead: Samples at 16 kHz.

    Returns:
        float32 [T], [0, 1].
    """
    levels = logsumexp(NATS * features[:, :NUM_MELS] + usual, axis=1) - logsumexp(usual)
    loudness = frame_means(levels, len(sure), ahead)
    return np.asarray(_share(sure, *VOICE) * _share(loudness, *LOUD) * voicing, np.float32)


def _share(value: npt.NDArray[np.floating], low: float, high: float) -> Float32Array:
    return np.asarray(np.clip((value - low) / (high - low), 0.0, 1.0), np.float32)
