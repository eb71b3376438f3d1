"""Speech that is made to sing: any speaker's, on a drawn melody, with held vowels and vibrato.

One singing engine is one singer. The vocoder WORLD (Morise 2016, `pyworld`) takes a voice apart
into pitch, envelope and breath; vowels are then held, the pitch follows notes of a scale, and
larger or smaller throats are drawn.

Axis letters: S samples, N vocoder frames of 5 ms, K bins.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from parlante.training.speech import EngineMissing, Speech
from parlante.training.visemes import Phone
from parlante.types import MODEL_SAMPLE_RATE_HZ

__all__ = ["sing"]

FRAME_S: Final = 0.005
_SCALE: Final = (0, 2, 4, 5, 7, 9, 11)
_VOWELS: Final = frozenset("aæɑɐɒɔəɚɛɜeiɪoøœuʊʉyɯɤʌɵ")
LOUDEST: Final = 0.5
_GLIDE_S: Final = 0.06
_LOWEST_HZ, _HIGHEST_HZ = 85.0, 1100.0
_HIGHEST_USUAL_HZ: Final = 700.0  # sopranos go higher now and then
Array = npt.NDArray[np.float64]


def sing(speech: Speech, rng: np.random.Generator, *, size: float = 1.0) -> Speech:
    """Sing what was spoken.

    Args:
        speech: Of any speaker.
        rng: Source of randomness.
        size: Of the throat; smaller ones have higher formants and sing higher.

    Returns:
        The song at 16 kHz, and its phones.

    Raises:
        EngineMissing: The vocoder is not installed.
    """
    pyworld = _vocoder()
    sound = soxr.resample(
        speech.samples.astype(np.float64) / 32768.0, speech.sample_rate_hz, MODEL_SAMPLE_RATE_HZ
    )
    pitch, times = pyworld.dio(sound, MODEL_SAMPLE_RATE_HZ, frame_period=1000.0 * FRAME_S)
    envelope = pyworld.cheaptrick(sound, pitch, times, MODEL_SAMPLE_RATE_HZ)
    breath = pyworld.d4c(sound, pitch, times, MODEL_SAMPLE_RATE_HZ)
    held, notes = _holds(len(pitch), speech.phones, rng)
    ends = np.cumsum(held)
    source = np.searchsorted(ends, np.arange(int(ends[-1])), side="right").clip(max=len(held) - 1)
    usual_hz = float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else 150.0
    higher = 2.0 ** rng.uniform(-0.4, 1.8) / size
    base_hz = float(np.clip(usual_hz * higher, _LOWEST_HZ, _HIGHEST_USUAL_HZ))
    melody = _melody(notes[source], base_hz, rng)
    voiced = (pitch[source] > 0) | (held[source] > 2.0)
    swell = np.exp(0.25 * _slow(len(source), 1.5, rng))[:, None]
    song = pyworld.synthesize(
        np.where(voiced, melody, 0.0),
        np.ascontiguousarray(_resized(envelope, size)[source] * swell),
        np.ascontiguousarray(breath[source]),
        MODEL_SAMPLE_RATE_HZ,
        1000.0 * FRAME_S,
    )
    loudest = max(1e-6, float(np.abs(song).max(initial=0.0)))
    samples = np.round(song * (LOUDEST / loudest) * 32767.0).astype(np.int16)
    starts = np.concatenate([[0.0], ends]) * FRAME_S
    phones = [_moved(phone, starts) for phone in speech.phones]
    return Speech(samples, MODEL_SAMPLE_RATE_HZ, phones)


def _vocoder() -> ModuleType:
    try:
        import pyworld
    except ImportError as error:
        raise EngineMissing(
            "speech is made to sing by the vocoder of the extra voices: "
            "pip install 'parlante[voices]'"
        ) from error
    module: ModuleType = pyworld
    return module


def _holds(
    num_frames: int, phones: list[Phone], rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.int64]]:
    """How many frames each becomes, and the number of the note that it is sung on."""
    held, notes = np.ones(num_frames), np.zeros(num_frames, np.int64)
    tempo, note = float(rng.uniform(1.5, 4.0)), 0
    for phone in phones:
        begin, end = int(phone.start_s / FRAME_S), int(phone.end_s / FRAME_S)
        if phone.ipa.strip("ˈˌ")[:1] in _VOWELS:
            note += 1
            most = 3.5 / max(0.04, phone.end_s - phone.start_s)  # held for up to 3.5 s
            held[begin:end] = min(most, tempo * float(np.exp(rng.normal(0.0, 0.6))))
        else:
            held[begin:end] = rng.uniform(1.0, 1.5)
        notes[begin:] = note
    return np.maximum(held, 1.0), notes


def _melody(notes: npt.NDArray[np.int64], base_hz: float, rng: np.random.Generator) -> Array:
    """Pitch of each frame, Hz: notes with glides between them, vibrato, and some unrest."""
    degrees = np.cumsum(rng.integers(-2, 3, size=int(notes.max()) + 1))
    degrees = np.abs((degrees + 3) % 16 - 8) - 3  # walks to and fro within an octave or so
    semitones = np.array([12 * (d // 7) + _SCALE[d % 7] for d in degrees], np.float64)[notes]
    width = max(1, int(_GLIDE_S * rng.uniform(0.5, 2.0) / FRAME_S))
    padded = np.pad(semitones, (width, width), mode="edge")
    semitones = np.convolve(padded, np.ones(width) / width, mode="same")[width:-width]
    age_s = _since_change(notes) * FRAME_S
    rate_hz, depth = rng.uniform(4.3, 7.0), rng.uniform(0.0, 0.9)
    onset = np.clip((age_s - rng.uniform(0.0, 0.5)) / 0.4, 0.0, 1.0)
    trembling = depth * onset * np.sin(2 * np.pi * rate_hz * np.arange(len(notes)) * FRAME_S)
    unrest = 0.12 * _slow(len(notes), 0.15, rng)
    pitch = base_hz * 2.0 ** ((semitones + trembling + unrest) / 12.0)
    return np.asarray(np.clip(pitch, _LOWEST_HZ, _HIGHEST_HZ))


def _since_change(notes: npt.NDArray[np.int64]) -> Array:
    """Frames since the note began."""
    index = np.arange(len(notes))
    begins = np.where(np.diff(notes, prepend=notes[0] - 1) != 0, index, 0)
    return np.asarray(index - np.maximum.accumulate(begins), np.float64)


def _slow(num_frames: int, period_s: float, rng: np.random.Generator) -> Array:
    """Noise that changes within `period_s`, of a standard deviation of about one."""
    num_knots = max(2, int(num_frames * FRAME_S / period_s) + 2)
    knots = rng.standard_normal(num_knots)
    return np.interp(np.linspace(0, num_knots - 1, num_frames), np.arange(num_knots), knots)


def _resized(envelope: Array, size: float) -> Array:
    """Envelope [N, K] of a throat that is larger (> 1) or smaller."""
    source = np.clip(np.arange(envelope.shape[1]) * size, 0, envelope.shape[1] - 1.001)
    low = source.astype(int)
    share = source - low
    return np.asarray(envelope[:, low] * (1.0 - share) + envelope[:, low + 1] * share)


def _moved(phone: Phone, starts: Array) -> Phone:
    last = len(starts) - 1
    begin, end = (min(last, round(t / FRAME_S)) for t in (phone.start_s, phone.end_s))
    return Phone(phone.ipa, float(starts[begin]), float(starts[end]), phone.emphasis)
