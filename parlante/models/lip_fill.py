"""Lips continued over the open mouth of a photo.

The warp takes the lips' rims from the photo. Where the photo has the mouth open, teeth and dark
shine into the pixels of the rims and would ride along as jagged lines when the lips close.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh as fm
from parlante.models.lip_opening import MIN_LIP_REDNESS, redness_of
from parlante.types import Float32Array, Uint8Array

RIM_IOD: Final = 0.012  # as far as the lens blurs the opening into the lips
STRAY_IOD: Final = 0.035  # beyond the rims, where what is dark belongs to the opening
DARK_OF_LIP: Final = 0.72
# Teeth that the tracker has outside the opening: their redness, of that of lips and of skin, and
# their light, of that of lips.
TOOTH_OF_LIP, TOOTH_OF_SKIN, TOOTH_LIGHT = 0.45, 0.65, 0.7
TEETH_IOD: Final = 0.08  # as far from the opening
TOOTH_GAP_IOD: Final = 0.02
CORNER_IOD: Final = 0.10
CORNER_FILL: Final = 0.5
CORNER_HALF_IOD: Final = 0.04  # from the rim of an opening, where it is no seam
FILL_SIGMAS_IOD: Final = (0.012, 0.03, 0.08)
SKIN_TELLS: Final = 0.1  # of lips' colour, by what a lip tells of it


def fill_opening(image: Uint8Array, landmarks: Float32Array) -> Uint8Array:
    """Paint lips over what is seen between them; a copy.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px, with rims where the photo has them.
    """
    iod = fm.inter_ocular_px(landmarks)
    outline = landmarks[list(fm.OUTER_LIPS), :2]
    margin = 0.1 * iod
    size = np.array(image.shape[1::-1])
    x0, y0 = np.clip(np.floor(outline.min(0) - margin), 0, size - 2).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(outline.max(0) + margin), [x0 + 2, y0 + 2], size).astype(int).tolist()
    patch = np.ascontiguousarray(image[y0:y1, x0:x1])
    opening = np.zeros(patch.shape[:2], np.uint8)
    points = np.rint((landmarks[list(fm.INNER_LIPS), :2] - [x0, y0]) * 16).astype(np.int32)
    cv2.fillPoly(opening, [points], 255, cv2.LINE_8, 4)
    near = cv2.dilate(opening, _disc(STRAY_IOD * iod)) > 0
    lips = np.zeros_like(opening)
    points = np.rint((outline - [x0, y0]) * 16).astype(np.int32)
    cv2.fillPoly(lips, [points], 255, cv2.LINE_8, 4)
    light = cv2.GaussianBlur(patch, (0, 0), 0.6).mean(-1)
    # Against the light around, which falls off towards the corners and to the side of a shadow.
    known = ((lips > 0) & (opening == 0)).astype(np.float32) + 1e-3
    if (known > 0.5).any():
        known[light < 0.5 * np.median(light[known > 0.5])] = 1e-3
    reach = 0.12 * iod
    around = cv2.GaussianBlur(light.astype(np.float32) * known, (0, 0), reach)
    around /= cv2.GaussianBlur(known, (0, 0), reach)
    teeth = _teeth(patch, lips, opening, iod)
    hole = cv2.dilate(opening | teeth, _disc(RIM_IOD * iod))
    hole[near & (light < DARK_OF_LIP * around)] = 255
    hole = cv2.dilate(hole, _disc(1))
    corners = landmarks[list(fm.INNER_MOUTH_CORNERS), :2] - [x0, y0]
    out = image.copy()
    telling = _lipness(patch, lips, hole)
    out[y0:y1, x0:x1] = _fill(patch, hole, telling, cv2.dilate(teeth, _disc(2)), corners, iod)
    return out


def _teeth(patch: Uint8Array, lips: Uint8Array, opening: Uint8Array, iod: float) -> Uint8Array:
    """Teeth within the lips' outline that hang together with the opening, 255 in [h, w]."""
    is_lip = (lips > 0) & (opening == 0)
    none = np.zeros_like(opening)
    if not is_lip.any() or (lips > 0).all():
        return none
    redness = redness_of(patch.astype(np.float64))
    of_lips, of_skin = (float(np.median(redness[mask])) for mask in (is_lip, lips == 0))
    if of_lips < MIN_LIP_REDNESS:
        return none
    light = patch.mean(-1)
    is_tooth = redness < min(TOOTH_OF_LIP * of_lips, TOOTH_OF_SKIN * of_skin)
    is_tooth &= (lips > 0) & (light > TOOTH_LIGHT * np.median(light[is_lip]))
    is_tooth &= cv2.dilate(opening, _disc(TEETH_IOD * iod)) > 0
    # Gaps between teeth are no end of the row; a gleam on a lip has lip between it and them.
    gap = np.ones((1, 2 * round(TOOTH_GAP_IOD * iod) + 1), np.uint8)
    row = cv2.dilate(np.where(is_tooth, np.uint8(255), opening), gap)
    _, parts = cv2.connectedComponents(row)
    is_tooth &= np.isin(parts, np.unique(parts[opening > 0]))
    return np.where(is_tooth, np.uint8(255), none)


def _lipness(patch: Uint8Array, lips: Uint8Array, hole: Uint8Array) -> Float32Array:
    """How much each pixel tells of the lips' colour, float32 [h, w] in (0, 1].

    Beside the middle the upper lip of a smile is thin, and skin is as near as the lip is.
    """
    is_lip = (lips > 0) & (hole == 0)
    weight = np.where(is_lip, 1.0, SKIN_TELLS)
    if not is_lip.any():
        return weight.astype(np.float32)
    redness = redness_of(patch.astype(np.float64))
    own = float(np.median(redness[is_lip]))
    if own >= MIN_LIP_REDNESS:
        weight *= np.clip(redness / own, SKIN_TELLS, 1.0) ** 2
    return np.maximum(weight, SKIN_TELLS**2).astype(np.float32)


def _fill(
    patch: Uint8Array,
    hole: Uint8Array,
    telling: Float32Array,
    teeth: Uint8Array,
    corners: Float32Array,
    iod: float,
) -> Uint8Array:
    """Continue what surrounds a hole into it, the finer the nearer; without a seam."""
    picture = patch.astype(np.float32)
    known = (hole == 0).astype(np.float32)
    filled = np.zeros_like(picture)
    missing = np.ones_like(known)
    told = known * telling
    for sigma in FILL_SIGMAS_IOD:
        weight = cv2.GaussianBlur(told, (0, 0), sigma * iod)
        blurred = cv2.GaussianBlur(picture * told[..., None], (0, 0), sigma * iod)
        share = missing * np.clip(weight * 5.0, 0.0, 1.0)
        filled += share[..., None] * blurred / np.maximum(weight, 1e-3)[..., None]
        missing -= share
    rest = np.maximum(1.0 - missing, 1e-3)[..., None]
    cover = cv2.GaussianBlur(1.0 - known, (0, 0), 0.7)
    cover = np.maximum(cover, 1.0 - known)[..., None]
    # The seam's dark ends belong to the face as much as to the opening, teeth there do not.
    inner = cv2.distanceTransform(hole, cv2.DIST_L2, 3) / (CORNER_HALF_IOD * iod)
    is_thin = (1.0 - np.clip(inner, 0.0, 1.0) ** 2) * (1.0 - teeth / 255.0)
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]]
    for corner in corners:
        away = np.hypot(x - corner[0], y - corner[1]) / (CORNER_IOD * iod)
        kept = (1.0 - CORNER_FILL) * is_thin * (1.0 - np.clip(away, 0.0, 1.0) ** 2)
        cover *= 1.0 - kept[..., None]
    mixed = picture + cover * (filled / rest - picture)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _disc(radius_px: float) -> Uint8Array:
    size = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
