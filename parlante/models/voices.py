"""Whether what sounds is a voice: while music plays and nobody sings, the mouth rests.

The reader of sound was taught that voices sing over chords, and takes chords alone for a voice it
does not quite understand. How sure it is tells them apart: of a voice some viseme every second or
two is certain, of music none is. What was heard before decides, nothing waits for later sound.

Axis letters: T frames, V visemes, D latent channels.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from parlante.models.motion_sampling import RESTING_MOUTH
from parlante.models.motion_space import MOUTH_SLICE
from parlante.models.viseme_names import VISEMES
from parlante.types import FRAME_RATE_HZ, Float32Array

__all__ = ["SURE", "certainty", "rest_without_voice"]

SURE: Final = 1.0  # a stream begins as if a voice had just been heard: its first word is not lost
# How long a certain viseme counts. The largest chance of any, held so, is above 0.72 in 99 of 100
# frames of speech (14 recordings, five languages) and above 0.54 in 95 of sung notes, which last up
# to 4 s; of instrumental music half lies below 0.43 (2026-11).
HOLD_S: Final = 3.5
NO_VOICE, VOICE = 0.42, 0.54  # the mouth rests up to the first, and moves freely from the second on
_HELD: Final = math.exp(-1.0 / (HOLD_S * FRAME_RATE_HZ))
_SILENCE: Final = VISEMES.index("sil")


def certainty(names: Float32Array, before: float) -> Float32Array:
    """How sure the reader was of late that it hears a voice.

    Args:
        names: [T, V], chances of visemes.
        before: Certainty at the frame before, [0, 1].

    Returns:
        float32 [T], [0, 1].
    """
    best = np.delete(names, _SILENCE, axis=1).max(axis=1)
    out = np.empty(len(best), np.float32)
    for frame, chance in enumerate(best):
        out[frame] = max(float(chance), before * _HELD)
        before = float(out[frame])
    return out


def rest_without_voice(latents: Float32Array, sure: Float32Array) -> Float32Array:
    """Bring the mouth to rest where nothing that sounds is a voice.

    Args:
        latents: [T, D], unit variance.
        sure: [T] of `certainty`.

    Returns:
        [T, D]; only the mouth differs.
    """
    share = np.clip((sure - NO_VOICE) / (VOICE - NO_VOICE), 0.0, 1.0)[:, None]
    out = latents.copy()
    out[:, MOUTH_SLICE] = RESTING_MOUTH + share * (latents[:, MOUTH_SLICE] - RESTING_MOUTH)
    return out
