"""Drawings: whether a portrait is one, and its strokes at the mouth.

Line drawings, comics and flat cartoons are paper or even colour between strokes, photos are
nowhere even: skin has grain, pores and light that falls off. What is drawn into a drawing must be
even as well, and the lines of its lips must stay lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import sample_colours
from parlante.types import Float32Array, Uint8Array

__all__ = ["Ink", "find_ink", "find_seam", "is_drawing"]

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CALM_IOD: Final = 0.01  # against grain and compression
EVEN_LEVELS: Final = 0.5  # per px: 0.02 to 0.37 of the face of photos change by less
STROKE_IOD: Final = 0.06  # what is narrower and darker than both of its sides is a stroke
STROKE_DARK: Final = 0.4  # of the light beside it
LEAST_LIGHT: Final = 40.0  # in the dark the noise of photos is as dark as strokes are
# Share of strokes below the nose, times share of what is even: 47 photos of all kinds and 16
# rendered heads have 0.003 at most, drawings with lines 0.0099 to 0.06.
STROKES_OF_EVEN: Final = 0.006
# Without dark lines (pencil): most that changes below the nose lies in a tenth of it. Photos have
# 0.29 to 0.52, pencil drawings and the like 0.61 to 0.87.
CHANGE_IN_TENTH: Final = 0.56
LEAST_EVEN: Final = 0.40
NOSE: Final = (fm.NOSE_TIP, fm.BELOW_NOSE)  # what is further down is the lower face

SEAM_COLUMNS: Final = 33
SEAM_SAMPLES: Final = 81
BLOT_IOD: Final = 0.18
SEAM_DARK: Final = 0.35
NARROW_IOD: Final = 0.06  # up to such a tracked opening its rims are as likely on the seam itself
BESIDE_IOD: Final = 0.02
WITHIN: Final = (0.12, 0.88)  # of a wider opening; strokes further out are the lips' outlines
MOST_INWARDS: Final = 0.1  # of the tracked width, by which a corner is moved
SURE_SHARE: Final = 0.7  # of the middle columns must show a single stroke

AROUND_LIPS_IOD: Final = 0.05
DARKEST_OF_STROKES: Final = 0.75  # these tell the ink, what is lighter is blurred
INK_STRENGTH: Final = 0.55  # darkness of a stroke that is drawn in full
STROKE_WIDTHS_IOD: Final = (0.010, 0.035)
LEAST_STROKE_PX: Final = 12


def is_drawing(image: Uint8Array, landmarks: Float32Array) -> bool:
    """Whether a picture is drawn in lines or even colours, rather than taken or painted.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
    """
    iod = fm.inter_ocular_px(landmarks)
    oval = landmarks[list(fm.OVAL), :2]
    (x0, y0), (x1, y1) = _box(image, oval, 0.0)
    patch = np.ascontiguousarray(image[y0:y1, x0:x1])
    face = _filled(oval - [x0, y0], patch.shape[:2])
    below_nose = face.copy()
    below_nose[: max(int(landmarks[list(NOSE), 1].mean() - y0), 0)] = False
    if below_nose.sum() < LEAST_STROKE_PX:
        return False
    light = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), CALM_IOD * iod).mean(-1)
    change = np.hypot(
        cv2.Sobel(light, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(light, cv2.CV_32F, 0, 1, scale=0.125),
    )
    even = float((change[face] < EVEN_LEVELS).mean())
    strokes = float((_darkness(light, STROKE_IOD * iod)[below_nose] > STROKE_DARK).mean())
    if strokes * even > STROKES_OF_EVEN:
        return True
    sharpest = np.sort(change[below_nose])[::-1]
    in_tenth = float(sharpest[: len(sharpest) // 10].sum() / max(float(sharpest.sum()), 1e-6))
    return even > LEAST_EVEN and in_tenth > CHANGE_IN_TENTH


def find_seam(image: Uint8Array, landmarks: Float32Array) -> Float32Array | None:
    """Find the one stroke between closed lips of a drawing, where the tracker sees them open.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.

    Returns:
        float32 [11, 2], px, points of the seam for those of `INNER_UPPER_LIP`; None if there is no
        such stroke, or more than one, as around an open mouth.
    """
    upper_lip = landmarks[list(fm.INNER_UPPER_LIP), :2]
    look = _look_between_lips(image, landmarks)
    seam = _single_strokes(look)
    known = np.isfinite(seam)
    middle = slice(SEAM_COLUMNS // 4, -(SEAM_COLUMNS // 4))
    if known[middle].mean() < SURE_SHARE:
        return None
    calm = ndimage.median_filter(np.interp(look.x, look.x[known], seam[known]), 5, mode="nearest")
    calm = ndimage.gaussian_filter1d(calm, 1.5, mode="nearest")
    # A tracked corner may lie beyond the line's end.
    is_line = known | ((look.blot > SEAM_DARK) & look.is_between).any(1)
    first, last = look.x[[0, -1]]
    most = MOST_INWARDS * (last - first)
    ends = np.clip(look.x[is_line][[0, -1]], [first, last - most], [first + most, last])
    places = np.interp(upper_lip[:, 0], [first, last], ends)
    return np.stack([places, np.interp(places, look.x, calm)], -1).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """Columns K through the lips, sampled at S heights.

    Attributes:
        x: float64 [K], px.
        y: float64 [K, S], px.
        stroke: Darkness of strokes, float32 [K, S].
        blot: The same of wider ones: where lines meet at the corners they are a blot.
        is_between: bool [K, S], within the tracked opening, or near it where it is narrow.
    """

    x: Float64Array
    y: Float64Array
    stroke: Float32Array
    blot: Float32Array
    is_between: Mask


def _look_between_lips(image: Uint8Array, landmarks: Float32Array) -> _Look:
    iod = fm.inter_ocular_px(landmarks)
    inner = [landmarks[list(row), :2] for row in (fm.INNER_UPPER_LIP, fm.INNER_LOWER_LIP)]
    outer = [landmarks[list(row), :2] for row in (fm.OUTER_UPPER_LIP, fm.OUTER_LOWER_LIP)]
    x = np.linspace(inner[0][0, 0], inner[0][-1, 0], SEAM_COLUMNS)
    upper, lower, top, bottom = (_at(row, x) for row in (*inner, *outer))
    (x0, y0), (x1, y1) = _box(image, np.concatenate(outer), 2.0 * STROKE_IOD * iod)
    light = image[y0:y1, x0:x1].astype(np.float32).mean(-1)
    y = np.linspace(0.0, 1.0, SEAM_SAMPLES) * (bottom - top)[:, None] + top[:, None]
    at_x = np.broadcast_to((x - x0)[:, None], y.shape).astype(np.float32)
    at_y = (y - y0).astype(np.float32)
    stroke, blot = (
        cv2.remap(_darkness(light, width * iod), at_x, at_y, cv2.INTER_LINEAR)
        for width in (STROKE_IOD, BLOT_IOD)
    )
    gap = np.maximum(lower - upper, 0.0)
    is_wide = gap > NARROW_IOD * iod
    first = np.where(is_wide, upper + WITHIN[0] * gap, upper - BESIDE_IOD * iod)
    last = np.where(is_wide, upper + WITHIN[1] * gap, lower + BESIDE_IOD * iod)
    is_between = (y >= first[:, None]) & (y <= last[:, None])
    return _Look(x=x, y=y, stroke=stroke, blot=blot, is_between=is_between)


def _single_strokes(look: _Look) -> Float64Array:
    """Height of the one stroke between the lips in each column [K]; NaN with none, or several."""
    seam = np.full(len(look.x), np.nan)
    for column, (y, stroke) in enumerate(zip(look.y, look.stroke, strict=True)):
        is_dark, count = ndimage.label(stroke > SEAM_DARK)
        runs = (is_dark == index for index in range(1, count + 1))
        middles = [np.average(y[run], weights=stroke[run]) for run in runs]
        within = y[look.is_between[column]]
        inside = [at for at in middles if len(within) and within[0] <= at <= within[-1]]
        if len(inside) == 1:
            seam[column] = inside[0]
    return seam


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ink:
    """With what the lines of a drawn mouth are drawn.

    Attributes:
        colour: float64 [3], RGB.
        strength: Share of a stroke that covers what is under it, [0, 1]; 0 without strokes.
        width_iod: Of a stroke.
    """

    colour: Float64Array
    strength: float
    width_iod: float


def find_ink(image: Uint8Array, landmarks: Float32Array) -> Ink:
    """Look at the strokes on and around the lips of a drawing.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
    """
    iod = fm.inter_ocular_px(landmarks)
    outline = landmarks[list(fm.OUTER_LIPS), :2]
    (x0, y0), (x1, y1) = _box(image, outline, 2.0 * STROKE_IOD * iod)
    patch = image[y0:y1, x0:x1].astype(np.float32)
    darkness = _darkness(patch.mean(-1), STROKE_IOD * iod)
    reach = 2 * round(AROUND_LIPS_IOD * iod) + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    lips = cv2.dilate(_filled(outline - [x0, y0], patch.shape[:2]).astype(np.uint8), shape) > 0
    is_stroke = lips & (darkness > SEAM_DARK)
    if is_stroke.sum() < LEAST_STROKE_PX:
        lightest = sample_colours(image, outline).mean(0)
        return Ink(colour=lightest, strength=0.0, width_iod=STROKE_WIDTHS_IOD[0])
    least = float(np.quantile(darkness[is_stroke], DARKEST_OF_STROKES))
    darkest = is_stroke & (darkness >= least)
    # Around a thin bar it is twice its length.
    outlines, _ = cv2.findContours(is_stroke.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    around = sum(cv2.arcLength(outline, True) for outline in outlines)
    width = 2.0 * float(is_stroke.sum()) / max(around, 1.0)
    return Ink(
        colour=patch[darkest].mean(0).astype(np.float64),
        strength=min(float(darkness[darkest].mean()) / INK_STRENGTH, 1.0),
        width_iod=float(np.clip(width / iod, *STROKE_WIDTHS_IOD)),
    )


def _darkness(light: Float32Array, width_px: float) -> Float32Array:
    """By which share pixels [H, W] are darker than what lies on both sides of a stroke."""
    size = 2 * max(round(0.5 * width_px), 1) + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    beside = cv2.morphologyEx(light, cv2.MORPH_CLOSE, shape)
    return np.asarray((beside - light) / np.maximum(beside, LEAST_LIGHT), np.float32)


def _at(row: Float32Array, x: Float64Array) -> Float64Array:
    """Heights of a row of points [K, 2] at some places."""
    return np.interp(x, np.maximum.accumulate(row[:, 0]), row[:, 1])


def _box(
    image: Uint8Array, points: Float32Array, margin_px: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Low and high corner of the box around points, within the picture; never empty."""
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(points.min(0) - margin_px), 0, size - 1).astype(np.int64)
    return low, np.clip(np.ceil(points.max(0) + margin_px), low + 1, size).astype(np.int64)


def _filled(points: npt.NDArray[np.floating], shape: tuple[int, ...]) -> Mask:
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(points).astype(np.int32)], 1)
    return inside > 0
