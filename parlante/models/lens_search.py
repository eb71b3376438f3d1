"""What lenses of spectacles let through: nothing is found where they are clear.

A tinted lens differs from the skin beside it all along its rim, below and beside the eye. What is
behind it is seen if an iris stands out from the white on both sides of it; then the lens is a veil
over a face that moves behind it. Otherwise it is opaque, if it differs a lot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.rim_search import ANGLES, BELOW_BROW, FIRST_PX, PX, Loop
from parlante.types import Float32Array

__all__ = ["Lens", "Opening", "find_lenses"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

BESIDE_PX: Final = (3, 8)  # of a rim's edges, where lens and skin are alone
LOW_QUANTILE: Final = 0.2  # so much of what is around a lens may be hair, or as dark as it is
# Levels by which lens and skin differ, on both sides and on the less tinted: clear ones up to 6
# and 4, tinted ones from 12 and 6 on.
LEAST_TINT: Final = (10.0, 6.0)
LEAST_OPAQUE: Final = (40.0, 15.0)
NUM_DEPTHS: Final = 16
OPEN_IOD: Final = 0.03  # half of the height of an eye's opening
WHITE_QUANTILE: Final = 0.1  # of it, that is white at least
BLACK_QUANTILE: Final = 0.02
MOST_BLACK: Final = 40.0  # levels
IRIS_IOD: Final = 0.05
LEAST_IRIS: Final = 7.0  # levels by which an iris is darker than what is on both sides of it
IRIS_SHARE: Final = 0.1  # of the lens' own light
EYE_CONTRAST: Final = 0.75  # of what is between skin and the darkest of a picture, in bare eyes
LEAST_THROUGH: Final = 0.22  # less is not worth the grain that it would get
MOST_UNLIKE: Final = 0.25  # in a lens that no rim tells
LEAST_AT_END: Final = 0.15  # of a lens, the darker one
MOST_THROUGH: Final = 0.97

_LIGHT: Final = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """What a lens makes of what is behind it: a share of it, and light of its own.

    Attributes:
        through: float64 [2], the share at its upper and its lower end; zeros = it is opaque.
        own: float64 [2, 3], the light there, RGB in levels.
        skin: float64 [3], colour of the skin around it.
    """

    through: Float64Array
    own: Float64Array
    skin: Float64Array

    @property
    def is_opaque(self) -> bool:
        """Whether nothing of the eye is to be seen."""
        return not self.through.any()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opening:
    """Where an eye is, px of the upright picture.

    Attributes:
        corners: float64 [2, 2].
        iris: float64 [2], its middle.
    """

    corners: Float64Array
    iris: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tint:
    """How a lens looks.

    Attributes:
        skin: float64 [3], around it.
        seen: float64 [2, 3], what skin looks like through its upper and its lower end.
        apart: Levels by which lens and skin differ all around.
        contrast: Share of the light that comes through by how dark the eye's darkest is.
        unlike: How much of the way to the colour of skin what is within goes, the most of it.
        shows_eye: Whether an iris is seen.
    """

    skin: Float64Array
    seen: Float64Array
    apart: float
    contrast: float
    unlike: float
    shows_eye: bool


def find_lenses(
    picture: Float32Array,
    loops: tuple[Loop, Loop],
    edges: tuple[tuple[Float64Array, Float64Array], tuple[Float64Array, Float64Array]],
    eyes: tuple[Opening, Opening],
    *,
    has_rims: bool,
) -> tuple[Lens, Lens] | None:
    """Tell what both lenses let through.

    Args:
        picture: float32 [H, W, 3], of `upright_eyes`.
        loops: The rims.
        edges: float64 [A] each, how far each rim reaches from its middle inwards and outwards, px.
        eyes: At image left and at image right.
        has_rims: False for mere edges, which tell less.

    Returns:
        The lenses, or None where they are clear, or it is not certain that they are not.
    """
    black = float(np.quantile(picture @ _LIGHT, BLACK_QUANTILE))
    tints = [
        _look(picture, loop, reach, eye, min(black, MOST_BLACK))
        for loop, reach, eye in zip(loops, edges, eyes, strict=True)
    ]
    apart = [tint.apart for tint in tints]
    if np.mean(apart) < LEAST_TINT[0] or min(apart) < LEAST_TINT[1]:
        return None
    share = float(np.mean([_through(tint) for tint in tints]))
    # A gleam may hide one eye.
    is_seen = any(tint.shows_eye for tint in tints) and share >= LEAST_THROUGH
    if not is_seen and not _is_dense(tints):
        return None
    if not has_rims and (is_seen or max(tint.unlike for tint in tints) > MOST_UNLIKE):
        return None
    left, right = (_lens(tint, share if is_seen else 0.0) for tint in tints)
    return left, right


def _is_dense(tints: list[_Tint]) -> bool:
    apart = [tint.apart for tint in tints]
    return bool(np.mean(apart) >= LEAST_OPAQUE[0] and min(apart) >= LEAST_OPAQUE[1])


def _look(
    picture: Float32Array,
    loop: Loop,
    reach: tuple[Float64Array, Float64Array],
    eye: Opening,
    black: float,
) -> _Tint:
    inner = _beside(loop, -1, reach[0])[BELOW_BROW]
    outer = _beside(loop, 1, reach[1])[BELOW_BROW]
    skin = np.median(outer, 0)
    way = np.median(outer - inner, 0)
    length = max(float(np.linalg.norm(way)), 1e-6)
    apart = float(np.quantile((outer - inner) @ way / length, LOW_QUANTILE)) / np.sqrt(3.0)
    height = loop.radius * np.sin(ANGLES)
    seen = _along(height[BELOW_BROW], inner, np.array([height.min(), height.max()]))
    at_eye = _along(height[BELOW_BROW], inner, np.array([eye.iris[1] - loop.centre[1]]))[0] @ _LIGHT
    light = (picture @ _LIGHT).astype(np.float32)
    low = np.floor(eye.corners.min(0) - 0.06 * PX).astype(int)
    high = np.ceil(eye.corners.max(0) + 0.06 * PX).astype(int)
    dark = float(np.quantile(light[max(low[1], 0) : high[1], max(low[0], 0) : high[0]], 0.05))
    contrast = (at_eye - dark) / max(float(skin @ _LIGHT) - black, 1.0)
    return _Tint(
        skin=skin,
        seen=seen,
        apart=apart,
        contrast=float(contrast),
        unlike=_unlike(picture, loop, reach[0], eye, seen, skin),
        shows_eye=_shows_iris(light, eye, float(at_eye)),
    )


def _unlike(
    picture: Float32Array,
    loop: Loop,
    reach: Float64Array,
    eye: Opening,
    seen: Float64Array,
    skin: Float64Array,
) -> float:
    """How much of the way from a lens' colour to that of skin its pixels go, all but a few.

    What lies in the opening of the eye is asked by itself: between painted lids it is small.
    """
    most = np.maximum(loop.radius - reach - BESIDE_PX[0], 0.0)
    radius = most[:, None] * np.sqrt((np.arange(NUM_DEPTHS) + 0.5) / NUM_DEPTHS)  # even in area
    at = np.clip(np.rint(radius - FIRST_PX).astype(int), 0, loop.rays.shape[1] - 1)
    within = loop.rays[np.arange(len(at))[:, None], at].reshape(-1, 3)
    below = (radius * np.sin(ANGLES)[:, None]).ravel()
    height = loop.radius * np.sin(ANGLES)
    share = np.linspace(0.1, 0.9, 33)[:, None]
    middle = eye.corners[0] + share * (eye.corners[1] - eye.corners[0])
    opening = middle[:, None] + np.stack([np.zeros(5), np.linspace(-OPEN_IOD, OPEN_IOD, 5) * PX], 1)
    x, y = np.clip(np.rint(opening.reshape(-1, 2)).astype(int), 0, _last(picture)).T

    def gone(pixels: Float32Array, below: Float64Array) -> Float64Array:
        share = (below - height.min()) / max(float(np.ptp(height)), 1.0)
        own = seen[0] + share[:, None] * (seen[1] - seen[0])
        way = skin - own
        return np.asarray(((pixels - own) * way).sum(1) / np.maximum((way * way).sum(1), 1.0))

    return max(
        float(np.quantile(gone(within, below), 1.0 - LOW_QUANTILE)),
        float(np.quantile(gone(picture[y, x], y - loop.centre[1]), 1.0 - WHITE_QUANTILE)),
    )


def _last(picture: npt.NDArray[np.generic]) -> Int64Array:
    return np.array([picture.shape[1] - 1, picture.shape[0] - 1])


def _beside(loop: Loop, sign: int, reach: Float64Array) -> Float64Array:
    """Colours beside a rim, inside (-1) or outside (1): float64 [A, 3]."""
    step = np.arange(BESIDE_PX[0], BESIDE_PX[1])
    at = np.rint(loop.radius + sign * reach - FIRST_PX).astype(int)[:, None] + sign * step
    at = np.clip(at, 0, loop.rays.shape[1] - 1)
    rows = np.arange(len(at))[:, None]
    return np.asarray(np.median(loop.rays[rows, at], 1), np.float64)


def _along(height: Float64Array, colours: Float64Array, at: Float64Array) -> Float64Array:
    """Colours of a lens at heights, float64 [K, 3], which change evenly from top to bottom."""
    design = np.stack([np.ones_like(height), height], 1)
    weight = np.ones(len(height))
    for _ in range(5):
        fit = np.linalg.lstsq(design * weight[:, None], colours * weight[:, None], rcond=None)[0]
        off = np.abs(colours - design @ fit).mean(1)
        weight = 1.0 / np.sqrt(np.maximum(off, 1.0))
    return np.asarray(np.clip(np.stack([np.ones_like(at), at], 1) @ fit, 0.0, 255.0))


def _shows_iris(light: Float32Array, eye: Opening, own: float) -> bool:
    """Whether what is at the iris is darker than what is on both sides of it, in the opening."""
    radius = IRIS_IOD * PX
    soft = cv2.GaussianBlur(light, (0, 0), 0.35 * radius)
    share = np.linspace(0.12, 0.88, 40)[:, None]
    line = eye.corners[0] + share * (eye.corners[1] - eye.corners[0])
    line[:, 1] += eye.iris[1] - np.interp(eye.iris[0], eye.corners[:, 0], eye.corners[:, 1])
    x, y = np.clip(np.rint(line).astype(int), 0, _last(light)).T
    level, aside = soft[y, x], line[:, 0] - eye.iris[0]
    middle = level[np.abs(aside) <= 0.6 * radius]
    left, right = level[aside < -1.2 * radius], level[aside > 1.2 * radius]
    if min(len(middle), len(left), len(right)) == 0:
        return False
    darker = min(float(left.max()), float(right.max())) - float(middle.mean())
    return darker > max(LEAST_IRIS, IRIS_SHARE * own)


def _through(tint: _Tint) -> float:
    """Share of the light that comes through in the middle of a lens."""
    most = float((tint.seen.mean(0) / np.maximum(tint.skin, 1.0)).min())
    return float(np.clip(min(tint.contrast / EYE_CONTRAST, most), 0.0, MOST_THROUGH))


def _lens(tint: _Tint, share: float) -> Lens:
    if share == 0.0:
        return Lens(through=np.zeros(2), own=tint.seen, skin=tint.skin)
    # The tint's own colour is one, and there is more or less of it.
    middle = tint.seen.mean(0)
    glass = (middle - share * tint.skin) / (1.0 - share)
    way = tint.skin - glass
    through = (tint.seen - glass) @ way / max(float(way @ way), 1.0)
    most = (tint.seen / np.maximum(tint.skin, 1.0)).min(1)
    through = np.clip(np.minimum(through, most), LEAST_AT_END, MOST_THROUGH)
    own = np.maximum(tint.seen - through[:, None] * tint.skin, 0.0)
    return Lens(through=through, own=own, skin=tint.skin)
