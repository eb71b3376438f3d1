"""Backgrounds of bricks, books or leaves: where they are, and how they go on behind a person.

What is behind a person is guessed from patches: a texture goes on as it does further out. Which
ways to look is told by the background itself, by the shifts under which most of it is like itself
(the period of bricks, the height of a shelf); which of them is right beside a place of the rim, by
what a shift makes of the rim there.

Axis letters: H rows, W columns.

Source: He, Sun, "Statistics of Patch Offsets for Image Completion", ECCV 2012.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from parlante.types import Float32Array, Uint8Array

__all__ = ["LIGHTNESS", "busy_beside", "go_on"]

Shift = tuple[int, int]

# Texture counts up to so many levels of 255, as a single edge is none. Beside the person 22 photos
# have 4 of it at most, noise of 16 levels as much, a dark post before a light wall 5.6; leaves,
# bricks and books have 7 to 9.
MOST_LEVELS: Final = 10
BUSY_LEVELS: Final = (5.2, 6.2)
TEXTURE_PX: Final = (1.4, 4.0)  # finer is noise, coarser is shade
BESIDE_PX: Final = (14, 60)  # from the person, where the background is sure
LEAST_BESIDE: Final = 0.1  # of a window around a place: less of it is too little to tell
# Shifts: so many of those that the background likes best, and a few levels and plumb ones.
NUM_LIKED: Final = 40
SHIFT_PX: Final = (20, 150)
NEIGHBOUR_PX: Final = 3  # of a liked shift, which are no other ones
STEP_PX: Final = 16
LEVEL_PX: Final = 112
CALM_PX: Final = 12.0  # shade that is no texture
LEAST_OVERLAP: Final = 0.05
# The rim that a shift must make again, and the windows in which it must, px.
RIM_PX: Final = 16.0
WINDOWS_PX: Final = (121, 81)
LEAST_RIM: Final = 0.02  # of a window
# From the rim inwards it goes on so far, and has faded away from there on, px.
REACH_PX: Final = (40.0, 60.0)
MEDIAN_PX: Final = 5
LIGHTNESS: Final = np.full((1, 3), 1.0 / 3.0, np.float32)  # of `cv2.transform`
_CLEAN_SHAPE: Final = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def busy_beside(rgb: Uint8Array, person: Float32Array) -> Float32Array:
    """Tell where the background beside a person has edges of its own all over.

    Args:
        rgb: uint8 [H, W, 3].
        person: float32 [H, W], 1 = person.

    Returns:
        float32 [H, W] in [0, 1], on the person and right beside; 0 elsewhere.
    """
    half = np.ascontiguousarray(rgb[::2, ::2])  # tells it as well
    fine, coarse = (cv2.GaussianBlur(half, (0, 0), width / 2) for width in TEXTURE_PX)
    texture = np.minimum(cv2.transform(cv2.absdiff(fine, coarse), LIGHTNESS), MOST_LEVELS)
    outside = (person[::2, ::2] < 0.5).astype(np.uint8)
    away = 2.0 * cv2.distanceTransform(outside, cv2.DIST_L2, 3)
    near, far = BESIDE_PX
    beside = ((away > near) & (away < far)).astype(np.float32)
    window = (far + 1, far + 1)
    seen = cv2.blur(beside, window)
    mean = cv2.blur(texture * beside, window) / np.maximum(seen, LEAST_BESIDE)
    quiet, busy = BUSY_LEVELS
    share = np.clip((mean - quiet) / (busy - quiet), 0.0, 1.0) * (away < near)
    return np.asarray(cv2.resize(share.astype(np.float32), person.shape[::-1]), np.float32)


def go_on(picture: Float32Array, known: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Let a texture go on from its rim into a hole.

    Args:
        picture: float32 [H, W, 3], levels of 255.
        known: float32 [H, W], 1 where it shows the background.

    Returns:
        The texture, float32 [H, W, 3], and how far into the hole it is to be seen, [H, W] in
        [0, 1]; 0 where the picture is known, but for the hole's very rim, and where no shift leads
        to what is.
    """
    # Right beside the hole a little of the person may be left.
    is_known = cv2.erode(known, _CLEAN_SHAPE, borderValue=1.0) > 0.0
    shifts = _liked_shifts(picture, is_known)
    chosen = _choose(picture, is_known, shifts)
    y, x = np.nonzero(~is_known & (chosen >= 0))
    to = np.array(shifts)[chosen[y, x]]
    from_x, from_y = x + to[:, 0], y + to[:, 1]
    height, width = known.shape
    is_there = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    is_there[is_there] = is_known[from_y[is_there], from_x[is_there]]
    texture, share = picture.copy(), np.zeros_like(known)
    y, x = y[is_there], x[is_there]
    texture[y, x] = picture[from_y[is_there], from_x[is_there]]
    share[y, x] = 1.0
    away = cv2.distanceTransform((~is_known).astype(np.uint8), cv2.DIST_L2, 3)
    near, far = REACH_PX
    return texture, np.asarray(share * np.clip((far - away) / (far - near), 0.0, 1.0), np.float32)


def _liked_shifts(picture: Float32Array, is_known: npt.NDArray[np.bool_]) -> list[Shift]:
    """Shifts (x, y), px, under which most of the background is like itself, and plain ones."""
    known = is_known.astype(np.float32)
    grey = cv2.transform(picture, LIGHTNESS) * known
    mean = cv2.GaussianBlur(grey, (0, 0), CALM_PX)
    mean /= np.maximum(cv2.GaussianBlur(known, (0, 0), CALM_PX), 1e-3)
    least, most = SHIFT_PX
    overlap = np.maximum(_with_itself(known, most), LEAST_OVERLAP * max(float(known.sum()), 1.0))
    like = _with_itself(grey - mean * known, most) / overlap
    y, x = np.mgrid[-most : most + 1, -most : most + 1]
    like[np.hypot(x, y) < least] = -np.inf
    shifts: list[Shift] = []
    for _ in range(NUM_LIKED):
        row, column = (int(index) for index in np.unravel_index(like.argmax(), like.shape))
        shifts.append((column - most, row - most))
        beside = (slice(max(at - NEIGHBOUR_PX, 0), at + NEIGHBOUR_PX + 1) for at in (row, column))
        like[tuple(beside)] = -np.inf
    plain = [step for step in range(-LEVEL_PX, LEVEL_PX + 1, STEP_PX) if abs(step) >= least]
    return shifts + [(step, 0) for step in plain] + [(0, step) for step in plain]


def _with_itself(values: Float32Array, most: int) -> Float32Array:
    """Sums of products of values with themselves, shifted: [2 most + 1, 2 most + 1]."""
    size = tuple(fft.next_fast_len(side + most, real=True) for side in values.shape)
    spectrum = fft.rfft2(values, size)
    sums = fft.irfft2(spectrum.real**2 + spectrum.imag**2, size)
    return np.asarray(np.roll(sums, (most, most), (0, 1))[: 2 * most + 1, : 2 * most + 1])


def _choose(
    picture: Float32Array, is_known: npt.NDArray[np.bool_], shifts: list[Shift]
) -> npt.NDArray[np.intp]:
    """Index of the shift that makes the rim beside each place again, -1 where none does: [H, W].

    Every other pixel tells it as well.
    """
    half = np.clip(picture[::2, ::2], 0, 255).astype(np.uint8)
    known = is_known[::2, ::2]
    inside = 2.0 * cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, 3)
    rim = (known & (inside < RIM_PX)).astype(np.float32)
    least = np.full(known.shape, np.inf, np.float32)
    chosen = np.full(known.shape, -1.0, np.float32)
    for index, (x, y) in enumerate(shifts):
        to = np.array([[1, 0, -(x // 2)], [0, 1, -(y // 2)]], np.float32)
        size = known.shape[::-1]
        moved = cv2.warpAffine(half, to, size, flags=cv2.INTER_NEAREST)
        leads = cv2.warpAffine(known.astype(np.uint8), to, size, flags=cv2.INTER_NEAREST)
        seen = rim * leads
        differs = cv2.transform(cv2.absdiff(half, moved), LIGHTNESS) * seen
        cost = np.full(known.shape, np.inf, np.float32)
        for window_px in WINDOWS_PX:
            window = (window_px // 2 | 1,) * 2
            there = cv2.blur(seen, window)
            mean = cv2.blur(differs, window) / np.maximum(there, 1e-6)
            cost = np.where(there > LEAST_RIM, mean, cost)
        is_better = (leads > 0) & (cost < least)
        least[is_better] = cost[is_better]
        chosen[is_better] = index
    full = cv2.resize(chosen, is_known.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.medianBlur(full, MEDIAN_PX), np.intp)
