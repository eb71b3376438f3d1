"""The tune of a voice: how high it is, whether it has a pitch at all, and how lively it speaks.

Whose pitch goes far up and down sounds joyous or excited, whose pitch hardly moves sounds sad or
calm, in all languages and at any loudness, and microphones, rooms and noise change it little. So
this is what faces and heads may follow of a mood (recordings of joy have a mean distance from their
mean pitch of 3.4 to 4.2 semitones as measured here, neutral ones of 2.9 to 3.3, of sadness 2.0 to
2.3; 2026-11). Anger and joy cannot be told by it.

Axis letters: S samples, K tones (20 ms), T frames.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.audio_features import Float64Array, Windows, frame_means
from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array

__all__ = [
    "NUM_TONES",
    "Melody",
    "Tones",
    "emphasis",
    "follow_melody",
    "liveliness",
    "no_tones",
    "tones_of",
    "usual_melody",
    "voicing",
]

Tones = npt.NDArray[np.int8]  # [K, 2]: periodicity, 1 / 100; pitch above 70 Hz, 1 / 3 semitone
Melody = Float64Array  # [3]: tones heard, up to a limit; their mean and distance from it

TONE_SAMPLES: Final = 320  # from one to the next, 20 ms
WINDOW_SAMPLES: Final = 560  # the last one ends with the last window of `audio_features`
TONES: Final = Windows(TONE_SAMPLES, WINDOW_SAMPLES)
NUM_TONES: Final = 20  # kept: as far back as the frames of the longest look-ahead
_LOW_HZ: Final = 70.0
_LONGEST: Final = int(MODEL_SAMPLE_RATE_HZ / _LOW_HZ) + 1  # period, samples
_SHORTEST: Final = 32  # 500 Hz; of higher voices a multiple of the period
_COMPARED: Final = WINDOW_SAMPLES - _LONGEST
_FFT_SIZE: Final = 1024
_SMOOTHED: Final = 5  # samples: what is above 2 kHz hides the period
_QUIETEST: Final = 1e-9  # energy of a sample
_AS_GOOD: Final = 0.95  # of the best period: the shortest such is the pitch
_PER_SEMITONE: Final = 3.0

# Noise has a periodicity of 0.22, hardly ever 0.35; a note in a hall, or over noise, 0.7 and more.
_VOICED: Final = (0.4, 0.6)
_CERTAIN: Final = 80  # periodicity, 1 / 100, of tones that count
_LEAP: Final = 2.0 * _PER_SEMITONE  # from tone to tone: beyond it, it is a slip of the octave
_FARTHEST: Final = 9.0  # semitones from the mean that count
_REMEMBERED: Final = 400.0  # tones: 8 s that have a pitch
_USUAL: Final = 2.6  # semitones, what is taken for granted
_USUAL_WEIGHT: Final = 50.0  # tones
_LIVELIER: Final = 0.9  # semitones more: as lively as it counts
_FORGETS: Final = 1.0 - float(np.exp(-0.02 / 12.0))  # per tone without a pitch: within 12 s
_STEEPNESS: Final = 0.8  # of emphasis, per mean distance from the mean pitch
_EMPHASIS: Final = (0.2, 2.5)


def no_tones() -> Tones:
    """What was heard before the first sample, [NUM_TONES, 2]."""
    return np.zeros((NUM_TONES, 2), np.int8)


def usual_melody() -> Melody:
    """How a voice speaks that was not heard yet."""
    return np.array([0.0, 0.0, _USUAL])


def tones_of(audio: Float32Array) -> Tones:
    """Find the pitch of each 20 ms.

    Args:
        audio: float32 [S] in [-1, 1] at 16 kHz, at least `WINDOW_SAMPLES`.

    Returns:
        int8 [K, 2], K = (S - WINDOW_SAMPLES) // TONE_SAMPLES + 1. Correlation of a window with
        itself a period later, by which the shortest of the best periods is told.
    """
    windows = np.lib.stride_tricks.sliding_window_view(audio, WINDOW_SAMPLES)[::TONE_SAMPLES]
    sums = np.cumsum(windows - windows.mean(axis=1, keepdims=True), axis=1, dtype=np.float64)
    dull = (sums[:, _SMOOTHED:] - sums[:, :-_SMOOTHED]) / _SMOOTHED
    dull = np.pad(dull, ((0, 0), (0, _SMOOTHED)))
    early = np.fft.rfft(dull[:, :_COMPARED], _FFT_SIZE)
    products = np.fft.irfft(np.conj(early) * np.fft.rfft(dull, _FFT_SIZE), _FFT_SIZE)
    energies = np.cumsum(np.pad(dull**2, ((0, 0), (1, 0))), axis=1)
    energies = energies[:, _COMPARED : _COMPARED + _LONGEST + 1] - energies[:, : _LONGEST + 1]
    least = _QUIETEST * _COMPARED
    alike = products[:, : _LONGEST + 1] / np.sqrt(energies[:, :1] * energies + least**2)
    inner = alike[:, _SHORTEST:_LONGEST]
    peaks = (inner >= alike[:, _SHORTEST - 1 : _LONGEST - 1]) & (
        inner >= alike[:, _SHORTEST + 1 : _LONGEST + 1]
    )
    heights = np.where(peaks & (inner > 0.0), inner, 0.0)
    best = heights.max(axis=1)
    good = (heights >= _AS_GOOD * best[:, None]) & (heights > 0.0)
    period = _SHORTEST + good.argmax(axis=1)
    semitones = 12.0 * np.log2(MODEL_SAMPLE_RATE_HZ / (period * _LOW_HZ))
    steps = np.where(best > 0.0, np.round(_PER_SEMITONE * semitones), 0.0)
    return np.stack([np.round(100.0 * np.minimum(best, 1.0)), steps], axis=1).astype(np.int8)


def follow_melody(melody: Melody, tones: Tones, num_new: int) -> Melody:
    """Take in new tones.

    Args:
        melody: After the tones before; not modified.
        tones: [K, 2], the newest last.
        num_new: Of them that are new; one more is there.

    Returns:
        The next state.
    """
    heard, mean, distance = (float(value) for value in melody)
    certain = tones[:, 0] >= _CERTAIN
    steps = tones[:, 1].astype(np.float64)
    for tone in range(len(tones) - num_new, len(tones)):
        goes_on = certain[tone - 1] and abs(steps[tone] - steps[tone - 1]) <= _LEAP
        if not (certain[tone] and goes_on):
            heard -= _FORGETS * heard
            distance += _FORGETS * (_USUAL - distance)
            continue
        semitones = steps[tone] / _PER_SEMITONE
        heard = min(heard + 1.0, _REMEMBERED)
        mean += (semitones - mean) / heard if heard > 1.0 else semitones - mean
        away = min(abs(semitones - mean), _FARTHEST)
        distance += (away - distance) / min(heard + _USUAL_WEIGHT, _REMEMBERED)
    return np.array([heard, mean, distance])


def liveliness(melody: Melody) -> float:
    """How lively a voice speaks: -1 for one that hardly moves, 0 as usual, 1 for an excited one."""
    return float(np.clip((melody[2] - _USUAL) / _LIVELIER, -1.0, 1.0))


def voicing(tones: Tones, num_frames: int, ahead: int) -> Float32Array:
    """How surely each frame has a pitch.

    Args:
        tones: [K, 2]; the last window ends `ahead` samples after the last frame does.
        num_frames: T.
        ahead: Samples at 16 kHz.

    Returns:
        float32 [T], [0, 1].
    """
    low, high = _VOICED
    periodic = frame_means(tones[:, 0] / 100.0, num_frames, ahead, windows=TONES)
    return np.asarray(np.clip((periodic - low) / (high - low), 0.0, 1.0), np.float32)


def emphasis(tones: Tones, melody: Melody, num_frames: int, ahead: int) -> Float32Array:
    """How far each frame's pitch stands out: brows rise where a voice does.

    Args:
        tones: As for `voicing`.
        melody: Of `follow_melody`.
        num_frames: T.
        ahead: Samples at 16 kHz.

    Returns:
        float32 [T], 0.2 to 2.5; 1 for the voice's mean pitch, and where there is none.
    """
    certain = (tones[:, 0] >= _CERTAIN).astype(np.float64)
    above = certain * (tones[:, 1] / _PER_SEMITONE - melody[1]) / max(1.0, float(melody[2]))
    factor = 1.0 + _STEEPNESS * frame_means(above, num_frames, ahead, windows=TONES)
    return np.asarray(np.clip(factor, *_EMPHASIS), np.float32)
