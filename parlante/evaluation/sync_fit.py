"""Fitting the sync model: on videos of people who talk, or on synthetic speech.

The model that ships is fitted on synthetic speech: voices of espeak-ng, flite and festival, whose
mouths are the viseme targets that the motion model learns from, by the renderer's calibration. It
knows no person. What it says is therefore not how well a face talks like people do, but how well
it follows *these* targets: motion learnt from the same targets scores high by kinship, a real
person or a rival scores lower for no fault of theirs, and lag 0 is where the targets put the
mouth, 45 ms ahead of the sound's boundaries. Fit it on videos of people to be rid of that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.evaluation.clip import find_videos, read_sound
from parlante.evaluation.sync import (
    SYNC_MEASURES,
    SyncModel,
    fit_ridge,
    measured_mouth,
    sync_features,
    z_score,
)
from parlante.evaluation.tracking import FloatArray, track_video
from parlante.models.face_tracker import FaceTracker
from parlante.types import FRAME_RATE_HZ, MOTION_DIM, MOTION_INDEX, Float32Array

__all__ = ["SyntheticConfig", "fit_on_synthetic_speech", "fit_on_videos"]

logger = logging.getLogger(__name__)

RIDGE: Final = 0.3
_MIN_SECONDS: Final = 60.0  # fewer than 11 s per feature column of a band say little
_MAX_FOLDS: Final = 8

Clip = tuple[FloatArray, FloatArray]  # features [T, F], z-scored mouth [T, 4]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """What the model that ships is fitted on: ``configs/sync_reference.json``.

    Attributes:
        populations: Of speakers, by the names that training gives them.
        clips_per_population: Of 32 s.
        seed: Fixes what is said and by whom; training uses others.
        ridge: Penalty on the weights.
    """

    populations: tuple[str, ...]
    clips_per_population: int
    seed: int
    ridge: float = RIDGE

    @classmethod
    def reference(cls) -> SyntheticConfig:
        """Read the committed configuration."""
        source = resources.files("parlante.evaluation").joinpath("configs/sync_reference.json")
        values = json.loads(source.read_text("utf-8"))
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in values.items() if name in known}
        return cls(**values | {"populations": tuple(values["populations"])})


def fit_on_videos(paths: list[Path], tracker: FaceTracker, *, ridge: float = RIDGE) -> SyncModel:
    """Fit on videos of one talking person each.

    Raises:
        InvalidInput: A video cannot be used, or there is less than a minute of them.
    """
    clips: list[Clip] = []
    for path in find_videos(paths):
        curves = track_video(path, tracker)
        sound = read_sound(path)
        clips.append((sync_features(sound, curves.num_frames), measured_mouth(curves)))
        logger.info("tracked %s: %.1f s", path.name, curves.seconds)
    return _fit(clips, ridge, f"{len(clips)} tracked videos")


def fit_on_synthetic_speech(config: SyntheticConfig) -> SyncModel:
    """Fit on synthesised speech and its viseme targets.

    Repeats to rounding when run in a fresh process, with the same versions of the voices and the
    same viseme targets.
    """
    clips = list(_synthetic_clips(config))
    about = " and ".join(config.populations)
    source = f"synthetic speech ({about}, seed {config.seed}) and viseme targets; no person"
    return _fit(clips, config.ridge, source)


def _fit(clips: list[Clip], ridge: float, source: str) -> SyncModel:
    """Fit on all clips; what it is worth is measured on clips left out."""
    seconds = sum(len(x) for x, _ in clips) / FRAME_RATE_HZ
    if seconds < _MIN_SECONDS:
        raise InvalidInput(
            f"a sync model needs {_MIN_SECONDS:g} s of talking faces at the least, and an hour to "
            f"be good; got {seconds:.0f} s",
            reason="TOO_LITTLE_VIDEO",
            field="videos",
        )
    weights = fit_ridge([x for x, _ in clips], [y for _, y in clips], ridge)
    held_out = _cross_validate(clips, ridge) if len(clips) > 1 else {}
    return SyncModel(weights=weights, source=source, seconds=seconds, held_out=held_out)


def _cross_validate(clips: list[Clip], ridge: float) -> dict[str, float]:
    """Mean correlation per measure over clips, each predicted without itself."""
    num_folds = min(_MAX_FOLDS, len(clips))
    rows = []
    for fold in range(num_folds):
        kept = [clip for index, clip in enumerate(clips) if index % num_folds != fold]
        weights = fit_ridge([x for x, _ in kept], [y for _, y in kept], ridge)
        model = SyncModel(weights=weights, source="", seconds=0.0, held_out={})
        for x, y in clips[fold::num_folds]:
            predicted = model.predict(x)
            with np.errstate(invalid="ignore", divide="ignore"):
                rows.append(
                    [np.corrcoef(predicted[:, i], y[:, i])[0, 1] for i in range(y.shape[1])]
                )
    means = np.nanmean(np.array(rows), axis=0)
    return {name: round(float(v), 3) for name, v in zip(SYNC_MEASURES, means, strict=True)}


def _synthetic_clips(config: SyntheticConfig) -> Iterator[Clip]:
    # Training's libraries are needed here only: judging takes the finished file.
    from parlante.training.speakers import open_speakers
    from parlante.training.takes import CLIP_FRAMES, record
    from parlante.training.visemes import mouth_targets

    for population in config.populations:
        speakers = open_speakers(population)
        for index in range(config.clips_per_population):
            take = record(speakers, np.random.default_rng((config.seed, index)))
            if not take.phones:  # a clip in which nobody speaks
                continue
            mouth = mouth_targets(take.phones, CLIP_FRAMES, take.amplitude)
            yield sync_features(take.audio, CLIP_FRAMES), z_score(_mouth_of_targets(mouth))


def _mouth_of_targets(mouth: Float32Array) -> FloatArray:
    """Measures [T, 4] of mouth weights [T, 9]: what the renderer makes of them."""
    from parlante.models.motion_space import MOUTH
    from parlante.training.evaluate import aperture, width

    motion = np.zeros((len(mouth), MOTION_DIM), np.float32)
    weight = dict(zip(MOUTH, mouth.T.astype(np.float64), strict=True))
    for name, values in weight.items():
        for channel in (name, f"{name}Left", f"{name}Right"):
            if channel in MOTION_INDEX:
                motion[:, MOTION_INDEX[channel]] = values
    opened = aperture(motion)
    # Measured on the mean face's rig, IOD per unit (2026-11).
    lip_height = (
        0.90 * opened
        + 0.23 * weight["jawOpen"] * weight["mouthClose"]
        + 0.056 * weight["mouthFunnel"]
        + 0.024 * weight["mouthPucker"]
        - 0.043 * weight["mouthRollLower"]
        - 0.075 * weight["mouthPress"]
    )
    return np.stack([opened, width(motion), lip_height, weight["jawOpen"]], axis=1)
