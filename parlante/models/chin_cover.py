"""Things before the chin: a microphone, a cup, a phone, a scarf, or that there is none.

Such a thing has colours that skin has not, ends sharply on the face, leaves it over the jaw, and
goes on below as if there were no jaw. A beard ends softly or on the neck, a shadow has the skin's
hue, hair comes from above, and a collar leaves the face alone. All signs are asked for: a face
without a thing before it is to be left alone.

The work is done on an upright picture of the lower face, `PX` pixels to an inter-ocular distance
(IOD).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.nearest import nearest_known
from parlante.models.rim_search import points_in, upright
from parlante.models.smooth_step import smooth_steps
from parlante.types import Float32Array, Uint8Array

__all__ = ["ChinCover", "find_chin_cover"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PX: Final = 80.0
BEFORE_IOD: Final = (1.2, 0.0)
EXTENT_IOD: Final = (2.4, 2.6)
BLUR_PX: Final = 1.0
DARK: Final = 20.0  # levels that are added before a logarithm: hues of what is darker are noise

# Skin that nothing lies before: from below the eyes to the nose, so far inside the face, IOD.
SKIN_INSIDE_IOD: Final = 0.1
SKIN_FROM_IOD: Final = 0.2
# By how much (logarithm) a hue is another than the skin's, and what is darker than all of it.
LEAST_HUE: Final = 0.14
HUE_SPREADS: Final = 1.6
MUCH_DARKER: Final = 0.9

# Where the face is surely inside its outline, and what counts as on the outline, IOD.
INSIDE_IOD: Final = 0.03
RIM_IOD: Final = 0.05
LIPS_IOD: Final = 0.075  # around the lips, whose hue is another, too
LEAST_AREA: Final = 0.006  # IOD^2
MOST_AREA: Final = 0.3  # of beards that go around the mouth
LEAST_DEPTH_IOD: Final = 0.075
ABOVE_MOUTH_IOD: Final = 0.05  # from here upwards hair comes into a face
MOST_ABOVE: Final = 0.02

# Below the jaw it goes on: so far are places looked at, most of which are of another hue, too, and
# there is no edge along the jaw (logarithm).
BEYOND_IOD: Final = (0.1, 0.16, 0.22, 0.28)
LEAST_BEYOND: Final = 0.5
MOST_EDGE: Final = 0.6
LEAST_REACH_IOD: Final = 0.75

# Its contour in the face: levels of a step, and how much of it happens within a few pixels.
PROFILE_PX: Final = 8
STEP_PX: Final = 4
LEAST_STEP: Final = 18.0
LEAST_STEEP: Final = 0.75
LEAST_SHARP: Final = 0.85
LEAST_CONTOUR: Final = 6

# What is kept with it: below the jaw, around where it crosses it, as far as a jaw moves the neck.
NUM_ARCS: Final = 200  # of the face's outline
FOLLOWED_ARCS: Final = 4
KEPT_ARCS: Final = (20, 32)
KEPT_IOD: Final = (0.6, 0.85)
OWN_COLOUR: Final = 0.3  # logarithm
OVER_LIPS_IOD: Final = 0.2
LEAST_HOLE: Final = 0.02  # IOD^2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChinCover:
    """A thing before the chin, in an upright picture.

    Attributes:
        covers: bool [h, w], where it is.
        kept: float32 [h, w], [0, 1], how far it is to be kept stiff there: less where nothing
            moves it.
        back: float64 [2, 3], affine map from pixels of these to the portrait's.
        iod_px: Inter-ocular distance in these.
    """

    covers: BoolArray
    kept: Float32Array
    back: Float64Array
    iod_px: float

    def scaled(self, zoom: float) -> ChinCover:
        """The thing on a portrait that is so many times as large."""
        return replace(self, back=self.back * zoom)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Face:
    """The lower face and what is around it, all [H, W].

    Attributes:
        picture: float32 [H, W, 3], levels.
        logarithm: float32 [H, W, 3], of it, calmed.
        inside: float32, distance from the face's outline, positive within, IOD.
        arc: int64, the part of the outline that is nearest, of `NUM_ARCS`.
        is_foreign: bool, what has no skin's colour.
        is_lip: bool, lips and their surroundings.
        below_nose: bool.
        mouth_px: Row of the mouth's corners.
    """

    picture: Float32Array
    logarithm: Float32Array
    inside: Float32Array
    arc: Int64Array
    is_foreign: BoolArray
    is_lip: BoolArray
    below_nose: BoolArray
    mouth_px: float

    @classmethod
    def of(cls, picture: Float32Array, points: Float64Array) -> _Face:
        """Look at an upright picture, float32 [H, W, 3], with landmarks, float64 [K, 2]."""
        shape = picture.shape[:2]
        oval = _filled(shape, points[list(fm.OVAL)])
        inside = cv2.distanceTransform(oval, cv2.DIST_L2, 5)
        inside -= cv2.distanceTransform(1 - oval, cv2.DIST_L2, 5)
        inside = np.asarray(inside / PX, np.float32)
        row = np.arange(shape[0])[:, None]
        nose_px = float(points[fm.BELOW_NOSE, 1])
        logarithm = np.log(cv2.GaussianBlur(picture, (0, 0), BLUR_PX) + DARK)
        skin = (inside > SKIN_INSIDE_IOD) & (row > SKIN_FROM_IOD * PX) & (row < nose_px)
        lips = _filled(shape, points[list(fm.OUTER_LIPS)])
        return cls(
            picture=picture,
            logarithm=logarithm,
            inside=inside,
            arc=_nearest_arc(shape, points[list(fm.OVAL)]),
            is_foreign=_foreign(logarithm, skin),
            is_lip=cv2.dilate(lips, _disc(LIPS_IOD)) > 0,
            below_nose=np.broadcast_to(row > nose_px, shape),
            mouth_px=float(points[list(fm.MOUTH_CORNERS), 1].mean()),
        )


def find_chin_cover(image: Uint8Array, landmarks: Float32Array) -> ChinCover | None:
    """Find a thing that lies before the chin in a portrait.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [478, 3], px.

    Returns:
        All such things together, or None where it is not certain that there is one.
    """
    picture, back = upright(image, landmarks, PX, BEFORE_IOD, EXTENT_IOD)
    points = points_in(landmarks, back)
    face = _Face.of(picture, points)
    within = face.is_foreign & (face.inside > INSIDE_IOD) & face.below_nose & ~face.is_lip
    _, labels, stats, _ = cv2.connectedComponentsWithStats(within.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA] / PX**2
    covers, kept = np.zeros(within.shape, bool), np.zeros(within.shape, np.float32)
    for index in np.flatnonzero((areas >= LEAST_AREA) & (areas <= MOST_AREA)):
        part = labels == index
        if index == 0 or not _is_thing(face, part):
            continue
        weight = _kept(face, part)
        covers |= _whole(face, part, weight > 0.0)
        kept = np.maximum(kept, weight)
    if not covers.any():
        return None
    return ChinCover(covers=covers, kept=kept, back=back, iod_px=PX)


def _disc(radius_iod: float) -> Uint8Array:
    size = 2 * round(radius_iod * PX) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _filled(shape: tuple[int, ...], polygon: Float64Array) -> Uint8Array:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 1)
    return mask


def _foreign(logarithm: Float32Array, skin: BoolArray) -> BoolArray:
    """What has another hue than the skin, or is much darker, without single pixels."""
    if not skin.any():
        return np.zeros(skin.shape, bool)
    hue = logarithm[..., :2] - logarithm[..., 1:]
    light = logarithm.mean(-1)
    apart = np.linalg.norm(hue - np.median(hue[skin], axis=0), axis=-1)
    limit = max(LEAST_HUE, HUE_SPREADS * float(np.quantile(apart[skin], 0.9)))
    found = (apart > limit) | (light < np.quantile(light[skin], 0.05) - MUCH_DARKER)
    opened = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened > 0)


def _nearest_arc(shape: tuple[int, ...], oval: Float64Array) -> Int64Array:
    """Which of `NUM_ARCS` parts of an outline is nearest to each pixel."""
    closed = np.concatenate([oval, oval[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0.0, length[-1], NUM_ARCS, endpoint=False)
    column, row = (
        np.clip(np.rint(np.interp(at, length, closed[:, k])).astype(int), 0, shape[1 - k] - 1)
        for k in range(2)
    )
    number = np.zeros(shape, np.float32)
    is_ring = np.zeros(shape, bool)
    number[row, column], is_ring[row, column] = np.arange(NUM_ARCS), True
    return nearest_known(number, is_ring)[0].astype(np.int64)


def _is_thing(face: _Face, part: BoolArray) -> bool:
    """Whether a part of a face that has no skin's colour is a thing before it."""
    rim = part & (face.inside < RIM_IOD)
    row, column = np.nonzero(rim)
    if len(row) == 0 or face.inside[part].max() < LEAST_DEPTH_IOD:
        return False
    if (row < face.mouth_px - ABOVE_MOUTH_IOD * PX).mean() > MOST_ABOVE:
        return False
    return _goes_on(face, row, column) and _reaches(face, part, rim) and _is_sharp(face, part)


def _goes_on(face: _Face, row: Int64Array, column: Int64Array) -> bool:
    """Whether it is beyond the jaw what it is at places on it."""
    x, y = (
        cv2.Sobel(face.inside, cv2.CV_32F, 1 - k, k)[row, column].astype(np.float64)
        for k in range(2)
    )
    length = np.maximum(np.hypot(x, y), 1e-6)
    height, width = face.inside.shape
    here = face.logarithm[row, column]
    foreign, edges = [], []
    for distance in BEYOND_IOD:
        at = (
            np.clip(np.rint(row - y / length * distance * PX).astype(int), 0, height - 1),
            np.clip(np.rint(column - x / length * distance * PX).astype(int), 0, width - 1),
        )
        foreign.append(face.is_foreign[at].mean())
        edges.append(np.abs(face.logarithm[at] - here).max(-1))
    edge = float(np.median(np.maximum(edges[0], edges[1])))
    return float(np.mean(foreign)) > LEAST_BEYOND and edge < MOST_EDGE


def _arcs_near(face: _Face, part: BoolArray, num: int) -> BoolArray:
    """Pixels whose part of the outline is one that a part of the face crosses, or near one."""
    is_crossed = np.zeros(NUM_ARCS, bool)
    is_crossed[face.arc[part & (face.inside < RIM_IOD)]] = True
    near = np.zeros(NUM_ARCS, bool)
    for step in range(-num, num + 1):
        near |= np.roll(is_crossed, step)
    return np.asarray(near[face.arc])


def _joined(mask: BoolArray, part: BoolArray) -> BoolArray:
    """The pieces of a mask that hang together with a part of it."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return np.asarray(np.isin(labels, np.setdiff1d(labels[part], 0)))


def _reaches(face: _Face, part: BoolArray, rim: BoolArray) -> bool:
    """Whether it hangs together below the jaw as far as a thing does that is held or worn."""
    outside = face.is_foreign & (face.inside < RIM_IOD) & _arcs_near(face, part, FOLLOWED_ARCS)
    return float(face.inside[_joined(outside | rim, rim)].min()) < -LEAST_REACH_IOD


def _is_sharp(face: _Face, part: BoolArray) -> bool:
    """Whether its contour in the face is a sharp edge nearly everywhere."""
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    column, row = max(contours, key=len)[:, 0].T
    beside_lips = cv2.dilate(face.is_lip.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    is_seen = (face.inside[row, column] > RIM_IOD) & ~beside_lips[row, column]
    if is_seen.sum() < LEAST_CONTOUR:
        return False
    row, column = row[is_seen], column[is_seen]
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 2.5)
    inwards = np.stack(
        [cv2.Sobel(soft, cv2.CV_32F, 1 - k, k)[row, column].astype(np.float64) for k in range(2)], 1
    )
    inwards /= np.maximum(np.linalg.norm(inwards, axis=1, keepdims=True), 1e-6)
    along = np.arange(-PROFILE_PX, PROFILE_PX + 1)
    at = np.stack([column, row], 1)[:, None] + inwards[:, None] * along[None, :, None]
    seen = cv2.remap(
        face.picture, at[..., 0].astype(np.float32), at[..., 1].astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    skin = seen[:, 2:6].mean(1)
    way = seen[:, -6:-2].mean(1) - skin
    square = (way**2).sum(-1)
    share = ((seen - skin[:, None]) * way[:, None]).sum(-1) / np.maximum(square, 1.0)[:, None]
    steep = (share[:, STEP_PX:] - share[:, :-STEP_PX]).max(1)
    is_sharp = (np.sqrt(square / 3.0) > LEAST_STEP) & (steep > LEAST_STEEP)
    return float(is_sharp.mean()) > LEAST_SHARP


def _kept(face: _Face, part: BoolArray) -> Float32Array:
    """How far things are kept stiff: float32 [H, W], the face wholly."""
    first, last = KEPT_ARCS
    beside = np.mean(
        [_arcs_near(face, part, num) for num in range(first, last)], axis=0, dtype=np.float32
    )
    near, far = KEPT_IOD
    below = 1.0 - smooth_steps((-face.inside - near) / (far - near))
    share = smooth_steps(np.asarray(beside)) * below
    return np.where(face.inside > 0.0, np.float32(1.0), share)


def _whole(face: _Face, part: BoolArray, kept: BoolArray) -> BoolArray:
    """The whole of a thing, with what of it lies over the lips and below the jaw."""
    outside = face.is_foreign & (face.inside < RIM_IOD)
    below = outside & _arcs_near(face, part, FOLLOWED_ARCS) & kept
    near, far = nearest_known(face.logarithm, _joined(part | below, part))
    is_own = np.abs(face.logarithm - near).max(-1) < OWN_COLOUR
    over_lips = face.is_lip & face.is_foreign & is_own & (far < OVER_LIPS_IOD * PX)
    # Hair and walls beside it have other colours than it has.
    whole = _joined(part | below | over_lips | (outside & kept & is_own), part)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (~whole).astype(np.uint8), connectivity=4
    )
    is_small = stats[:, cv2.CC_STAT_AREA] < LEAST_HOLE * PX**2
    return np.asarray(whole | is_small[labels])
