"""What is heard beside a voice: noise of machines, streets, people and music, and poor microphones.

`augment` adds noise to energies. Here it is added to sound, as energies of real noise flicker from
window to window and fill closures and pauses up, which the reading of sound took for speech.

Axis letters: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.signal import fftconvolve

from parlante.models.audio_features import Float64Array
from parlante.training.no_speech import accompaniment
from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array

__all__ = ["add_noise", "draw_noise", "through_microphone"]

_BELOW_DB: Final = (4.0, 34.0)  # of a noise, below the voice while it speaks
_SPEAKS_FROM: Final = 0.1  # of the loudest tenth of a second: the voice speaks
_SILENCE: Final = 0.05  # level of a voice that never speaks
_SLOPE_DB: Final = (-9.0, 1.0)  # by octave: from a rumble to a hiss
_BUMPS_DB: Final = 5.0
_MOST_SPEAKERS: Final = 6
_CLIPS: Final = 0.1
_CLIPPED_TO: Final = (0.1, 0.6)  # of the peak
_QUIET: Final = 0.2
_QUIETER_DB: Final = (6.0, 36.0)
_STEPS: Final = 32768.0


def draw_noise(
    num_samples: int, voices: Sequence[Float32Array], rng: np.random.Generator
) -> Float32Array:
    """Draw a noise that goes on throughout.

    Args:
        num_samples: S.
        voices: float32 of at least S samples, for people who talk in the background; may be none.
        rng: Source of randomness.

    Returns:
        float32 [S] at 16 kHz, standard deviation of 1.
    """
    kind = rng.random()
    if kind < 0.35:
        noise: Float64Array = _hiss(num_samples, rng)
    elif kind < 0.5:
        noise = _hiss(num_samples, rng) + rng.uniform(0.2, 1.5) * _hum(num_samples, rng)
    elif kind < 0.7:
        noise = _hiss(num_samples, rng) * _gusts(num_samples, rng)
    elif kind < 0.8:
        noise = 0.05 * _hiss(num_samples, rng) + _clatter(num_samples, rng)
    elif kind < 0.9 and voices:
        noise = _crowd(num_samples, voices, rng)
    else:
        twice = accompaniment(num_samples, rng) + accompaniment(num_samples, rng)
        noise = twice.astype(np.float64)
    return np.asarray(noise / max(1e-6, float(noise.std())), np.float32)


def add_noise(audio: Float32Array, noise: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Add a noise, 4 to 34 dB below the voice.

    Args:
        audio: float32 [S] at 16 kHz, a voice.
        noise: float32 [S] of `draw_noise`.
        rng: Source of randomness.

    Returns:
        float32 [S].
    """
    level = _speaking_level(audio) * 10 ** (-rng.uniform(*_BELOW_DB) / 20)
    return np.asarray(audio + level * noise, np.float32)


def through_microphone(audio: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Now and then clip what is too loud for a microphone, or make it quiet and coarse.

    Args:
        audio: float32 [S] at 16 kHz.
        rng: Source of randomness.

    Returns:
        float32 [S] in [-1, 1].
    """
    kind, peak = rng.random(), float(np.abs(audio).max(initial=1e-3))
    if kind < _CLIPS:
        limit = peak * rng.uniform(*_CLIPPED_TO)
        return np.asarray(np.clip(np.clip(audio, -limit, limit), -1.0, 1.0), np.float32)
    audio = np.asarray(audio / max(1.0, peak), np.float32)
    if kind < _CLIPS + _QUIET:
        quiet = audio * 10 ** (-rng.uniform(*_QUIETER_DB) / 20)
        return np.asarray(np.round(quiet * _STEPS) / _STEPS, np.float32)
    return np.asarray(audio, np.float32)


def _speaking_level(audio: Float32Array) -> float:
    """Root mean square of the parts that are loud."""
    step = MODEL_SAMPLE_RATE_HZ // 10
    whole = audio[: len(audio) // step * step].astype(np.float64)
    levels = np.sqrt((whole.reshape(-1, step) ** 2).mean(axis=1))
    loud = levels[levels > _SPEAKS_FROM * levels.max(initial=0.0)]
    return float(np.sqrt((loud**2).mean())) if len(loud) else _SILENCE


def _hiss(num_samples: int, rng: np.random.Generator) -> Float64Array:
    """Noise with a slope and some bumps in its spectrum, standard deviation of 1."""
    size = 1 << (num_samples - 1).bit_length()
    octave = np.log2(np.maximum(np.fft.rfftfreq(size, 1.0 / MODEL_SAMPLE_RATE_HZ), 40.0) / 1000.0)
    places = np.linspace(octave[0], octave[-1], 8)
    bumps = np.interp(octave, places, rng.normal(0.0, _BUMPS_DB, len(places)))
    gain = 10 ** ((rng.uniform(*_SLOPE_DB) * octave + bumps) / 20)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * gain
    noise = np.fft.irfft(spectrum, size)[:num_samples]
    return np.asarray(noise / noise.std())


def _hum(num_samples: int, rng: np.random.Generator) -> Float64Array:
    """Mains, or a motor whose speed is never quite the same; standard deviation of 1."""
    pitch_hz = float(rng.choice((50.0, 60.0, rng.uniform(70.0, 400.0))))
    speed = 1.0 + 0.01 * np.sin(_phase(num_samples, rng.uniform(0.05, 0.5), rng))
    turns = np.cumsum(2.0 * np.pi * pitch_hz * speed / MODEL_SAMPLE_RATE_HZ)
    sound = np.zeros(num_samples)
    for harmonic in range(1, int(rng.integers(2, 9))):
        sound += rng.uniform(0.2, 1.0) / harmonic * np.sin(harmonic * turns + rng.uniform(0, 6.3))
    return np.asarray(sound / sound.std())


def _gusts(num_samples: int, rng: np.random.Generator) -> Float64Array:
    """How loud wind or traffic is, which swells and fades within seconds."""
    swell = sum(np.sin(_phase(num_samples, rng.uniform(0.1, 2.0), rng)) for _ in range(3))
    return np.asarray(np.exp(rng.uniform(0.2, 0.8) * np.asarray(swell)))


def _phase(num_samples: int, rate_hz: float, rng: np.random.Generator) -> Float64Array:
    time_s = np.arange(num_samples) / MODEL_SAMPLE_RATE_HZ
    return np.asarray(2.0 * np.pi * rate_hz * time_s + rng.uniform(0, 6.3))


def _clatter(num_samples: int, rng: np.random.Generator) -> Float64Array:
    """Keys and dishes: short knocks, up to eight in a second, each with its own ring."""
    knocks = np.zeros(num_samples)
    rate_hz = rng.uniform(0.5, 8.0)
    count = rng.poisson(rate_hz * num_samples / MODEL_SAMPLE_RATE_HZ)
    knocks[rng.integers(0, num_samples, count)] = rng.exponential(1.0, count)
    time_s = np.arange(int(0.08 * MODEL_SAMPLE_RATE_HZ)) / MODEL_SAMPLE_RATE_HZ
    ring = rng.standard_normal(len(time_s)) + 2.0 * np.sin(
        2.0 * np.pi * rng.uniform(200.0, 4000.0) * time_s
    )
    sound = fftconvolve(knocks, ring * np.exp(-time_s / rng.uniform(0.003, 0.02)))[:num_samples]
    return np.asarray(sound / max(1e-6, float(sound.std())))


def _crowd(
    num_samples: int, voices: Sequence[Float32Array], rng: np.random.Generator
) -> Float64Array:
    """People who talk further away, each from some other moment on."""
    sound = np.zeros(num_samples)
    for _ in range(int(rng.integers(2, _MOST_SPEAKERS + 1))):
        voice = voices[int(rng.integers(len(voices)))][:num_samples]
        turned = np.roll(voice, int(rng.integers(num_samples)))
        sound += rng.uniform(0.3, 1.0) * turned / max(1e-3, _speaking_level(turned))
    return sound
