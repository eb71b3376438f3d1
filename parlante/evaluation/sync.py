"""The sync model: which mouth a sound lets one expect, and how well a face agrees with it.

A ridge regression from 40 log-mel bands, normalised per clip, with 200 ms of context on both
sides, to four z-scored measures of the mouth. Its score is the correlation of the predicted with
the measured motion, and the lag at which that is highest. Axis letters: T frames at 25 Hz, M mel
bands, F features.

The features are frozen here, apart from those of the motion model: the model must not judge by
its own ears, and a file of weights must stay valid when the motion model changes.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.evaluation.clip import SOUND_RATE_HZ
from parlante.evaluation.silence import find_speech
from parlante.evaluation.tracking import FaceCurves, FloatArray, correlation
from parlante.types import FRAME_RATE_HZ, Float32Array

__all__ = [
    "SYNC_MEASURES",
    "SyncModel",
    "SyncScore",
    "fit_ridge",
    "judge_sync",
    "load_reference_model",
    "measured_mouth",
    "peak_of",
    "sync_features",
]

SYNC_MEASURES: Final = ("aperture", "mouth_width", "lip_height", "jaw")
NUM_MELS: Final = 40
_LOW_HZ, _HIGH_HZ = 80.0, 7600.0
_WINDOW: Final = 400  # 25 ms
_HOP: Final = 160  # 10 ms
_FFT: Final = 512
CONTEXT_FRAMES: Final = 5  # 200 ms on each side
NUM_FEATURES: Final = (2 * CONTEXT_FRAMES + 1) * NUM_MELS
_HOPS_PER_FRAME: Final = 4
_FRAME_WINDOW: Final = np.array([0.125, 0.25, 0.25, 0.25, 0.125])  # one frame of hops
_DYNAMIC_RANGE: Final = 1e-6  # 60 dB below the loudest band and hop
MAX_LAG_FRAMES: Final = 10
MIN_SHIFT_S: Final = 2.0  # of the wrong-audio control
_MAX_CONTROLS: Final = 24
_REFERENCE: Final = "sync_reference.npz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyncModel:
    """Weights and where they come from.

    Attributes:
        weights: float64 [F + 1, 4], the last row added to all.
        source: What the model was fitted on, in words.
        seconds: How much of it.
        held_out: Correlation per measure on clips that were left out of a fit.
    """

    weights: FloatArray
    source: str
    seconds: float
    held_out: dict[str, float]

    def predict(self, features: FloatArray) -> FloatArray:
        """Give the expected mouth, [T, 4], of features [T, F]."""
        return np.asarray(features @ self.weights[:-1] + self.weights[-1])

    def save(self, path: Path) -> None:
        """Write a small file: half precision is finer than the fit."""
        about = {"source": self.source, "seconds": self.seconds, "held_out": self.held_out}
        with path.open("wb") as file:
            np.savez_compressed(
                file, weights=self.weights.astype(np.float16), about=np.array(json.dumps(about))
            )

    @classmethod
    def load(cls, path: Path) -> SyncModel:
        """Read a file of `save`.

        Raises:
            InvalidInput: FILE_NOT_FOUND or BAD_SYNC_MODEL.
        """
        if not path.is_file():
            raise InvalidInput(
                f"no sync model at {path}; check the path", reason="FILE_NOT_FOUND", field="sync"
            )
        with path.open("rb") as file:
            return cls._read(file, path.name)

    @classmethod
    def _read(cls, file: IO[bytes], name: str) -> SyncModel:
        try:
            with np.load(file, allow_pickle=False) as data:
                weights = data["weights"].astype(np.float64)
                about = json.loads(str(data["about"]))
            if weights.shape != (NUM_FEATURES + 1, len(SYNC_MEASURES)):
                raise ValueError(f"weights of shape {weights.shape}")
            return cls(weights=weights, **about)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InvalidInput(
                f"{name} is no sync model of this version ({error}); make one with "
                "`parlante eval fit-sync`",
                reason="BAD_SYNC_MODEL",
                field="sync",
            ) from error


@dataclass(frozen=True, slots=True)
class SyncScore:
    """How well one measure follows the sound.

    Attributes:
        correlation: Of predicted with measured motion, at the same time.
        peak: The highest correlation within +-400 ms.
        lag_ms: Where that is; + = the face is later than the sound lets one expect. None where
            the curve has no top inside.
        wrong_audio: Mean correlation with the same sound, moved by more than 2 s; None in clips
            too short for that.
        wrong_audio_std: Spread of those.
    """

    correlation: float
    peak: float
    lag_ms: float | None
    wrong_audio: float | None
    wrong_audio_std: float | None


@functools.cache
def load_reference_model() -> SyncModel:
    """Load the model that ships: fitted on synthetic speech and viseme targets, on no person."""
    source = resources.files("parlante.evaluation").joinpath(_REFERENCE)
    with source.open("rb") as file:
        return SyncModel._read(file, _REFERENCE)


def sync_features(sound: Float32Array, num_frames: int) -> FloatArray:
    """What the model hears.

    Args:
        sound: float32 [S] at 16 kHz.
        num_frames: T.

    Returns:
        float64 [T, F]: log-mel energies around the time of each frame, earliest first. Each band
        has mean 0 and deviation 1 over the speech of the clip.
    """
    num_hops = (num_frames + 2 * CONTEXT_FRAMES + 2) * _HOPS_PER_FRAME
    before = CONTEXT_FRAMES * _HOPS_PER_FRAME + len(_FRAME_WINDOW) // 2
    lead = before * _HOP + _WINDOW // 2  # the window of a hop is centred on its time
    padded = np.zeros(lead + (num_hops + 2) * _HOP + _WINDOW)
    room = min(len(sound), len(padded) - lead)
    padded[lead : lead + room] = sound[:room]
    energies = _mel_energies(padded)
    logs = np.log(np.maximum(energies, _DYNAMIC_RANGE * max(energies.max(), 1e-12)))
    smooth = np.stack([np.convolve(band, _FRAME_WINDOW, "valid") for band in logs.T], axis=1)[
        ::_HOPS_PER_FRAME
    ]  # row r is the frame r - CONTEXT_FRAMES
    speaking = find_speech(sound).speaking_frames(num_frames)
    inside = smooth[CONTEXT_FRAMES : CONTEXT_FRAMES + num_frames]
    spoken = inside[speaking] if speaking.any() else inside
    bands = (smooth - spoken.mean(axis=0)) / np.maximum(spoken.std(axis=0), 0.3)
    bands = np.clip(bands, -4.0, 4.0)
    windows = [bands[i : i + num_frames] for i in range(2 * CONTEXT_FRAMES + 1)]
    return np.concatenate(windows, axis=1)


def measured_mouth(curves: FaceCurves) -> FloatArray:
    """Give the measures of `SYNC_MEASURES`, z-scored, [T, 4]."""
    return z_score(np.stack([getattr(curves, name) for name in SYNC_MEASURES], axis=1))


def z_score(values: FloatArray) -> FloatArray:
    """Bring each column to mean 0 and deviation 1; columns that do not move become 0."""
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6))


def fit_ridge(features: list[FloatArray], mouths: list[FloatArray], ridge: float) -> FloatArray:
    """Fit weights [F + 1, 4] to clips of features [T, F] and z-scored mouths [T, 4].

    Args:
        features: One array per clip.
        mouths: One array per clip.
        ridge: Penalty on the squares of the weights, per frame.
    """
    size = NUM_FEATURES + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, len(SYNC_MEASURES)))
    num_frames = 0
    for x, y in zip(features, mouths, strict=True):
        with_one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        gram += with_one.T @ with_one
        cross += with_one.T @ y
        num_frames += len(x)
    penalty = np.full(size, ridge * num_frames)
    penalty[-1] = 0.0
    return np.asarray(np.linalg.solve(gram + np.diag(penalty), cross))


def judge_sync(
    model: SyncModel, sound: Float32Array, curves: FaceCurves
) -> tuple[dict[str, SyncScore], dict[str, FloatArray]]:
    """Score every measure; also give the curves of correlation over lag, [2 L + 1] each."""
    predicted = model.predict(sync_features(sound, curves.num_frames))
    measured = measured_mouth(curves)
    scores: dict[str, SyncScore] = {}
    lag_curves: dict[str, FloatArray] = {}
    for index, name in enumerate(SYNC_MEASURES):
        lags = lag_curve(predicted[:, index], measured[:, index])
        lag, peak = peak_of(lags)
        controls = _wrong_audio(predicted[:, index], measured[:, index])
        scores[name] = SyncScore(
            correlation=float(lags[MAX_LAG_FRAMES]),
            peak=peak,
            lag_ms=None if lag is None else lag * 1000.0 / FRAME_RATE_HZ,
            wrong_audio=float(np.mean(controls)) if controls else None,
            wrong_audio_std=float(np.std(controls)) if controls else None,
        )
        lag_curves[name] = lags
    return scores, lag_curves


def lag_curve(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """Correlation at lags of -10 to 10 frames, + = measured is later; [21]."""
    values = []
    for lag in range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1):
        early = predicted[max(0, -lag) : len(predicted) - max(0, lag)]
        late = measured[max(0, lag) : len(measured) - max(0, -lag)]
        values.append(correlation(early, late) or 0.0)
    return np.array(values)


def peak_of(lags: FloatArray) -> tuple[float | None, float]:
    """Lag in frames and height of the top of a curve over lags, by a parabola through it."""
    top = int(np.argmax(lags))
    if not 0 < top < len(lags) - 1:
        return None, float(lags[top])
    left, middle, right = lags[top - 1 : top + 2]
    bend = left - 2.0 * middle + right
    shift = 0.0 if bend == 0.0 else 0.5 * (left - right) / bend
    return top - len(lags) // 2 + float(shift), float(middle - 0.25 * (left - right) * shift)


def _wrong_audio(predicted: FloatArray, measured: FloatArray) -> list[float]:
    low = int(MIN_SHIFT_S * FRAME_RATE_HZ) + 1
    high = len(predicted) - low
    if high <= low:
        return []
    shifts = np.unique(np.linspace(low, high, _MAX_CONTROLS).astype(int))
    return [correlation(np.roll(predicted, int(shift)), measured) or 0.0 for shift in shifts]


def _mel_energies(sound: FloatArray) -> FloatArray:
    """Energy per band, [N, M], of windows at 100 Hz."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    spectrum = np.fft.rfft(windows * np.hanning(_WINDOW), _FFT, axis=1)
    return np.asarray((spectrum.real**2 + spectrum.imag**2) @ _mel_filters())


@functools.cache
def _mel_filters() -> FloatArray:
    """Triangles on the mel scale, [_FFT // 2 + 1, M], unit area."""
    low, high = 2595.0 * np.log10(1.0 + np.array([_LOW_HZ, _HIGH_HZ]) / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, NUM_MELS + 2) / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(_FFT, 1.0 / SOUND_RATE_HZ)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(filters / filters.sum(axis=0))
