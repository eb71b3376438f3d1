"""Rooms: what a voice sounds like from across one.

`augment` adds reverberation to energies, which costs nothing and is too kind: echoes meet the voice
with any phase, so that energies of a room flicker and closures fill up. Here sound itself is folded
with drawn responses (exponential decay, as of a diffuse field, behind a few early reflections).

Axis letters: S samples, K samples of a response.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.signal import fftconvolve, lfilter

from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array

__all__ = ["draw_response", "in_room"]

_DECAY_S: Final = (0.2, 2.2)  # until 60 dB below; living rooms have 0.4, halls 2
_DIRECT_DB: Final = (-5.0, 12.0)  # of the voice itself against all of its echoes
_FIRST_ECHO_S: Final = (0.002, 0.03)
_NUM_EARLY: Final = 6
_EARLY_S: Final = 0.05
_DULL_HZ: Final = (800.0, 4000.0)  # above it echoes die away sooner
_DULL_SHARE: Final = (0.4, 1.0)  # of the decay's time, up there


def draw_response(rng: np.random.Generator) -> Float32Array:
    """Draw a room and a place in it.

    Args:
        rng: Source of randomness.

    Returns:
        float32 [K] at 16 kHz; the voice itself comes first, as 1.
    """
    decay_s = float(np.exp(rng.uniform(*np.log(_DECAY_S))))
    time_s = np.arange(int(decay_s * MODEL_SAMPLE_RATE_HZ)) / MODEL_SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(time_s))
    keep = np.exp(-2.0 * np.pi * rng.uniform(*_DULL_HZ) / MODEL_SAMPLE_RATE_HZ)
    low = lfilter([1.0 - keep], [1.0, -keep], noise)
    dull_s = decay_s * rng.uniform(*_DULL_SHARE)
    echoes = low * 10 ** (-3.0 * time_s / decay_s)
    echoes = echoes + (noise - low) * 10 ** (-3.0 * time_s / dull_s)
    echoes[: int(rng.uniform(*_FIRST_ECHO_S) * MODEL_SAMPLE_RATE_HZ)] = 0.0
    early = rng.integers(30, int(_EARLY_S * MODEL_SAMPLE_RATE_HZ), size=_NUM_EARLY)
    echoes[early] += rng.normal(0.0, 3.0, _NUM_EARLY) * float(np.abs(echoes).max())
    echoes *= 10 ** (-rng.uniform(*_DIRECT_DB) / 20) / np.sqrt(float((echoes**2).sum()))
    echoes[0] = 1.0
    return np.asarray(echoes, np.float32)


def in_room(audio: Float32Array, response: Float32Array) -> Float32Array:
    """Play sound in a room.

    Args:
        audio: float32 [S] at 16 kHz.
        response: float32 [K] of `draw_response`.

    Returns:
        float32 [S]; the voice itself is as loud and as early as before.
    """
    return np.asarray(fftconvolve(audio, response)[: len(audio)], np.float32)
