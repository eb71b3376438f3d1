"""Takes: half a minute of one synthetic speaker, who talks, pauses, sings or keeps silent.

Making speech is the slow part of the corpus, so takes are kept on disk, one file each: an
interrupted run goes on where it stopped, and targets can be drawn anew without speaking again.
Axis letters: S audio samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from parlante.training.no_speech import accompaniment, no_speech
from parlante.training.speakers import Speakers, open_speakers
from parlante.training.speech import Speech
from parlante.training.visemes import Phone
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

logger = logging.getLogger(__name__)

CLIP_FRAMES: Final = 800  # 32 s
CLIP_SAMPLES: Final = CLIP_FRAMES * SAMPLES_PER_FRAME
VERSION: Final = 6  # of what is drawn; part of the folder's name
ACCOMPANIED: Final = {
    "sung": 0.6,
    "vocoded": 0.6,
}  # share of a population's clips with music under the voice


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """float32 [S] at 16 kHz and who says what when; `amplitude` is how wide they articulate."""

    audio: Float32Array
    phones: list[Phone]
    amplitude: float


def load_or_record(population: str, num_takes: int, seed: int, cache: Path) -> Iterator[Take]:
    """Give takes of a population in order; what is not in the cache is recorded into it."""
    folder = cache / f"takes-{VERSION}-{population}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    speakers: Speakers | None = None
    for index in range(num_takes):
        path = folder / f"{index:05d}.npz"
        if not path.exists():
            speakers = speakers or open_speakers(population)
            rng = np.random.default_rng((seed, index))
            _save(record(speakers, rng, accompanied=ACCOMPANIED.get(population, 0.0)), path)
            if index % 50 == 49:
                logger.info("%s: %d of %d takes", population, index + 1, num_takes)
        yield _load(path)


def _save(take: Take, path: Path) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        audio=np.round(take.audio * 32767.0).astype(np.int16),
        ipa=np.array([p.ipa for p in take.phones], np.str_),
        times=np.array([(p.start_s, p.end_s, p.emphasis) for p in take.phones]).reshape(-1, 3),
        amplitude=take.amplitude,
    )
    part.replace(path)


def _load(path: Path) -> Take:
    with np.load(path) as stored:
        phones = [
            Phone(str(ipa), *(float(v) for v in row))
            for ipa, row in zip(stored["ipa"], stored["times"], strict=True)
        ]
        audio = stored["audio"].astype(np.float32) / np.float32(32767.0)
        return Take(audio, phones, float(stored["amplitude"]))


def record(speakers: Speakers, rng: np.random.Generator, *, accompanied: float = 0.0) -> Take:
    """Fill one clip with utterances, pauses and sounds that are no speech.

    Args:
        speakers: One of them speaks.
        rng: Of all that is drawn.
        accompanied: Share of clips with music from begin to end.
    """
    audio = np.zeros(CLIP_SAMPLES + SAMPLES_PER_FRAME, np.float32)
    phones: list[Phone] = []
    talk = speakers.draw(rng)
    tract = float(np.exp(rng.normal(0.0, 0.10)))  # > 1: shorter vocal tract, higher formants
    now_s = float(rng.choice((rng.uniform(0.0, 0.3), rng.uniform(0.3, 3.0))))
    if rng.random() < 0.04:  # a clip in which nobody speaks
        now_s = 1e9
    while now_s * MODEL_SAMPLE_RATE_HZ < CLIP_SAMPLES - 8000:
        said = _say(next(talk), tract, now_s, rng)
        start = int(now_s * MODEL_SAMPLE_RATE_HZ)
        room = min(len(said.audio), len(audio) - start)
        audio[start : start + room] += said.audio[:room]
        phones += said.phones
        now_s += len(said.audio) / MODEL_SAMPLE_RATE_HZ
        now_s += rng.exponential(0.35) if rng.random() < 0.7 else rng.uniform(0.8, 3.5)
    if accompanied and phones and rng.random() < accompanied:
        level = 10 ** (rng.uniform(-26, -6) / 20) * float(audio.std())
        audio += np.float32(level) * accompaniment(len(audio), rng)
    for start, end in _gaps(phones, len(audio)):
        if rng.random() < 0.30:
            audio[start:end] += no_speech(end - start, rng)
    audio = _distort(audio * np.float32(10 ** (rng.uniform(-22, 4) / 20)), rng)
    phones = [p for p in phones if p.start_s < CLIP_FRAMES / FRAME_RATE_HZ]
    return Take(audio, phones, float(rng.uniform(0.8, 1.2)))


def _say(speech: Speech, tract: float, start_s: float, rng: np.random.Generator) -> Take:
    samples = speech.samples.astype(np.float32) / 32768.0
    rate = speech.sample_rate_hz * tract  # played faster, formants move up
    audio = soxr.resample(samples, rate, MODEL_SAMPLE_RATE_HZ).astype(np.float32)
    peak = float(np.abs(audio).max(initial=1e-3))
    marks_stress = any("ˈ" in phone.ipa for phone in speech.phones)
    weak = 0.92 if marks_stress else 1.0
    phones = [
        Phone(
            p.ipa,
            start_s + p.start_s / tract,
            start_s + p.end_s / tract,
            (1.15 if "ˈ" in p.ipa else weak) * float(rng.normal(1.0, 0.06)),
        )
        for p in speech.phones
    ]
    return Take(audio * np.float32(0.6 / peak), phones, 1.0)


def _gaps(phones: list[Phone], num_samples: int) -> list[tuple[int, int]]:
    """Sample ranges of at least 0.6 s in which nobody speaks."""
    rate = MODEL_SAMPLE_RATE_HZ
    total_s = num_samples / rate
    times = [min(t, total_s) for p in phones for t in (p.start_s, p.end_s)]
    edges = [0.0, *times, total_s]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(int((a + 0.15) * rate), int((b - 0.15) * rate)) for a, b in pairs if b - a > 0.6]


def _distort(audio: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Sometimes clip, quantise like a telephone, or quantise coarsely."""
    kind = rng.random()
    if kind < 0.10:
        limit = rng.uniform(0.15, 0.6) * float(np.abs(audio).max(initial=1e-3))
        audio = np.clip(audio, -limit, limit)
    elif kind < 0.18:
        peak = float(np.abs(audio).max(initial=1e-3))
        folded = np.sign(audio) * np.log1p(255.0 * np.abs(audio) / peak) / np.log(256.0)
        steps = np.round(folded * 48.0) / 48.0
        audio = np.sign(steps) * np.expm1(np.abs(steps) * np.log(256.0)) / 255.0 * peak
    return np.clip(audio, -1.0, 1.0).astype(np.float32)
