"""The search for rims of spectacles: the loops around both eyes along the strongest strokes.

The work is done on an upright picture of the eyes, `PX` pixels to an inter-ocular distance (IOD).
A stroke differs from what is on either side of it. Axes: A rays around an eye, R places on each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

__all__ = [
    "ANGLES",
    "BELOW_BROW",
    "BESIDE_PX",
    "FIRST_PX",
    "LOWER",
    "MIRRORED",
    "NO_GAIN",
    "NUM_ANGLES",
    "PX",
    "REACH_IOD",
    "Loop",
    "Make",
    "Rays",
    "find_loop",
    "find_pair",
    "gain_of",
    "mirrored_paths",
    "points_in",
    "strongest_path",
    "upright",
    "upright_eyes",
]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

PX: Final = 128.0
REACH_IOD: Final = (0.85, 0.56)  # aside and up or down from between the eyes
NUM_ANGLES: Final = 72
RADII_IOD: Final = (0.10, 0.46)
EDGE_PX: Final = 12  # more of the rays at both ends, for what is beside a stroke
FIRST_PX: Final = RADII_IOD[0] * PX - EDGE_PX
BELOW_EYE_IOD: Final = 0.03  # where a lens has its middle
# A rim leaves the eye's opening, its lashes and the folds beneath it alone.
OFF_EYE_IOD: Final = 0.03
OFF_LOWER_LID_IOD: Final = 0.07
WIDTHS_PX: Final = np.array([2, 3, 4, 5, 6, 8, 10, 13])
BESIDE_PX: Final = 2  # of each side: what is further off makes a stroke of every soft ridge
# The make of a rim: its width against that below the eyes, thick tops of frames included.
NARROWER: Final = 0.5
WIDER: Final = 1.9
LEAST_SPREAD: Final = 40.0  # levels of their colour
SLOPE_COST: Final = 0.5  # of what turns from one colour to another within a stroke
WIDE_COST: Final = 0.02  # of a stroke's strength, for each px that it is wider than the least
HALF_GAIN: Final = 20.0  # levels, of a stroke that counts half
BEND_COST: Final = 0.25  # for each px between one ray and the next
MAX_STEP: Final = 3
NO_GAIN: Final = np.float32(-1.0)
UNEVEN_PX: Final = 5  # by which one rim may differ from the other
STRONG: Final = 6.0  # levels, of a stroke that tells what rims are like

ANGLES: Final = np.arange(NUM_ANGLES) * (2.0 * np.pi / NUM_ANGLES)
LOWER: Final = np.sin(ANGLES) > 0.34
BELOW_BROW: Final = np.sin(ANGLES) > -0.3
MIRRORED: Final = (NUM_ANGLES // 2 - np.arange(NUM_ANGLES)) % NUM_ANGLES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Make:
    """What the rims of a pair of spectacles are like.

    Attributes:
        widths: int64 [W], of `WIDTHS_PX`.
        colour: float32 [3], RGB.
        spread: Levels by which it varies, with gleams and patterns.
    """

    widths: Int64Array
    colour: Float32Array
    spread: float

    @classmethod
    def of(cls, loops: tuple[Loop, Loop]) -> Make:
        """What the lower halves show, which no brow touches."""
        width = float(np.median([loop.width[LOWER] for loop in loops]))
        inside = (NARROWER * width <= WIDTHS_PX) & (WIDER * width >= WIDTHS_PX)
        rows = np.arange(NUM_ANGLES)
        seen = np.concatenate([loop.rays[rows, loop.path()][BELOW_BROW] for loop in loops])
        strength = np.concatenate([loop.strength[BELOW_BROW] for loop in loops])
        seen = seen[strength > STRONG]
        colour = np.median(seen, 0)
        spread = float(np.sqrt(((seen - colour) ** 2).mean()))
        return cls(widths=WIDTHS_PX[inside], colour=colour, spread=max(spread, LEAST_SPREAD))

    def likeness(self, rays: Float32Array) -> Float32Array:
        """How much colours, float32 [A, R, 3], are the rims' own: float32 [A, R], up to 1."""
        apart = ((cv2.blur(rays, (3, 1)) - self.colour) ** 2).mean(-1)
        return np.asarray(1.0 / (1.0 + apart / self.spread**2), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loop:
    """The loop of strokes around one eye, in the upright picture.

    Attributes:
        centre: float64 [2], px.
        radius: float64 [A], px, middle of the stroke.
        strength: float32 [A], levels.
        width: int64 [A], its width, px, roughly.
        rays: float32 [A, R, 3], what is seen from `FIRST_PX` outwards.
        noise: Levels of the strokes that lie around.
    """

    centre: Float64Array
    radius: Float64Array
    strength: Float32Array
    width: Int64Array
    rays: Float32Array
    noise: float

    def path(self) -> Int64Array:
        """Middle of the stroke on the rays, int64 [A]."""
        return np.rint(self.radius - FIRST_PX).astype(np.int64)

    def at(self, radius: Float64Array) -> Float64Array:
        """Points at radii [A], px of the upright picture [A, 2]."""
        way = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
        return np.asarray(self.centre + way * radius[:, None])


def upright_eyes(image: Uint8Array, landmarks: Float32Array) -> tuple[Float32Array, Float64Array]:
    """The eyes, level and of one size: float32 [H, W, 3], and the way back, float64 [2, 3]."""
    aside, around = REACH_IOD
    return upright(image, landmarks, PX, (aside, around), (2 * aside, 2 * around))


def upright(
    image: Uint8Array,
    landmarks: Float32Array,
    iod_px: float,
    before: tuple[float, float],
    extent: tuple[float, float],
) -> tuple[Float32Array, Float64Array]:
    """A part of a face, level and of one size.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [>= 468, >= 2], px.
        iod_px: How large it is to be, px to an IOD.
        before: How much of it lies left of and above the middle between the eyes, IOD.
        extent: Its width and height, IOD.

    Returns:
        The part, float32 [h, w, 3], and the affine map from its pixels to the image's, float64
        [2, 3].
    """
    iod = fm.inter_ocular_px(landmarks)
    right, left = landmarks[list(fm.OUTER_EYE_CORNERS), :2].astype(np.float64)
    along = (left - right) / iod
    axes = np.stack([along, [-along[1], along[0]]], 1) * (iod / iod_px)
    reach = np.array(before) * iod_px
    back = np.column_stack([axes, 0.5 * (left + right) - axes @ reach])
    size = (int(extent[0] * iod_px), int(extent[1] * iod_px))
    source = image.astype(np.float32)
    if iod > iod_px:  # finer than it is needed
        source = cv2.GaussianBlur(source, (0, 0), 0.4 * iod / iod_px)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(source, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, np.float32), back


def points_in(landmarks: Float32Array, back: Float64Array) -> Float64Array:
    """Landmarks [K, >= 2], px, in what `upright` gave with the way `back`: float64 [K, 2]."""
    inverse = cv2.invertAffineTransform(back)
    return np.asarray(landmarks[:, :2].astype(np.float64) @ inverse[:, :2].T + inverse[:, 2])


@kernel
def strokes(rays: Float32Array, widths: Int64Array) -> tuple[Float32Array, Int64Array]:
    """How much every place of rays is in the middle of a stroke across them.

    Args:
        rays: float32 [A, R, 3], colours along A rays.
        widths: int64 [W], px, that a stroke may have.

    Returns:
        Strength, float32 [A, R], levels: what a stroke differs by from both its sides; and its
        width, int64 [A, R], px.
    """
    num_rays, length, _ = rays.shape
    best = np.zeros((num_rays, length), np.float32)
    width = np.full((num_rays, length), widths[0])
    sums = np.zeros((length + 1, 3))
    for a in range(num_rays):
        for r in range(length):
            for c in range(3):
                sums[r + 1, c] = sums[r, c] + rays[a, r, c]
        for pixels in widths:
            for r in range(BESIDE_PX + pixels // 2, length - BESIDE_PX - pixels + pixels // 2):
                start = r - pixels // 2
                end = start + pixels
                third = max(pixels // 3, 1)
                both, before, after, within = 0.0, 0.0, 0.0, 0.0
                for c in range(3):
                    middle = (sums[end, c] - sums[start, c]) / pixels
                    first = middle - (sums[start, c] - sums[start - BESIDE_PX, c]) / BESIDE_PX
                    second = middle - (sums[end + BESIDE_PX, c] - sums[end, c]) / BESIDE_PX
                    slope = sums[start + third, c] - sums[start, c]
                    slope -= sums[end, c] - sums[end - third, c]
                    both += first * second
                    before += first * first
                    after += second * second
                    within += (slope / third) ** 2
                if both > 0.0:
                    # A stroke has edges: what only turns from one colour to another is none.
                    strength = math.sqrt(min(both, before, after) / 3.0)
                    strength -= SLOPE_COST * math.sqrt(within / 3.0)
                    strength *= 1.0 - WIDE_COST * (pixels - widths[0])
                    if strength > best[a, r]:
                        best[a, r], width[a, r] = strength, pixels
    return best, width


@kernel
def best_path(gain: Float32Array, bend_cost: float, max_step: int) -> Int64Array:
    """The path from the first to the last row, int64 [A], with the most gain, float32 [A, R]."""
    num_rows, length = gain.shape
    total = gain[0].astype(np.float64)
    came_from = np.zeros((num_rows, length), np.int64)
    for i in range(1, num_rows):
        new = np.empty(length)
        for r in range(length):
            best, at = -1e18, r
            for step in range(-max_step, max_step + 1):
                if 0 <= r + step < length:
                    value = total[r + step] - bend_cost * abs(step)
                    if value > best:
                        best, at = value, r + step
            new[r] = best + gain[i, r]
            came_from[i, r] = at
        total = new
    path = np.empty(num_rows, np.int64)
    path[-1] = np.argmax(total)
    for i in range(num_rows - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rays:
    """What is seen from the middle of a lens outwards.

    Attributes:
        centre: float64 [2], px of the upright picture.
        colours: float32 [A, R, 3], from `FIRST_PX` on, a pixel apart.
        is_free: bool [A, R], where a rim may be.
    """

    centre: Float64Array
    colours: Float32Array
    is_free: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, picture: Float32Array, eye: Float64Array) -> Rays:
        """Look out from an eye.

        Args:
            picture: float32 [H, W, 3], of `upright_eyes`.
            eye: float64 [K, 2], opening of the eye, a corner first and one in the middle, px.
        """
        centre = 0.5 * (eye[0] + eye[len(eye) // 2]) + np.array([0.0, BELOW_EYE_IOD * PX])
        radii = np.arange(FIRST_PX, RADII_IOD[1] * PX + EDGE_PX)
        x, y = (
            (centre[k] + f(ANGLES)[:, None] * radii[None]).astype(np.float32)
            for k, f in enumerate((np.cos, np.sin))
        )
        colours = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_free = radii[None] >= _least_radius(eye - centre)[:, None]
        return cls(centre=centre, colours=colours, is_free=is_free)

    def radius_at(self, path: Int64Array) -> Float64Array:
        """Distance from the middle of places on the rays, int64 [A]: float64 [A], px."""
        return np.asarray(path + FIRST_PX, np.float64)


def _loop(rays: Rays, path: Int64Array, strength: Float32Array, width: Int64Array) -> Loop:
    at = (np.arange(NUM_ANGLES), path)
    return Loop(
        centre=rays.centre,
        radius=rays.radius_at(path),
        strength=strength[at],
        width=width[at],
        rays=rays.colours,
        noise=float(np.median(strength[rays.is_free])),
    )


def _closed_path(gain: Float32Array) -> Int64Array:
    """The path around with the most gain, float32 [A, R]: int64 [A]."""
    # Three rounds, of which the middle one neither begins nor ends.
    path = best_path(np.tile(gain, (3, 1)), BEND_COST, MAX_STEP)
    return path[NUM_ANGLES : 2 * NUM_ANGLES]


def find_loop(rays: Rays) -> Loop:
    """The loop of the strongest strokes around an eye."""
    strength, width = strokes(rays.colours, WIDTHS_PX)
    path = _closed_path(np.where(rays.is_free, gain_of(strength), NO_GAIN))
    return _loop(rays, path, strength, width)


def find_pair(both: tuple[Rays, Rays], make: Make) -> tuple[Loop, Loop]:
    """The loops of two rims of a make, which are each other's mirror image, more or less."""
    found = [strokes(rays.colours, make.widths) for rays in both]
    gains = [
        np.where(rays.is_free, gain_of(strength) * make.likeness(rays.colours), NO_GAIN)
        for rays, (strength, _) in zip(both, found, strict=True)
    ]
    left, right = (
        _loop(rays, path, *strokes_of)
        for rays, path, strokes_of in zip(both, mirrored_paths(gains), found, strict=True)
    )
    return left, right


def mirrored_paths(gains: list[Float32Array]) -> tuple[Int64Array, Int64Array]:
    """The paths with the most gain, float32 [A, R] each, that are mirror images, more or less."""
    near = np.ones((1, 2 * UNEVEN_PX + 1), np.uint8)
    wide = [cv2.dilate(gain, near) for gain in gains]
    middle = _closed_path(np.asarray(wide[0] + wide[1][MIRRORED], np.float32))
    left, right = (
        _closed_path(
            np.where(
                np.abs(np.arange(gain.shape[1])[None] - path[:, None]) <= UNEVEN_PX, gain, NO_GAIN
            )
        )
        for gain, path in zip(gains, (middle, middle[MIRRORED]), strict=True)
    )
    return left, right


def gain_of(strength: Float32Array) -> Float32Array:
    """What strokes count for a path; the ends of rays are only there for what is beside them."""
    gain = strength / (strength + np.float32(HALF_GAIN))
    gain[:, :EDGE_PX] = gain[:, -EDGE_PX:] = NO_GAIN
    return np.asarray(gain, np.float32)


def _least_radius(eye: Float64Array) -> Float64Array:
    """Distance, px, that a rim has from the middle of a lens at least: float64 [A]."""
    closed = np.concatenate([eye, eye[:1]])
    share = np.linspace(0.0, 1.0, 8, endpoint=False)[:, None, None]
    points = (closed[:-1] + share * (closed[1:] - closed[:-1])).reshape(-1, 2)
    angle, radius = np.arctan2(points[:, 1], points[:, 0]), np.hypot(*points.T)
    order = np.argsort(angle)
    opening = np.interp(ANGLES, angle[order], radius[order], period=2.0 * np.pi)
    below = np.clip(np.sin(ANGLES), 0.0, 1.0) ** 2
    return np.asarray(opening + PX * (OFF_EYE_IOD + below * OFF_LOWER_LID_IOD))


def strongest_path(rays: Float32Array) -> tuple[Int64Array, Float32Array, Int64Array]:
    """The strongest stroke across rays, float32 [A, R, 3], from the first to the last of them.

    Returns:
        Its middle, int64 [A], its strength, float32 [A], and its width, int64 [A], px.
    """
    strength, width = strokes(rays, WIDTHS_PX)
    path = best_path(gain_of(strength), BEND_COST, MAX_STEP)
    at = (np.arange(len(rays)), path)
    return path, strength[at], width[at]
