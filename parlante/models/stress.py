"""Which sounds a speaker stresses, as far as loudness says: brows and head move with them.

Axis letters: T frames, N hops, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from parlante.models.audio_features import NUM_MELS, frame_means
from parlante.types import SAMPLES_PER_FRAME, Float32Array

__all__ = ["stresses"]

# Mean of the bands of a frame and the next against the speaker's usual ones, feature units of 2.5
# nats: the middle of open vowels is at -0.06, their loudest tenth above 0.66 (recordings, 2026-11).
STRESSED_FROM: Final = 0.1
STRESSED_FULL: Final = 1.1
USUAL_STRESS: Final = 0.15  # mean over open vowels of what those limits give


def stresses(features: Float32Array, num_frames: int, ahead: int) -> Float32Array:
    """How much each frame is stressed.

    Args:
        features: [N, F] of `audio_features.normalise`; the last window ends `ahead` samples after
            the last frame does.
        num_frames: T.
        ahead: Samples at 16 kHz.

    Returns:
        float32 [T]: 0 for none, 1 for the mean of open vowels, up to 1 / `USUAL_STRESS`.
    """
    levels = frame_means(
        features[:, :NUM_MELS].mean(axis=1), num_frames, ahead, 2 * SAMPLES_PER_FRAME
    )
    share = (levels - STRESSED_FROM) / (STRESSED_FULL - STRESSED_FROM)
    return np.asarray(np.clip(share, 0.0, 1.0) / USUAL_STRESS, np.float32)
