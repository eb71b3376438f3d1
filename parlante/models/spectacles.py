"""Spectacles in a portrait: where their rims, bridge and arms are, or that there are none.

A rim is a thin stroke around an eye that goes on below it and beside the nose, where no bare face
has one. Both rims must hold together, look like each other's mirror image, and have a bridge
between them over the nose. All of that is asked for: a face without spectacles is to be left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from parlante.models import face_mesh as fm
from parlante.models.lens_search import Lens, Opening, find_lenses
from parlante.models.rim_search import (
    BESIDE_PX,
    LOWER,
    MIRRORED,
    PX,
    REACH_IOD,
    Loop,
    Make,
    Rays,
    find_loop,
    find_pair,
    points_in,
    strongest_path,
    upright_eyes,
)
from parlante.models.shade_search import find_edges, outer_reach
from parlante.types import Float32Array, Uint8Array

__all__ = ["OVERLAP_PX", "Spectacles", "Strip", "find_spectacles"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

LEAST_STRENGTH: Final = 6.0  # levels
BARE_NOSE_STRENGTH: Final = 10.0  # of rims whose bridge is not seen: a clear one, or behind hair
OVER_NOISE: Final = 1.5  # times the strokes that lie around
LOW_QUANTILE: Final = 0.2  # so much of a rim may be hidden or lie before its own colour
MAX_ASYMMETRY_IOD: Final = 0.06
EDGE_MEDIAN: Final = 7
EDGE_SHARE: Final = 0.4  # of a stroke's colour, where it ends
LEAST_OF_MEDIAN: Final = 0.8  # of the usual width, where a brow touches a stroke
LEAST_HALF_PX: Final = 0.5
LINE_IOD: Final = (-0.36, 0.3)  # above and below the eyes, where bridges and arms are
EDGE_IN_PX: Final = 2.0  # of a lens without a rim that counts as its rim
OVERLAP_PX: Final = 3  # of a bridge or an arm with the rim
EARS: Final = (234, 454)  # landmarks before them, image left and right
PAST_EAR_IOD: Final = 0.06
MAX_ARM_IOD: Final = 0.4
LEAST_ARM_PX: Final = 4
ARM_GAP_PX: Final = 5
ARM_SHARE: Final = 0.35  # of a rim's strength that an arm has at least

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
        lenses: In the rims, where they are tinted or hide the eyes; None where they are clear.
    """

    rims: tuple[Strip, Strip]
    bridge: Strip | None
    arms: tuple[Strip | None, Strip | None]
    lenses: tuple[Lens, Lens] | None = None

    @property
    def hides_eyes(self) -> bool:
        """Whether nothing is to be seen of the eyes."""
        return self.lenses is not None and any(lens.is_opaque for lens in self.lenses)

    def scaled(self, zoom: float) -> Spectacles:
        """The spectacles on a portrait that is so many times as large."""
        return self.moved(np.array([[zoom, 0.0, 0.0], [0.0, zoom, 0.0]]))

    def moved(self, way: Float64Array) -> Spectacles:
        """The spectacles after an affine map, float64 [2, 3]."""
        left, right = (rim.moved(way) for rim in self.rims)
        bridge = None if self.bridge is None else self.bridge.moved(way)
        first, second = (None if arm is None else arm.moved(way) for arm in self.arms)
        return replace(self, rims=(left, right), bridge=bridge, arms=(first, second))


def find_spectacles(image: Uint8Array, landmarks: Float32Array) -> Spectacles | None:
    """Find the frame of spectacles in a portrait.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [478, 3], px.

    Returns:
        The frame, or None where it is not certain that there is one.
    """
    picture, back = upright_eyes(image, landmarks)
    points = points_in(landmarks, back)
    rays = (Rays.of(picture, points[list(_EYES[0])]), Rays.of(picture, points[list(_EYES[1])]))
    eyes = (
        Opening(corners=points[list(fm.RIGHT_EYE_CORNERS)], iris=points[fm.RIGHT_IRIS[0]]),
        Opening(corners=points[list(fm.LEFT_EYE_CORNERS[::-1])], iris=points[fm.LEFT_IRIS[0]]),
    )
    ears = (float(points[EARS[0], 0]), float(points[EARS[1], 0]))
    found = _with_rims(picture, rays, eyes, ears) or _with_dark_lenses(picture, rays, eyes, ears)
    return None if found is None else found.moved(back)


def _with_rims(
    picture: Float32Array,
    rays: tuple[Rays, Rays],
    eyes: tuple[Opening, Opening],
    ears: tuple[float, float],
) -> Spectacles | None:
    """Spectacles with rims, in the upright picture."""
    left, right = find_loop(rays[0]), find_loop(rays[1])
    if not (_is_rim(left) and _is_rim(right)):
        return None
    if np.median(np.abs(left.radius - right.radius[MIRRORED])) > MAX_ASYMMETRY_IOD * PX:
        return None
    pair = _outlined(rays, Make.of((left, right)))
    if pair is None:
        return None
    left, right = pair
    bridge = _bridge(picture, left, right)
    strength = min(float(np.quantile(loop.strength, LOW_QUANTILE)) for loop in (left, right))
    if bridge is None and strength < BARE_NOSE_STRENGTH:
        return None
    reach = (_reach(left), _reach(right))
    return Spectacles(
        rims=(_rim(left, reach[0]), _rim(right, reach[1])),
        bridge=bridge,
        arms=_arms(picture, pair, ears, strength),
        lenses=find_lenses(picture, pair, reach, eyes, has_rims=True),
    )


def _with_dark_lenses(
    picture: Float32Array,
    rays: tuple[Rays, Rays],
    eyes: tuple[Opening, Opening],
    ears: tuple[float, float],
) -> Spectacles | None:
    """Spectacles that are seen by the edges of lenses which hide the eyes."""
    pair = find_edges(rays)
    if pair is None:
        return None
    left, right = pair
    reach = tuple((np.full(len(loop.radius), EDGE_IN_PX), outer_reach(loop)) for loop in pair)
    lenses = find_lenses(picture, pair, (reach[0], reach[1]), eyes, has_rims=False)
    bridge = _bridge(picture, left, right)
    if lenses is None or bridge is None:  # of lids that are painted all over
        return None
    strength = min(float(np.quantile(loop.strength, LOW_QUANTILE)) for loop in pair)
    return Spectacles(
        rims=(_rim(left, reach[0]), _rim(right, reach[1])),
        bridge=bridge,
        arms=_arms(picture, pair, ears, strength),
        lenses=lenses,
    )


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
        for strength in (loop.strength[LOWER], loop.strength)
    )
    return below > least and around > 0.7 * least


def _reach(loop: Loop) -> tuple[Float64Array, Float64Array]:
    """How far a rim reaches from its middle inwards and outwards, float64 [A], px."""
    return _halves(loop.rays, loop.path(), loop.width, mode="wrap")


def _rim(loop: Loop, reach: tuple[Float64Array, Float64Array]) -> Strip:
    """The strip of a rim."""
    inner, outer = loop.at(loop.radius - reach[0]), loop.at(loop.radius + reach[1])
    return Strip(first=np.vstack([inner, inner[:1]]), second=np.vstack([outer, outer[:1]]))


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
    # Where a brow touches it a stroke is as wide as elsewhere.
    least, most = max(1.0, LEAST_OF_MEDIAN * float(np.median(out))), 0.5 * float(width.max()) + 1.0
    smooth = [median_filter(half, EDGE_MEDIAN, mode=mode) for half in out]
    backwards, onwards = (np.clip(half, least, max(least, most)) for half in smooth)
    return backwards, onwards


def _line(
    picture: Float32Array, columns: Int64Array
) -> tuple[Float64Array, Float64Array, Float32Array]:
    """The strongest stroke across columns: rows where it begins and ends, and its strength."""
    middle = REACH_IOD[1]
    top, bottom = (int((middle + edge) * PX) for edge in LINE_IOD)
    rays = picture[top:bottom, np.clip(columns, 0, picture.shape[1] - 1)].transpose(1, 0, 2)
    rays = np.ascontiguousarray(rays)
    path, strength, width = strongest_path(rays)
    upwards, downwards = _halves(rays, path, width, mode="nearest")
    return top + path - upwards, top + path + downwards, strength


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


def _arms(
    picture: Float32Array, pair: tuple[Loop, Loop], ears: tuple[float, float], strength: float
) -> tuple[Strip | None, Strip | None]:
    first, second = (
        _arm(picture, loop, ear, strength) for loop, ear in zip(pair, ears, strict=True)
    )
    return first, second


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
