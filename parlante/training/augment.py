"""Augmentation in the mel-energy domain: what rooms, microphones and throats do to speech.

Working on energies instead of waveforms makes every training crop sound different at no cost, and
closes most of the gap between formant synthesis and real voices. It must not drown it: with twice
the flutter and noise a small encoder learnt several times more slowly, and real voices gained
nothing (2026-11). Axes: B batch, N hops, M bands.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.signal import lfilter

from parlante.models.audio_features import ENERGY_FLOOR, MEL_RATE_HZ, NUM_MELS
from parlante.types import Float32Array

_BAND_AXIS: Final = np.linspace(0.0, 1.0, NUM_MELS)


def augment(log_mel: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Draw another speaker, room and microphone for each clip of a batch.

    Args:
        log_mel: float32 [B, N, M], log of energy above the floor.
        rng: Source of randomness.

    Returns:
        float32 [B, N, M] energies (not logs), for `audio_features.normalise`.
    """
    out = np.empty_like(log_mel)
    order = rng.permutation(len(log_mel))
    for row, log_energy in enumerate(log_mel):
        warped = _warp(log_energy, float(np.exp(rng.normal(0.0, 0.07))))
        energy = np.expm1(np.maximum(warped, 1e-3)) * np.exp(0.6 * _colour(rng))
        if rng.random() < 0.35:
            energy = _room(energy, rng)
        energy *= _breath(energy.shape, rng)
        energy = energy * np.exp(_band_limit(rng) + _mask(rng))
        noise = _noise(energy, rng)
        if rng.random() < 0.05:  # other people far away
            other = np.exp(log_mel[order[row]].astype(np.float64))
            noise += _room(other, rng) * _relative(energy, other, rng.uniform(15, 30))
        gain = np.exp(rng.normal(0.0, 0.8))
        out[row] = (energy + noise) * gain * ENERGY_FLOOR
    return out


def hear_twice(
    well: Float32Array, badly: Float32Array, rng: np.random.Generator, *, spare: bool
) -> tuple[Float32Array, Float32Array]:
    """Draw another speaker, the same for both; a microphone and noise for the second alone.

    Args:
        well: float32 [N, M] of a voice close by, log of energy above the floor.
        badly: float32 [N, M] of the same voice in a room.
        rng: Source of randomness.
        spare: Whether the second gets neither microphone nor noise.

    Returns:
        float32 [N, M] energies (not logs) of both, for `audio_features.normalise`.
    """
    factor = float(np.exp(rng.normal(0.0, 0.07)))
    colour = np.exp(0.6 * _colour(rng)) * _breath(well.shape, rng)
    near, far = (
        np.expm1(np.maximum(_warp(log_mel, factor), 1e-3)) * colour for log_mel in (well, badly)
    )
    if not spare:
        if rng.random() < 0.5:
            far = far * np.exp(_band_limit(rng) + _mask(rng))
        if rng.random() < 0.6:
            far = far + _noise(far, rng)
    gain = ENERGY_FLOOR * np.exp(rng.normal(0.0, 0.8))
    return (near * gain).astype(np.float32), (far * gain).astype(np.float32)


def _warp(log_energy: np.ndarray, factor: float) -> np.ndarray:
    """Stretch the frequency axis (vocal-tract length)."""
    source = np.clip(np.arange(NUM_MELS) / factor, 0, NUM_MELS - 1.001)
    low = source.astype(int)
    share = source - low
    return np.asarray(log_energy[:, low] * (1 - share) + log_energy[:, low + 1] * share)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Smooth equaliser curve [M], natural log of energy."""
    curve = rng.normal(0.0, 1.0) * (_BAND_AXIS - 0.5) * 2.0
    for order in range(1, 5):
        curve += rng.normal(0.0, 0.45) * np.cos(np.pi * order * _BAND_AXIS + rng.uniform(0, 6.3))
    return np.asarray(curve)


def _room(energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exponential reverberation of energies."""
    decay = np.exp(-13.8 / (rng.uniform(0.15, 0.9) * MEL_RATE_HZ))  # 60 dB in RT60
    wet = lfilter([1.0 - decay], [1.0, -decay], energy, axis=0)
    wet = np.concatenate([wet[:1] * 0, wet[:-1]])
    share = rng.uniform(0.05, 0.5)
    return np.asarray((1.0 - share) * energy + share * wet)


def _breath(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Cell-wise flutter, as of real voices' noise and jitter, and slow change of loudness."""
    amount = rng.uniform(0.0, 0.15)
    flutter = amount * rng.standard_normal(shape)
    slow = np.cumsum(rng.standard_normal(shape[0])) * 0.02 * rng.random()
    return np.exp(flutter + slow[:, None])


def _band_limit(rng: np.random.Generator) -> np.ndarray:
    """Log gain [M] of a telephone, a small speaker or nothing."""
    gain = np.zeros(NUM_MELS)
    kind = rng.random()
    if kind < 0.15:  # up to 3.4 - 5 kHz, as from 8 kHz recordings
        gain[int(rng.integers(28, 34)) :] = -12.0
    if kind < 0.07 or kind > 0.93:
        gain[: int(rng.integers(1, 5))] = -6.0
    return gain


def _mask(rng: np.random.Generator) -> np.ndarray:
    """Log gain [M] that takes out a few bands, so that no one band is relied on (SpecAugment)."""
    gain = np.zeros(NUM_MELS)
    for _ in range(int(rng.choice(3, p=(0.7, 0.15, 0.15)))):
        width = int(rng.integers(1, 6))
        start = int(rng.integers(0, NUM_MELS - width))
        gain[start : start + width] = rng.uniform(-8.0, -2.0)
    return gain


def loudness_of(energy: np.ndarray) -> float:
    """Mean energy over the bands of the louder half of [N, M]; above 0."""
    return float(np.percentile(energy.mean(axis=1), 85)) + 1e-3


def _relative(energy: np.ndarray, other: np.ndarray, snr_db: float) -> float:
    """Factor that puts `other` snr_db below the louder half of `energy`."""
    return loudness_of(energy) / (float(other.mean()) + 1e-3) * 10 ** (-snr_db / 10)


def _noise(energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Coloured background noise, 5 to 60 dB below the speech, sometimes slowly changing."""
    colour = np.exp(_colour(rng) * 1.5 + rng.normal(0, 2.0) * (_BAND_AXIS - 0.5))
    # One window's power has about four independent parts per band.
    grain = rng.gamma(4.0, 0.25, size=energy.shape)
    noise = colour * grain
    if rng.random() < 0.3:
        steps = np.cumsum(rng.standard_normal(len(energy))) * 0.05
        noise *= np.exp(np.clip(steps - steps.mean(), -2, 2))[:, None]
    snr_db = rng.uniform(5, 25) if rng.random() < 0.25 else rng.uniform(25, 60)
    # A floor of its own, so that a clip without speech still has a room.
    return np.asarray(noise * (_relative(energy, noise, snr_db) + 10 ** rng.uniform(-2, 0.5)))
