"""How far a picture is from the truth, by region."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.types import Float32Array, Uint8Array

__all__ = ["REGIONS", "flicker", "psnr_db", "region_masks", "squared_error", "ssim_map"]

Mask = npt.NDArray[np.bool_]

REGIONS: Final = ("mouth", "eyes", "contour", "misplaced", "rest", "all")

# Part labels of the synthetic heads.
BACKGROUND, HAIR, LIPS = 0, 2, 14
EYE_PARTS: Final = (4, 5)
MOUTH_PARTS: Final = (6, 7, 8, 9)
SKIN_LIKE: Final = (1, 3, 13, 14)
CONTOUR_IOD: Final = 0.06
LIDS_IOD: Final = 0.06
LIPS_IOD: Final = 0.05
_SSIM_SIGMA_PX: Final = 1.5


def region_masks(
    labels: Uint8Array, warped_labels: Uint8Array, landmarks: Float32Array
) -> dict[str, Mask]:
    """Which pixels of a true picture belong to which region.

    Args:
        labels: uint8 [512, 512], parts of the true picture.
        warped_labels: uint8 [512, 512], parts of the portrait, carried by the warp.
        landmarks: float32 [478, 3], of the true picture, px.

    Returns:
        Mouth: the inside and a rim of lips. Eyes: lids and what is between them. Contour: where
        the face or the head ends. Misplaced: of the person or beside it, where the warp shows
        another part than is there, among it all that a turn uncovers. Rest: the person besides.
    """
    iod = fm.inter_ocular_px(landmarks)
    mouth = _around(fm.INNER_LIPS, landmarks, labels.shape, LIPS_IOD * iod)
    eyes = _around(fm.RIGHT_EYE, landmarks, labels.shape, LIDS_IOD * iod)
    eyes |= _around(fm.LEFT_EYE, landmarks, labels.shape, LIDS_IOD * iod)
    person = labels != BACKGROUND
    contour = _edge(person, CONTOUR_IOD * iod)
    contour |= _edge(np.isin(labels, SKIN_LIKE) & ~mouth & ~eyes, CONTOUR_IOD * iod)
    contour &= ~mouth & ~eyes & _near_head(landmarks, labels.shape, iod)
    misplaced = (_group(labels) != _group(warped_labels)) & ~mouth & ~eyes
    return {
        "mouth": mouth,
        "eyes": eyes,
        "contour": contour,
        "misplaced": misplaced,
        "rest": person & ~mouth & ~eyes & ~contour,
        "all": np.ones_like(person),
    }


def _group(labels: Uint8Array) -> Uint8Array:
    """Parts that look alike count as one."""
    group = labels.copy()
    group[np.isin(labels, (*SKIN_LIKE, *EYE_PARTS, *MOUTH_PARTS))] = 1
    return group


def _around(
    loop: tuple[int, ...], landmarks: Float32Array, shape: tuple[int, ...], margin_px: float
) -> Mask:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(landmarks[list(loop), :2] * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    size = 2 * round(margin_px) + 1
    shape_of = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(mask, shape_of) > 0)


def _edge(mask: Mask, width_px: float) -> Mask:
    size = 2 * round(width_px) + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    own = mask.astype(np.uint8)
    return np.asarray(cv2.dilate(own, shape) != cv2.erode(own, shape))


def _near_head(landmarks: Float32Array, shape: tuple[int, ...], iod: float) -> Mask:
    """Around face and hair, down to the chin: clothes have contours, too."""
    mask = np.zeros(shape, np.uint8)
    oval = np.rint(landmarks[list(fm.OVAL), :2]).astype(np.int32)
    cv2.fillPoly(mask, [oval], 1)
    size = 2 * round(0.9 * iod) + 1
    mask = np.asarray(cv2.dilate(mask, np.ones((size, size), np.uint8)), np.uint8)
    mask[min(round(float(landmarks[fm.CHIN, 1] + 0.25 * iod)), shape[0]) :] = 0
    return mask > 0


def squared_error(first: Uint8Array, second: Uint8Array) -> Float32Array:
    """Mean squared error of the channels per pixel: float32 [H, W], levels^2."""
    difference = first.astype(np.float32) - second.astype(np.float32)
    return np.asarray((difference * difference).mean(-1), np.float32)


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal to noise ratio of 8-bit pictures, dB."""
    return float(10.0 * np.log10(255.0**2 / max(mean_squared_error, 1e-6)))


def ssim_map(first: Uint8Array, second: Uint8Array) -> Float32Array:
    """Structural similarity of luma per pixel: float32 [H, W], 1 = equal.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004.
    """
    a, b = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (first, second))

    def mean(values: Float32Array) -> Float32Array:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), _SSIM_SIGMA_PX), np.float32)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    score = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    score /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return np.asarray(score, np.float32)


def flicker(frames: list[Uint8Array]) -> float:
    """Mean size of what goes back and forth from frame to frame, levels of 255.

    The second difference over time is near zero for whatever moves evenly.

    Args:
        frames: At least three, uint8 [H, W, 3].
    """
    values = [frame.astype(np.float32) for frame in frames]
    triples = zip(values[:-2], values[1:-1], values[2:], strict=True)
    return float(np.mean([np.abs(a - 2.0 * b + c).mean() for a, b, c in triples]))
