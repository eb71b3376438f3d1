"""The creases beside a smiling mouth, taken out of the skin for when it does not smile.

The warp carries the photo's shading: folds that a broad smile has from nose to chin would ride
along as dark lines when the lips round, or the face is sad.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh as fm
from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array, Uint8Array

FOLDS: Final = ((203, 206, 216, 212, 202), (423, 426, 436, 432, 422))  # landmarks, nose to chin
REACH_IOD: Final = 0.17  # around them
LIPS_IOD: Final = 0.05  # beside lips, whose edge is none
CONTOUR_IOD: Final = 0.12  # within the face's oval, whose shade is none
AROUND_IOD: Final = 0.07  # what is lit there says how light the skin is
GRAIN_IOD: Final = 0.012  # finer than that are pores and freckles, which stay
DARK: Final = (0.86, 0.94)  # of the light around: what is darker than the first is shade
LIGHTEN: Final = 0.85
DARKEN: Final = 0.50  # of the lit ridge beside a fold
# Of 255: by how much light differs in a fold, and where it surely is one. Skin around stays.
FOLD_LEVELS: Final = (3.0, 8.0)


def without_creases(skin: Uint8Array, landmarks: Float32Array) -> tuple[Uint8Array, Float32Array]:
    """Bring the light of the folds beside a mouth to that of the skin around them.

    Args:
        skin: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px of it.

    Returns:
        uint8 [H, W, 3], and float32 [H, W], where it is to be seen, [0, 1].
    """
    iod = fm.inter_ocular_px(landmarks)
    picture = skin.astype(np.float32)
    lips = _filled(landmarks, fm.OUTER_LIPS, skin.shape[:2])
    is_lip = cv2.GaussianBlur(lips, (0, 0), 1.0).astype(np.float32) / 255.0
    face = _filled(landmarks, fm.OVAL, skin.shape[:2])
    known = (1.0 - is_lip) * (face > 0) + np.float32(1e-3)
    sigma = AROUND_IOD * iod
    around = _mean_around(picture, known, sigma).mean(-1)
    low, high = DARK
    lit = np.clip((picture.mean(-1) / np.maximum(around, 1.0) - low) / (high - low), 0.0, 1.0)
    plain = _mean_around(picture, known * lit + np.float32(1e-3), sigma)
    change = plain - cv2.GaussianBlur(picture, (0, 0), GRAIN_IOD * iod)
    change *= np.where(change > 0.0, np.float32(LIGHTEN), np.float32(DARKEN))
    near = _near_folds(landmarks, iod, skin.shape[:2])
    near *= np.clip(_distance(255 - lips) / (LIPS_IOD * iod) - 0.3, 0.0, 1.0)
    near *= np.clip(_distance(face) / (CONTOUR_IOD * iod) - 0.3, 0.0, 1.0)
    skin_levels, fold_levels = FOLD_LEVELS
    above = np.abs(change).max(-1) - skin_levels
    sure = np.clip(above / (fold_levels - skin_levels), 0.0, 1.0)
    share = near * cv2.GaussianBlur(sure, (0, 0), GRAIN_IOD * iod)
    return np.clip(np.rint(picture + change), 0, 255).astype(np.uint8), share


def _mean_around(picture: Float32Array, weight: Float32Array, sigma: float) -> Float32Array:
    total = cv2.GaussianBlur(weight, (0, 0), sigma)
    blurred = cv2.GaussianBlur(picture * weight[..., None], (0, 0), sigma)
    return np.asarray(blurred / np.maximum(total, 1e-4)[..., None], np.float32)


def _near_folds(landmarks: Float32Array, iod: float, shape: tuple[int, ...]) -> Float32Array:
    apart = np.full(shape, 255, np.uint8)
    for fold in FOLDS:
        points = np.rint(landmarks[list(fold), :2] * 16).astype(np.int32)
        cv2.polylines(apart, [points], False, 0, 1, cv2.LINE_8, 4)
    near = smooth_steps(2.0 - 2.0 * _distance(apart) / (REACH_IOD * iod))
    return np.asarray(near, np.float32)


def _filled(
    landmarks: Float32Array, outline: tuple[int, ...], shape: tuple[int, ...]
) -> Uint8Array:
    mask = np.zeros(shape, np.uint8)
    points = np.rint(landmarks[list(outline), :2] * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_8, 4)
    return mask


def _distance(mask: Uint8Array) -> Float32Array:
    """How far from what is 0, px."""
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32)
