"""Head, eyes and brows: how much they move, and whether that looks like a person."""

from __future__ import annotations

from typing import Final

import numpy as np

from parlante.evaluation.tracking import FaceCurves, FloatArray, correlation
from parlante.types import FRAME_RATE_HZ

__all__ = ["blinks", "eye_statistics", "head_statistics"]

_SHUT_EYE_SHARE: Final = 0.6
_SACCADE_DEG_S: Final = 100.0


def head_statistics(curves: FaceCurves) -> dict[str, float | None]:
    """Statistics of the head's angles.

    `head_speed_deg_s` is the mean length of the angles' step per frame, times 25 (the tracker's
    noise adds a few degrees per second); `pose_variation_deg` is the mean absolute step per frame
    and angle, the dP of talking-head papers; `yaw_roll_correlation` is that of the two angles.
    """
    angles = curves.head_deg
    steps = np.diff(angles, axis=0)
    yaw, pitch, roll = angles.std(axis=0)
    return {
        "yaw_std_deg": float(yaw),
        "pitch_std_deg": float(pitch),
        "roll_std_deg": float(roll),
        "pitch_mean_deg": float(angles[:, 1].mean()),
        "head_speed_deg_s": float(np.linalg.norm(steps, axis=1).mean() * FRAME_RATE_HZ),
        "pose_variation_deg": float(np.abs(steps).mean()),
        "yaw_roll_correlation": correlation(angles[:, 0], angles[:, 2]),
    }


def eye_statistics(curves: FaceCurves) -> dict[str, float | None]:
    """Statistics of lids and gaze.

    A blink is a run of frames with the lids below 60 % of their median opening. Gaze angles are
    those of the eye in the head; `gaze_against_head` is the correlation of head yaw and eye yaw,
    negative where eyes hold on to what they look at. `iris_std` is that of the irises' place
    between the corners of their eyes; `saccades_per_min` counts moves faster than 100 degrees/s.
    """
    runs = blinks(curves.eye_ratio)
    # Irises behind lids are guesses.
    seen = curves.eye_ratio >= _SHUT_EYE_SHARE * np.median(curves.eye_ratio)
    gaze = np.stack([curves.gaze_yaw_deg, curves.gaze_pitch_deg], axis=1)
    fast = np.linalg.norm(np.diff(gaze, axis=0), axis=1) * FRAME_RATE_HZ > _SACCADE_DEG_S
    fast &= seen[1:] & seen[:-1]
    starts = int(np.sum(np.diff(fast.astype(np.int8)) == 1))
    return {
        "blinks_per_min": len(runs) * 60.0 / curves.seconds,
        "blink_ms": float(np.mean(runs)) * 1000.0 / FRAME_RATE_HZ if runs else None,
        "gaze_yaw_std_deg": float(gaze[seen, 0].std()),
        "gaze_pitch_std_deg": float(gaze[seen, 1].std()),
        "gaze_against_head": correlation(curves.yaw_deg[seen], gaze[seen, 0]),
        "saccades_per_min": starts * 60.0 / curves.seconds,
        "iris_std": float(curves.iris[seen].std()),
    }


def blinks(eye_ratio: FloatArray) -> list[int]:
    """Length of each blink in frames; one under way at the start of the video does not count."""
    shut = eye_ratio < _SHUT_EYE_SHARE * np.median(eye_ratio)
    edges = np.diff(np.concatenate([shut, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [int(b - a) for a, b in zip(starts, stops[len(stops) - len(starts) :], strict=True)]
