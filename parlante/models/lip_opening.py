"""Where a photo's lips end and its open mouth begins, and which teeth it shows.

Teeth lack the red of lips, whatever their light: on 22 portraits closed lips keep more than 0.75
of it everywhere, and shown teeth less than 0.6 somewhere. The tracker's inner lips are up to 0.04
inter-ocular distances (IOD) off in a smile; the pixels say better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from parlante.models import face_mesh as fm
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

SEARCH_IOD: Final = 0.025  # beyond the tracked rims
SAMPLES_PER_COLUMN: Final = 41
NUM_COLUMNS: Final = len(fm.UPPER_LIP_ROWS[0])
STEPS_PER_COLUMN: Final = 4
TOOTH_REDNESS: Final = 0.70
SURE_TOOTH_REDNESS: Final = 0.65
TOOTH_LIGHT: Final = 0.7
MIN_LIP_REDNESS: Final = 0.025
GREY_TOOTH_LIGHT: Final = 0.95
GREY_TOOTH_SHARE: Final = 0.5  # of the opening
GREY_APERTURE_IOD: Final = 0.09
DARK_LIGHT: Final = 0.5
DARK_OF_LIP: Final = 0.70  # of the light of the lips beside it
MIN_RUN: Final = 3
MIN_TOOTH_COLUMNS: Final = 4  # fewer are a glint, or lips painted paler towards their edge
CORNER_SEARCH_IOD: Final = 0.04
CORNER_WIDTH_IOD: Final = 0.015
MAX_SHIFT_OF_APERTURE: Final = 0.4
# A tongue in a wide open mouth looks like a lip, and teeth in shadow like neither; there the
# tracker is sure of the rims.
MAX_SHIFTS_IOD: Final = (0.05, 0.012)
WIDE_APERTURES_IOD: Final = (0.15, 0.25)


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
    """Look at the pixels along many columns across the mouth.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
    """
    iod = fm.inter_ocular_px(landmarks)
    upper = _densify(landmarks[list(fm.UPPER_LIP_ROWS[0]), :2])
    lower = _densify(landmarks[list(fm.LOWER_LIP_ROWS[0]), :2])
    rows = (fm.UPPER_LIP_ROWS[2], fm.LOWER_LIP_ROWS[2])
    beside = [sample_colours(image, _densify(landmarks[list(row), :2])) for row in rows]
    lips = sample_colours(image, landmarks[[*rows[0], *rows[1]], :2]).mean(0)
    middle = 0.5 * (upper + lower)
    half = 0.5 * np.maximum(lower[:, 1] - upper[:, 1], 0.0)
    reach = np.linspace(-1.0, 1.0, SAMPLES_PER_COLUMN) * (half + SEARCH_IOD * iod)[:, None]
    points = np.stack([np.broadcast_to(middle[:, :1], reach.shape), middle[:, 1:] + reach], -1)
    colours = sample_colours(image, points)
    light = colours.mean(-1)
    redness = redness_of(colours) / max(float(redness_of(lips)), 1e-3)
    is_tooth = (redness < TOOTH_REDNESS) & (light > TOOTH_LIGHT * max(float(lips.mean()), 1.0))
    if is_grey(lips):  # without colour, only what is bright in a wide open mouth is sure
        is_open = np.abs(reach) < half[:, None]
        is_tooth = is_open & (light > GREY_TOOTH_LIGHT * lips.mean())
        is_tooth &= 2.0 * half.max() > GREY_APERTURE_IOD * iod
        is_tooth &= is_tooth.sum() > GREY_TOOTH_SHARE * is_open.sum()
        redness = np.zeros_like(redness)
    is_tooth[:STEPS_PER_COLUMN] = is_tooth[-STEPS_PER_COLUMN:] = False  # beside lies skin
    none = np.zeros(NUM_COLUMNS)
    is_sure = is_tooth & (redness < SURE_TOOTH_REDNESS)
    if is_tooth.any(axis=1).sum() < MIN_TOOTH_COLUMNS or not is_sure.any():
        return LipOpening(lips=lips, teeth=np.zeros((0, 3)), upper_shift=none, lower_shift=none)
    # Towards the corners the shadow is lighter, but so is what lies beside it.
    around = np.minimum(beside[0].mean(-1), beside[1].mean(-1))[:, None]
    is_inside = is_tooth | (light < np.maximum(DARK_LIGHT * lips.mean(), DARK_OF_LIP * around))
    widest = 2.0 * float(half.max()) / iod
    most = float(np.interp(widest, WIDE_APERTURES_IOD, MAX_SHIFTS_IOD))
    limit = np.minimum(MAX_SHIFT_OF_APERTURE * 2.0 * half, most * iod)
    upper_shift, lower_shift = _rim_shifts(reach, is_inside, half, limit)
    return LipOpening(
        lips=lips,
        teeth=colours[is_tooth],
        upper_shift=_smooth(_outermost(upper_shift, np.min)),
        lower_shift=_smooth(_outermost(lower_shift, np.max)),
    )


def refine_lips(
    image: Uint8Array, landmarks: Float32Array, seam: Float32Array | None = None
) -> Float32Array:
    """Move the inner lips of an open mouth to where the photo has them; a copy.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
        seam: float32 [11, 2], px, points of `INNER_UPPER_LIP` on the line between closed lips.
    """
    refined = landmarks.copy()
    opening = find_opening(image, landmarks)
    if seam is not None and (len(opening.teeth) == 0 or is_grey(opening.lips)):
        upper, lower = list(fm.INNER_UPPER_LIP), list(fm.INNER_LOWER_LIP)
        refined[upper] = 0.5 * (landmarks[upper] + landmarks[lower])
        refined[upper, :2] = seam
        refined[lower] = refined[upper]
        return refined
    refined[list(fm.UPPER_LIP_ROWS[0]), 1] += opening.upper_shift
    refined[list(fm.LOWER_LIP_ROWS[0]), 1] += opening.lower_shift
    if len(opening.teeth) > 0:
        iod = fm.inter_ocular_px(landmarks)
        for corner in fm.INNER_MOUTH_CORNERS:
            refined[corner, 1] += _corner_shift(image, landmarks[corner, :2], iod)
    return refined


def _corner_shift(image: Uint8Array, corner: Float32Array, iod: float) -> float:
    """By how many px the dark end of the opening lies below the tracked corner."""
    reach = CORNER_SEARCH_IOD * np.linspace(-1.0, 1.0, SAMPLES_PER_COLUMN) * iod
    aside = CORNER_WIDTH_IOD * np.linspace(-1.0, 1.0, 3)[:, None] * iod
    points = np.stack(np.broadcast_arrays(corner[0] + aside, corner[1] + reach), -1)
    light = sample_colours(image, points).mean((0, -1))
    darkness = np.maximum(np.quantile(light, 0.7) - light, 0.0) ** 2
    return float((darkness * reach).sum() / max(darkness.sum(), 1.0))


def sample_colours(image: Uint8Array, points: npt.NDArray[np.floating]) -> Float64Array:
    """Colours at points [..., 2], px, bilinear: float64 [..., 3]."""
    flat = points.reshape(-1, 2).astype(np.float32)
    colours = cv2.remap(
        image, flat[:, :1], flat[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(colours, np.float64).reshape(*points.shape[:-1], 3)


def is_grey(lips: Float64Array) -> bool:
    """Whether lips of a mean colour [3] have no red to tell them from teeth."""
    return float(redness_of(lips)) < MIN_LIP_REDNESS


def redness_of(colours: Float64Array) -> Float64Array:
    """Share of red beyond green, [...], of colours [..., 3]: high in lips, low in teeth."""
    total = np.maximum(colours.sum(-1), 1.0)
    return np.asarray((colours[..., 0] - colours[..., 1]) / total)


def _densify(points: npt.NDArray[np.floating]) -> Float64Array:
    """Points of the nine lip columns [9, 2] -> of all columns that are looked at."""
    grid = np.linspace(0.0, len(points) - 1.0, STEPS_PER_COLUMN * (len(points) - 1) + 1)
    known = np.arange(len(points))
    return np.stack([np.interp(grid, known, points[:, axis]) for axis in (0, 1)], 1)


def _rim_shifts(
    reach: Float64Array,
    is_inside: npt.NDArray[np.bool_],
    half: Float64Array,
    limit: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    """Shifts of both rims to the ends of the stretch of each column that holds most inside.

    Inwards they go at most by `limit`.
    """
    votes = np.where(is_inside, 1.0, -1.0)
    sums = np.concatenate([np.zeros((len(votes), 1)), votes.cumsum(1)], 1)
    totals = sums[:, None, :] - sums[:, :, None]  # [columns, first, end]
    num_ends = sums.shape[1]
    best = totals.reshape(len(votes), -1).argmax(1)
    first, end = best // num_ends, best % num_ends
    columns = np.arange(len(votes))
    is_found = totals[columns, first, end] >= MIN_RUN
    last = reach.shape[1] - 1
    upper = np.minimum(reach[columns, np.minimum(first, last)] + half, limit)
    lower = np.maximum(reach[columns, np.maximum(end - 1, 0)] - half, -limit)
    return np.where(is_found, upper, 0.0), np.where(is_found, lower, 0.0)


def _outermost(
    shifts: Float64Array, choose: Callable[..., npt.NDArray[np.floating]]
) -> Float64Array:
    """Shifts of the nine columns: the rim must leave all of the teeth around it outside the lip."""
    calm = ndimage.median_filter(shifts, STEPS_PER_COLUMN + 1, mode="nearest")
    half = STEPS_PER_COLUMN // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(calm, half, mode="edge"), 2 * half + 1
    )
    return np.asarray(choose(windows[::STEPS_PER_COLUMN], axis=1), np.float64)


def _smooth(shifts: Float64Array) -> Float64Array:
    padded = np.pad(shifts, 1, mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])
