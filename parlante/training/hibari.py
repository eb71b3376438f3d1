"""hibari, a small voice whose spectra can be bent before they sound: throats, whispers, songs.

Axis letters: L tokens, F spectral frames, K frequency bins.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.training.speech import Speech
from parlante.training.voice_networks import (
    KOKORO_IPA,
    LATE_S,
    open_network,
    package_files,
    phones_of,
    to_int16,
)

__all__ = ["Hibari", "Throat", "draw_throat", "hold_long"]

_RATE_HZ: Final = 24_000
_FRAME_S: Final = 0.0125


@dataclass(frozen=True, slots=True, kw_only=True)
class Throat:
    """How hibari's voice is changed.

    Attributes:
        pitch: Factor on the fundamental.
        pitch_range: Factor on its movement about the mean.
        formants: Factor on the frequency axis of the spectrum; > 1 is a shorter throat.
        breath: Nats more noise and less voice.
        is_whisper: No voice at all.
        speed: Of speech.
        is_singing: Vowels are held on the notes of a melody.
        holds_long: Some of them for seconds, as singers do.
    """

    pitch: float = 1.0
    pitch_range: float = 1.0
    formants: float = 1.0
    breath: float = 0.0
    is_whisper: bool = False
    speed: float = 1.0
    is_singing: bool = False
    holds_long: bool = False


def draw_throat(rng: np.random.Generator) -> Throat:
    formants = float(np.exp(rng.normal(-0.04, 0.11)))
    # a low voice goes with a long throat
    pitch = float(np.exp(rng.normal(-0.15, 0.30) + 1.5 * np.log(formants)))
    return Throat(
        pitch=pitch,
        pitch_range=float(rng.uniform(0.5, 1.6)),
        formants=formants,
        breath=float(abs(rng.normal(0.0, 0.5))),
        speed=float(np.exp(rng.normal(0.0, 0.18))),
    )


class Hibari:
    """A small voice whose spectra can be bent before they sound."""

    def __init__(self) -> None:
        assets = package_files("hibari") / "assets"
        self._network = open_network(assets / "hibari.onnx", "/Clip_output_0")
        self._vocabulary: dict[str, int] = json.loads(
            (assets / "vocab.json").read_text(encoding="utf-8")
        )
        self._dsp = importlib.import_module("hibari.dsp")

    def speak(self, spelling: str, throat: Throat, rng: np.random.Generator) -> Speech:
        """Say phonemes of Kokoro's alphabet."""
        tokens = [c for c in spelling if c in self._vocabulary][:400]
        ids = [0, *(self._vocabulary[c] for c in tokens), 0]
        *outputs, durations = self._network.run(
            None,
            {"ids": np.array([ids], np.int64), "speed": np.array([throat.speed], np.float32)},
        )
        lh, theta, ln, lr, phi, f0 = (o[0] for o in outputs)
        counts = _counts(durations.ravel(), lh.shape[1])
        symbols = ["", *tokens, ""]
        if throat.is_singing:
            if throat.holds_long:
                loudness = np.where(f0 > 40.0, np.exp(lh).mean(0), 0.0)
                source, counts = hold_long(symbols, counts, loudness, rng)
            else:
                source, counts = _hold_vowels(symbols, counts, rng)
            lh, theta, ln, lr, phi = (a[:, source] for a in (lh, theta, ln, lr, phi))
            f0 = _melody(f0[source], counts, symbols, rng)
        voiced = f0 > 40.0
        if voiced.any():
            mean = float(np.exp(np.log(f0[voiced]).mean()))
            moved = mean * (np.maximum(f0, 1.0) / mean) ** throat.pitch_range
            f0 = np.where(voiced, np.clip(moved * throat.pitch, 55.0, 900.0), 0.0)
        bins = np.clip(np.arange(len(lh)) / throat.formants, 0, len(lh) - 1).astype(int)
        lh, ln, lr = lh[bins], ln[bins] + throat.breath, lr[bins] - throat.breath
        lh = lh - throat.breath
        if throat.is_whisper:
            ln = np.logaddexp(ln, lh - 1.0)
            lh, lr, f0 = lh - 12.0, lr - 4.0, np.zeros_like(f0)
        parts = (lh, theta, ln, lr, phi, f0)
        audio = self._dsp.synth(*(a.astype(np.float32) for a in parts), rng)
        hop_s = len(audio) / max(1, len(f0)) / _RATE_HZ
        return Speech(
            to_int16(audio),
            _RATE_HZ,
            phones_of(symbols, (counts * hop_s).tolist(), late_s=LATE_S, ipa=KOKORO_IPA),
        )


def _counts(durations: np.ndarray, num_frames: int) -> np.ndarray:
    """Durations in spectral frames, whatever unit the graph has them in."""
    scale = num_frames / max(1.0, float(durations.sum()))
    edges = np.round(np.concatenate([[0.0], np.cumsum(durations)]) * scale)
    return np.diff(edges).astype(int)


_SUNG: Final = frozenset("aæɑɐɒɔəɚɛɜiɪoøœuʊʉyeAIWYOQʌᵊ")


def _hold_vowels(
    symbols: Sequence[str], counts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers that hold vowels for notes, and the new counts."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    source: list[np.ndarray] = []
    held = counts.copy()
    beat = rng.uniform(1.5, 5.0)
    for index, (symbol, start, count) in enumerate(zip(symbols, starts, counts, strict=True)):
        if symbol in _SUNG and count > 1 and rng.random() < 0.7:
            held[index] = int(count * beat * rng.choice((0.7, 1.0, 1.0, 2.0)))
        elif symbol in "mnŋlɹ" and count > 1 and rng.random() < 0.25:
            held[index] = int(count * rng.uniform(1.5, 4.0))
        steps = start + np.linspace(0, max(0, count - 1), held[index])
        source.append(steps + rng.normal(0.0, 0.6, held[index]) * (held[index] > 2 * count))
    joined = np.concatenate(source)
    return np.clip(np.round(joined), 0, counts.sum() - 1).astype(int), held


def hold_long(
    symbols: Sequence[str], counts: np.ndarray, loudness: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same for notes of 0.15 to 4 s, longer than the network hears back.

    Vowels are held where they are loudest, if they are loud: stretched as a whole, what stands
    around them would be stretched with them.

    Args:
        symbols: Of the alphabet, [L].
        counts: int [L], spectral frames of each.
        loudness: [F], of the voice, 0 where there is none.
        rng: Which vowels are held, and how long.

    Returns:
        int [F'], spectral frames to sound in turn, and the new counts.
    """
    total = int(counts.sum())
    around = np.pad(loudness, 1)
    steady = np.minimum(np.minimum(around[:-2], loudness), around[2:])
    least = 0.5 * float(np.median(loudness[loudness > 0.0])) if loudness.any() else 0.0
    starts = np.cumsum(counts) - counts + round(LATE_S / _FRAME_S)
    repeats, held = np.ones(total, int), counts.copy()
    for index, (symbol, start) in enumerate(zip(symbols, starts, strict=True)):
        own = steady[start : start + counts[index]]
        if symbol in _SUNG and own.max(initial=0.0) > least and rng.random() < 0.7:
            length_s = float(np.clip(np.exp(rng.normal(np.log(0.6), 0.8)), 0.15, 4.0))
            more = max(0, int(length_s / _FRAME_S) - int(counts[index]))
            repeats[int(start) + int(own.argmax())] += more
            held[index] += more
    source = np.repeat(np.arange(total), repeats)
    moved = np.round(rng.normal(0.0, 0.6, len(source))).astype(int).clip(-1, 1)
    return np.clip(source + moved * (repeats[source] > 1), 0, total - 1), held


def _melody(
    f0: np.ndarray, counts: np.ndarray, symbols: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """A tune over the voiced frames: a note per held vowel, glides and vibrato."""
    scale = np.array((0, 2, 4, 5, 7, 9, 11, 12))
    base = float(np.median(f0[f0 > 40.0])) if (f0 > 40.0).any() else 200.0
    note, track = 0.0, []
    for symbol, count in zip(symbols, counts, strict=True):
        if symbol in _SUNG:
            note = float(rng.choice(scale)) - 4.0
        track.append(np.full(count, note))
    semitones = np.concatenate(track)
    semitones = np.convolve(np.pad(semitones, 4, mode="edge"), np.ones(9) / 9, mode="valid")
    vibrato = rng.uniform(0.0, 0.6) * np.sin(np.arange(len(f0)) * 0.0125 * 6.28 * 5.5)
    return np.where(f0 > 40.0, base * 2.0 ** ((semitones + vibrato) / 12.0), 0.0)
