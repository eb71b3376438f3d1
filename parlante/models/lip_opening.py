"""Where a photo's lips end and its open mouth begins, and which teeth it shows.

Teeth lack the red of lips, whatever their light: on 22 portraits closed lips keep more than 0.75
of it everywhere, and shown teeth less than 0.6 somewhere. The tracker's inner lips are up to 0.04
inter-ocular distances (IOD) off in a smile; the pixels say better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

SEARCH_IOD: Final = 0.025  # beyond the tracked rims
SAMPLES_PER_COLUMN: Final = 41
TOOTH_REDNESS: Final = 0.70
SURE_TOOTH_REDNESS: Final = 0.65
TOOTH_LIGHT: Final = 0.7
DARK_LIGHT: Final = 0.5
MIN_RUN: Final = 3
MAX_SHIFT_OF_APERTURE: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LipOpening:
    """What is seen between the lips of a photo.

    Attributes:
        lips: float64 [3], RGB, mean colour of the lips.
        teeth: float64 [K, 3], RGB of teeth that are seen; K = 0 when none are.
        upper_shift: float64 [9], px by which the tracked upper rim must move down.
        lower_shift: float64 [9], px by which the tracked lower rim must move down.
    """

    lips: Float64Array
    teeth: Float64Array
    upper_shift: Float64Array
    lower_shift: Float64Array


def find_opening(image: Uint8Array, landmarks: Float32Array) -> LipOpening:
    """Look at the pixels along nine columns across the mouth.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
    """
    iod = fm.inter_ocular_px(landmarks)
    upper = landmarks[list(fm.UPPER_LIP_ROWS[0]), :2].astype(np.float64)
    lower = landmarks[list(fm.LOWER_LIP_ROWS[0]), :2].astype(np.float64)
    rows = [*fm.UPPER_LIP_ROWS[2], *fm.LOWER_LIP_ROWS[2]]
    lips = sample_colours(image, landmarks[rows, :2]).mean(0)
    middle = 0.5 * (upper + lower)
    half = 0.5 * np.maximum(lower[:, 1] - upper[:, 1], 0.0)
    reach = np.linspace(-1.0, 1.0, SAMPLES_PER_COLUMN) * (half + SEARCH_IOD * iod)[:, None]
    points = np.stack([np.broadcast_to(middle[:, :1], reach.shape), middle[:, 1:] + reach], -1)
    colours = sample_colours(image, points)
    light = colours.mean(-1) / max(float(lips.mean()), 1.0)
    redness = _redness(colours) / max(float(_redness(lips)), 1e-3)
    is_tooth = (redness < TOOTH_REDNESS) & (light > TOOTH_LIGHT)
    is_tooth[[0, -1]] = False  # beside the corners lies skin
    none = np.zeros(len(upper))
    if not (is_tooth & (redness < SURE_TOOTH_REDNESS)).any():
        return LipOpening(lips=lips, teeth=np.zeros((0, 3)), upper_shift=none, lower_shift=none)
    is_inside = is_tooth | (light < DARK_LIGHT)
    shifts = np.array(
        [_rim_shifts(r, i, h) for r, i, h in zip(reach, is_inside, half, strict=True)]
    )
    upper_shift, lower_shift = _smooth(shifts[:, 0]), _smooth(shifts[:, 1])
    return LipOpening(
        lips=lips, teeth=colours[is_tooth], upper_shift=upper_shift, lower_shift=lower_shift
    )


def refine_lips(image: Uint8Array, landmarks: Float32Array) -> Float32Array:
    """Move the inner lips of an open mouth to where the photo has them; a copy."""
    opening = find_opening(image, landmarks)
    refined = landmarks.copy()
    refined[list(fm.UPPER_LIP_ROWS[0]), 1] += opening.upper_shift
    refined[list(fm.LOWER_LIP_ROWS[0]), 1] += opening.lower_shift
    return refined


def sample_colours(image: Uint8Array, points: npt.NDArray[np.floating]) -> Float64Array:
    """Colours at points [..., 2], px, bilinear: float64 [..., 3]."""
    flat = points.reshape(-1, 2).astype(np.float32)
    colours = cv2.remap(
        image, flat[:, :1], flat[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(colours, np.float64).reshape(*points.shape[:-1], 3)


def _redness(colours: Float64Array) -> Float64Array:
    total = np.maximum(colours.sum(-1), 1.0)
    return np.asarray((colours[..., 0] - colours[..., 1]) / total)


def _rim_shifts(
    reach: Float64Array, is_inside: npt.NDArray[np.bool_], half: float
) -> tuple[float, float]:
    """Shifts of both rims of a column to the ends of its longest run of inside pixels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_inside.astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    if len(runs) == 0:
        return 0.0, 0.0
    first, end = runs[(runs[:, 1] - runs[:, 0]).argmax()]
    if end - first < MIN_RUN:
        return 0.0, 0.0
    limit = MAX_SHIFT_OF_APERTURE * 2.0 * half
    upper = float(np.clip(reach[first] + half, -np.inf, limit))
    lower = float(np.clip(reach[end - 1] - half, -limit, np.inf))
    return upper, lower


def _smooth(shifts: Float64Array) -> Float64Array:
    padded = np.pad(shifts, 1, mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])
