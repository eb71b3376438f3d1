"""The search for dark lenses without rims, or whose rims are as dark as they are.

Such a lens has an edge all around, within which nothing is like skin: neither the white of an eye
nor a lid. Make-up, sockets in shade and fringes have no edge below the eye or show the eye.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from parlante.models.rim_search import (
    LOWER,
    NO_GAIN,
    NUM_ANGLES,
    Loop,
    Rays,
    gain_of,
    mirrored_paths,
)
from parlante.types import Float32Array

__all__ = ["find_edges", "outer_reach"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

NEAR_PX: Final = 3  # of either side of an edge
FAR_PX: Final = (3, 12)  # further off, where a shade goes on to change and an edge does not
LOW_QUANTILE: Final = 0.2  # so much of an edge may lie before hair
LEAST_EDGE: Final = 25.0  # levels; faces have up to 26, drawn ones 29, but show their eyes
LEAST_AROUND: Final = 12.0
EDGE_WIDTH_PX: Final = 2
SKIN_SHARE: Final = 0.35  # of a lens' difference from the skin that is left where it ends
MAX_REACH_PX: Final = 8
SMOOTHED_RAYS: Final = 7


def find_edges(both: tuple[Rays, Rays]) -> tuple[Loop, Loop] | None:
    """Find the edges of two dark lenses, which are each other's mirror image, more or less.

    Returns:
        The loops, or None where there is no edge all around.
    """
    steps = [_steps(rays.colours) for rays in both]
    paths = _follow([np.linalg.norm(step, axis=-1) / np.sqrt(3.0) for step in steps], both)
    # Once more for what turns from the lens' own colour to that of the skin below it.
    rows = np.arange(NUM_ANGLES)
    ways = [step[rows, path][LOWER] for step, path in zip(steps, paths, strict=True)]
    way = np.median(np.concatenate(ways), 0)
    way /= max(float(np.linalg.norm(way)), 1e-6)
    strengths = [np.maximum(step @ way, 0.0) / np.sqrt(3.0) for step in steps]
    paths = _follow(strengths, both)
    loops = [
        Loop(
            centre=rays.centre,
            radius=rays.radius_at(path),
            strength=np.asarray(strength[rows, path], np.float32),
            width=np.full(NUM_ANGLES, EDGE_WIDTH_PX),
            rays=rays.colours,
            noise=0.0,
        )
        for rays, path, strength in zip(both, paths, strengths, strict=True)
    ]
    below, around = (
        min(float(np.quantile(loop.strength[part], LOW_QUANTILE)) for loop in loops)
        for part in (LOWER, slice(None))
    )
    if below < LEAST_EDGE or around < LEAST_AROUND:
        return None
    return loops[0], loops[1]


def _steps(rays: Float32Array) -> Float64Array:
    """What is beyond every place of rays less what is before it: float64 [A, R, 3].

    It is the smaller of what is right beside and what is further off.
    """
    length = rays.shape[1]
    sums = np.zeros((rays.shape[0], length + 1, 3))
    np.cumsum(rays, 1, out=sums[:, 1:])
    place = np.arange(length)

    def mean(begin: int, end: int) -> Float64Array:
        low, high = (np.clip(place + shift, 0, length) for shift in (begin, end))
        num = np.maximum(high - low, 1)[:, None]
        return np.asarray((sums[:, high] - sums[:, low]) / num)

    near = mean(1, 1 + NEAR_PX) - mean(-NEAR_PX, 0)
    far = mean(FAR_PX[0], FAR_PX[1]) - mean(1 - FAR_PX[1], 1 - FAR_PX[0])
    sizes = [np.linalg.norm(step, axis=-1, keepdims=True) for step in (near, far)]
    return np.asarray(near * np.minimum(1.0, sizes[1] / np.maximum(sizes[0], 1e-6)))


def _follow(
    strengths: list[Float64Array], both: tuple[Rays, Rays]
) -> tuple[Int64Array, Int64Array]:
    """The paths along the strongest edges, alike on both sides."""
    gains = [
        np.where(rays.is_free, gain_of(np.asarray(strength, np.float32)), NO_GAIN)
        for rays, strength in zip(both, strengths, strict=True)
    ]
    return mirrored_paths(gains)


def outer_reach(loop: Loop) -> Float64Array:
    """How far beyond the edge of a lens a thin rim around it reaches: float64 [A], px."""
    rows, path = np.arange(NUM_ANGLES)[:, None], loop.path()[:, None]
    last = loop.rays.shape[1] - 1
    inside, outside = (
        np.median(loop.rays[rows, np.clip(path + np.arange(*span), 0, last)], 1)
        for span in ((-FAR_PX[1], 1 - FAR_PX[0]), (MAX_REACH_PX, MAX_REACH_PX + FAR_PX[0] + 1))
    )
    line = loop.rays[rows, np.clip(path + np.arange(MAX_REACH_PX + 1), 0, last)]
    apart = np.linalg.norm(line - outside[:, None], axis=-1)
    ends = apart <= SKIN_SHARE * np.linalg.norm(inside - outside, axis=-1)[:, None]
    ends[:, -1] = True
    return np.asarray(median_filter(ends.argmax(1).astype(np.float64), SMOOTHED_RAYS, mode="wrap"))
