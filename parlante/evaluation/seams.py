"""Seams: whether motion that was generated in blocks jumps where blocks meet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from parlante.evaluation.tracking import FaceCurves, FloatArray
from parlante.types import FRAME_RATE_HZ

__all__ = ["Seam", "judge_seams", "seam_ratio"]

_NUM_RESAMPLES: Final = 400
_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Seam:
    """Movement across borders divided by movement elsewhere, 1 = no seam; with a 95 % interval."""

    ratio: float
    low: float
    high: float


def judge_seams(curves: FaceCurves, block_frames: int) -> dict[str, dict[str, float] | None]:
    """Compare velocity and acceleration at block borders with those elsewhere.

    Velocity is the length of a step from one frame to the next, acceleration that of a second
    difference, which touches three frames. A border lies before every frame whose index is a
    multiple of `block_frames`. In blocks of two frames every second difference crosses a border,
    so there is nothing to compare acceleration with and it is None. The tracker's noise draws
    both ratios towards 1.
    """
    aperture, head = curves.aperture[:, None], curves.head_deg
    result: dict[str, dict[str, float] | None] = {}
    for name, values in (("aperture", aperture), ("head", head)):
        for order, measure in ((1, "velocity"), (2, "acceleration")):
            seam = seam_ratio(values, block_frames, order=order)
            result[f"{name}_{measure}"] = None if seam is None else asdict(seam)
    return result


def seam_ratio(values: FloatArray, block_frames: int, *, order: int) -> Seam | None:
    """Divide the mean size of differences that cross a border by that of the others.

    Args:
        values: [T, D].
        block_frames: Frames of a block; one-frame blocks have no inside.
        order: 1 compares velocity, 2 acceleration.

    Returns:
        None where all differences cross a border or too few are there.
    """
    size = np.linalg.norm(np.diff(values, n=order, axis=0), axis=1)
    # Difference i touches the frames i to i + order.
    starts = np.arange(len(size))
    crosses = starts // block_frames != (starts + order) // block_frames
    if crosses.all() or not crosses.any() or len(size) < 2 * FRAME_RATE_HZ:
        return None
    ratio = _ratio(size, crosses)
    low, high = _interval(size, crosses, block_frames)
    return Seam(ratio, low, high)


def _ratio(size: FloatArray, crosses: np.ndarray) -> float:
    return float((size[crosses].mean() + _EPSILON) / (size[~crosses].mean() + _EPSILON))


def _interval(size: FloatArray, crosses: np.ndarray, block_frames: int) -> tuple[float, float]:
    """95 % by drawing pieces of about a second again and again, as frames are no strangers."""
    piece = block_frames * max(1, FRAME_RATE_HZ // block_frames)
    num_pieces = len(size) // piece
    rows = size[: num_pieces * piece].reshape(num_pieces, piece)
    at = crosses[:piece]
    at_border, elsewhere = rows[:, at].mean(axis=1), rows[:, ~at].mean(axis=1)
    picks = np.random.default_rng(0).integers(0, num_pieces, (_NUM_RESAMPLES, num_pieces))
    ratios = (at_border[picks].mean(axis=1) + _EPSILON) / (elsewhere[picks].mean(axis=1) + _EPSILON)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
