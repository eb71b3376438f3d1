"""The picture of a face that the face codes are read from: upright, centred, always of one size.

The crop follows the landmarks of the outer eye corners alone, so that what lips, brows and lids do
does not move it; a tilt of the head is taken out, and given back by whoever reads the pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh
from parlante.types import Float32Array, Uint8Array

Float64Array = npt.NDArray[np.float64]

__all__ = ["CROP_PX", "PX_PER_IOD", "CropFrame", "cut_face", "frame_of_landmarks"]

CROP_PX: Final = 160
PX_PER_IOD: Final = 64.0  # the crop is 2.5 inter-ocular distances wide
# The middle of the crop lies so far below the line of the eyes: brows and a wide open jaw fit.
DOWN_IOD: Final = 0.42
# A picture is shrunk by area first where the crop is so much smaller: else it would flicker.
MAX_STEP: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CropFrame:
    """Where a crop lies in its picture.

    Attributes:
        x_px: Middle of the outer eye corners.
        y_px: Middle of the outer eye corners.
        iod_px: Distance of the outer eye corners, turned to the front.
        roll_rad: Tilt of the line of the eyes, + = clockwise.
    """

    x_px: float
    y_px: float
    iod_px: float
    roll_rad: float

    def to_crop(self, size_px: int = CROP_PX) -> Float32Array:
        """Picture -> crop, float32 [2, 3]; a larger `size_px` shows more at the same scale."""
        scale = PX_PER_IOD / max(self.iod_px, 1e-3)
        cosine, sine = scale * math.cos(self.roll_rad), scale * math.sin(self.roll_rad)
        centre = 0.5 * (size_px - 1)
        return np.array(
            [
                [cosine, sine, centre - cosine * self.x_px - sine * self.y_px],
                [
                    -sine,
                    cosine,
                    centre - DOWN_IOD * PX_PER_IOD + sine * self.x_px - cosine * self.y_px,
                ],
            ],
            np.float32,
        )


def frame_of_landmarks(points: Float32Array) -> CropFrame:
    """Place the crop by landmarks, float32 [>= 468, 3], px, z towards the back."""
    right, left = points[list(face_mesh.OUTER_EYE_CORNERS)].astype(np.float64)
    middle, span = 0.5 * (right + left), left - right
    return CropFrame(
        x_px=float(middle[0]),
        y_px=float(middle[1]),
        iod_px=float(np.linalg.norm(span)),
        roll_rad=math.atan2(span[1], span[0]),
    )


def cut_face(rgb: Uint8Array, frame: CropFrame, size_px: int = CROP_PX) -> Uint8Array:
    """Cut the crop: uint8 [size, size, 3]; what lies outside the picture repeats its border."""
    to_crop = frame.to_crop(size_px).astype(np.float64)
    step = frame.iod_px / PX_PER_IOD
    if step > MAX_STEP:
        rgb, to_crop = _shrink(rgb, to_crop, size_px, step)
    cut = cv2.warpAffine(
        rgb, to_crop, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.uint8)


def _shrink(
    rgb: Uint8Array,
    to_crop: Float64Array,
    size: int,
    step: float,
) -> tuple[Uint8Array, Float64Array]:
    """The part of the picture that the crop shows, at about the crop's scale, and its map."""
    back = cv2.invertAffineTransform(to_crop)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) @ back.T
    height, width = rgb.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, (width - 2, height - 2)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, low + 2, (width, height)).astype(int)
    part = rgb[low[1] : high[1], low[0] : high[0]]
    new = np.maximum(np.rint(np.array(part.shape[1::-1]) / step), 1).astype(int)
    small = cv2.resize(part, (int(new[0]), int(new[1])), interpolation=cv2.INTER_AREA)
    gain = np.array(part.shape[1::-1]) / new  # px of the picture per px of the small one
    # Pixel centres are at integers: x = low + (u + 0.5) * gain - 0.5.
    moved = to_crop.copy()
    moved[:, :2] = to_crop[:, :2] * gain
    moved[:, 2] = to_crop[:, :2] @ (low + 0.5 * gain - 0.5) + to_crop[:, 2]
    return np.asarray(small, np.uint8), moved
