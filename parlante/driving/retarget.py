"""From a driver at 25 Hz to the public motion channels of a portrait at rest.

All is relative to the driver's own rest: the pose of its calm frames, its shut lips, its open eyes.
What the measures say is inverted with the renderer's calibration, so that the rendered portrait
measures like the driver. Axis letters: T frames (25 Hz), K measures.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from parlante.driving.motion_clip import MotionClip
from parlante.driving.timeline import Frames
from parlante.models.eye_state import WIDE_GAIN
from parlante.models.motion_channels import MAX_EYE_RAD, VOR_GAIN
from parlante.training.videos.calibration import CHANNELS, invert, resting_shape
from parlante.training.videos.cleaning import Segment
from parlante.training.videos.lips import aperture_of, change_of, mouth_weights
from parlante.training.videos.measures import LIPS_AND_BROWS, MEASURE_INDEX
from parlante.types import (
    MAX_INTENSITY,
    MOTION_DIM,
    MOTION_INDEX,
    POSE_CHANNELS,
    Float32Array,
    check_range,
)

__all__ = ["MotionPart", "retarget", "select"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CALM_PERCENTILE: Final = 40.0  # of the speed of head and lips
MIN_CALM_FRAMES: Final = 5
# Of a true turn or nod the tracker sees so much: 0.99 and 0.87 within 24 synthetic heads, 0.99 and
# 0.94 on twelve rendered portraits (`parlante eval encoders`, 2026-11).
TRACKED_TURN_SHARE: Final = (1.0, 0.9, 1.0)  # yaw, pitch, roll
# Where a portrait's head stops: rad x 3, IOD x 2, log. Motion is whole up to `KNEE` of it.
POSE_LIMITS: Final = (0.45, 0.36, 0.45, 0.7, 0.5, 0.35)
KNEE: Final = 0.6
CUT_FRAMES: Final = 6  # over which a head goes to its place in the next shot
# Lids, by the driver's usual opening.
LID_DEAD_ZONE: Final = 0.13  # noise, and the little that lids do with the brows
MIN_SHUT: Final = 0.4  # of the way counts as shut in a driver who never shuts the eyes wholly
SHUT_SHARE: Final = 0.9  # of the deepest blinks: those are whole
GAZE_LIDS: Final = 0.39  # of the opening that lids lower per sine of a lowered gaze; drawn anyway
JOINT_SHARE: Final = 0.35  # of the other lid's way: both blink, however little is seen of one
SMILE_LIDS: Final = 0.15  # of the opening that a full smile takes
FIXATION_RAD: Final = 0.05  # eyes hold still until the wish to look elsewhere is larger
SIDE_DEAD_ZONE_IOD: Final = 0.012
SIDE_IOD: Final = (0.08, 0.09)  # that jawLeft and mouthLeft move chin and lips
MIRRORED: Final = ("mouthStretch", "mouthPress", "mouthLowerDown", "mouthUpperUp")


class MotionPart(enum.Enum):
    """What of a motion is used; the other part rests."""

    ALL = "all"
    POSE = "pose"  # head alone; the eyes hold the camera
    EXPRESSION = "expression"  # face alone; the head rests


def retarget(frames: Frames) -> MotionClip:
    """Turn a driver's measures into motion."""
    segment = Segment(0, frames.values, frames.raw)
    rest_pose = _rest_poses(frames)
    out = np.zeros((frames.num_frames, MOTION_DIM))
    out[:, : len(POSE_CHANNELS)] = _head(frames, rest_pose)
    channels = dict(zip(CHANNELS, invert(_change(frames, segment)).T, strict=True))
    _write_face(out, segment, channels)
    _write_sides(out, frames)
    gaze = _gaze(frames)
    _write_eyes(out, frames, gaze)
    out[:, : len(POSE_CHANNELS)] *= frames.pose_share[:, None]
    out[:, len(POSE_CHANNELS) :] *= frames.face_share[:, None]
    return MotionClip(values=out.astype(np.float32))


def select(
    clip: MotionClip, *, part: MotionPart = MotionPart.ALL, intensity: float = 1.0
) -> MotionClip:
    """Use a part of a motion, more or less of it.

    Args:
        clip: The motion; not changed.
        part: What is kept.
        intensity: [0, 2], 1 = as it is. Shut lips and blinks stay whole down to 0.5.

    Raises:
        InvalidInput: The intensity is out of range.
    """
    check_range("intensity", intensity, 0.0, MAX_INTENSITY)
    values = clip.values.astype(np.float64)
    num_pose = len(POSE_CHANNELS)
    pose = values[:, :num_pose] * intensity
    face = values[:, num_pose:] * intensity
    whole = [MOTION_INDEX[name] - num_pose for name in WHOLE_CHANNELS]
    face[:, whole] = values[:, num_pose:][:, whole] * min(1.0, 2.0 * intensity)
    weights = slice(0, MOTION_DIM - num_pose - 2)
    face[:, weights] = np.clip(face[:, weights], 0.0, 1.0)
    gaze = face[:, -2:]
    match part:
        case MotionPart.POSE:
            face[:] = 0.0
            face[:, -2:] = np.clip(-VOR_GAIN * pose[:, :2], -MAX_EYE_RAD, MAX_EYE_RAD)
        case MotionPart.EXPRESSION:
            # In a head at rest the eyes look where they looked from the moving one.
            gaze[:] = np.clip(gaze + VOR_GAIN * pose[:, :2], -MAX_EYE_RAD, MAX_EYE_RAD)
            pose[:] = 0.0
        case _:
            pass
    out = np.concatenate([pose, face], axis=1)
    _write_looks(out)
    return MotionClip(values=out.astype(np.float32))


WHOLE_CHANNELS: Final = (
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "mouthClose",
    "mouthPressLeft",
    "mouthPressRight",
)


# --- head --------------------------------------------------------------------------------------


def _column(values: Float64Array, name: str) -> Float64Array:
    return np.asarray(values[:, MEASURE_INDEX[name]])


def _place(frames: Frames) -> Float64Array:
    """Yaw, pitch, roll, x, y, log size: [T, 6]; lengths in px of the video."""
    values = frames.values
    turns = [_column(values, name) for name in ("yaw", "pitch", "roll", "x_px", "y_px")]
    size = np.log(np.maximum(_column(values, "iod_px"), 1.0))
    return np.stack([*turns, size], axis=1)


def _rest_poses(frames: Frames) -> Float64Array:
    """Pose of the calm frames of each frame's shot, [T, 6]."""
    place = _place(frames)
    out = np.empty_like(place)
    for shot in np.unique(frames.shots):
        rows = np.flatnonzero(frames.shots == shot)
        seen = rows[~frames.lost[rows]]
        # A shot without a face says nothing: its head stays at rest.
        out[rows] = np.median(place[_calm(frames, seen)], axis=0) if len(seen) else place[rows]
    return out


def _calm(frames: Frames, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Those of the rows in which head and lips move little."""
    if len(rows) < 2 * MIN_CALM_FRAMES:
        return rows
    place = _place(frames)[rows]
    size_px = np.exp(place[:, 5])
    turns = np.gradient(place[:, :3], axis=0)
    shifts = np.gradient(place[:, 3:5], axis=0) / size_px[:, None]
    lips = np.gradient(aperture_of(frames.values)[rows])
    speed = np.sqrt((turns**2).sum(1) + (shifts**2).sum(1) + lips**2)
    return np.asarray(rows[speed <= np.percentile(speed, CALM_PERCENTILE)])


def _head(frames: Frames, rest: Float64Array) -> Float64Array:
    """Pose channels [T, 6]."""
    change = _place(frames) - rest
    change[:, :3] = (change[:, :3] + np.pi) % (2.0 * np.pi) - np.pi
    change[:, :3] /= np.array(TRACKED_TURN_SHARE)
    change[:, 3:5] /= np.exp(rest[:, 5:])
    _join_shots(change, frames.shots)
    return _soft_limit(change, np.array(POSE_LIMITS))


def _join_shots(pose: Float64Array, shots: npt.NDArray[np.int32]) -> None:
    """Let the head travel where a cut would make it jump."""
    for cut in (np.flatnonzero(np.diff(shots)) + 1).tolist():
        start, end = max(cut - CUT_FRAMES // 2, 0), min(cut + CUT_FRAMES // 2, len(pose) - 1)
        share = np.linspace(0.0, 1.0, end - start + 1)[:, None]
        share = share * share * (3.0 - 2.0 * share)
        pose[start : end + 1] = pose[start] + share * (pose[end] - pose[start])


def _soft_limit(values: Float64Array, limits: Float64Array) -> Float64Array:
    """Whole up to the knee, then slower and slower towards the limit."""
    knee = KNEE * limits
    beyond = np.maximum(np.abs(values) - knee, 0.0)
    room = limits - knee
    return np.asarray(
        np.sign(values) * (np.minimum(np.abs(values), knee) + room * np.tanh(beyond / room))
    )


# --- lips and brows ----------------------------------------------------------------------------


def _change(frames: Frames, segment: Segment) -> Float64Array:
    """Measures of lips and brows less the driver's rest [T, K].

    A mouth is as wide at rest as it is in the middle of all. Shut lips, by which the rest of the
    mouth is known, are often spread or smile: by them all else would come out pursed (0.03 IOD
    on rendered drivers, 0.006 by the middle).
    """
    change = change_of(segment)
    width = _column(frames.values, "mouth_width")
    seen = width[~frames.lost] if not frames.lost.all() else width
    own, column = float(np.median(seen)), LIPS_AND_BROWS.index("mouth_width")
    scale = np.clip(resting_shape()[column] / max(own, 1e-3), 0.5, 2.0)
    change[:, column] = (width - own) * scale
    return change


def _write_face(out: Float64Array, segment: Segment, channels: dict[str, Float64Array]) -> None:
    weights = {**channels, **mouth_weights(segment, channels)}
    for name, weight in weights.items():
        targets = (f"{name}Left", f"{name}Right") if name in MIRRORED else (name,)
        for target in targets:
            out[:, MOTION_INDEX[target]] = np.clip(weight, 0.0, 1.0)


def _write_sides(out: Float64Array, frames: Frames) -> None:
    """Jaw and lips moved aside; the subject's left is image right."""
    quiet = aperture_of(frames.values)
    calm = quiet <= np.percentile(quiet, CALM_PERCENTILE)
    change = frames.sides - np.median(frames.sides[calm], axis=0)
    # Lips follow the jaw; what they do beyond it is theirs.
    change[:, 1] -= change[:, 0]
    change = np.sign(change) * np.maximum(np.abs(change) - SIDE_DEAD_ZONE_IOD, 0.0)
    for column, (name, full) in enumerate(zip(("jaw", "mouth"), SIDE_IOD, strict=True)):
        share = change[:, column] / full
        out[:, MOTION_INDEX[f"{name}Left"]] = np.clip(share, 0.0, 1.0)
        out[:, MOTION_INDEX[f"{name}Right"]] = np.clip(-share, 0.0, 1.0)


# --- eyes --------------------------------------------------------------------------------------


def _shut(frames: Frames, side: str) -> tuple[Float64Array, float]:
    """Share of its way that a lid has gone [T], 0 = open as usual, and how far its blinks go."""
    ratio = _column(frames.raw, f"eye_ratio_{side}")
    usual = float(np.median(ratio))
    open_eye = float(np.median(ratio[ratio > 0.8 * usual]))
    shut = 1.0 - ratio / max(open_eye, 1e-3)
    return shut, max(SHUT_SHARE * float(shut.max()), MIN_SHUT)


def _gaze(frames: Frames) -> Float64Array:
    """Eye in head relative to rest, rad [T, 2]; held between jumps, bridged in blinks."""
    shut = np.maximum(_shut(frames, "left")[0], _shut(frames, "right")[0])
    is_open = np.convolve(shut > 0.3, np.ones(5), "same") == 0
    frame = np.arange(frames.num_frames)
    out = np.zeros((frames.num_frames, 2))
    if is_open.sum() < MIN_CALM_FRAMES:
        return out
    for axis, name in enumerate(("yaw", "pitch")):
        angle = _column(frames.raw, f"gaze_{name}")
        angle = np.interp(frame, frame[is_open], angle[is_open])
        out[:, axis] = median_filter(angle - np.median(angle[is_open]), 5, mode="nearest")
    held = out[0].copy()
    for row in out:
        if np.hypot(*(row - held)) > FIXATION_RAD:
            held = row.copy()
        row[:] = held
    return np.clip(out, -MAX_EYE_RAD, MAX_EYE_RAD)


def _write_eyes(out: Float64Array, frames: Frames, gaze: Float64Array) -> None:
    out[:, [MOTION_INDEX[name] for name in ("gazeYaw", "gazePitch")]] = gaze
    lids = []
    for side, name in (("left", "Left"), ("right", "Right")):
        shut, whole = _shut(frames, side)
        lowered = GAZE_LIDS * np.sin(gaze[:, 1])
        lowered += SMILE_LIDS * out[:, MOTION_INDEX[f"mouthSmile{name}"]]
        course = np.where(shut > 0.3, shut, median_filter(shut, 5, mode="nearest"))
        calm = course - np.where(course < 0.5, np.maximum(lowered, 0.0), 0.0)
        lid = (calm - LID_DEAD_ZONE) / (whole - LID_DEAD_ZONE)
        lids.append(np.clip(lid, 0.0, 1.0))
        wide = (-course - LID_DEAD_ZONE) / WIDE_GAIN
        out[:, MOTION_INDEX[f"eyeWide{name}"]] = np.clip(wide, 0.0, 1.0)
    left, right = lids
    deeper = np.maximum(left, right)
    joint = np.minimum(left, right) > JOINT_SHARE * deeper  # else a wink
    out[:, MOTION_INDEX["eyeBlinkLeft"]] = np.where(joint, deeper, left)
    out[:, MOTION_INDEX["eyeBlinkRight"]] = np.where(joint, deeper, right)
    _write_looks(out)


def _write_looks(out: Float64Array | Float32Array) -> None:
    """Say the gaze in ARKit's names too; the renderer reads the angles."""
    yaw, pitch = (out[:, MOTION_INDEX[name]] for name in ("gazeYaw", "gazePitch"))
    for side, outward in (("Left", 1.0), ("Right", -1.0)):
        for name, angle in (
            ("eyeLookOut", yaw * outward),
            ("eyeLookIn", -yaw * outward),
            ("eyeLookDown", pitch),
            ("eyeLookUp", -pitch),
        ):
            out[:, MOTION_INDEX[name + side]] = np.clip(angle / MAX_EYE_RAD, 0.0, 1.0)
