"""Lips that round and spread as slowly as people's, and so set out before the sound does.

What the network makes of lip shapes changes as fast as the names of phones do: the width of
rendered mouths moved by up to 0.056 inter-ocular distances from frame to frame (95th percentile),
people's by 0.03 to 0.04 (2026-11). A linear map reads from the code of the sound, which hears
ahead, the shapes that the network will give in the next frames; `motion_channels` shows the mean
of three frames. Together that is a mean over five frames around now, without waiting for any.

Axis letters: T frames, D latent channels, S shapes.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_sampling import sounds_of
from parlante.models.motion_space import LATENT_INDEX, SHAPES
from parlante.types import Float32Array

__all__ = ["SHARES_AHEAD", "foresee"]

# Of this frame and of those after it, what is read.
SHARES_AHEAD: Final = (0.25, 0.5, 0.25)
_PLACES: Final = [LATENT_INDEX[name] for name in SHAPES]


def foresee(latents: Float32Array, speech: Tensor, model: MotionDiT) -> Float32Array:
    """Put in place of a block's lip shapes those that are coming.

    Args:
        latents: [T, D], unit variance.
        speech: Speech code of the block, [1, T, audio_width + NUM_READ].
        model: The network that it is of.

    Returns:
        [T, D]; only `SHAPES` differ.
    """
    out = latents.copy()
    # Where more was let through, lips shut later (0.13 s after speech ended, not 0.12).
    coming = model.shapes_ahead(speech) * sounds_of(speech, model)
    out[:, _PLACES] = coming[0].numpy()
    return out
