"""Other pixels for the mouth than those that the warp carries, blended in as far as motion asks.

The warp carries the lips continued over the opening, and the inside of the mouth is drawn: both are
made for speech. With a still mouth the photo's own pixels are the better picture. And where lips
round, or open wide, the dark ends of the photo's wider mouth must not stay as ticks beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.jit import kernel
from parlante.models.skin_grain import tile_grain
from parlante.models.smile_creases import FOLDS, without_creases
from parlante.models.smooth_step import smooth_step, smooth_steps
from parlante.types import Float32Array, Uint8Array

REACH_IOD: Final = 0.06  # around the opening: as far as the drawn mouth casts its shadow
SOFT_IOD: Final = 0.015
MARGIN_IOD: Final = 0.12
LEAST_SHARE: Final = 1.0 / 255.0
LIPS: Final = np.array(fm.OUTER_LIPS)
LIPS_REACH: Final = 0.25
LIPS_AND_FOLDS: Final = np.array([*fm.OUTER_LIPS, *FOLDS[0], *FOLDS[1]])
FOLDS_REACH: Final = 0.15
FOLDS_IOD: Final = 0.40
# Around mouths without a beard 0.2 to 0.5 of the skin is darker than its lightest, 0.7 of very dark
# skin, within beards 0.8: a beard that grows up to the corner is no tick to be painted over.
SKIN_DARK, BEARD_DARKER = 0.65, 0.12
TICK_IOD: Final = 0.13  # around the corners of the mouth
# Of the light around: what is no lit skin, and over which range it comes to be; and by how much
# darker than lit skin a pixel is that is covered in full.
TICK_DARK: Final = 0.92
TICK_RANGE: Final = 0.06
TICK_FAINT: Final = 0.05
TICK_INWARDS_IOD: Final = 0.06  # from the corners, beside the lips
LIP_EDGE_IOD: Final = 0.012
TICK_AROUND_IOD: Final = 0.06
TICK_MARGIN_IOD: Final = 0.20  # of skin around the lips, to know its tone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthPatch:
    """Pixels around a mouth.

    Attributes:
        pixels: uint8 [h, w, 4], RGB and the matte of what they are to cover.
        origin: Left and top of the pixels in the portrait, px.
        bounds: int64 [K], landmarks about which they are seen.
        reach: How far beyond these, of their extent.
    """

    pixels: Uint8Array
    origin: tuple[int, int]
    bounds: npt.NDArray[np.int64]
    reach: float

    def hidden(self) -> MouthPatch:
        """A patch that covers nothing."""
        return replace(self, pixels=np.zeros_like(self.pixels[:2, :2]))


def own_mouth_of(image: Uint8Array, skin: Uint8Array, landmarks: Float32Array) -> MouthPatch:
    """Cut the mouth out of a photo, with all in which it differs from the drawn one.

    Args:
        image: uint8 [S, S, 3], RGB.
        skin: uint8 [S, S, 3], the same with lips continued over the opening.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
    """
    iod = fm.inter_ocular_px(landmarks)
    low, cut = _box(image, landmarks, MARGIN_IOD * iod)
    matte = np.zeros(image[cut].shape[:2], np.uint8)
    points = np.rint((landmarks[list(fm.INNER_LIPS), :2] - low) * 16).astype(np.int32)
    cv2.fillPoly(matte, [points], 255, cv2.LINE_8, 4)
    cv2.polylines(matte, [points], True, 255, 1, cv2.LINE_8, 4)
    matte[np.abs(image[cut].astype(np.int16) - skin[cut]).max(-1) > 0] = 255
    reach = 2 * round(REACH_IOD * iod) + 1
    matte = cv2.dilate(matte, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    # All of what differs is covered in full; the soft edge lies beyond.
    soft = cv2.GaussianBlur(matte, (0, 0), SOFT_IOD * iod)
    pixels = np.ascontiguousarray(np.dstack([image[cut], soft]))
    origin = int(low[0]), int(low[1])
    return MouthPatch(pixels=pixels, origin=origin, bounds=LIPS, reach=LIPS_REACH)


def plain_corners_of(
    skin: Uint8Array, landmarks: Float32Array, grain: Float32Array, smile: float
) -> MouthPatch:
    """Continue the cheeks over the dark ends of a photo's mouth, beyond its inner corners.

    Of a smile the folds beside it go as well.

    Args:
        skin: uint8 [S, S, 3], RGB, with lips continued over the opening.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
        grain: float32 [n, n, 3], of `skin_grain`.
        smile: How broadly the portrait smiles, [0, 1].
    """
    iod = fm.inter_ocular_px(landmarks)
    low, cut = _box(skin, landmarks, (FOLDS_IOD if smile > 0.0 else TICK_MARGIN_IOD) * iod)
    patch = np.ascontiguousarray(skin[cut])
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]].astype(np.float32)
    near = np.zeros(patch.shape[:2], np.float32)
    no_lip = 1.0 - _soft_lips(landmarks[:, :2] - low, patch.shape[:2], LIP_EDGE_IOD * iod)
    for inner, outer in zip(fm.INNER_MOUTH_CORNERS, fm.MOUTH_CORNERS, strict=True):
        corner = landmarks[outer, :2] - low
        aside = np.sign(landmarks[outer, 0] - landmarks[inner, 0])
        away = np.hypot(x - corner[0], y - corner[1]) / (TICK_IOD * iod)
        # Lips keep their own dark line; beside them, not at an upright edge, the cheek begins.
        beyond = np.clip((x - corner[0]) * aside / (TICK_INWARDS_IOD * iod) + 1.0, 0.0, 1.0)
        near = np.maximum(near, _fade(1.5 * away - 0.5) * beyond * no_lip)
    plain, dark = _without_shade(patch, TICK_AROUND_IOD * iod)
    beard = (_darkness_beside(dark, near, landmarks[:, :2] - low) - SKIN_DARK) / BEARD_DARKER
    near *= np.float32(1.0 - smooth_step(beard))
    plain += tile_grain(grain, plain.shape[:2])
    matte = near * np.clip(cv2.GaussianBlur(dark, (0, 0), SOFT_IOD * iod), 0.0, 1.0)
    if smile > 0.0:
        moved = landmarks[:, :2] - low.astype(np.float32)
        creaseless, share = without_creases(patch, moved)
        beneath = smile * share * (1.0 - matte)
        whole = np.maximum(matte + beneath, np.float32(1e-3))[..., None]
        plain = (matte[..., None] * plain + beneath[..., None] * creaseless) / whole
        matte = matte + beneath
    alpha = np.rint(255.0 * matte).astype(np.uint8)
    plain = np.clip(np.rint(plain), 0, 255).astype(np.uint8)
    return MouthPatch(
        pixels=np.ascontiguousarray(np.dstack([plain, alpha])),
        origin=(int(low[0]), int(low[1])),
        bounds=LIPS_AND_FOLDS if smile > 0.0 else LIPS,
        reach=FOLDS_REACH if smile > 0.0 else LIPS_REACH,
    )


def _soft_lips(points: Float32Array, shape: tuple[int, ...], sigma: float) -> Float32Array:
    """Matte of the lips, [h, w], whose pointed corners are rounded off."""
    lips = np.zeros(shape, np.uint8)
    outline = np.rint(points[list(fm.OUTER_LIPS)] * 16).astype(np.int32)
    cv2.fillPoly(lips, [outline], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(lips.astype(np.float32), (0, 0), sigma) / 255.0)


def _darkness_beside(dark: Float32Array, near: Float32Array, points: Float32Array) -> float:
    """Mean darkness, [0, 1], of what is neither lip nor corner of the mouth: high in a beard."""
    lips = np.zeros(dark.shape, np.uint8)
    cv2.fillPoly(lips, [np.rint(points[list(fm.OUTER_LIPS)]).astype(np.int32)], 1)
    beside = (near == 0.0) & (lips == 0)
    return float(dark[beside].mean()) if beside.any() else 0.0


def _without_shade(patch: Uint8Array, sigma: float) -> tuple[Float32Array, Float32Array]:
    """Tone of the lit skin, [h, w, 3], and how surely a pixel is darker than that, [h, w].

    A tick lies in a wider and fainter shade, which would stay around it as a ring.
    """
    picture = patch.astype(np.float32)
    light = picture.mean(-1)
    around = cv2.GaussianBlur(light, (0, 0), sigma)
    for _ in range(2):  # what is known of the lit skin tells better what is darker
        lit = np.clip((light / np.maximum(around, 1.0) - TICK_DARK) / TICK_RANGE, 0.0, 1.0)
        weight = lit + np.float32(1e-3)
        total = cv2.GaussianBlur(weight, (0, 0), sigma)
        plain = cv2.GaussianBlur(picture * weight[..., None], (0, 0), sigma) / total[..., None]
        around = plain.mean(-1)
    darker = 1.0 - light / np.maximum(around, 1.0)
    return plain, np.clip(darker / TICK_FAINT, 0.0, 1.0)


def _fade(t: Float32Array) -> Float32Array:
    return np.asarray(1.0 - smooth_steps(t), np.float32)


def _box(
    image: Uint8Array, landmarks: Float32Array, margin_px: float
) -> tuple[npt.NDArray[np.int64], tuple[slice, slice]]:
    """Left and top of the box around the mouth, and what cuts it out."""
    outline = landmarks[list(fm.OUTER_LIPS), :2]
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(outline.min(0) - margin_px), 0, size - 2).astype(np.int64)
    high = np.clip(np.ceil(outline.max(0) + margin_px), low + 2, size).astype(np.int64)
    return low, (slice(low[1], high[1]), slice(low[0], high[0]))


def show_patch(
    patch: MouthPatch,
    share: float,
    posed: Float32Array,
    maps: tuple[Float32Array, Float32Array],
    map_offset: tuple[float, float],
    out: Uint8Array,
) -> None:
    """Blend a patch over a drawn frame.

    Args:
        patch: The patch, in the portrait's plane.
        share: [0, 1], 1 = the patch alone.
        posed: float32 [N, 2], screen px of the mesh's vertices.
        maps: float32 [H, W] each, source position of every pixel on the canvas.
        map_offset: Position of the portrait on the canvas, px.
        out: uint8 [H, W, 3], changed in place.
    """
    box = patch_box(patch, share, posed, (out.shape[1], out.shape[0]))
    if box is None:
        return
    offset_x, offset_y = (map_offset[k] + patch.origin[k] for k in (0, 1))
    _blend(patch.pixels, share, maps[0], maps[1], offset_x, offset_y, box, out)


def patch_box(
    patch: MouthPatch, share: float, posed: Float32Array, size: tuple[int, int]
) -> npt.NDArray[np.int64] | None:
    """What a patch may change of a frame; None if that is nothing.

    Args:
        patch: As of `show_patch`.
        share: As of `show_patch`.
        posed: As of `show_patch`.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom, px.
    """
    if share < LEAST_SHARE:
        return None
    points = posed[patch.bounds]
    margin = patch.reach * np.ptp(points, 0).max()
    low = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin), 0, size).astype(int)
    return None if (high <= low).any() else np.concatenate([low, high])


@kernel
def _blend(
    pixels: Uint8Array,
    share: float,
    map_x: Float32Array,
    map_y: Float32Array,
    offset_x: float,
    offset_y: float,
    box: npt.NDArray[np.int64],
    out: Uint8Array,
) -> None:
    right, bottom = pixels.shape[1] - 1, pixels.shape[0] - 1
    for row in range(box[1], box[3]):
        for column in range(box[0], box[2]):
            x, y = map_x[row, column] - offset_x, map_y[row, column] - offset_y
            if x < 0.0 or y < 0.0 or x >= right or y >= bottom:
                continue
            x0, y0 = int(x), int(y)
            m00, m01 = pixels[y0, x0, 3], pixels[y0, x0 + 1, 3]
            m10, m11 = pixels[y0 + 1, x0, 3], pixels[y0 + 1, x0 + 1, 3]
            if m00 == 0 and m11 == 0 and m01 == 0 and m10 == 0:
                continue
            fx, fy = x - x0, y - y0
            a00, a01 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy)
            a10, a11 = (1.0 - fx) * fy, fx * fy
            matte = a00 * m00 + a01 * m01 + a10 * m10 + a11 * m11
            weight = share * matte / 255.0
            for channel in range(3):
                seen = a00 * pixels[y0, x0, channel] + a01 * pixels[y0, x0 + 1, channel]
                seen += a10 * pixels[y0 + 1, x0, channel] + a11 * pixels[y0 + 1, x0 + 1, channel]
                base = out[row, column, channel]
                out[row, column, channel] = np.uint8(base + weight * (seen - base) + 0.5)
