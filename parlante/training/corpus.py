"""The synthetic corpus: clips of speech with mouth targets and drawn performances.

A clip is `CLIP_FRAMES` long: one synthetic speaker who talks and pauses, sometimes with music or
noise where nobody speaks. It holds log-mel energies, and for each of several drawn performances
the latents that the motion model learns and the controls that go with them. In some clips the
user is heard while the avatar speaks or keeps silent. Everything follows from the seed, when
takes are recorded in a fresh process (see `espeak`).

Axis letters: C clips, V performances, T frames, N mel hops, D latents.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.models.audio_features import (
    ENERGY_FLOOR,
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    LOOK_AHEAD_SAMPLES,
    WINDOW_SAMPLES,
    mel_energies,
)
from parlante.models.listening import LISTENING_DIM, ListenerState, listen
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_space import LATENT_SCALE, MOUTH, head_latents
from parlante.models.speech_encoder import SpeechEncoder
from parlante.training.behaviour import draw_behaviour, draw_controls, emotion_mouth
from parlante.training.no_speech import no_speech
from parlante.training.realign import realign
from parlante.training.speech_features import encode_clips
from parlante.training.takes import CLIP_FRAMES, CLIP_SAMPLES, Take, load_or_record
from parlante.training.visemes import mouth_targets, viseme_labels
from parlante.types import SAMPLES_PER_FRAME, Float32Array

logger = logging.getLogger(__name__)

# The first window of a hop-aligned frame starts here: the look-ahead moves sound against motion.
FIRST_WINDOW_SAMPLE: Final = HOP_SAMPLES + LOOK_AHEAD_SAMPLES - WINDOW_SAMPLES
VERSION: Final = 5  # of what is drawn; part of the cache key
_OVERHEARD_SHARE: Final = 0.3  # of clips with speech in which the user is heard as well
_LISTENING_EVERY: Final = 14  # takes for one clip in which only the user speaks


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """How much to make.

    Attributes:
        speakers: Who speaks.
        num_clips: Clips of 32 s.
        num_performances: Of each clip.
        seed: Of it all.
        realign: Whether phonemes are moved to where an `Aligner` hears them.
    """

    speakers: str = "espeak"
    num_clips: int = 360
    num_performances: int = 2
    seed: int = 1
    realign: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Aligner:
    """A network that hears where phonemes are, and the digest of its weights."""

    model: MotionDiT
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """All clips in memory.

    Attributes:
        log_mel: float16 [C, N, M], natural log of energy above the floor.
        latents: float16 [C, V, T, D], unit variance.
        conditions: float16 [C, V, T, CONDITION_DIM].
        activity: float16 [C, T], 1 = speaking.
        visemes: uint8 [C, T], index into `VISEMES`, or `UNKNOWN_VISEME`.
        speech: C files of what a speech encoder hears, float16 [T, E]; none without one.
    """

    log_mel: np.ndarray
    latents: np.ndarray
    conditions: np.ndarray
    activity: np.ndarray
    visemes: np.ndarray
    speech: tuple[Path, ...] = field(default=(), kw_only=True)

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.log_mel)


_ARRAYS: Final = tuple(f.name for f in fields(Corpus) if not f.kw_only)


def load_or_make(
    config: CorpusConfig,
    cache: Path,
    speech_encoder: SpeechEncoder | None = None,
    aligner: Aligner | None = None,
) -> Corpus:
    """Read the corpus from the cache folder, or make it and put it there.

    Args:
        config: What to make.
        cache: Folder of all corpora.
        speech_encoder: Hears all clips, if given; kept in the cache as well.
        aligner: For a corpus with `realign`; others do not need it.

    Raises:
        InvalidInput: The phonemes are to be moved, and there is no aligner.
    """
    if not config.realign:
        aligner = None
    elif aligner is None:
        raise InvalidInput(
            f"the corpus {config.speakers!r} is to be aligned anew; give the weights that hear "
            "where its phonemes are (--align-with)",
            reason="NO_ALIGNER",
            field="align_with",
        )
    identity = (VERSION, sorted(asdict(config).items()), aligner and aligner.digest)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    path = cache / f"motion-{key}.npz"
    if not path.exists():
        corpus = make(config, cache, aligner)
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part.npz")  # runs side by side make it twice
        np.savez(part, **{name: getattr(corpus, name) for name in _ARRAYS})
        part.rename(path)
    with np.load(path) as stored:
        corpus = Corpus(*(stored[name] for name in _ARRAYS))
    if speech_encoder is None:
        return corpus

    def sounds() -> Iterator[Float32Array]:
        return (audio for audio, _ in _clips(config, cache, aligner))

    speech = encode_clips(key, corpus.num_clips, sounds, speech_encoder, cache)
    return replace(corpus, speech=speech)


def join(corpora: list[Corpus]) -> Corpus:
    """Put corpora of equal numbers of performances together, in an order that mixes them evenly."""
    position = np.concatenate([(np.arange(c.num_clips) + 0.5) / c.num_clips for c in corpora])
    order = np.argsort(position, kind="stable")
    arrays = (np.concatenate([getattr(c, name) for c in corpora])[order] for name in _ARRAYS)
    files = [path for c in corpora for path in c.speech]
    return Corpus(*arrays, speech=tuple(files[index] for index in order) if files else ())


def make(config: CorpusConfig, cache: Path, aligner: Aligner | None = None) -> Corpus:
    """Record the takes that are not in the cache, and draw targets for all of them."""
    clips = [clip for _, clip in _clips(config, cache, aligner)]
    # Everything real goes to half precision; labels stay as they are.
    parts = [np.stack(part) for part in zip(*clips, strict=True)]
    return Corpus(*(p if p.dtype == np.uint8 else p.astype(np.float16) for p in parts))


_Clip = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _clips(
    config: CorpusConfig, cache: Path, aligner: Aligner | None
) -> Iterator[tuple[Float32Array, _Clip]]:
    """Sound and content of each clip."""
    heard = np.zeros((CLIP_FRAMES, LISTENING_DIM), np.float32)
    takes = load_or_record(config.speakers, config.num_clips, config.seed, cache)
    for index, take in enumerate(takes):
        if aligner is not None:
            take = replace(take, phones=realign(take.audio, take.phones, aligner.model))
        rng = np.random.default_rng((config.seed, 7, index))
        # The user is the speaker of another take, who stops when the avatar speaks, as a rule.
        user = heard if rng.random() < _OVERHEARD_SHARE else np.zeros_like(heard)
        yield take.audio, _clip(take, user, config.num_performances, rng)
        heard = _overheard(take)
        if index % _LISTENING_EVERY == _LISTENING_EVERY - 1:
            silent = _silent_take(rng)
            yield silent.audio, _clip(silent, heard, config.num_performances, rng)


def _silent_take(rng: np.random.Generator) -> Take:
    """Half a minute in which the avatar has nothing to say, in a room that is not quite silent."""
    audio = np.zeros(CLIP_SAMPLES + SAMPLES_PER_FRAME, np.float32)
    if rng.random() < 0.3:
        audio += no_speech(len(audio), rng) * np.float32(0.3)
    return Take(audio, [], 1.0)


def _overheard(take: Take) -> Float32Array:
    frames = take.audio[:CLIP_SAMPLES].reshape(CLIP_FRAMES, SAMPLES_PER_FRAME)
    return listen((frames**2).mean(axis=1), ListenerState())[0]


def log_mel(audio: Float32Array) -> Float32Array:
    """Hear a clip.

    Args:
        audio: [S] at 16 kHz, 32 s and a little more; what is missing at its end is silence.

    Returns:
        float32 [N, M], natural log of energy above the floor.
    """
    span = (CLIP_FRAMES * HOPS_PER_FRAME - 1) * HOP_SAMPLES + WINDOW_SAMPLES
    sound = audio[FIRST_WINDOW_SAMPLE : FIRST_WINDOW_SAMPLE + span]
    energies = mel_energies(np.pad(sound, (0, span - len(sound))))
    return np.asarray(np.log(np.maximum(energies, ENERGY_FLOOR) / ENERGY_FLOOR))


def _clip(take: Take, user: Float32Array, num_performances: int, rng: np.random.Generator) -> _Clip:
    mouth = mouth_targets(take.phones, CLIP_FRAMES, take.amplitude)
    activity, loudness = _activity(take)
    user = user * (1.0 - 0.85 * activity[:, None])
    performances = [_perform(mouth, activity, loudness, user, rng) for _ in range(num_performances)]
    latents, conditions = (np.stack(part) for part in zip(*performances, strict=True))
    labels = viseme_labels(take.phones, CLIP_FRAMES)
    return log_mel(take.audio), latents, conditions, activity, labels


def _perform(
    mouth: Float32Array,
    activity: Float32Array,
    loudness: Float32Array,
    user: Float32Array,
    rng: np.random.Generator,
) -> tuple[Float32Array, Float32Array]:
    controls = draw_controls(len(mouth), rng, user)
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
