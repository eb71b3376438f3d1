"""Judging the motion of talking faces: one video by every measure, and several together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from parlante.evaluation.clip import read_sound
from parlante.evaluation.head import eye_statistics, head_statistics
from parlante.evaluation.head_sound import judge_head_sound, load_head_sound_model
from parlante.evaluation.lips import (
    CONTROL_SHIFTS_FRAMES,
    Closure,
    PhoneTally,
    closures,
    lip_statistics,
    tally_phones,
)
from parlante.evaluation.seams import judge_seams
from parlante.evaluation.silence import Activity, SilenceTally, find_speech, judge_silence
from parlante.evaluation.speech_source import SpeechSource, SpokenPhones, find_phones
from parlante.evaluation.sync import SyncModel, SyncScore, judge_sync, peak_of, sync_features
from parlante.evaluation.tracking import FaceCurves, FloatArray, track_video
from parlante.models.face_tracker import FaceTracker
from parlante.types import FRAME_RATE_HZ, Float32Array

__all__ = ["Judgement", "judge", "judge_video", "pool"]

_FPS_TOLERANCE: Final = 0.05

Values = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """Everything that was seen in one video.

    Attributes:
        name: Of the file.
        path: The file.
        curves: The face.
        activity: The speech.
        spoken: The phones.
        aligned: Lips at phones.
        control: The same, with the face shifted in time; sums over several shifts.
        closures: Each P, B and M.
        silence: The mouth in silence.
        statistics: Lips, head and eyes.
        seams: Ratios at block borders; None where the video has another rate than 25 Hz.
        sync: Score per measure.
        lag_curves: Correlation over lag per measure.
        predicted: The mouth that the sync model expects, [T, 4].
        head_sound: Head against loudness.
    """

    name: str
    path: Path
    curves: FaceCurves
    activity: Activity
    spoken: SpokenPhones
    aligned: PhoneTally
    control: PhoneTally
    closures: list[Closure]
    silence: SilenceTally
    statistics: Values
    seams: dict[str, dict[str, float] | None] | None
    sync: dict[str, SyncScore]
    lag_curves: dict[str, FloatArray]
    predicted: FloatArray
    head_sound: dict[str, Values]


def judge_video(
    path: Path,
    tracker: FaceTracker,
    sync_model: SyncModel,
    *,
    source: SpeechSource,
    block_frames: int,
) -> Judgement:
    """Track a video and judge it.

    Raises:
        InvalidInput: The video, its transcript or its phones cannot be used.
    """
    sound = read_sound(path)
    spoken = find_phones(path, sound, source)
    curves = track_video(path, tracker)
    return judge(path, curves, sound, sync_model, spoken=spoken, block_frames=block_frames)


def judge(
    path: Path,
    curves: FaceCurves,
    sound: Float32Array,
    sync_model: SyncModel,
    *,
    spoken: SpokenPhones,
    block_frames: int,
) -> Judgement:
    """Judge a face that was tracked, against its sound."""
    activity = find_speech(sound)
    speaking = activity.speaking_frames(curves.num_frames)
    scores, lag_curves = judge_sync(sync_model, sound, curves)
    shifted = [tally_phones(curves, spoken.phones, shift) for shift in CONTROL_SHIFTS_FRAMES]
    at_25_hz = abs(curves.source_fps - FRAME_RATE_HZ) < _FPS_TOLERANCE
    return Judgement(
        name=path.name,
        path=path,
        curves=curves,
        activity=activity,
        spoken=spoken,
        aligned=tally_phones(curves, spoken.phones),
        control=sum(shifted, start=PhoneTally()),
        closures=closures(curves, spoken.phones),
        silence=judge_silence(curves, activity),
        statistics=lip_statistics(curves, speaking)
        | head_statistics(curves)
        | eye_statistics(curves),
        seams=judge_seams(curves, block_frames) if at_25_hz else None,
        sync=scores,
        lag_curves=lag_curves,
        predicted=sync_model.predict(sync_features(sound, curves.num_frames)),
        head_sound=judge_head_sound(load_head_sound_model(), sound, curves.head_deg),
    )


def pool(judgements: list[Judgement]) -> tuple[Values, Values]:
    """Put videos together: the values of the table, and those of their controls.

    Phones, pauses and silent frames are counted over all videos; everything else is a mean over
    videos, weighted by length. The lag is that of the top of the mean curve of all measures.
    """
    seconds = [j.curves.seconds for j in judgements]
    values = _weighted_means([_scalars(j) for j in judgements], seconds)
    controls = _weighted_means([_scalar_controls(j) for j in judgements], seconds)
    aligned = sum((j.aligned for j in judgements), start=PhoneTally())
    control = sum((j.control for j in judgements), start=PhoneTally())
    silence = sum((j.silence for j in judgements), start=SilenceTally())
    lags = np.average([_mean_lag_curve(j) for j in judgements], axis=0, weights=seconds)
    lag_frames, _ = peak_of(lags)
    values |= {
        "seconds": float(sum(seconds)),
        "bilabials": float(aligned.bilabials),
        **_phone_values(aligned),
        "silent_frames": float(silence.frames),
        "silence_shut": silence.shut_share,
        "pauses": float(len(silence.delays_ms)),
        "pauses_never_shut": float(silence.never_shut),
        "shut_delay_ms_median": silence.delay_ms(50),
        "shut_delay_ms_p95": silence.delay_ms(95),
        "sync_lag_ms": None if lag_frames is None else lag_frames * 1000.0 / FRAME_RATE_HZ,
    }
    return values, controls | _phone_values(control)


def _phone_values(tally: PhoneTally) -> Values:
    return {
        "bilabials_shut": tally.shut_share,
        "bilabials_shut_without_floor": tally.strictly_shut_share,
        "auc_aperture": tally.auc_aperture,
        "auc_width": tally.auc_width,
    }


def _scalars(judgement: Judgement) -> Values:
    values = dict(judgement.statistics)
    for name, score in judgement.sync.items():
        values[f"sync_{name}"] = score.correlation
    for name, row in judgement.head_sound.items():
        values[f"head_sound_{name}"] = row["correlation"]
    for name in ("aperture", "head"):
        seam = (judgement.seams or {}).get(f"{name}_velocity")
        values[f"seam_{name}"] = seam["ratio"] if seam else None
    return values


def _scalar_controls(judgement: Judgement) -> Values:
    values: Values = {}
    for name, score in judgement.sync.items():
        values[f"sync_{name}"] = score.wrong_audio
    for name, row in judgement.head_sound.items():
        values[f"head_sound_{name}"] = row["wrong_audio"]
    return values


def _mean_lag_curve(judgement: Judgement) -> FloatArray:
    return np.asarray(np.mean(list(judgement.lag_curves.values()), axis=0))


def _weighted_means(rows: list[Values], weights: list[float]) -> Values:
    """Mean per name over the rows that have a value."""
    means: Values = {}
    for name in rows[0]:
        pairs = [
            (v, w) for row, w in zip(rows, weights, strict=True) if (v := row[name]) is not None
        ]
        total = sum(w for _, w in pairs)
        means[name] = sum(v * w for v, w in pairs) / total if pairs else None
    return means
