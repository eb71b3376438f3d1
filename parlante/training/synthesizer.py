"""Plays pieces of music with drawn electronic sounds: what sampled instruments are not.

Plain waves through filters are what games, ring tones and hold music are made of, and what a
detector of voices takes for somebody who hums unless it has heard it.

Axis letters: S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import mido
import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, sawtooth, square

from parlante.training.music import DRUMS
from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array

__all__ = ["play_electronic"]

_TAIL_S: Final = 0.4
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Note:
    start_s: float
    end_s: float
    pitch: int
    loudness: float


@dataclass(frozen=True, slots=True)
class _Patch:
    """One electronic sound.

    Attributes:
        wave: "sine", "saw", "square" or "fm".
        duty: Of a square wave.
        ratio, index: Of frequency modulation.
        attack_s, decay_s, sustain: How a note begins, how fast it falls and to which share.
        cutoff_hz, sweep: Of a low pass, and by how many octaves it falls within a note.
        detune: Of a second voice, in semitones; 0 for none.
        vibrato: Semitones.
    """

    wave: str
    duty: float
    ratio: float
    index: float
    attack_s: float
    decay_s: float
    sustain: float
    cutoff_hz: float
    sweep: float
    detune: float
    vibrato: float


def play_electronic(piece: mido.MidiFile, rng: np.random.Generator) -> Float32Array:
    """Play a piece, each track with a sound that is drawn for it.

    Args:
        piece: Any MIDI file; drums become bursts of noise.
        rng: Source of randomness.

    Returns:
        float32 [S] at 16 kHz, in [-1, 1].
    """
    tracks = [list(_notes(track, piece)) for track in piece.tracks]
    length_s = max((note.end_s for track in tracks for note in track), default=0.0) + _TAIL_S
    mix = np.zeros(int(length_s * MODEL_SAMPLE_RATE_HZ) + 1)
    for track, notes in zip(piece.tracks, tracks, strict=True):
        is_drums = any(getattr(message, "channel", 0) == DRUMS for message in track)
        patch, level = _draw_patch(rng), rng.uniform(0.3, 1.0)
        for note in notes:
            sound = _drum(note, rng) if is_drums else _play(note, patch)
            at = int(note.start_s * MODEL_SAMPLE_RATE_HZ)
            sound = sound[: len(mix) - at]
            mix[at : at + len(sound)] += level * note.loudness * sound
    return np.asarray(mix * (0.5 / max(1e-6, float(np.abs(mix).max()))), np.float32)


def _notes(track: mido.MidiTrack, piece: mido.MidiFile) -> Iterator[_Note]:
    tempo = next(m.tempo for m in piece.tracks[0] if m.type == "set_tempo")
    now_s, open_notes = 0.0, {}
    for message in track:
        now_s += mido.tick2second(message.time, piece.ticks_per_beat, tempo)
        if message.type == "note_on" and message.velocity > 0:
            open_notes[message.note] = (now_s, message.velocity / 127.0)
        elif message.type in ("note_on", "note_off") and message.note in open_notes:
            start_s, loudness = open_notes.pop(message.note)
            yield _Note(start_s, now_s, message.note, loudness)


def _draw_patch(rng: np.random.Generator) -> _Patch:
    return _Patch(
        wave=str(rng.choice(("sine", "saw", "square", "fm"))),
        duty=float(rng.uniform(0.1, 0.5)),
        ratio=float(rng.choice((0.5, 1.0, 1.41, 2.0, 3.0, 3.5, 7.0))),
        index=float(rng.uniform(0.3, 5.0)),
        attack_s=float(np.exp(rng.uniform(np.log(0.002), np.log(0.4)))),
        decay_s=float(np.exp(rng.uniform(np.log(0.05), np.log(3.0)))),
        sustain=float(rng.uniform(0.0, 1.0)),
        cutoff_hz=float(np.exp(rng.uniform(np.log(250.0), np.log(7000.0)))),
        sweep=float(rng.uniform(-1.0, 2.0)),
        detune=float(rng.uniform(0.05, 0.3)) if rng.random() < 0.4 else 0.0,
        vibrato=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.3 else 0.0,
    )


def _play(note: _Note, patch: _Patch) -> Array:
    length_s = min(8.0, note.end_s - note.start_s) + _TAIL_S
    time_s = np.arange(int(length_s * MODEL_SAMPLE_RATE_HZ)) / MODEL_SAMPLE_RATE_HZ
    sound = _wave(patch, note.pitch, time_s)
    if patch.detune:
        sound = 0.5 * (sound + _wave(patch, note.pitch + patch.detune, time_s))
    rise = np.minimum(1.0, time_s / patch.attack_s)
    fall = patch.sustain + (1.0 - patch.sustain) * np.exp(-time_s / patch.decay_s)
    release = np.minimum(1.0, np.maximum(0.0, length_s - time_s) / _TAIL_S) ** 2
    return np.asarray(_filtered(sound, patch) * rise * fall * release)


def _wave(patch: _Patch, pitch: float, time_s: Array) -> Array:
    hz = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
    bend = 2.0 ** (patch.vibrato * np.sin(2 * np.pi * 5.5 * time_s) / 12.0)
    phase = 2 * np.pi * np.cumsum(hz * bend) / MODEL_SAMPLE_RATE_HZ
    if patch.wave == "saw":
        return np.asarray(sawtooth(phase))
    if patch.wave == "square":
        return np.asarray(square(phase, patch.duty))
    if patch.wave == "fm":
        return np.asarray(np.sin(phase + patch.index * np.sin(patch.ratio * phase)))
    return np.asarray(np.sin(phase))


def _filtered(sound: Array, patch: _Patch) -> Array:
    """Low pass of two poles whose cutoff falls in four steps."""
    parts, memory = [], np.zeros(1)
    second = np.zeros(1)
    for step, part in enumerate(np.array_split(sound, 4)):
        cutoff_hz = np.clip(patch.cutoff_hz * 2.0 ** (-patch.sweep * step / 4), 120.0, 7500.0)
        keep = float(np.exp(-2 * np.pi * cutoff_hz / MODEL_SAMPLE_RATE_HZ))
        part, memory = lfilter([1.0 - keep], [1.0, -keep], part, zi=memory)
        part, second = lfilter([1.0 - keep], [1.0, -keep], part, zi=second)
        parts.append(part)
    return np.concatenate(parts)


def _drum(note: _Note, rng: np.random.Generator) -> Array:
    time_s = np.arange(int(0.25 * MODEL_SAMPLE_RATE_HZ)) / MODEL_SAMPLE_RATE_HZ
    if note.pitch in (35, 36):
        falling_hz = 50.0 + 100.0 * np.exp(-time_s / 0.03)
        return np.asarray(np.sin(2 * np.pi * falling_hz * time_s) * np.exp(-time_s / 0.09))
    decay_s = 0.08 if note.pitch in (37, 38, 39, 40) else 0.03
    return 0.6 * rng.standard_normal(len(time_s)) * np.exp(-time_s / decay_s)
