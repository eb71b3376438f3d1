"""The synthetic corpus: clips of speech with mouth targets and drawn performances.

A clip is `CLIP_FRAMES` long: one synthetic speaker who talks and pauses, sometimes with music or
noise where nobody speaks. It holds log-mel energies, and for each of several drawn performances
the latents that the motion model learns and the controls that go with them. Everything follows
from the seed, when made in a fresh process (see `espeak`). Axis letters: C clips, V performances,
T frames, N mel hops, D latents.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from parlante.models.audio_features import (
    ENERGY_FLOOR,
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    LOOK_AHEAD_SAMPLES,
    WINDOW_SAMPLES,
    mel_energies,
)
from parlante.models.motion_space import LATENT_SCALE, MOUTH, head_latents
from parlante.training.behaviour import draw_behaviour, draw_controls, emotion_mouth
from parlante.training.speakers import Speakers, open_speakers
from parlante.training.speech import Speech
from parlante.training.visemes import Phone, mouth_targets, viseme_labels
from parlante.types import MODEL_SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

logger = logging.getLogger(__name__)

CLIP_FRAMES: Final = 800  # 32 s
CLIP_SAMPLES: Final = CLIP_FRAMES * SAMPLES_PER_FRAME
# The first window of a hop-aligned frame starts here: the look-ahead moves sound against motion.
FIRST_WINDOW_SAMPLE: Final = HOP_SAMPLES + LOOK_AHEAD_SAMPLES - WINDOW_SAMPLES
VERSION: Final = 3  # of what is drawn; part of the cache key


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """How much to make: who speaks, clips of 32 s, performances of each, the seed of it all."""

    speakers: str = "espeak"
    num_clips: int = 360
    num_performances: int = 2
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """All clips in memory.

    Attributes:
        log_mel: float16 [C, N, M], natural log of energy above the floor.
        latents: float16 [C, V, T, D], unit variance.
        conditions: float16 [C, V, T, 10].
        activity: float16 [C, T], 1 = speaking.
        visemes: uint8 [C, T], index into `VISEMES`.
    """

    log_mel: np.ndarray
    latents: np.ndarray
    conditions: np.ndarray
    activity: np.ndarray
    visemes: np.ndarray

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.log_mel)


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """float32 [S] at 16 kHz and who says what when."""

    audio: Float32Array
    phones: list[Phone]
    amplitude: float


_ARRAYS: Final = tuple(field.name for field in fields(Corpus))


def load_or_make(config: CorpusConfig, cache: Path) -> Corpus:
    """Read the corpus from the cache folder, or make it and put it there."""
    key = hashlib.sha256(repr((VERSION, sorted(asdict(config).items()))).encode()).hexdigest()[:16]
    path = cache / f"motion-{key}.npz"
    if not path.exists():
        corpus = make(config)
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **{name: getattr(corpus, name) for name in _ARRAYS})
        part.rename(path)
    with np.load(path) as stored:
        return Corpus(*(stored[name] for name in _ARRAYS))


def join(corpora: list[Corpus]) -> Corpus:
    """Put corpora of equal numbers of performances together, in an order that mixes them evenly."""
    position = np.concatenate([(np.arange(c.num_clips) + 0.5) / c.num_clips for c in corpora])
    order = np.argsort(position, kind="stable")
    return Corpus(*(np.concatenate([getattr(c, name) for c in corpora])[order] for name in _ARRAYS))


def make(config: CorpusConfig) -> Corpus:
    """Synthesise the corpus."""
    speakers = open_speakers(config.speakers)
    clips = []
    for index in range(config.num_clips):
        rng = np.random.default_rng((config.seed, index))
        clips.append(_clip(speakers, config.num_performances, rng))
        if index % 50 == 49:
            logger.info("corpus: %d of %d clips", index + 1, config.num_clips)
    # Everything real goes to half precision; labels stay as they are.
    parts = [np.stack(part) for part in zip(*clips, strict=True)]
    return Corpus(*(p if p.dtype == np.uint8 else p.astype(np.float16) for p in parts))


def _clip(
    speakers: Speakers, num_performances: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    take = record(speakers, rng)
    padded = np.concatenate([take.audio[FIRST_WINDOW_SAMPLE:], np.zeros(4096, np.float32)])
    energies = mel_energies(padded)[: CLIP_FRAMES * HOPS_PER_FRAME]
    log_mel = np.log(np.maximum(energies, ENERGY_FLOOR) / ENERGY_FLOOR)
    mouth = mouth_targets(take.phones, CLIP_FRAMES, take.amplitude)
    activity, loudness = _activity(take)
    performances = [_perform(mouth, activity, loudness, rng) for _ in range(num_performances)]
    latents, conditions = (np.stack(part) for part in zip(*performances, strict=True))
    return log_mel, latents, conditions, activity, viseme_labels(take.phones, CLIP_FRAMES)


def _perform(
    mouth: Float32Array, activity: Float32Array, loudness: Float32Array, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    controls = draw_controls(len(mouth), rng)
    behaviour = draw_behaviour(activity, loudness, controls, rng)
    shaped = emotion_mouth(mouth, controls.emotion, MOUTH)
    natural = np.concatenate([shaped, behaviour.face, behaviour.sides, behaviour.eyes], axis=1)
    latents = np.concatenate(
        [head_latents(behaviour.head), natural / LATENT_SCALE[6:]], axis=1
    ).astype(np.float32)
    return latents, controls.conditions()


def _activity(take: Take) -> tuple[Float32Array, Float32Array]:
    """Speaking or not, and standardised smooth loudness, both [T]."""
    active = np.zeros(CLIP_FRAMES, np.float32)
    for phone in take.phones:
        active[int(phone.start_s * 25) : int(phone.end_s * 25) + 1] = 1.0
    frames = take.audio[:CLIP_SAMPLES].reshape(CLIP_FRAMES, SAMPLES_PER_FRAME)
    level = np.log(np.maximum((frames**2).mean(axis=1), 1e-7))
    level = np.convolve(level, np.hanning(7) / np.hanning(7).sum(), mode="same")
    spoken = level[active > 0] if active.any() else level
    return active, ((level - spoken.mean()) / max(float(spoken.std()), 0.3)).astype(np.float32)


def record(speakers: Speakers, rng: np.random.Generator) -> Take:
    """Fill one clip with utterances, pauses and sounds that are no speech."""
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
    for start, end in _gaps(phones, len(audio)):
        if rng.random() < 0.25:
            audio[start:end] += _no_speech(end - start, rng)
    audio = _distort(audio * np.float32(10 ** (rng.uniform(-22, 4) / 20)), rng)
    phones = [p for p in phones if p.start_s < CLIP_SAMPLES / MODEL_SAMPLE_RATE_HZ]
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


def _no_speech(num_samples: int, rng: np.random.Generator) -> Float32Array:
    """Music-like chords, breath and hiss, or knocks: sound with a shut mouth."""
    time_s = np.arange(num_samples) / MODEL_SAMPLE_RATE_HZ
    kind = rng.integers(0, 3)
    if kind == 0:
        sound = np.zeros(num_samples)
        for _ in range(int(rng.integers(2, 6))):
            pitch_hz = 110.0 * 2.0 ** (rng.integers(0, 36) / 12.0)
            for harmonic in range(1, int(rng.integers(2, 7))):
                phase = rng.uniform(0, 6.3)
                sound += np.sin(6.2832 * pitch_hz * harmonic * time_s + phase) / harmonic**1.3
        sound *= 0.6 + 0.4 * np.sin(6.2832 * rng.uniform(0.3, 4.0) * time_s)
    elif kind == 1:
        colour = rng.uniform(-0.9, 0.95)
        noise = rng.standard_normal(num_samples)
        sound = np.convolve(noise, colour ** np.arange(30), mode="same")
        sound *= np.hanning(num_samples) if rng.random() < 0.5 else 1.0
    else:
        sound = np.zeros(num_samples)
        for at in rng.integers(0, num_samples, size=int(rng.integers(1, 6))):
            tail = min(2400, num_samples - at)
            sound[at : at + tail] += rng.standard_normal(tail) * np.exp(-np.arange(tail) / 300.0)
    level = 10 ** (rng.uniform(-45, -14) / 20)
    fade = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) / 0.02)
    return (sound * fade * level / max(1e-6, float(sound.std()))).astype(np.float32)


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
