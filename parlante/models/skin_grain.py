"""Grain of a portrait's skin: pores, noise and compression, as texture for skin that is painted.

A piece of plain skin of the photo is brought to random phases: what comes out has its spectrum and
its strength in each colour, repeats without a seam, and shows nothing that was in the piece.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.median_spread import median_spread
from parlante.types import Float32Array, Uint8Array

__all__ = ["GRAIN_BLUR_IOD", "skin_grain", "tile_grain"]

GRAIN_BLUR_IOD: Final = 0.025  # what is finer is grain
MEDIAN_PX: Final = 5
PIECE_IOD: Final = 0.26
LEAST_PIECE_PX: Final = 8
# From the middle of an eye towards the chin: cheek and forehead.
PIECE_PLACES_IOD: Final = (0.42, -0.55)
# Of the grain's own spread, told by the median, so that a hair or a spot does not count.
MAX_SPREADS: Final = 3.0
SEED: Final = 5


def skin_grain(image: Uint8Array, landmarks: Float32Array) -> Float32Array:
    """Make grain like that of the skin around the eyes.

    Args:
        image: uint8 [S, S, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.

    Returns:
        float32 [n, n, 3], levels around 0, periodic; zeros where a picture shows no piece of skin.
    """
    iod = fm.inter_ocular_px(landmarks)
    size = max(LEAST_PIECE_PX, round(PIECE_IOD * iod))
    pieces = [_detail(piece, GRAIN_BLUR_IOD * iod) for piece in _pieces(image, landmarks, size)]
    if not pieces:
        return np.zeros((size, size, 3), np.float32)
    # Hair or the rim of glasses make a piece coarse, a gleam makes it plain.
    pieces.sort(key=median_spread)
    return _with_random_phases(pieces[(len(pieces) - 1) // 2])


def tile_grain(grain: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """Repeat grain over a patch, float32 [H, W, 3]."""
    size = grain.shape[0]
    height, width = shape
    tiled = np.tile(grain, (-(-height // size), -(-width // size), 1))
    return tiled[:height, :width]


def _pieces(image: Uint8Array, landmarks: Float32Array, size: int) -> list[Uint8Array]:
    """Pieces of skin, uint8 [n, n, 3], as far as the picture shows them."""
    points = landmarks[:, :2].astype(np.float64)
    iod = fm.inter_ocular_px(landmarks)
    down = points[fm.CHIN] - points[fm.FOREHEAD]
    down /= max(float(np.linalg.norm(down)), 1.0)
    pieces = []
    for corners in ((33, 133), (362, 263)):
        for share in PIECE_PLACES_IOD:
            middle = points[list(corners)].mean(0) + share * iod * down
            left, top = (round(float(value) - 0.5 * size) for value in middle)
            piece = image[max(top, 0) : top + size, max(left, 0) : left + size]
            if piece.shape[:2] == (size, size):
                pieces.append(np.ascontiguousarray(piece))
    return pieces


def _detail(piece: Uint8Array, blur_px: float) -> Float32Array:
    """A piece without its tone, of which the median leaves out single hairs."""
    tone = cv2.GaussianBlur(cv2.medianBlur(piece, MEDIAN_PX).astype(np.float32), (0, 0), blur_px)
    return np.asarray(piece - tone, np.float32)


def _with_random_phases(piece: Float32Array) -> Float32Array:
    """Noise of a piece's spectrum and of the spread that its median tells."""
    size = piece.shape[0]
    spread = median_spread(piece)
    piece = np.clip(piece, -MAX_SPREADS * spread, MAX_SPREADS * spread)
    window = np.hanning(size + 2)[1:-1]
    shape: npt.NDArray[np.float64] = np.outer(window, window)[..., None]
    spectrum = np.fft.fft2((piece - piece.mean((0, 1))) * shape, axes=(0, 1))
    noise = np.fft.fft2(np.random.default_rng(SEED).standard_normal((size, size)))
    phases = noise / np.maximum(np.abs(noise), 1e-9)
    grain = np.fft.ifft2(spectrum * phases[..., None], axes=(0, 1)).real
    return np.asarray(grain * spread / max(float(grain.std()), 1e-6), np.float32)
