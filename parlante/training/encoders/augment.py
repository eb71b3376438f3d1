"""What cameras, networks and trackers do to a crop: moved, blurred, dimmed, covered, compressed.

Each picture is changed for itself, so that two pictures of a head share nothing but the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from parlante.models.face_crop import CROP_PX, PX_PER_IOD
from parlante.training.encoders.shards import STORED_PX
from parlante.types import Float32Array, Uint8Array

__all__ = ["Move", "draw_move", "spoil"]

# How far landmarks of a tracker are off: places in IOD, size as a factor, tilt in rad.
SHIFT_IOD: Final = 0.035
SCALE: Final = 0.06
TURN_RAD: Final = math.radians(5.0)
MAX_TURN_RAD: Final = math.radians(15.0)
LOW_RESOLUTION_SHARE: Final = 0.3
BLUR_SHARE: Final = 0.25
COVER_SHARE: Final = 0.15
GREY_SHARE: Final = 0.12
NOISE_SHARE: Final = 0.5
JPEG_SHARE: Final = 0.35
_NOISE: Final = np.random.default_rng(0).normal(0.0, 1.0, (3 * CROP_PX, 3 * CROP_PX, 3))
_NOISE_POOL: Final = _NOISE.astype(np.float32)
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How the crop is off: a stored crop -> the crop that is read.

    Attributes:
        matrix: float32 [2, 3].
        turn_rad: Tilt that it adds, + = clockwise.
        is_mirrored: Left and right are exchanged, before the turn.
    """

    matrix: Float32Array
    turn_rad: float
    is_mirrored: bool


def draw_move(rng: np.random.Generator, *, is_mirrored: bool) -> Move:
    """Draw a move as an unsteady tracker makes it."""
    turn = float(np.clip(rng.normal(0.0, TURN_RAD), -MAX_TURN_RAD, MAX_TURN_RAD))
    scale = math.exp(float(np.clip(rng.normal(0.0, SCALE), -3 * SCALE, 3 * SCALE)))
    shift = np.clip(rng.normal(0.0, SHIFT_IOD, 2), -3 * SHIFT_IOD, 3 * SHIFT_IOD) * PX_PER_IOD
    return make_move(turn, scale, (float(shift[0]), float(shift[1])), is_mirrored=is_mirrored)


def make_move(
    turn_rad: float = 0.0,
    scale: float = 1.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    *,
    is_mirrored: bool = False,
) -> Move:
    """Turn and scale about the middle of the crop, then shift."""
    cosine, sine = scale * math.cos(turn_rad), scale * math.sin(turn_rad)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    if is_mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    old, new = 0.5 * (STORED_PX - 1), 0.5 * (CROP_PX - 1)
    offset = np.array([new, new]) + shift_px - linear @ [old, old]
    matrix = np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)
    return Move(matrix=matrix, turn_rad=turn_rad, is_mirrored=is_mirrored)


def moved(stored: Uint8Array, move: Move) -> Uint8Array:
    """Cut the crop: uint8 [160, 160, 3]."""
    cut = cv2.warpAffine(
        stored,
        move.matrix.astype(np.float64),
        (CROP_PX, CROP_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(cut, np.uint8)


def spoil(crop: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """Change a crop as bad pictures are: uint8 [160, 160, 3]."""
    if rng.random() < COVER_SHARE:
        crop = _cover(crop, rng)
    if rng.random() < LOW_RESOLUTION_SHARE:
        crop = _low_resolution(crop, rng)
    if rng.random() < BLUR_SHARE:
        crop = _blur(crop, rng)
    crop = _colour(crop, rng)
    if rng.random() < JPEG_SHARE:
        quality = int(rng.integers(15, 90))
        _, packed = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
        crop = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return crop


def _cover(crop: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """A thing of one colour or of another part's texture before the face, from a side."""
    out = crop.copy()
    width, height = (int(rng.integers(20, 70)) for _ in range(2))
    x = int(rng.integers(0, CROP_PX - width))
    y = int(rng.integers(0, CROP_PX - height))
    colour = rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        centre, axes = (x + width // 2, y + height // 2), (width // 2, height // 2)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(out, centre, axes, angle, 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    else:
        other = crop[:height, :width] if rng.random() < 0.5 else colour.astype(np.uint8)
        out[y : y + height, x : x + width] = other
    return out


def _low_resolution(crop: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    size = round(CROP_PX / float(rng.uniform(1.2, 3.0)))
    small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR))


def _blur(crop: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """Out of focus, or moved."""
    if rng.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.4, 2.0))), np.uint8)
    length = int(rng.integers(2, 6))
    return np.asarray(cv2.blur(crop, (length, 1) if rng.random() < 0.5 else (1, length)), np.uint8)


def _colour(crop: Uint8Array, rng: np.random.Generator) -> Uint8Array:
    """Another white balance, exposure, contrast and saturation; shade across; noise."""
    gamma = math.exp(float(rng.normal(0.0, 0.2)))
    gain = np.exp(rng.normal(0.0, 0.15) + rng.normal(0.0, 0.07, 3))
    levels = (np.arange(256)[:, None] / 255.0) ** gamma * gain
    contrast, lift = math.exp(float(rng.normal(0.0, 0.2))), float(rng.normal(0.0, 0.05))
    levels = (levels - 0.5) * contrast + 0.5 + lift
    table = np.clip(levels * 255.0, -80.0, 335.0).astype(np.float32)[None]
    saturation = 0.0 if rng.random() < GREY_SHARE else float(rng.uniform(0.4, 1.5))
    mixing = saturation * np.eye(3) + (1.0 - saturation) * _GREY
    picture = cv2.transform(cv2.LUT(crop, table), mixing)
    if rng.random() < 0.3:
        picture *= _shade(rng)
    if rng.random() < NOISE_SHARE:
        x, y = (int(v) for v in rng.integers(0, 2 * CROP_PX, 2))
        noise = _NOISE_POOL[y : y + CROP_PX, x : x + CROP_PX]
        picture = cv2.scaleAdd(noise, abs(float(rng.normal(0.0, 9.0))), picture)
    return np.asarray(np.clip(picture, 0.0, 255.0).astype(np.uint8))


def _shade(rng: np.random.Generator) -> Float32Array:
    """Brighter on one side: float32 [160, 160, 1]."""
    axis = np.linspace(-1.0, 1.0, CROP_PX, dtype=np.float32)
    angle, slope = rng.uniform(0, 2 * math.pi), float(rng.uniform(0.0, 0.5))
    ramp = math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]
    return np.exp(np.float32(slope) * ramp)[..., None].astype(np.float32)
