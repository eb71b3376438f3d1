"""The state of an eye in one frame: where its lids are, and where it looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from parlante.types import MOTION_INDEX, Float32Array

if TYPE_CHECKING:
    from parlante.models.eyes import EyeLayers

Float64Array = npt.NDArray[np.float64]

EYEBALL_RADIUS_IOD: Final = 0.13
WIDE_GAIN: Final = 0.35
SQUINT_GAIN: Final = 0.40
LOWERED_BY_LOST_SMILE: Final = 0.16  # of the eye's height, as a broad smile has it too narrow
UPPER_SHARE_OF_BLINK: Final = 0.92  # the upper lid does nearly all the way
# Lids follow the iris: less would show white above a lowered iris, more would look sleepy.
UPPER_LID_FOLLOW: Final = 0.65
LOWER_LID_FOLLOW: Final = 0.35

CURVE_SAMPLES: Final = 64
MAX_SHIFT_IOD: Final = 0.1  # of an iris that landmarks show
AT_REST_PX: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyeState:
    """One eye of a frame.

    Attributes:
        upper: float32 [64], y of the upper rim from corner to corner in the eye's frame, px of
            the portrait.
        lower: float32 [64], of the lower rim.
        blink: [0, 1], 1 = shut.
        shift_px: Way of the iris from where the photo has it, px of the portrait.
        drawn_out: How many times as high as in the photo the skin above the lid's crease is,
            which rises with the brows; at least 1.
        is_at_rest: True when the eye is as in the photo.
    """

    upper: Float32Array
    lower: Float32Array
    blink: float
    shift_px: tuple[float, float]
    is_at_rest: bool
    drawn_out: float = 1.0


def state_from_motion(
    eye: EyeLayers, motion: Float32Array, lost_smile: float = 0.0, drawn_out: float = 1.0
) -> EyeState:
    """State of an eye from motion.

    Args:
        eye: The eye.
        motion: float32 [60].
        lost_smile: How far a broad smile of the portrait is let go, [0, 1]: its cheeks no longer
            push the lower lid up.
        drawn_out: As of `EyeState`.
    """
    if eye.is_still:
        return _at_rest(eye)
    blink, squint, wide = (
        min(max(float(motion[channel]), 0.0), 1.0)
        for channel in (eye.blink_channel, eye.squint_channel, eye.wide_channel)
    )
    ball_px = EYEBALL_RADIUS_IOD * float(eye.frame[5])
    shift_x = ball_px * math.sin(float(motion[MOTION_INDEX["gazeYaw"]]))
    shift_y = ball_px * math.sin(float(motion[MOTION_INDEX["gazePitch"]]))
    is_at_rest = (
        max(blink, squint, wide, lost_smile) < 1e-3 and max(abs(shift_x), abs(shift_y)) < AT_REST_PX
    )
    raised = SQUINT_GAIN * squint - LOWERED_BY_LOST_SMILE * lost_smile
    upper, lower = _lid_curves(eye, blink, raised, wide, shift_y)
    # Above its crease a raised lid is in skin that is drawn out: less of it is as far to be seen.
    beyond = np.maximum(eye.upper - upper - eye.crease_px, 0.0)
    return EyeState(
        upper=np.asarray(upper + (1.0 - 1.0 / drawn_out) * beyond, np.float32),
        lower=lower,
        blink=blink,
        shift_px=(shift_x, shift_y),
        is_at_rest=is_at_rest,
        drawn_out=drawn_out,
    )


def state_from_rims(
    eye: EyeLayers, upper: Float64Array, lower: Float64Array, shift_px: Float64Array
) -> EyeState:
    """State of an eye whose rims are known.

    Args:
        eye: The eye.
        upper: float64 [K, 2], points of the upper rim from corner to corner in the eye's frame.
        lower: float64 [K, 2], of the lower rim.
        shift_px: float64 [2], way of the iris, px of the portrait.
    """
    if eye.is_still:
        return _at_rest(eye)
    width, iod = float(eye.frame[4]), float(eye.frame[5])
    upper_y, lower_y = rim_curve(upper, width), rim_curve(lower, width)
    middle = 0.5 * (upper_y + lower_y)
    half = 0.5 * np.maximum(lower_y - upper_y, 0.0)
    upper_y, lower_y = middle - half, middle + half
    rest = np.maximum(eye.lower - eye.upper, 0.0)
    blink = 1.0 - 2.0 * float(half.sum()) / max(float(rest.sum()), 1e-6)
    limit = MAX_SHIFT_IOD * iod
    shift_x, shift_y = (float(value) for value in np.clip(shift_px, -limit, limit))
    moved = max(np.abs(upper_y - eye.upper).max(), np.abs(lower_y - eye.lower).max())
    return EyeState(
        upper=upper_y.astype(np.float32),
        lower=lower_y.astype(np.float32),
        blink=min(max(blink, 0.0), 1.0),
        shift_px=(shift_x, shift_y),
        is_at_rest=bool(max(moved, abs(shift_x), abs(shift_y)) < AT_REST_PX),
    )


def _at_rest(eye: EyeLayers) -> EyeState:
    return EyeState(
        upper=eye.upper, lower=eye.lower, blink=0.0, shift_px=(0.0, 0.0), is_at_rest=True
    )


def eye_frame(
    points: Float64Array, rim: tuple[int, ...]
) -> tuple[Float64Array, Float64Array, float]:
    """An eye's corner at image left, its axes along and across, and its width, px.

    Args:
        points: float64 [K, 2], landmarks.
        rim: Landmarks of a rim, from corner to corner from image left.
    """
    corner = points[rim[0]]
    along = points[rim[-1]] - corner
    width = max(float(np.linalg.norm(along)), 1.0)
    along = along / width
    return corner, np.stack([along, [-along[1], along[0]]]), width


def rim_curve(points: Float64Array, width: float) -> Float64Array:
    """Smooth curve through points along the eye, sampled from corner to corner.

    Args:
        points: float64 [K, 2], in the eye's frame, px.
        width: Of the eye, px.

    Returns:
        float64 [64], y, px.
    """
    x = np.maximum.accumulate(points[:, 0])
    grid = np.linspace(0.0, width, CURVE_SAMPLES)
    linear = np.interp(grid, x, points[:, 1])
    padded = np.pad(linear, 6, mode="reflect", reflect_type="odd")
    taps = np.exp(-0.5 * (np.arange(-6, 7) / 3.0) ** 2)
    return np.asarray(np.convolve(padded, taps / taps.sum(), mode="valid"))


def _lid_curves(
    eye: EyeLayers, blink: float, raised: float, wide: float, shift_y: float
) -> tuple[Float32Array, Float32Array]:
    """Both rims of this frame in the eye's frame, px; `raised`: of the lower, of its height."""
    rest = eye.lower - eye.upper
    open_now = rest * (1.0 + WIDE_GAIN * wide)
    upper = eye.lower - open_now
    lower = eye.lower - raised * rest
    bulge = rest / max(float(rest.max()), 1e-6)
    upper = upper + bulge * UPPER_LID_FOLLOW * shift_y
    lower = lower + bulge * LOWER_LID_FOLLOW * (shift_y if shift_y > 0 else 0.5 * shift_y)
    gap = np.maximum(lower - upper, 0.0)
    upper = lower - gap
    return (
        (upper + UPPER_SHARE_OF_BLINK * blink * gap).astype(np.float32),
        (lower - (1.0 - UPPER_SHARE_OF_BLINK) * blink * gap).astype(np.float32),
    )
