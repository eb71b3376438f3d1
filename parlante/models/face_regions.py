"""The regions of a frame that a network may retouch: crops, maps of geometry, and what is allowed.

Mouth and eyes are cut so that they lie still in the crop when the head moves: centred on the
skull's frame, turned by the head's roll, scaled by the inter-ocular distance (IOD). The frame as a
whole is only made smaller. Nothing here knows the network; all is numpy and OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.frame_geometry import FrameGeometry
from parlante.models.region_maps import fill_distance, fill_stretch
from parlante.models.region_places import (
    CONDITION_DIM,
    CROP_PX_PER_IOD,
    DISTANCE_SCALE,
    EYE_PX,
    FRAME_PX,
    MAP_SHRINK,
    MOUTH_PX,
    MOVED_CONTOUR,
    PALETTE_AT,
    PALETTE_SIZE,
    place_eye,
    place_frame,
    place_mouth,
)
from parlante.models.smooth_step import smooth_steps
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

if TYPE_CHECKING:
    from parlante.models.decoder import PreparedAvatar

__all__ = [
    "CONDITION_DIM",
    "CROP_PX_PER_IOD",
    "EYE_MAPS",
    "EYE_PX",
    "FRAME_MAPS",
    "FRAME_PX",
    "FRAME_SIGNED",
    "MOUTH_MAPS",
    "MOUTH_PX",
    "MOUTH_SIGNED",
    "PALETTE_AT",
    "PALETTE_SIZE",
    "REGIONS_VERSION",
    "DrawnFrame",
    "FaceRegions",
    "Region",
    "cut_regions",
]

# Raised with every change to what a network is given: weights of another version do not fit.
REGIONS_VERSION: Final = "2"

MOUTH_MAPS: Final = 3  # distance to the inner lips, to the outer lips, stretch of the warp
EYE_MAPS: Final = 3  # distance to the lids now and at rest, to the iris
FRAME_MAPS: Final = 5  # matte, distance to the face's oval, stretch and way (x, y) of the warp

# What changes its sign in a mirrored picture, by region: numbers of the condition, maps.
MOUTH_SIGNED: Final[tuple[tuple[int, ...], tuple[int, ...]]] = ((3, 7, 9), ())
FRAME_SIGNED: Final = ((0, 2, 3, 7), (3,))

MAX_DISTANCE: Final = 2.0
MAX_STRETCH: Final = 2.0  # octaves of area
WAY_SCALE: Final = 4.0

# How far around its outline a region may be changed in detail, IOD: all of it, and none.
LIPS_FULL, LIPS_NONE = 0.015, 0.050
LIDS_FULL, LIDS_NONE = 0.030, 0.075
OVAL_INSIDE: Final = (-0.16, -0.04)  # of the face's contour: none, all
WINDOW_EDGE: Final = 0.18  # of a crop's side, over which shade fades out


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


def _cut_mouth(avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame) -> Region:
    place = place_mouth(avatar, geometry)
    side = MOUTH_PX // MAP_SHRINK[MOUTH_PX]
    maps = np.empty((MOUTH_MAPS, side, side), np.float32)
    for index, loop in enumerate(place.loops):
        fill_distance(loop, place.per_unit, MAX_DISTANCE, maps[index])
    _fill_warp(drawn, place.to_map, maps[2])
    allow = np.empty((2, side, side), np.float32)
    allow[0] = place.gates[0] * _band(maps[0], LIPS_FULL, LIPS_NONE)
    allow[1] = place.gates[1] * _WINDOWS[side]
    rgb = _cut(drawn.pixels, place.to_frame, MOUTH_PX)
    return Region(rgb, maps, allow, place.condition, place.to_frame)


def _cut_eye(
    avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame, index: int
) -> Region:
    place = place_eye(avatar, geometry, index)
    side = EYE_PX // MAP_SHRINK[EYE_PX]
    maps = np.empty((EYE_MAPS, side, side), np.float32)
    for number, loop in enumerate(place.loops):
        fill_distance(loop, place.per_unit, MAX_DISTANCE, maps[number])
    grid = _GRIDS[side]
    distance = np.hypot(grid[0] - place.iris[0], grid[1] - place.iris[1]) / place.per_unit
    maps[2] = np.minimum(distance, MAX_DISTANCE)
    allow = np.empty((2, side, side), np.float32)
    allow[0] = place.gates[0] * _band(np.minimum(maps[0], maps[1]), LIDS_FULL, LIDS_NONE)
    allow[1] = place.gates[1] * _WINDOWS[side]
    rgb = _cut(drawn.pixels, place.to_frame, EYE_PX)
    return Region(rgb, maps, allow, place.condition, place.to_frame)


def _cut_frame(avatar: PreparedAvatar, geometry: FrameGeometry, drawn: DrawnFrame) -> Region:
    place = place_frame(avatar, geometry)
    side = FRAME_PX // MAP_SHRINK[FRAME_PX]
    maps = np.empty((FRAME_MAPS, side, side), np.float32)
    matte = cv2.resize(drawn.matte, (side, side), interpolation=cv2.INTER_AREA)
    maps[0] = matte * np.float32(1.0 / 255.0)
    fill_distance(place.loops[0], place.per_unit, 2.0 * MAX_DISTANCE, maps[1])
    step = FRAME_SIZE_PX // side
    thin = slice(step // 2, None, step)
    x, y = (np.ascontiguousarray(m[thin, thin]) for m in drawn.maps)
    fill_stretch(x, y, float(step * step), MAX_STRETCH, maps[2])
    for index, position in enumerate((x, y)):
        own = _GRIDS[side][index] * step + (step // 2 + avatar.canvas_offset[index])
        way = (position - own) * np.float32(WAY_SCALE / avatar.mesh.iod_px)
        maps[3 + index] = np.clip(way, -4.0, 4.0)
    near = cv2.dilate(matte, np.ones((5, 5), np.uint8)) * np.float32(1.0 / 255.0)
    way = np.hypot(maps[3], maps[4]) / np.float32(WAY_SCALE * MOVED_CONTOUR)
    # What does not move is right as it is: a jaw must not change the hair.
    gate = cv2.dilate(np.float32(1.0) - np.exp(-way * way), np.ones((3, 3), np.uint8))
    outside = maps[1] / DISTANCE_SCALE
    low, high = OVAL_INSIDE
    band = _smooth_array((outside - low) / (high - low))
    allow = np.empty((2, side, side), np.float32)
    allow[0] = gate * band * near
    allow[1] = allow[0]
    rgb = cv2.resize(drawn.pixels, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA)
    return Region(np.asarray(rgb, np.uint8), maps, allow, place.condition, place.to_frame)


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


def _band(distance: Float32Array, full: float, none: float) -> Float32Array:
    """1 inside an outline and a little around it, 0 further out; distance in tenths of an IOD."""
    return _smooth_array((none - distance / DISTANCE_SCALE) / (none - full))


def _smooth_array(t: Float32Array) -> Float32Array:
    return np.asarray(smooth_steps(t), np.float32)


def _window(side: int) -> Float32Array:
    """1 in the middle, 0 at the edge."""
    place = (np.arange(side) + 0.5) / side
    edge = _smooth_array(np.minimum(place, 1.0 - place).astype(np.float32) / WINDOW_EDGE)
    return np.outer(edge, edge).astype(np.float32)


_SIDES: Final = {size // shrink for size, shrink in MAP_SHRINK.items()}


def window_of(side: int) -> Float32Array:
    """Share of the shade that each map pixel of a crop may have: float32 [G, G]."""
    return _WINDOWS[side]


_WINDOWS: Final = {side: _window(side) for side in _SIDES}
_GRIDS: Final = {
    side: np.stack(np.meshgrid(np.arange(side), np.arange(side))).astype(np.float32)
    for side in _SIDES
}
