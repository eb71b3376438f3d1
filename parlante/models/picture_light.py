"""What a photo's light does to what is drawn into it: its black, and shade from side to side."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.types import Float32Array, Uint8Array

__all__ = ["black_of", "face_of", "side_light", "without_black"]

Float64Array = npt.NDArray[np.float64]

# Pupils, lashes and nostrils are black in every photo that is not faded: the darkest of the faces
# of 23 portraits have 2 to 44 levels.
DARKEST: Final = 0.005
USUAL_BLACK: Final = 50.0
MAX_BLACK: Final = 200.0
# Lips are painted, and cross the shadow of the nose: a slight difference tells nothing.
SIDES_ALIKE: Final = 0.25
DARKEST_SIDE, LIGHTEST_SIDE = 0.12, 1.5


def black_of(image: Uint8Array, landmarks: Float32Array) -> float:
    """Level that black has in a faded picture, beyond what any photo has: 0 in most.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
    """
    darkest = float(np.quantile(face_of(image, landmarks).mean(-1), DARKEST))
    return min(max(darkest - USUAL_BLACK, 0.0), MAX_BLACK)


def face_of(image: Uint8Array, landmarks: Float32Array) -> Uint8Array:
    """Cut out the box around a face: a view of uint8 [H, W, 3], never empty."""
    oval = landmarks[list(fm.OVAL), :2]
    size = np.array(image.shape[1::-1])
    x0, y0 = np.clip(np.floor(oval.min(0)), 0, size - 1).astype(int)
    x1, y1 = np.clip(np.ceil(oval.max(0)), [x0 + 1, y0 + 1], size).astype(int)
    return image[y0:y1, x0:x1]


def without_black(colours: npt.NDArray[np.generic], black: float) -> Float64Array:
    """Colours as they were before the picture faded, float64; the loops fade them again."""
    stretched = (colours.astype(np.float64) - black) / (1.0 - black / 255.0)
    return np.asarray(np.maximum(stretched, 0.0))


def side_light(x: Float64Array, light: Float64Array, at: Float64Array) -> Float64Array:
    """Light of places beside the middle, by the mean of a place and its mirror image.

    Args:
        x: [K], increasing, places where the light is known, + to image right, 0 in the middle.
        light: [K], mean levels there.
        at: Places that are asked for.

    Returns:
        Factors like `at`, 1 where both sides are about alike.
    """
    reach = float(min(-x[0], x[-1]))
    if reach <= 0.0:
        return np.ones_like(at)
    level = np.interp(np.clip(at, -reach, reach), x, light)
    mirrored = np.interp(np.clip(-at, -reach, reach), x, light)
    differ = (level - mirrored) / np.maximum(level + mirrored, 1.0)  # [-1, 1]
    beyond = np.sign(differ) * np.maximum(np.abs(differ) - SIDES_ALIKE, 0.0) / (1.0 - SIDES_ALIKE)
    return np.asarray(np.clip(1.0 + beyond, DARKEST_SIDE, LIGHTEST_SIDE))
