"""Lips in time: between words, and in the gaps of stops, they stay parted; they rest in silence.

The network shuts the mouth as soon as it hears nothing for a moment: the hold of a T, a breath
between words. People's lips need longer, and mostly are needed again before they are there.
What is heard now decides, and the frames before: nothing waits for later sound.

Axis letters: T frames, P past frames, D latent channels, N hops, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.audio_features import NUM_MELS, window_places
from parlante.models.motion_space import LATENT_INDEX, LATENT_SCALE
from parlante.types import Float32Array

__all__ = ["linger", "sounds_near"]

# There is sound at a frame if any window so far before and after it has some (samples at 16 kHz).
HEARD_BEFORE: Final = 1600
HEARD_AFTER: Final = 480
# Mean of a window's bands against the speaker's usual ones, feature units of 2.5 nats: vowels and
# hisses are above it, a silence that room and breath fill is below.
QUIET_BELOW: Final = -1.0
# Lips that were open by `PARTED_JAW` stay so by `LINGER_JAW`, 3 frames whole and a fourth half.
LINGER_SHARES: Final = (1.0, 1.0, 1.0, 0.5)
LINGER_JAW: Final = 0.13  # an aperture of 0.06 IOD, of which trackers see 0.04
PARTED_JAW: Final = 0.12
# Closures and bites are none of it: from where on a channel begins to say so, and says it for sure.
CLOSING: Final = (0.10, 0.30)
BITING: Final = (0.0, 0.20)
_JAW, _PRESS = LATENT_INDEX["jawOpen"], LATENT_INDEX["mouthPress"]
_CLOSE, _ROLL = LATENT_INDEX["mouthClose"], LATENT_INDEX["mouthRollLower"]


def sounds_near(features: Float32Array, num_frames: int, ahead: int) -> npt.NDArray[np.bool_]:
    """Tell in which frames there is sound close by.

    Args:
        features: [N, F] of `audio_features.normalise`; the last window ends `ahead` samples after
            the last frame does.
        num_frames: T.
        ahead: Samples at 16 kHz.

    Returns:
        bool [T].
    """
    loud = features[:, :NUM_MELS].mean(axis=1) > QUIET_BELOW
    since = window_places(len(features), num_frames, ahead)
    is_near = (since >= -HEARD_BEFORE) & (since <= HEARD_AFTER)
    return np.asarray((is_near & loud).any(axis=1))


def linger(
    latents: Float32Array, past: Float32Array, sounding: npt.NDArray[np.bool_]
) -> Float32Array:
    """Keep lips parted that were open just now, while there is sound and nothing closes them.

    Args:
        latents: [T, D], unit variance.
        past: [P, D], as generated, of the frames before; P may be 0.
        sounding: [T] of `sounds_near`.

    Returns:
        [T, D]; only jaw and press differ.
    """
    reach = len(LINGER_SHARES)
    jaw = np.concatenate([past[-reach:, _JAW], latents[:, _JAW]]) * LATENT_SCALE[_JAW]
    opened = np.concatenate([np.zeros(reach), np.clip(jaw / PARTED_JAW, 0.0, 1.0)])
    T = len(latents)
    earlier = [
        share * opened[len(opened) - T - lag : len(opened) - lag]
        for lag, share in enumerate(LINGER_SHARES, start=1)
    ]
    closing = np.maximum(_share(latents, _CLOSE, CLOSING), _share(latents, _ROLL, BITING))
    floor = LINGER_JAW * np.max(earlier, axis=0) * (1.0 - closing) * sounding
    own = latents[:, _JAW] * LATENT_SCALE[_JAW]
    lifted = np.maximum(floor - own, 0.0)
    out = latents.copy()
    out[:, _JAW] = (own + lifted) / LATENT_SCALE[_JAW]
    # Lips that part are not pressed.
    out[:, _PRESS] *= 1.0 - np.minimum(1.0, 2.0 * lifted / LINGER_JAW)
    return out


def _share(
    latents: Float32Array, channel: int, limits: tuple[float, float]
) -> npt.NDArray[np.float64]:
    low, high = limits
    natural = latents[:, channel].astype(np.float64) * LATENT_SCALE[channel]
    return np.asarray(np.clip((natural - low) / (high - low), 0.0, 1.0))
