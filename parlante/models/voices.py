"""While music plays and nobody sings, the mouth rests.

The reader of sound was taught that voices sing over chords, and takes chords alone for a voice it
does not quite understand. Another network (`voice_net`) says whether there is a voice at all.
What was heard before decides, nothing waits for later sound.

Axis letters: T frames, D latent channels.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from parlante.models.motion_sampling import RESTING_MOUTH
from parlante.models.motion_space import MOUTH_SLICE
from parlante.types import Float32Array

__all__ = ["NO_VOICE", "SURE", "VOICE", "follow", "rest_without_voice"]

SURE: Final = 1.0  # a stream begins as if a voice had just been heard: its first word is not lost
# Share of the way to what is heard now, per frame: music has sounds that pass for a voice for some
# frames, and voices have some that pass for none.
RISE, FALL = 0.25, 0.12
NO_VOICE, VOICE = 0.3, 0.5  # the mouth rests up to the first, and moves freely from the second on


def follow(chances: Float32Array, before: float) -> Float32Array:
    """How sure it is that there is a voice.

    Args:
        chances: [T], that a voice is heard, [0, 1].
        before: What this gave for the frame before, [0, 1].

    Returns:
        float32 [T], [0, 1].
    """
    out = np.empty(len(chances), np.float32)
    for frame, chance in enumerate(chances):
        out[frame] = before + (RISE if chance > before else FALL) * (float(chance) - before)
        before = float(out[frame])
    return out


def rest_without_voice(latents: Float32Array, sure: Float32Array) -> Float32Array:
    """Bring the mouth to rest where nothing that sounds is a voice.

    Args:
        latents: [T, D], unit variance.
        sure: [T] of `follow`.

    Returns:
        [T, D]; only the mouth differs.
    """
    share = np.clip((sure - NO_VOICE) / (VOICE - NO_VOICE), 0.0, 1.0)[:, None]
    out = latents.copy()
    out[:, MOUTH_SLICE] = RESTING_MOUTH + share * (latents[:, MOUTH_SLICE] - RESTING_MOUTH)
    return out
