"""Say how lips follow singing: songs with known phonemes, their motion, and what became of it.

Usage: python scripts/check_singing.py [--weights MOTION.safetensors] [--songs 8]

Needs the extra `voices`, whose hibari sings lines that no training run draws, in four throats, once
alone and once over chords. Held vowels last up to four seconds. For each: how many P, B and M shut
the lips, and how many would by chance (shifted in time); how well the aperture ranks P, B and M
below open vowels, and the width rounded sounds below spread ones (AUC); and the share of frames in
vowels held for 0.35 s and longer in which the mouth is open, by how long they are held. Measured in
the motion's channels. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
import torch
from motion_lips import lips_of, span_of

from parlante.evaluation.lips import PhoneTally, tally_phones
from parlante.media.audio_file import Recording
from parlante.models.motion_weights import DEFAULT_WEIGHTS
from parlante.training.espeak import Espeak
from parlante.training.evaluate import animate
from parlante.training.hibari import Hibari, Throat
from parlante.training.neural_voices import spell
from parlante.training.visemes import Phone
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    FRAME_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    Float32Array,
    MotionConfig,
)
from services.motion.engine import MotionEngine

LINES = (
    "moonlight over the harbour, my boat is humming low",
    "we will meet by the bamboo bridge when the summer blooms",
    "baby blue morning, come up and bring me home",
    "oh move me, my beloved, through the room of broken pearls",
    "paper moons and apple trees, you and me beneath",
    "somewhere beyond the boom of waves a sleepy bee is singing",
    "people made of marble never weep, but I do",
    "blow the flame, take my name, we are walking to the sea",
)
PITCHES, FORMANTS = (0.55, 0.7, 0.9, 1.1), (0.88, 0.95, 1.0, 1.06)
CHORDS_HZ = ((220, 277, 330), (196, 247, 294), (174, 220, 262), (165, 208, 247))
CHORD_S = 0.9
CHORD_SHARE = 0.35  # of the voice's peak
PAUSE_S = 0.4
OPEN_FROM = 0.02  # aperture, IOD, of held notes
VOWELS = "aæɑɐɒɔəɚɛɜiɪoøœuʊʉye"
SHIFTS = (9, -9, 13, -13)  # frames
HELD_S = (0.35, 0.8, 1.5, 9.0)


@dataclass(frozen=True, slots=True, eq=False)
class Song:
    """float32 [S] at 16 kHz, and its phonemes."""

    audio: Float32Array
    phones: list[Phone]


def songs(number: int, *, accompanied: bool) -> Iterator[Song]:
    """Make songs of two lines each."""
    espeak, hibari = Espeak(), Hibari()
    for index in range(number):
        rng = np.random.default_rng((77, index))
        throat = Throat(
            pitch=PITCHES[index % 4],
            formants=FORMANTS[index % 4],
            breath=0.1 * (index % 3),
            is_singing=True,
            holds_long=True,
        )
        parts, phones = [np.zeros(MODEL_SAMPLE_RATE_HZ // 2, np.float32)], []
        for line in (LINES[index % 8], LINES[(index + 3) % 8]):
            sung = hibari.speak(spell(espeak.phonemize(line, "en-us")), throat, rng)
            start_s = sum(map(len, parts)) / MODEL_SAMPLE_RATE_HZ
            samples = sung.samples.astype(np.float32) / 32768.0
            samples = soxr.resample(samples, sung.sample_rate_hz, MODEL_SAMPLE_RATE_HZ)
            parts += [samples * (0.5 / np.abs(samples).max()), np.zeros(int(PAUSE_S * 16_000))]
            phones += [
                Phone(p.ipa.strip("ˈˌ"), start_s + p.start_s, start_s + p.end_s)
                for p in sung.phones
            ]
        audio = np.concatenate(parts).astype(np.float32)
        yield Song(audio + _chords(len(audio)) if accompanied else audio, phones)


def _chords(num_samples: int) -> Float32Array:
    sound = np.zeros(num_samples)
    length = int(CHORD_S * MODEL_SAMPLE_RATE_HZ)
    for number, start in enumerate(range(0, num_samples, length)):
        time_s = np.arange(min(length, num_samples - start)) / MODEL_SAMPLE_RATE_HZ
        for pitch_hz in CHORDS_HZ[number % len(CHORDS_HZ)]:
            for harmonic in (1, 2, 3):
                tone = np.sin(2 * np.pi * pitch_hz * harmonic * time_s) / harmonic
                sound[start : start + len(time_s)] += tone * np.exp(-3.0 * time_s)
    return (sound * (0.5 * CHORD_SHARE / np.abs(sound).max())).astype(np.float32)


@dataclass(slots=True)
class Tally:
    """What was seen, of all songs."""

    phones: PhoneTally = field(default_factory=PhoneTally)
    control: PhoneTally = field(default_factory=PhoneTally)
    held: list[tuple[float, float]] = field(default_factory=list)  # seconds, share of frames open


def judge(song: Song, values: Float32Array, tally: Tally) -> None:
    """Add a song to the tally."""
    lips, spans = lips_of(values), [span_of(phone) for phone in song.phones]
    tally.phones += tally_phones(lips, spans)
    for shift in SHIFTS:
        tally.control += tally_phones(lips, spans, shift)
    for phone in song.phones:
        begin, end = (round(t * FRAME_RATE_HZ) for t in (phone.start_s, phone.end_s))
        is_held = phone.ipa[0] in VOWELS and phone.end_s - phone.start_s >= HELD_S[0]
        if is_held and end - begin > 6 and end <= lips.num_frames:
            inner = lips.aperture[begin + 2 : end - 2]
            tally.held.append((phone.end_s - phone.start_s, float((inner > OPEN_FROM).mean())))


def report(tally: Tally) -> dict[str, float]:
    """Sum up."""
    found = {
        "bilabials_shut": tally.phones.shut_share or 0.0,
        "by_chance": tally.control.shut_share or 0.0,
        "auc_aperture": tally.phones.auc_aperture or 0.0,
        "auc_width": tally.phones.auc_width or 0.0,
    }
    for low_s, high_s in itertools.pairwise(HELD_S):
        shares = [share for held_s, share in tally.held if low_s <= held_s < high_s]
        if shares:
            found[f"open_when_held_{low_s:g}_s"] = float(np.mean(shares))
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--songs", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = MotionEngine.load(args.weights)
    found = {}
    for name in ("alone", "with chords"):
        tally = Tally()
        for seed, song in enumerate(songs(args.songs, accompanied=name != "alone")):
            recording = Recording(samples=song.audio, sample_rate_hz=MODEL_SAMPLE_RATE_HZ)
            samples = recording.pcm16(MODEL_SAMPLE_RATE_HZ)
            config = MotionConfig(
                sample_rate_hz=MODEL_SAMPLE_RATE_HZ,
                seed=seed,
                delay_budget_ms=BURST_DELAY_BUDGET_MS,
            )
            judge(song, asyncio.run(animate(engine, samples, config)), tally)
        found[name] = report(tally)
        print(f"{name}: {found[name]}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
