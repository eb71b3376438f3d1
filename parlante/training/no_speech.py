"""Sounds during which a mouth stays shut: music, breath, hiss, knocks, drums, a hum of machines."""

from __future__ import annotations

import numpy as np

from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array


def no_speech(num_samples: int, rng: np.random.Generator) -> Float32Array:
    """Draw a sound that is no speech, float32 [num_samples] at 16 kHz, -45 to -14 dB."""
    time_s = np.arange(num_samples) / MODEL_SAMPLE_RATE_HZ
    makers = (_chords, _hiss, _knocks, _breath, _beat)
    sound = makers[int(rng.integers(0, len(makers)))](num_samples, time_s, rng)
    level = 10 ** (rng.uniform(-45, -14) / 20)
    fade = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.02)
    return (sound * fade * level / max(1e-6, float(sound.std()))).astype(np.float32)


def accompaniment(num_samples: int, rng: np.random.Generator) -> Float32Array:
    """Draw music to sing to, float32 [num_samples] at 16 kHz, standard deviation of 1."""
    time_s = np.arange(num_samples) / MODEL_SAMPLE_RATE_HZ
    maker = _chords if rng.random() < 0.5 else _beat
    sound = maker(num_samples, time_s, rng)
    return (sound / max(1e-6, float(sound.std()))).astype(np.float32)


def _chords(num_samples: int, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sound = np.zeros(num_samples)
    for _ in range(int(rng.integers(2, 6))):
        pitch_hz = 110.0 * 2.0 ** (rng.integers(0, 36) / 12.0)
        for harmonic in range(1, int(rng.integers(2, 7))):
            phase = rng.uniform(0, 6.3)
            sound += np.sin(6.2832 * pitch_hz * harmonic * time_s + phase) / harmonic**1.3
    return np.asarray(sound * (0.6 + 0.4 * np.sin(6.2832 * rng.uniform(0.3, 4.0) * time_s)))


def _hiss(num_samples: int, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    colour = rng.uniform(-0.9, 0.95)
    noise = rng.standard_normal(num_samples)
    sound = np.convolve(noise, colour ** np.arange(30), mode="same")
    return np.asarray(sound * (np.hanning(num_samples) if rng.random() < 0.5 else 1.0))


def _knocks(num_samples: int, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sound = 1e-5 * rng.standard_normal(num_samples)
    for at in rng.integers(0, num_samples, size=int(rng.integers(1, 6))):
        tail = min(2400, num_samples - at)
        sound[at : at + tail] += rng.standard_normal(tail) * np.exp(-np.arange(tail) / 300.0)
    return np.asarray(sound)


def _breath(num_samples: int, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Air through the nose: soft noise that swells for half a second, now and then."""
    noise = np.convolve(rng.standard_normal(num_samples), 0.7 ** np.arange(12), mode="same")
    swell = np.full(num_samples, 1e-3)
    now_s = rng.uniform(0.0, 0.5)
    while now_s < time_s[-1]:
        length_s = rng.uniform(0.25, 0.8)
        inside = (time_s > now_s) & (time_s < now_s + length_s)
        swell[inside] += np.sin(np.pi * (time_s[inside] - now_s) / length_s) ** 2
        now_s += length_s + rng.uniform(0.2, 2.0)
    return np.asarray(noise * swell)


def _beat(num_samples: int, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Music with a rhythm: a bass, a snare, a plucked tune."""
    step = int(MODEL_SAMPLE_RATE_HZ * rng.uniform(0.15, 0.45))
    sound = np.zeros(num_samples)
    tail = np.arange(min(step, num_samples))
    pitches_hz = 150.0 * 2.0 ** (rng.integers(0, 24, 4) / 12.0)
    for index, at in enumerate(range(0, num_samples, step)):
        room = tail[: num_samples - at]
        pluck = np.exp(-room / 2500.0)
        note_hz = pitches_hz[rng.integers(0, 4)]
        for harmonic in (1, 2, 3, 4):
            angle = 6.2832 * note_hz * harmonic * room / MODEL_SAMPLE_RATE_HZ
            sound[at : at + len(room)] += 0.5 * pluck * np.sin(angle) / harmonic
        if index % 2:
            sound[at : at + len(room)] += 0.5 * rng.standard_normal(len(room)) * np.exp(-room / 600)
        else:
            drum_hz = 55.0 + 60.0 * np.exp(-room / 500.0)
            sound[at : at + len(room)] += np.sin(6.2832 * drum_hz * room / 16000) * pluck
    return sound
