"""Spectacles in a portrait: where their rims, bridge and arms are, or that there are none.

A rim is a thin stroke around an eye that differs from what is on either side of it, and goes on
below the eye and beside the nose, where no bare face has one. Around each eye the loop along the
strongest strokes is looked for; both must hold together, look like each other's mirror image, and
have a bridge between them over the nose. All of that is asked for: a face without spectacles is
to be left alone.

The work is done on an upright picture of the eyes, `PX` pixels to an inter-ocular distance (IOD).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from parlante.models import face_mesh as fm
from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

__all__ = ["Spectacles", "Strip", "find_spectacles"]

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
BESIDE_PX: Final = 2  # of each side, OFF_PX off the stroke
OFF_PX: Final = 0
# The make of a rim: its width against that below the eyes, thick tops of frames included.
NARROWER: Final = 0.5
WIDER: Final = 1.9
LEAST_SPREAD: Final = 40.0  # levels
SLOPE_COST: Final = 0.5
WIDE_COST: Final = 0.02
HALF_GAIN: Final = 20.0  # levels, of a stroke that counts half
BEND_COST: Final = 0.25
MAX_STEP: Final = 3
NO_GAIN: Final = np.float32(-1.0)
UNEVEN_PX: Final = 5  # by which one rim may differ from the other

LEAST_STRENGTH: Final = 6.0  # levels
BARE_NOSE_STRENGTH: Final = 10.0  # of rims whose bridge is not seen: a clear one, or behind hair
OVER_NOISE: Final = 1.5  # times the strokes that lie around
LOW_QUANTILE: Final = 0.2  # so much of a rim may be hidden or lie before its own colour
MAX_ASYMMETRY_IOD: Final = 0.06
EDGE_MEDIAN: Final = 7
EDGE_SHARE: Final = 0.4  # of a stroke's colour, where it ends
LEAST_HALF_PX: Final = 0.5
LINE_IOD: Final = (-0.36, 0.3)  # above and below the eyes, where bridges and arms are
OVERLAP_PX: Final = 3  # of a bridge or an arm with the rim
EARS: Final = (234, 454)  # landmarks before them, image left and right
PAST_EAR_IOD: Final = 0.06
MAX_ARM_IOD: Final = 0.4
LEAST_ARM_PX: Final = 4
ARM_GAP_PX: Final = 5
ARM_SHARE: Final = 0.35  # of a rim's strength that an arm has at least

_ANGLES: Final = np.arange(NUM_ANGLES) * (2.0 * np.pi / NUM_ANGLES)
_LOWER: Final = np.sin(_ANGLES) > 0.34
_BELOW_BROW: Final = np.sin(_ANGLES) > -0.3
_MIRRORED: Final = (NUM_ANGLES // 2 - np.arange(NUM_ANGLES)) % NUM_ANGLES
_EYES: Final = (
    (33, *fm.RIGHT_UPPER_LID, 133, *fm.RIGHT_LOWER_LID[::-1]),
    (362, *fm.LEFT_UPPER_LID[::-1], 263, *fm.LEFT_LOWER_LID),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """A piece of a frame: what lies between two lines.

    Attributes:
        first: float64 [K, 2], px of the portrait.
        second: float64 [K, 2], the points across from those of `first`.
    """

    first: Float64Array
    second: Float64Array

    def moved(self, way: Float64Array) -> Strip:
        """The strip after an affine map, float64 [2, 3]."""
        first, second = (line @ way[:, :2].T + way[:, 2] for line in (self.first, self.second))
        return Strip(first=first, second=second)

    def grown(self, px: float) -> Strip:
        """The strip with so much more on both sides; less leaves half a pixel from its middle."""
        across = self.second - self.first
        length = np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
        by = np.maximum(px, LEAST_HALF_PX - 0.5 * length) * across / length
        return Strip(first=self.first - by, second=self.second + by)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spectacles:
    """The frame of spectacles.

    Attributes:
        rims: Around the eye at image left and at image right; the last point is the first.
        bridge: From one rim to the other, if it is seen.
        arms: From the rims outwards, as far as they are seen; at image left, at image right.
    """

    rims: tuple[Strip, Strip]
    bridge: Strip | None
    arms: tuple[Strip | None, Strip | None]

    def scaled(self, zoom: float) -> Spectacles:
        """The spectacles on a portrait that is so many times as large."""
        return self.moved(np.array([[zoom, 0.0, 0.0], [0.0, zoom, 0.0]]))

    def moved(self, way: Float64Array) -> Spectacles:
        """The spectacles after an affine map, float64 [2, 3]."""
        left, right = (rim.moved(way) for rim in self.rims)
        bridge = None if self.bridge is None else self.bridge.moved(way)
        first, second = (None if arm is None else arm.moved(way) for arm in self.arms)
        return Spectacles(rims=(left, right), bridge=bridge, arms=(first, second))


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
        width = float(np.median([loop.width[_LOWER] for loop in loops]))
        inside = (NARROWER * width <= WIDTHS_PX) & (WIDER * width >= WIDTHS_PX)
        rows = np.arange(NUM_ANGLES)
        seen = np.concatenate([loop.rays[rows, loop.path()][_BELOW_BROW] for loop in loops])
        strength = np.concatenate([loop.strength[_BELOW_BROW] for loop in loops])
        seen = seen[strength > LEAST_STRENGTH]
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
        way = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
        return np.asarray(self.centre + way * radius[:, None])


def upright_eyes(image: Uint8Array, landmarks: Float32Array) -> tuple[Float32Array, Float64Array]:
    """The eyes, level and of one size: float32 [H, W, 3], and the way back, float64 [2, 3]."""
    iod = fm.inter_ocular_px(landmarks)
    right, left = landmarks[list(fm.OUTER_EYE_CORNERS), :2].astype(np.float64)
    along = (left - right) / iod
    axes = np.stack([along, [-along[1], along[0]]], 1) * (iod / PX)
    reach = np.array(REACH_IOD) * PX
    back = np.column_stack([axes, 0.5 * (left + right) - axes @ reach])
    size = (int(2 * reach[0]), int(2 * reach[1]))
    source = image.astype(np.float32)
    if iod > PX:  # finer than it is needed
        source = cv2.GaussianBlur(source, (0, 0), 0.4 * iod / PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(source, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, np.float32), back


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
            for r in range(BESIDE_PX + 1 + pixels // 2, length - BESIDE_PX - 1 - pixels // 2):
                start = r - pixels // 2
                end = start + pixels
                third = max(pixels // 3, 1)
                both, before, after, within = 0.0, 0.0, 0.0, 0.0
                for c in range(3):
                    middle = (sums[end, c] - sums[start, c]) / pixels
                    first = (
                        middle
                        - (sums[start - OFF_PX, c] - sums[start - OFF_PX - BESIDE_PX, c])
                        / BESIDE_PX
                    )
                    second = (
                        middle
                        - (sums[end + OFF_PX + BESIDE_PX, c] - sums[end + OFF_PX, c]) / BESIDE_PX
                    )
                    slope = (
                        sums[start + third, c]
                        - sums[start, c]
                        - sums[end, c]
                        + sums[end - third, c]
                    )
                    both += first * second
                    before += first * first
                    after += second * second
                    within += (slope / third) ** 2
                if both > 0.0:
                    # A stroke has edges: what only turns from one colour to another is none.
                    strength = math.sqrt(min(both, before, after) / 3.0) - SLOPE_COST * math.sqrt(
                        within / 3.0
                    )
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
            (centre[k] + f(_ANGLES)[:, None] * radii[None]).astype(np.float32)
            for k, f in enumerate((np.cos, np.sin))
        )
        colours = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_free = radii[None] >= _least_radius(eye - centre)[:, None]
        return cls(centre=centre, colours=colours, is_free=is_free)


def _loop(rays: Rays, gain: Float32Array, strength: Float32Array, width: Int64Array) -> Loop:
    path = _closed_path(gain)
    at = (np.arange(NUM_ANGLES), path)
    return Loop(
        centre=rays.centre,
        radius=path + FIRST_PX,
        strength=strength[at],
        width=width[at],
        rays=rays.colours,
        noise=float(np.median(strength[rays.is_free])),
    )


def _closed_path(gain: Float32Array) -> Int64Array:
    # Three rounds, of which the middle one neither begins nor ends.
    path = best_path(np.tile(gain, (3, 1)), BEND_COST, MAX_STEP)
    return path[NUM_ANGLES : 2 * NUM_ANGLES]


def find_loop(rays: Rays) -> Loop:
    """The loop of the strongest strokes around an eye."""
    strength, width = strokes(rays.colours, WIDTHS_PX)
    return _loop(rays, np.where(rays.is_free, _gain(strength), NO_GAIN), strength, width)


def find_pair(both: tuple[Rays, Rays], make: Make) -> tuple[Loop, Loop]:
    """The loops of two rims of a make, which are each other's mirror image, more or less."""
    found = [strokes(rays.colours, make.widths) for rays in both]
    gains = [
        np.where(rays.is_free, _gain(strength) * make.likeness(rays.colours), NO_GAIN)
        for rays, (strength, _) in zip(both, found, strict=True)
    ]
    near = np.ones((1, 2 * UNEVEN_PX + 1), np.uint8)
    wide = [cv2.dilate(gain, near) for gain in gains]
    middle = _closed_path(np.asarray(wide[0] + wide[1][_MIRRORED], np.float32))
    loops = []
    for rays, gain, (strength, width), path in zip(
        both, gains, found, (middle, middle[_MIRRORED]), strict=True
    ):
        apart = np.abs(np.arange(gain.shape[1])[None] - path[:, None])
        loops.append(_loop(rays, np.where(apart <= UNEVEN_PX, gain, NO_GAIN), strength, width))
    return loops[0], loops[1]


def _gain(strength: Float32Array) -> Float32Array:
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
    opening = np.interp(_ANGLES, angle[order], radius[order], period=2.0 * np.pi)
    below = np.clip(np.sin(_ANGLES), 0.0, 1.0) ** 2
    return np.asarray(opening + PX * (OFF_EYE_IOD + below * OFF_LOWER_LID_IOD))


def _halves(
    rays: Float32Array, path: Int64Array, width: Int64Array, mode: str
) -> tuple[Float64Array, Float64Array]:
    """How far strokes reach from their middle: backwards and onwards, float64 [A], px."""
    out = np.empty((2, len(path)))
    for i, (ray, middle, pixels) in enumerate(zip(rays, path, width, strict=True)):
        half = int(pixels) // 2
        core = min(half // 2, 1)
        stroke = ray[middle - core : middle + core + 1].mean(0)
        for sign, reach in ((-1, out[0]), (1, out[1])):
            line = ray[middle + sign * np.arange(half + BESIDE_PX + 2)]
            beside = line[half + 2 :].mean(0)
            way = stroke - beside
            share = (line - beside) @ way / max(float(way @ way), 1e-6)
            reach[i] = int(np.argmin(share >= EDGE_SHARE))
    smooth = (median_filter(half, EDGE_MEDIAN, mode=mode) for half in out)
    most = 0.5 * float(width.max()) + 1.0
    backwards, onwards = (np.clip(half, 1.0, most) for half in smooth)
    return backwards, onwards


# --- what is asked for ---------------------------------------------------------------------------


def find_spectacles(image: Uint8Array, landmarks: Float32Array) -> Spectacles | None:
    """Find the frame of spectacles in a portrait.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [478, 3], px.

    Returns:
        The frame, or None where it is not certain that there is one.
    """
    picture, back = upright_eyes(image, landmarks)
    inverse = cv2.invertAffineTransform(back)
    points = landmarks[:, :2].astype(np.float64) @ inverse[:, :2].T + inverse[:, 2]
    rays = tuple(Rays.of(picture, points[list(eye)]) for eye in _EYES)
    left, right = (find_loop(around) for around in rays)
    if not (_is_rim(left) and _is_rim(right)):
        return None
    if np.median(np.abs(left.radius - right.radius[_MIRRORED])) > MAX_ASYMMETRY_IOD * PX:
        return None
    pair = _outlined((rays[0], rays[1]), Make.of((left, right)))
    if pair is None:
        return None
    left, right = pair
    bridge = _bridge(picture, left, right)
    strength = min(float(np.quantile(loop.strength, LOW_QUANTILE)) for loop in (left, right))
    if bridge is None and strength < BARE_NOSE_STRENGTH:
        return None
    first, second = (
        _arm(picture, loop, float(points[ear, 0]), strength)
        for loop, ear in zip((left, right), EARS, strict=True)
    )
    found = Spectacles(rims=(_rim(left), _rim(right)), bridge=bridge, arms=(first, second))
    return found.moved(back)


def _outlined(rays: tuple[Rays, Rays], make: Make) -> tuple[Loop, Loop] | None:
    """The loops of two rims of a make; thin metal, all gleams, may have no colour of its own."""
    for spread in (make.spread, np.inf):
        pair = find_pair(rays, replace(make, spread=spread))
        if _is_rim(pair[0]) and _is_rim(pair[1]):
            return pair
    return None


def _is_rim(loop: Loop) -> bool:
    """Whether a loop is a stroke below the eye and all around it."""
    least = max(LEAST_STRENGTH, OVER_NOISE * loop.noise)
    below, around = (
        float(np.quantile(strength, LOW_QUANTILE))
        for strength in (loop.strength[_LOWER], loop.strength)
    )
    return below > least and around > 0.7 * least


def _rim(loop: Loop) -> Strip:
    """The strip of a rim."""
    inwards, outwards = _halves(loop.rays, loop.path(), loop.width, mode="wrap")
    inner, outer = loop.at(loop.radius - inwards), loop.at(loop.radius + outwards)
    return Strip(first=np.vstack([inner, inner[:1]]), second=np.vstack([outer, outer[:1]]))


def _line(
    picture: Float32Array, columns: Int64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """The strongest stroke across columns: rows where it begins and ends, and its strength."""
    middle = REACH_IOD[1]
    top, bottom = (int((middle + edge) * PX) for edge in LINE_IOD)
    rays = picture[top:bottom, np.clip(columns, 0, picture.shape[1] - 1)].transpose(1, 0, 2)
    rays = np.ascontiguousarray(rays)
    strength, width = strokes(rays, WIDTHS_PX)
    path = best_path(_gain(strength), BEND_COST, MAX_STEP)
    at = (np.arange(len(columns)), path)
    upwards, downwards = _halves(rays, path, width[at], mode="nearest")
    return top + path - upwards, top + path + downwards, strength[at]


def _bridge(picture: Float32Array, left: Loop, right: Loop) -> Strip | None:
    """The bridge between two rims, or None where nothing crosses the nose."""
    begin = float(left.at(left.radius + 0.5 * left.width)[:, 0].max())
    end = float(right.at(right.radius + 0.5 * right.width)[:, 0].min())
    columns = np.arange(int(begin) - OVERLAP_PX, int(end) + OVERLAP_PX + 1)
    if len(columns) < 2 * OVERLAP_PX:
        return None
    upper, lower, strength = _line(picture, columns)
    between = strength[OVERLAP_PX + 1 : -OVERLAP_PX - 1]
    if len(between) > 0 and np.quantile(between, LOW_QUANTILE) < LEAST_STRENGTH:
        return None
    return Strip(first=np.stack([columns, upper], 1), second=np.stack([columns, lower], 1))


def _arm(picture: Float32Array, loop: Loop, ear: float, strength: float) -> Strip | None:
    """What is seen of an arm from a rim outwards, or None."""
    x = loop.at(loop.radius + 0.5 * loop.width)[:, 0]
    sign = 1 if ear > loop.centre[0] else -1
    begin = int(x.max() if sign > 0 else x.min())
    num = min(int(sign * (ear - begin) + PAST_EAR_IOD * PX), int(MAX_ARM_IOD * PX))
    if num < LEAST_ARM_PX:
        return None
    columns = begin + sign * np.arange(-OVERLAP_PX, num)
    upper, lower, seen = _line(picture, columns)
    is_seen = median_filter(seen, ARM_GAP_PX, mode="nearest") > max(
        LEAST_STRENGTH, ARM_SHARE * strength
    )
    is_seen[: OVERLAP_PX + ARM_GAP_PX] = True
    count = len(columns) if is_seen.all() else int(np.argmin(is_seen))
    if count < OVERLAP_PX + ARM_GAP_PX + LEAST_ARM_PX:
        return None
    first = np.stack([columns, upper], 1)[:count].astype(np.float64)
    second = np.stack([columns, lower], 1)[:count].astype(np.float64)
    return Strip(first=first, second=second)
