"""Where the regions of a frame lie, and what is known of them before a pixel is looked at.

The part of `parlante.models.face_regions` that is the same wherever pixels are: all is small and
worked out on the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.frame_geometry import FrameGeometry
from parlante.models.smooth_step import smooth_step
from parlante.types import FRAME_SIZE_PX, Float32Array

if TYPE_CHECKING:
    from parlante.models.decoder import PreparedAvatar

MOUTH_PX: Final = 128
EYE_PX: Final = 64
FRAME_PX: Final = 256
MAP_SHRINK: Final = {MOUTH_PX: 2, EYE_PX: 2, FRAME_PX: 4}
PALETTE_AT: Final = 12  # in a condition: colours in [0, 1], RGB, of teeth, cavity and tongue
PALETTE_SIZE: Final = 3
CONDITION_DIM: Final = PALETTE_AT + 3 * PALETTE_SIZE
CROP_PX_PER_IOD: Final = 100.0
MOUTH_CENTRE: Final = (0.5, 0.42)  # of the line of closed lips in the crop: the jaw opens down
EYE_CENTRE: Final = (0.5, 0.52)
DISTANCE_SCALE: Final = 10.0  # maps hold distances in tenths of an IOD, up to two tenths
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


class RegionPlace(NamedTuple):
    """A region of one frame.

    Attributes:
        to_frame: float64 [2, 3], frame px of crop px; mirrored for the subject's left eye.
        to_map: float64 [2, 3], frame px of map px.
        loops: float32 [N, 2] each, outlines that its maps tell the distance to, map px: inner and
            outer lips, lids now and at rest, or the face's oval.
        per_unit: Map px per unit of distance.
        iris: float32 [2], of an eye, map px.
        gates: How far detail and shade may change the region at most, [0, 1].
        condition: float32 [CONDITION_DIM].
    """

    to_frame: npt.NDArray[np.float64]
    to_map: npt.NDArray[np.float64]
    loops: tuple[Float32Array, ...]
    per_unit: float
    iris: Float32Array
    gates: tuple[float, float]
    condition: Float32Array


_NO_IRIS: Final[Float32Array] = np.zeros(2, np.float32)


def place_mouth(avatar: PreparedAvatar, geometry: FrameGeometry) -> RegionPlace:
    """Place the mouth: centred on the skull's frame, turned with the head."""
    posed, frame = geometry.posed, geometry.mouth_frame
    iod = avatar.mesh.iod_px * geometry.pose.scale
    turn = math.atan2(float(frame[1, 0]), float(frame[0, 0]))
    to_frame = _placing(frame[:, 3], turn, iod, MOUTH_PX, MOUTH_CENTRE)
    to_map = _to_maps(to_frame, MAP_SHRINK[MOUTH_PX])
    lower, upper = posed[_LOWER_RIM], posed[_UPPER_RIM]
    gap = float(np.max(np.hypot(*(lower - upper).T) * _is_below(lower, upper, turn))) / iod
    moved = _moved(posed, geometry.rest, _MOUTH, iod)
    left, right = posed[_CORNERS]
    photo = float(np.max(avatar.rig.photo_aperture))
    condition = _condition(
        5.0 * gap, 2.0 * float(np.hypot(*(right - left))) / iod, 4.0 * float(geometry.jaw[1]),
        10.0 * float(geometry.jaw[0]), geometry.tongue_out, 10.0 * photo, 10.0 * moved,
        *(3.0 * geometry.angles[:2]), 3.0 * avatar.yaw,
    )  # fmt: skip
    condition[PALETTE_AT:] = avatar.mouth.palette.reshape(-1) * np.float32(1.0 / 255.0)
    present = smooth_step((gap - SHUT_GAP) / (OPEN_GAP - SHUT_GAP))
    return RegionPlace(
        to_frame=to_frame,
        to_map=to_map,
        loops=(_inwards(posed[_INNER_LIPS], to_map), _inwards(posed[_OUTER_LIPS], to_map)),
        per_unit=CROP_PX_PER_IOD / MAP_SHRINK[MOUTH_PX] / DISTANCE_SCALE,
        iris=_NO_IRIS,
        gates=(present, _rising(moved, MOVED_LIPS)),
        condition=condition,
    )


def place_eye(avatar: PreparedAvatar, geometry: FrameGeometry, index: int) -> RegionPlace:
    """Place an eye: the subject's right one, 0, or the left one, 1, mirrored."""
    eye, state = avatar.eyes[index], geometry.eyes[index]
    left, right = geometry.posed[list(_EYE_ENDS[index])].astype(np.float64)
    along = complex(*(right - left))
    iod = avatar.mesh.iod_px * geometry.pose.scale
    turn = math.atan2(along.imag, along.real)
    to_frame = _placing(0.5 * (left + right), turn, iod, EYE_PX, EYE_CENTRE)
    if index == 1:
        to_frame = to_frame @ np.array([[-1.0, 0, EYE_PX - 1.0], [0, 1, 0], [0, 0, 1]])
    shrink = MAP_SHRINK[EYE_PX]
    to_map = _to_maps(to_frame, shrink)
    width, eye_iod = float(eye.frame[4]), float(eye.frame[5])
    x = np.linspace(0.0, width, len(state.upper))[::_RIM_STEP]

    def outline(upper: Float32Array, lower: Float32Array) -> Float32Array:
        rims = (upper[::_RIM_STEP], lower[::_RIM_STEP])
        loop = np.concatenate([x + 1j * rims[0], (x + 1j * rims[1])[::-1]])
        placed = loop * (along / width)
        points = np.stack([placed.real + left[0], placed.imag + left[1]], -1)
        return _inwards(points, to_map)

    iris = eye.iris_centre + np.array(state.shift_px)
    placed = complex(*iris) * (along / width)
    centre = _inwards(np.array([[placed.real + left[0], placed.imag + left[1]]]), to_map)[0]
    shift = np.array(state.shift_px) / eye_iod
    moved = max(
        float(np.abs(state.upper - eye.upper).max()), float(np.abs(state.lower - eye.lower).max())
    )
    moved = max(moved / eye_iod, float(np.hypot(*shift)))
    gate = 0.0 if state.is_at_rest else _rising(moved, MOVED_LIDS)
    flip = -1.0 if index == 1 else 1.0
    gap = float((state.lower - state.upper).mean()) / eye_iod
    rest_gap = float((eye.lower - eye.upper).mean()) / eye_iod
    condition = _condition(
        state.blink, 5.0 * gap, 5.0 * rest_gap, 10.0 * flip * shift[0], 10.0 * shift[1],
        10.0 * moved, 3.0 * flip * float(geometry.angles[0]), 3.0 * float(geometry.angles[1]),
        3.0 * flip * avatar.yaw,
    )  # fmt: skip
    return RegionPlace(
        to_frame=to_frame,
        to_map=to_map,
        loops=(outline(state.upper, state.lower), outline(eye.upper, eye.lower)),
        per_unit=CROP_PX_PER_IOD / shrink / DISTANCE_SCALE,
        iris=centre,
        gates=(gate, gate),
        condition=condition,
    )


def place_frame(avatar: PreparedAvatar, geometry: FrameGeometry) -> RegionPlace:
    """Place the frame as a whole, which is only made smaller."""
    scale = FRAME_SIZE_PX / FRAME_PX
    half = 0.5 * (scale - 1.0)
    to_frame = np.array([[scale, 0.0, half], [0.0, scale, half]])
    shrink = MAP_SHRINK[FRAME_PX]
    iod = avatar.mesh.iod_px * geometry.pose.scale
    to_map = _to_maps(to_frame, shrink)
    moved = _moved(geometry.posed, avatar.mesh.vertices[:, :2], _OVAL, iod)
    pose = geometry.pose
    condition = _condition(
        *(3.0 * geometry.angles), *(pose.shift / avatar.mesh.iod_px), math.log(pose.scale),
        4.0 * float(geometry.jaw[1]), 3.0 * avatar.yaw, 3.0 * moved,
    )  # fmt: skip
    return RegionPlace(
        to_frame=to_frame,
        to_map=to_map,
        loops=(_inwards(geometry.posed[_OVAL], to_map),),
        per_unit=iod / (scale * shrink) / DISTANCE_SCALE,
        iris=_NO_IRIS,
        gates=(1.0, 1.0),
        condition=condition,
    )


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


def _is_below(lower: Float32Array, upper: Float32Array, turn: float) -> npt.NDArray[np.float64]:
    """1 where the lower lip is below the upper one, 0 where they cross."""
    down = np.array([-math.sin(turn), math.cos(turn)])
    return np.asarray(((lower - upper) @ down > 0.0).astype(np.float64))


def _moved(
    posed: Float32Array, rest: Float32Array, points: npt.NDArray[np.intp], iod_px: float
) -> float:
    """Root mean square way of points, IOD."""
    way = posed[points] - rest[points]
    return math.sqrt(float((way * way).sum()) / len(points)) / iod_px


def _rising(moved: float, scale: float) -> float:
    """0 at rest, 1 for whatever moves far."""
    return 1.0 - math.exp(-((moved / scale) ** 2))


def _condition(*values: float) -> Float32Array:
    out = np.zeros(CONDITION_DIM, np.float32)
    out[: len(values)] = np.clip(values, -3.0, 3.0)
    return out
