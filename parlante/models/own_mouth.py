"""The portrait's own mouth, open or not, over the drawn one while the motion does not move it.

The warp carries the lips continued over the opening, and the inside of the mouth is drawn: both are
made for speech. With a still mouth the photo's pixels are the better picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

REACH_IOD: Final = 0.06  # around the opening: as far as the drawn mouth casts its shadow
SOFT_IOD: Final = 0.015
MARGIN_IOD: Final = 0.12
LEAST_SHARE: Final = 1.0 / 255.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnMouth:
    """The mouth of a photo.

    Attributes:
        pixels: uint8 [h, w, 4], RGB and the matte of what may differ from the drawn mouth.
        origin: Left and top of the pixels in the portrait, px.
    """

    pixels: Uint8Array
    origin: tuple[int, int]


def build_own_mouth(image: Uint8Array, skin: Uint8Array, landmarks: Float32Array) -> OwnMouth:
    """Cut the mouth out of a photo.

    Args:
        image: uint8 [S, S, 3], RGB.
        skin: uint8 [S, S, 3], the same with lips continued over the opening.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
    """
    iod = fm.inter_ocular_px(landmarks)
    outline = landmarks[list(fm.OUTER_LIPS), :2]
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(outline.min(0) - MARGIN_IOD * iod), 0, size - 2).astype(int)
    high = np.clip(np.ceil(outline.max(0) + MARGIN_IOD * iod), low + 2, size).astype(int)
    cut = (slice(low[1], high[1]), slice(low[0], high[0]))
    matte = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    points = np.rint((landmarks[list(fm.INNER_LIPS), :2] - low) * 16).astype(np.int32)
    cv2.fillPoly(matte, [points], 255, cv2.LINE_8, 4)
    cv2.polylines(matte, [points], True, 255, 1, cv2.LINE_8, 4)
    matte[np.abs(image[cut].astype(np.int16) - skin[cut]).max(-1) > 0] = 255
    reach = 2 * round(REACH_IOD * iod) + 1
    matte = cv2.dilate(matte, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    # All of what differs is covered in full; the soft edge lies beyond.
    soft = cv2.GaussianBlur(matte, (0, 0), SOFT_IOD * iod)
    pixels = np.ascontiguousarray(np.dstack([image[cut], soft]))
    return OwnMouth(pixels=pixels, origin=(int(low[0]), int(low[1])))


def show_own_mouth(
    own: OwnMouth,
    share: float,
    lips: Float32Array,
    maps: tuple[Float32Array, Float32Array],
    map_offset: tuple[float, float],
    out: Uint8Array,
) -> None:
    """Blend the photo's mouth over a drawn frame.

    Args:
        own: The mouth.
        share: [0, 1], 1 = the photo's alone.
        lips: float32 [K, 2], screen px of the outer lips.
        maps: float32 [H, W] each, source position of every pixel on the canvas.
        map_offset: Position of the portrait on the canvas, px.
        out: uint8 [H, W, 3], changed in place.
    """
    if share < LEAST_SHARE:
        return
    extent = np.ptp(lips, 0).max()
    size = np.array(out.shape[1::-1])
    low = np.clip(np.floor(lips.min(0) - 0.25 * extent), 0, size).astype(int)
    high = np.clip(np.ceil(lips.max(0) + 0.25 * extent), 0, size).astype(int)
    if (high <= low).any():
        return
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    map_x = maps[0][box] - np.float32(map_offset[0] + own.origin[0])
    map_y = maps[1][box] - np.float32(map_offset[1] + own.origin[1])
    seen = cv2.remap(own.pixels, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    _blend(np.asarray(seen, np.uint8), share, low, out)


@kernel
def _blend(seen: Uint8Array, share: float, low: npt.NDArray[np.int64], out: Uint8Array) -> None:
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            a = share * seen[y, x, 3] / 255.0
            if a > 0.0:
                for channel in range(3):
                    base = out[low[1] + y, low[0] + x, channel]
                    value = base + a * (np.float64(seen[y, x, channel]) - base)
                    out[low[1] + y, low[0] + x, channel] = np.uint8(value + 0.5)
