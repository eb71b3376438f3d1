"""Clips to train on: the scenes of one video one after the other, cut to the corpus's length.

Scenes are joined by short pauses in which the face goes to where the next scene begins, so that no
clip holds a jump. Axis letters: C clips, V performances, T frames, N mel hops, D latents, S
samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import cycle
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.motion_space import (
    CONDITION_DIM,
    CONDITION_GROUPS,
    HEAD_SLICE,
    LATENT_SCALE,
    head_latents,
)
from parlante.models.pose_state import HEAD_DELAY_FRAMES, PUSH_SHARE
from parlante.training.corpus import log_mel
from parlante.training.takes import CLIP_FRAMES, CLIP_SAMPLES
from parlante.training.videos.performance import Performance
from parlante.training.visemes import UNKNOWN_VISEME
from parlante.types import SAMPLES_PER_FRAME, Float32Array

__all__ = ["ARRAYS", "AUDIO_SAMPLES", "PCM", "Clips", "Scene", "assemble", "latents_of"]

Float64Array = npt.NDArray[np.float64]

BRIDGE_FRAMES: Final = 20  # 0.8 s of silence between scenes
_LIPS_FRAMES: Final = 5  # of them, in which lips and brows come to rest, and leave it
# Sound a little beyond a clip's end, for whoever looks ahead.
AUDIO_SAMPLES: Final = CLIP_SAMPLES + 4096
_FADE_SAMPLES: Final = 320
_SPEECH_BELOW_PEAK_DB: Final = 30.0
PCM: Final = 32767.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A performance [T] and its sound, float32 [T * 640]."""

    performance: Performance
    audio: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Clips of one video, as in `Corpus`, with one performance each.

    Attributes:
        log_mel: float16 [C, N, M].
        latents: float16 [C, 1, T, D].
        conditions: float16 [C, 1, T, CONDITION_DIM].
        activity: float16 [C, T], 1 = somebody speaks.
        visemes: uint8 [C, T], unknown all of them.
        audio: int16 [C, AUDIO_SAMPLES], 16 kHz.
        fresh: float32 [C], share of a clip that no clip before it holds.
    """

    log_mel: np.ndarray
    latents: np.ndarray
    conditions: np.ndarray
    activity: np.ndarray
    visemes: np.ndarray
    audio: np.ndarray
    fresh: np.ndarray

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.log_mel)


ARRAYS: Final = tuple(field.name for field in fields(Clips))


def assemble(scenes: list[Scene]) -> Clips:
    """Join the scenes of a video and cut them into clips; a short video is repeated to fill one."""
    num_fresh = sum(scene.performance.num_frames + BRIDGE_FRAMES for scene in scenes)
    joined = _join(scenes, at_least=CLIP_FRAMES)
    total = joined.performance.num_frames
    latents, conditions = latents_of(joined.performance), _conditions(joined.performance)
    audio = np.concatenate([joined.audio, np.zeros(AUDIO_SAMPLES, np.float32)])
    active = _activity(joined.audio)
    rows = []
    end_before = 0
    for start in _starts(total):
        frames = slice(start, start + CLIP_FRAMES)
        sound = audio[start * SAMPLES_PER_FRAME :][:AUDIO_SAMPLES]
        fresh = max(0, min(start + CLIP_FRAMES, num_fresh) - max(start, end_before)) / CLIP_FRAMES
        end_before = start + CLIP_FRAMES
        if fresh == 0.0:
            break
        rows.append(
            (
                log_mel(sound).astype(np.float16),
                latents[frames][None].astype(np.float16),
                conditions[frames][None].astype(np.float16),
                active[frames].astype(np.float16),
                np.full(CLIP_FRAMES, UNKNOWN_VISEME, np.uint8),
                np.round(np.clip(sound, -1.0, 1.0) * PCM).astype(np.int16),
                np.float32(fresh),
            )
        )
    return Clips(*(np.stack(column) for column in zip(*rows, strict=True)))


def _starts(total: int) -> list[int]:
    """First frames of clips that cover all; the last one may overlap."""
    starts = list(range(0, total - CLIP_FRAMES + 1, CLIP_FRAMES))
    if starts[-1] + CLIP_FRAMES < total:
        starts.append(total - CLIP_FRAMES)
    return starts


def _join(scenes: list[Scene], at_least: int) -> Scene:
    """All scenes with bridges between them, from the beginning again until there is enough."""
    parts: list[Scene] = []
    length = 0
    for index, scene in enumerate(cycle(scenes)):
        if index >= len(scenes) and length >= at_least:
            break
        if parts:
            bridge = _bridge(parts[-1].performance, scene.performance)
            parts.append(bridge)
            length += BRIDGE_FRAMES
        parts.append(scene)
        length += scene.performance.num_frames
    columns = _columns(part.performance for part in parts)
    performance = Performance(*(np.concatenate(column) for column in columns))
    return Scene(performance, np.concatenate([_faded(part.audio) for part in parts]))


def _columns(performances: Iterator[Performance]) -> Iterator[tuple[Float64Array, ...]]:
    names = [field.name for field in fields(Performance)]
    return zip(*(tuple(getattr(p, name) for name in names) for p in performances), strict=True)


def _bridge(before: Performance, after: Performance) -> Scene:
    """A pause: head and eyes go over in one smooth move, lips and brows rest in between."""
    time = (np.arange(BRIDGE_FRAMES) + 1.0) / (BRIDGE_FRAMES + 1.0)
    share = 0.5 - 0.5 * np.cos(np.pi * time)
    edge = np.arange(BRIDGE_FRAMES) + 1.0
    leave = np.clip(1.0 - edge / _LIPS_FRAMES, 0.0, 1.0)
    arrive = leave[::-1]

    def over(name: str) -> Float64Array:
        start, end = getattr(before, name)[-1], getattr(after, name)[0]
        return np.asarray(start + np.multiply.outer(share, end - start))

    def rest(name: str) -> Float64Array:
        start, end = getattr(before, name)[-1], getattr(after, name)[0]
        return np.asarray(np.multiply.outer(leave, start) + np.multiply.outer(arrive, end))

    eyes = over("eyes")
    eyes[:, 0] = 0.0
    performance = Performance(
        over("head"),
        rest("mouth"),
        rest("face"),
        rest("sides"),
        eyes,
        over("gaze"),
        over("log_distance"),
    )
    return Scene(performance, np.zeros(BRIDGE_FRAMES * SAMPLES_PER_FRAME, np.float32))


def _faded(audio: Float32Array) -> Float32Array:
    """Without a click where a scene begins and ends."""
    out = audio.copy()
    ramp = np.linspace(0.0, 1.0, min(_FADE_SAMPLES, len(audio) // 2), dtype=np.float32)
    out[: len(ramp)] *= ramp
    out[len(out) - len(ramp) :] *= ramp[::-1]
    return out


def latents_of(performance: Performance) -> Float32Array:
    """Latents [T, D] from which the motion stage makes a performance again."""
    natural = np.concatenate(
        [performance.mouth, performance.face, performance.sides, performance.eyes], axis=1
    )
    head = head_latents((performance.head / PUSH_SHARE).astype(np.float32))
    # Heads have mass: pushes come as much earlier as they act later.
    head = np.concatenate([head[HEAD_DELAY_FRAMES:], np.zeros_like(head[:HEAD_DELAY_FRAMES])])
    return np.concatenate([head, natural / LATENT_SCALE[HEAD_SLICE.stop :]], axis=1).astype(
        np.float32
    )


def _conditions(performance: Performance) -> Float32Array:
    """What a client would have asked for; no emotion, as nobody knows it."""
    gaze, distance, *_ = CONDITION_GROUPS
    out = np.zeros((performance.num_frames, CONDITION_DIM), np.float32)
    out[:, gaze] = performance.gaze / 0.3
    out[:, distance] = performance.log_distance[:, None] / 0.4
    return out


def _activity(audio: Float32Array) -> Float32Array:
    """1 where the sound is not far below its peaks [T]."""
    frames = audio.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)
    level_db = 10.0 * np.log10((frames**2).mean(axis=1) + 1e-9)
    peak_db = float(np.percentile(level_db, 98))
    return np.asarray(level_db > peak_db - _SPEECH_BELOW_PEAK_DB, np.float32)
