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

import numpy as np
import numpy.typing as npt
from torch import Tensor

from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_space import LATENT_INDEX, SHAPES
from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array

__all__ = ["SHARES_AHEAD", "foresee", "steadied"]

# Of this frame and of those after it, what is read.
SHARES_AHEAD: Final = (0.25, 0.5, 0.25)
STEADY_FRAMES: Final = 3
# A mean flattens peaks; and how far each may go, see `motion_channels.SHAPE_GAINS`.
STEADY_GAIN: Final = 1.2
MOST_STEADY: Final = {"mouthFunnel": 0.58, "mouthPucker": 0.8, "mouthStretch": 1.0}
# Lips that rest have no shape: below the first chance that nobody speaks all of it, above the
# second none. Where more was let through, lips shut later (0.13 s after speech ended, not 0.12).
SILENT: Final = (0.3, 0.6)
_PLACES: Final = [LATENT_INDEX[name] for name in SHAPES]
_MOST: Final = np.array([MOST_STEADY[name] for name in SHAPES])


def foresee(latents: Float32Array, speech: Tensor, model: MotionDiT) -> Float32Array:
    """Put in place of a block's lip shapes those that are coming.

    Args:
        latents: [T, D], unit variance.
        speech: Speech code of the block, [1, T, audio_width + NUM_READ].
        model: The network that it is of.

    Returns:
        [T, D]; only `SHAPES` differ.
    """
    low, high = SILENT
    silence = model.silence_of(speech)[0].numpy()
    out = latents.copy()
    coming = model.shapes_ahead(speech)[0].numpy()
    out[:, _PLACES] = coming * (1.0 - smooth_steps((silence - low) / (high - low)))
    return out


def steadied(
    shapes: npt.NDArray[np.float64], before: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What is shown of the weights of lip shapes.

    Args:
        shapes: [S], of this frame.
        before: [STEADY_FRAMES - 1, S], of the frames before.

    Returns:
        [S].
    """
    mean = (shapes + before.sum(axis=0)) / STEADY_FRAMES
    return np.asarray(np.minimum(STEADY_GAIN * mean, _MOST))
