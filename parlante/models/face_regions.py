"""The regions of a frame that a network may retouch: crops, maps of geometry, and what is allowed.

Mouth and eyes are cut so that they lie still in the crop when the head moves: centred on the
skull's frame, turned by the head's roll, scaled by the inter-ocular distance (IOD). The frame as a
whole is only made smaller. Nothing here knows the network; all is numpy and OpenCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.frame_geometry import FrameGeometry
from parlante.models.region_maps import fill_distance, fill_stretch
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

if TYPE_CHECKING:
    from parlante.models.decoder import PreparedAvatar

# Raised with every change to what a network is given: weights of another version do not fit.
REGIONS_VERSION: Final = "1"

MOUTH_PX: Final = 128
EYE_PX: Final = 64
FRAME_PX: Final = 256
MOUTH_MAPS: Final = 3  # distance to the inner lips, to the outer lips, stretch of the warp
EYE_MAPS: Final = 3  # distance to the lids now and at rest, to the iris
FRAME_MAPS: Final = 5  # matte, distance to the face's oval, stretch and way (x, y) of the warp
MAP_SHRINK: Final = {MOUTH_PX: 2, EYE_PX: 2, FRAME_PX: 4}
CONDITION_DIM: Final = 12

# What changes its sign in a mirrored picture, by region: numbers of the condition, maps.
MOUTH_SIGNED: Final[tuple[tuple[int, ...], tuple[int, ...]]] = ((3, 7, 9), ())
FRAME_SIGNED: Final = ((0, 2, 3, 7), (3,))

CROP_PX_PER_IOD: Final = 100.0
MOUTH_CENTRE: Final = (0.5, 0.42)  # of the line of closed lips in the crop: the jaw opens down
EYE_CENTRE: Final = (0.5, 0.52)
DISTANCE_SCALE: Final = 10.0  # maps hold distances in tenths of an IOD, up to two tenths
MAX_DISTANCE: Final = 2.0
MAX_STRETCH: Final = 2.0  # octaves of area
WAY_SCALE: Final = 4.0

# How far around its outline a region may be changed in detail, IOD: all of it, and none.
LIPS_FULL, LIPS_NONE = 0.015, 0.050
LIDS_FULL, LIDS_NONE = 0.030, 0.075
OVAL_INSIDE: Final = (-0.16, -0.04)  # of the face's contour: none, all
WINDOW_EDGE: Final = 0.18  # of a crop's side, over which shade fades out
# How much must move until the full change is allowed, IOD.
SHUT_GAP, OPEN_GAP = 0.008, 0.040
MOVED_LIPS, MOVED_LIDS, MOVED_CONTOUR = 0.030, 0.010, 0.040

_INNER_LIPS: Final = np.array(fm.INNER_LIPS)
_OUTER_LIPS: Final = np.array(fm.OUTER_LIPS)
_OVAL: Final = np.array(fm.OVAL)
_UPPER_RIM: Final = np.array(fm.UPPER_LIP_ROWS[0])
_LOWER_RIM: Final = np.array(fm.LOWER_LIP_ROWS[0])
_MOUTH: Final = np.array([*fm.OUTER_LIPS, *fm.INNER_LIPS, fm.CHIN])
_CORNERS: Final = np.array(fm.MOUTH_CORNERS)
_EYE_ENDS: Final = ((33, 133), (362, 263))  # corners at image left and right
_RIM_STEP: Final = 3  # of the samples of a lid's curve


class Region(NamedTuple):
    """One region of one frame.

    Attributes:
        rgb: uint8 [S, S, 3].
        maps: float32 [K, G, G].
        allow: float32 [2, G, G] in [0, 1]: where detail and shade may change the frame.
        condition: float32 [CONDITION_DIM].
        to_frame: float64 [2, 3], frame px of crop px; mirrored for the subject's left eye.
    """

    rgb: Uint8Array
    maps: Float32Array
    allow: Float32Array
    condition: Float32Array
    to_frame: npt.NDArray[np.float64]


class FaceRegions(NamedTuple):
    """All regions of one frame; its frame only where a network looks at it."""

    mouth: Region
    eyes: tuple[Region, Region]  # the subject's right, and left mirrored
    frame: Region | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnFrame:
    """A frame as the warp drew it, with what it was drawn from.

    Attributes:
        pixels: uint8 [512, 512, 3], RGB.
        maps: float32 [512, 512] each, source position of every pixel on the canvas.
        matte: uint8 [512, 512], of the warped person.
    """

    pixels: Uint8Array
    maps: tuple[Float32Array, Float32Array]
    matte: Uint8Array


def cut_regions(
    avatar: PreparedAvatar,
    geometry: FrameGeometry,
    drawn: DrawnFrame,
    *,
    with_frame: bool = True,
) -> FaceRegions:
    """Cut the regions of a frame, with the whole of it or without."""
    eyes = (_cut_eye(avatar, geometry, drawn, 0), _cut_eye(avatar, geometry, drawn, 1))
    frame = _cut_frame(avatar, geometry, drawn) if with_frame else None
    return FaceRegions(_cut_mouth(avatar, geometry, drawn), eyes, frame)


# --- mouth ---------------------------------------------------------------------------------


def _cut_mouth(avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame) -> Region:
    posed, frame = geometry.posed, geometry.mouth_frame
    iod = avatar.mesh.iod_px * geometry.pose.scale
    turn = math.atan2(float(frame[1, 0]), float(frame[0, 0]))
    to_frame = _placing(frame[:, 3], turn, iod, MOUTH_PX, MOUTH_CENTRE)
    side = MOUTH_PX // MAP_SHRINK[MOUTH_PX]
    maps = np.empty((MOUTH_MAPS, side, side), np.float32)
    to_map = _to_maps(to_frame, MAP_SHRINK[MOUTH_PX])
    inner = _inwards(posed[_INNER_LIPS], to_map)
    per_iod = CROP_PX_PER_IOD / MAP_SHRINK[MOUTH_PX] / DISTANCE_SCALE
    fill_distance(inner, per_iod, MAX_DISTANCE, maps[0])
    fill_distance(_inwards(posed[_OUTER_LIPS], to_map), per_iod, MAX_DISTANCE, maps[1])
    _fill_warp(drawn, to_map, maps[2])
    lower, upper = posed[_LOWER_RIM], posed[_UPPER_RIM]
    gap = float(np.max(np.hypot(*(lower - upper).T) * _is_below(lower, upper, turn))) / iod
    moved = _moved(posed, geometry.rest, _MOUTH, iod)
    left, right = posed[_CORNERS]
    allow = np.empty((2, side, side), np.float32)
    present = _smooth((gap - SHUT_GAP) / (OPEN_GAP - SHUT_GAP))
    allow[0] = present * _band(maps[0], LIPS_FULL, LIPS_NONE)
    allow[1] = _rising(moved, MOVED_LIPS) * _WINDOWS[side]
    photo = float(np.max(avatar.rig.photo_aperture))
    condition = _condition(
        5.0 * gap, 2.0 * float(np.hypot(*(right - left))) / iod, 4.0 * float(geometry.jaw[1]),
        10.0 * float(geometry.jaw[0]), geometry.tongue_out, 10.0 * photo, 10.0 * moved,
        *(3.0 * geometry.angles[:2]), 3.0 * avatar.yaw,
    )  # fmt: skip
    return Region(_cut(drawn.pixels, to_frame, MOUTH_PX), maps, allow, condition, to_frame)


def _is_below(lower: Float32Array, upper: Float32Array, turn: float) -> npt.NDArray[np.float64]:
    """1 where the lower lip is below the upper one, 0 where they cross."""
    down = np.array([-math.sin(turn), math.cos(turn)])
    return np.asarray(((lower - upper) @ down > 0.0).astype(np.float64))


# --- eyes ----------------------------------------------------------------------------------


def _cut_eye(
    avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame, index: int
) -> Region:
    eye, state = avatar.eyes[index], geometry.eyes[index]
    left, right = geometry.posed[list(_EYE_ENDS[index])].astype(np.float64)
    along = complex(*(right - left))
    iod = avatar.mesh.iod_px * geometry.pose.scale
    turn = math.atan2(along.imag, along.real)
    to_frame = _placing(0.5 * (left + right), turn, iod, EYE_PX, EYE_CENTRE)
    if index == 1:
        to_frame = to_frame @ np.array([[-1.0, 0, EYE_PX - 1.0], [0, 1, 0], [0, 0, 1]])
    shrink = MAP_SHRINK[EYE_PX]
    side = EYE_PX // shrink
    to_map = _to_maps(to_frame, shrink)
    width, eye_iod = float(eye.frame[4]), float(eye.frame[5])
    x = np.linspace(0.0, width, len(state.upper))[::_RIM_STEP]

    def outline(upper: Float32Array, lower: Float32Array) -> Float32Array:
        rims = (upper[::_RIM_STEP], lower[::_RIM_STEP])
        loop = np.concatenate([x + 1j * rims[0], (x + 1j * rims[1])[::-1]])
        placed = loop * (along / width)
        points = np.stack([placed.real + left[0], placed.imag + left[1]], -1)
        return _inwards(points, to_map)

    maps = np.empty((EYE_MAPS, side, side), np.float32)
    per_iod = CROP_PX_PER_IOD / shrink / DISTANCE_SCALE
    fill_distance(outline(state.upper, state.lower), per_iod, MAX_DISTANCE, maps[0])
    fill_distance(outline(eye.upper, eye.lower), per_iod, MAX_DISTANCE, maps[1])
    iris = eye.iris_centre + np.array(state.shift_px)
    placed = complex(*iris) * (along / width)
    centre = _inwards(np.array([[placed.real + left[0], placed.imag + left[1]]]), to_map)[0]
    grid = _GRIDS[side]
    maps[2] = np.minimum(np.hypot(grid[0] - centre[0], grid[1] - centre[1]) / per_iod, MAX_DISTANCE)
    shift = np.array(state.shift_px) / eye_iod
    moved = max(
        float(np.abs(state.upper - eye.upper).max()), float(np.abs(state.lower - eye.lower).max())
    )
    moved = max(moved / eye_iod, float(np.hypot(*shift)))
    allow = np.empty((2, side, side), np.float32)
    gate = 0.0 if state.is_at_rest else _rising(moved, MOVED_LIDS)
    allow[0] = gate * _band(np.minimum(maps[0], maps[1]), LIDS_FULL, LIDS_NONE)
    allow[1] = gate * _WINDOWS[side]
    flip = -1.0 if index == 1 else 1.0
    gap = float((state.lower - state.upper).mean()) / eye_iod
    rest_gap = float((eye.lower - eye.upper).mean()) / eye_iod
    condition = _condition(
        state.blink, 5.0 * gap, 5.0 * rest_gap, 10.0 * flip * shift[0], 10.0 * shift[1],
        10.0 * moved, 3.0 * flip * float(geometry.angles[0]), 3.0 * float(geometry.angles[1]),
        3.0 * flip * avatar.yaw,
    )  # fmt: skip
    return Region(_cut(drawn.pixels, to_frame, EYE_PX), maps, allow, condition, to_frame)


# --- the frame -----------------------------------------------------------------------------


def _cut_frame(avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame) -> Region:
    scale = FRAME_SIZE_PX / FRAME_PX
    half = 0.5 * (scale - 1.0)
    to_frame = np.array([[scale, 0.0, half], [0.0, scale, half]])
    shrink = MAP_SHRINK[FRAME_PX]
    side = FRAME_PX // shrink
    iod = avatar.mesh.iod_px * geometry.pose.scale
    to_map = _to_maps(to_frame, shrink)
    maps = np.empty((FRAME_MAPS, side, side), np.float32)
    matte = cv2.resize(drawn.matte, (side, side), interpolation=cv2.INTER_AREA)
    maps[0] = matte * np.float32(1.0 / 255.0)
    oval = geometry.posed[_OVAL]
    per_iod = iod / (scale * shrink) / DISTANCE_SCALE
    fill_distance(_inwards(oval, to_map), per_iod, 2.0 * MAX_DISTANCE, maps[1])
    step = FRAME_SIZE_PX // side
    thin = slice(step // 2, None, step)
    x, y = (np.ascontiguousarray(m[thin, thin]) for m in drawn.maps)
    fill_stretch(x, y, float(step * step), MAX_STRETCH, maps[2])
    for index, position in enumerate((x, y)):
        own = _GRIDS[side][index] * step + (step // 2 + avatar.canvas_offset[index])
        way = (position - own) * np.float32(WAY_SCALE / avatar.mesh.iod_px)
        maps[3 + index] = np.clip(way, -4.0, 4.0)
    near = cv2.dilate(matte, np.ones((5, 5), np.uint8)) * np.float32(1.0 / 255.0)
    moved = _moved(geometry.posed, avatar.mesh.vertices[:, :2], _OVAL, iod)
    way = np.hypot(maps[3], maps[4]) / np.float32(WAY_SCALE * MOVED_CONTOUR)
    # What does not move is right as it is: a jaw must not change the hair.
    gate = cv2.dilate(np.float32(1.0) - np.exp(-way * way), np.ones((3, 3), np.uint8))
    outside = maps[1] / DISTANCE_SCALE
    low, high = OVAL_INSIDE
    band = _smooth_array((outside - low) / (high - low))
    allow = np.empty((2, side, side), np.float32)
    allow[0] = gate * band * near
    allow[1] = allow[0]
    pose = geometry.pose
    condition = _condition(
        *(3.0 * geometry.angles), *(pose.shift / avatar.mesh.iod_px), math.log(pose.scale),
        4.0 * float(geometry.jaw[1]), 3.0 * avatar.yaw, 3.0 * moved,
    )  # fmt: skip
    rgb = cv2.resize(drawn.pixels, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA)
    return Region(np.asarray(rgb, np.uint8), maps, allow, condition, to_frame)


# --- common --------------------------------------------------------------------------------


def _placing(
    centre: npt.NDArray[np.floating],
    turn: float,
    iod_px: float,
    size_px: int,
    at: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Frame px of crop px: float64 [2, 3]."""
    scale = iod_px / CROP_PX_PER_IOD
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    rotation = np.array([[cos, -sin], [sin, cos]])
    origin = centre - rotation @ (np.array(at) * (size_px - 1))
    return np.column_stack([rotation, origin])


def _to_maps(to_frame: npt.NDArray[np.float64], shrink: int) -> npt.NDArray[np.float64]:
    """Frame px of map px, whose pixels are blocks of crop px."""
    half = 0.5 * (shrink - 1.0)
    matrix = np.array([[shrink, 0.0, half], [0.0, shrink, half], [0.0, 0.0, 1.0]])
    return np.asarray(to_frame @ matrix, np.float64)


def _inwards(points: npt.NDArray[np.floating], to_frame: npt.NDArray[np.float64]) -> Float32Array:
    """Bring points of the frame, [N, 2], to crop or map px."""
    inverse = cv2.invertAffineTransform(to_frame)
    return np.ascontiguousarray(points @ inverse[:, :2].T + inverse[:, 2], np.float32)


def _cut(pixels: Uint8Array, to_frame: npt.NDArray[np.float64], size_px: int) -> Uint8Array:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (size_px, size_px)
    crop = cv2.warpAffine(pixels, to_frame, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)


def _fill_warp(drawn: DrawnFrame, to_map: npt.NDArray[np.float64], out: Float32Array) -> None:
    """Write the stretch of the warp."""
    size = out.shape[::-1]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    x, y = (
        cv2.warpAffine(m, to_map, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for m in drawn.maps
    )
    area = abs(float(to_map[0, 0] * to_map[1, 1] - to_map[0, 1] * to_map[1, 0]))
    fill_stretch(x, y, area, MAX_STRETCH, out)


def _moved(
    posed: Float32Array, rest: Float32Array, points: npt.NDArray[np.intp], iod_px: float
) -> float:
    """Root mean square way of points, IOD."""
    way = posed[points] - rest[points]
    return math.sqrt(float((way * way).sum()) / len(points)) / iod_px


def _rising(moved: float, scale: float) -> float:
    """0 at rest, 1 for whatever moves far."""
    return 1.0 - math.exp(-((moved / scale) ** 2))


def _band(distance: Float32Array, full: float, none: float) -> Float32Array:
    """1 inside an outline and a little around it, 0 further out; distance in tenths of an IOD."""
    return _smooth_array((none - distance / DISTANCE_SCALE) / (none - full))


def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def _smooth_array(t: Float32Array) -> Float32Array:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _condition(*values: float) -> Float32Array:
    out = np.zeros(CONDITION_DIM, np.float32)
    out[: len(values)] = np.clip(values, -3.0, 3.0)
    return out


def _window(side: int) -> Float32Array:
    """1 in the middle, 0 at the edge."""
    place = (np.arange(side) + 0.5) / side
    edge = _smooth_array(np.minimum(place, 1.0 - place).astype(np.float32) / WINDOW_EDGE)
    return np.outer(edge, edge).astype(np.float32)


_SIDES: Final = {size // shrink for size, shrink in MAP_SHRINK.items()}
_WINDOWS: Final = {side: _window(side) for side in _SIDES}
_GRIDS: Final = {
    side: np.stack(np.meshgrid(np.arange(side), np.arange(side))).astype(np.float32)
    for side in _SIDES
}
