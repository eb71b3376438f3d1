"""Head and sound: whether a head moves when the voice does, as people's heads do a little.

A stand-in for the CAPP score of the VASA-1 paper, whose model is not public: a ridge regression
from loudness within 0.6 s to how fast the head turns and how much it nods, fitted on people. The
only people with sound at hand were three clips, 50 s in all. On each of them, predicted without
itself, the correlation is -0.18, 0.36 and 0.25 for speed and 0.37, 0.26 and 0.16 for nodding, with
a spread of 0.14 under wrong audio: too little to tell a good head from a bad one. It is reported
as a statistic beside that baseline, and gates nothing. Axis letter: T frames at 25 Hz.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.evaluation.silence import find_speech
from parlante.evaluation.sync import z_score
from parlante.evaluation.tracking import FloatArray, correlation
from parlante.types import FRAME_RATE_HZ, Float32Array

__all__ = [
    "HEAD_MEASURES",
    "HeadSoundModel",
    "fit_head_sound",
    "judge_head_sound",
    "load_head_sound_model",
]

HEAD_MEASURES: Final = ("speed", "nod")
_BIN_FRAMES: Final = 3  # 120 ms
_NUM_BINS: Final = 10  # +-0.6 s
_LOUD_RANGE_DB: Final = 40.0
_RIDGE: Final = 0.3
_MIN_SHIFT_FRAMES: Final = 50
_SHIFT_STEP_FRAMES: Final = 10
_FILE: Final = "head_sound_reference.npz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadSoundModel:
    """Weights [20, 2] and what they are worth.

    Attributes:
        weights: Features to `HEAD_MEASURES`.
        source: What they were fitted on, in words.
        held_out: Correlation on each clip of people, predicted without itself, per measure.
    """

    weights: FloatArray
    source: str
    held_out: dict[str, list[float]]

    def save(self, path: Path) -> None:
        """Write a small file."""
        about = json.dumps({"source": self.source, "held_out": self.held_out})
        with path.open("wb") as file:
            np.savez_compressed(
                file, weights=self.weights.astype(np.float16), about=np.array(about)
            )


@functools.cache
def load_head_sound_model() -> HeadSoundModel:
    """Load the model that ships."""
    source = resources.files("parlante.evaluation").joinpath(_FILE)
    with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
        weights = data["weights"].astype(np.float64)
        return HeadSoundModel(weights=weights, **json.loads(str(data["about"])))


def judge_head_sound(
    model: HeadSoundModel, sound: Float32Array, head_deg: FloatArray
) -> dict[str, dict[str, float | None]]:
    """Correlate the head that loudness lets one expect with the head that was seen.

    `wrong_audio` is the mean, `wrong_audio_std` the spread with the sound moved by more than 2 s.
    """
    predicted = _features(_loudness_db(sound, len(head_deg))) @ model.weights
    seen = _targets(head_deg)
    shifts = range(_MIN_SHIFT_FRAMES, len(seen) - _MIN_SHIFT_FRAMES, _SHIFT_STEP_FRAMES)
    result: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(HEAD_MEASURES):
        a, b = predicted[:, index], seen[:, index]
        controls = [correlation(np.roll(a, shift), b) or 0.0 for shift in shifts]
        result[name] = {
            "correlation": correlation(a, b),
            "wrong_audio": float(np.mean(controls)) if controls else None,
            "wrong_audio_std": float(np.std(controls)) if controls else None,
        }
    return result


def fit_head_sound(path: Path) -> HeadSoundModel:
    """Fit on the clips with loudness in a file of tracked motion of people.

    Args:
        path: npz with `clipNN` [T, >= 3] (yaw, pitch, roll in degrees), `clipNN.fps`, and
            `clipNN.loudness_db` [T] where there is speech.

    Raises:
        InvalidInput: FILE_NOT_FOUND, or TOO_LITTLE_VIDEO with fewer than two such clips.
    """
    if not path.is_file():
        raise InvalidInput(
            f"no file at {path}; check the path", reason="FILE_NOT_FOUND", field="reference"
        )
    with np.load(path, allow_pickle=False) as data:
        names = sorted(n.partition(".")[0] for n in data.files if n.endswith(".loudness_db"))
        clips = []
        for name in names:
            fps = float(data[f"{name}.fps"])
            head = np.stack([_at_25_hz(column, fps) for column in data[name][:, :3].T], axis=1)
            loudness = _at_25_hz(data[f"{name}.loudness_db"], fps)
            clips.append((_features(loudness), _targets(head)))
    if len(clips) < 2:
        raise InvalidInput(
            f"{path.name} must hold two clips with loudness at the least; got {len(clips)}",
            reason="TOO_LITTLE_VIDEO",
            field="reference",
        )
    held_out: dict[str, list[float]] = {name: [] for name in HEAD_MEASURES}
    for left_out, (x, y) in enumerate(clips):
        predicted = x @ _ridge([clip for i, clip in enumerate(clips) if i != left_out])
        for index, name in enumerate(HEAD_MEASURES):
            held_out[name].append(round(correlation(predicted[:, index], y[:, index]) or 0.0, 3))
    seconds = sum(len(x) for x, _ in clips) / FRAME_RATE_HZ
    source = f"{len(clips)} clips of people with sound, {seconds:.0f} s"
    return HeadSoundModel(weights=_ridge(clips), source=source, held_out=held_out)


def _ridge(clips: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    x = np.concatenate([clip[0] for clip in clips])
    y = np.concatenate([clip[1] for clip in clips])
    penalty = _RIDGE * len(x) * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(x.T @ x + penalty, x.T @ y))


def _features(loudness_db: FloatArray) -> FloatArray:
    """Loudness and its rise in ten bins of 120 ms around each frame, [T, 20]."""
    loud = np.maximum(loudness_db, np.percentile(loudness_db, 95) - _LOUD_RANGE_DB)
    rise = np.maximum(np.diff(loud, prepend=loud[0]), 0.0)
    reach = _NUM_BINS // 2 * _BIN_FRAMES
    columns = []
    for values in z_score(np.stack([loud, rise], axis=1)).T:
        padded = np.pad(values, reach, "edge")
        sums = np.concatenate([[0.0], np.cumsum(padded)])
        means = (sums[_BIN_FRAMES:] - sums[:-_BIN_FRAMES]) / _BIN_FRAMES
        columns += [means[i * _BIN_FRAMES :][: len(loud)] for i in range(_NUM_BINS)]
    return np.stack(columns, axis=1)


def _targets(head_deg: FloatArray) -> FloatArray:
    """Log of the head's speed over 0.2 s, and of its nodding about where it is, z-scored [T, 2]."""
    speed = np.linalg.norm(np.gradient(head_deg, axis=0), axis=1)
    nod = np.abs(head_deg[:, 1] - _smooth(head_deg[:, 1], 25))
    both = [np.log(_smooth(speed, 5) + 0.02), np.log(_smooth(nod, 9) + 0.05)]
    return z_score(np.stack(both, axis=1))


def _smooth(values: FloatArray, width: int) -> FloatArray:
    padded = np.pad(values, width // 2, "edge")
    return np.convolve(padded, np.ones(width) / width, "valid")


def _loudness_db(sound: Float32Array, num_frames: int) -> FloatArray:
    """Loudness at the time of each frame, over 40 ms."""
    level = find_speech(sound).level_db
    at = np.minimum(np.arange(num_frames) * (100 // FRAME_RATE_HZ), len(level) - 1)
    return level[at]


def _at_25_hz(values: FloatArray, fps: float) -> FloatArray:
    grid_s = np.arange(int(len(values) / fps * FRAME_RATE_HZ)) / FRAME_RATE_HZ
    return np.interp(grid_s, np.arange(len(values)) / fps, values)
