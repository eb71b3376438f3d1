"""From a measured segment to a performance: what the motion model's latents would have to be.

It inverts `parlante.models.motion_space`: rendering the performance on a portrait gives a face that
measures like the one in the video. A person's own rest is taken out first, so that the channels
say what the face does and not whose it is. Axis letters: T frames (25 Hz), K measures, D latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, median_filter

from parlante.models.eye_state import SQUINT_GAIN, WIDE_GAIN
from parlante.models.motion_channels import VOR_GAIN
from parlante.models.motion_space import FACE, HEAD
from parlante.models.pose_state import HEAD_GAZE_SHARE, LID_COURSE, LID_PAUSE_FRAMES
from parlante.training.videos.calibration import CHANNELS, invert
from parlante.training.videos.cleaning import Segment
from parlante.training.videos.lips import change_of, mouth_of, with_dead_zone
from parlante.training.videos.measures import MEASURE_INDEX
from parlante.types import FRAME_RATE_HZ, MAX_GAZE_RAD, MAX_HEAD_DISTANCE

__all__ = ["Performance", "blink_starts", "perform"]

Float64Array = npt.NDArray[np.float64]

# Shares of the lid's way: what makes a blink, where it begins and ends, and how near its deepest.
SHUT_FROM: Final = 0.45
BLINK_BEGINS: Final = 0.25
NEARLY_SHUT: Final = 0.75
MAX_BLINK_FRAMES: Final = 12
LID_DEAD_ZONE: Final = 0.12  # share of the opening that is gaze and noise, not squint or wide
MAIN_GAZE_S: Final = 1.5  # standard deviation of the average that counts as the main gaze
MAIN_PLACE_S: Final = 4.0  # the same of place and distance: people sit differently
MAX_TURN_RAD: Final = 0.5
MAX_SHIFT_IOD: Final = 0.5
MAX_LOG_SCALE: Final = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """Motion in natural units, before it is scaled to latents.

    Attributes:
        head: float64 [T, 6], deviation from the anchor: rad, IOD, log.
        mouth: float64 [T, 9], weights in the order of `MOUTH`.
        face: float64 [T, 9], weights in the order of `FACE`.
        sides: float64 [T, 2], asymmetry of smile and brows.
        eyes: float64 [T, 3], blink and gaze relative to the camera, rad.
        gaze: float64 [T, 2], the main gaze, which a client would ask for, rad.
        log_distance: float64 [T], the distance that a client would ask for.
    """

    head: Float64Array
    mouth: Float64Array
    face: Float64Array
    sides: Float64Array
    eyes: Float64Array
    gaze: Float64Array
    log_distance: Float64Array

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.head)


def perform(segment: Segment) -> Performance:
    """Turn the measures of a segment into motion."""
    channels = dict(zip(CHANNELS, invert(change_of(segment)).T, strict=True))
    mouth = mouth_of(segment, channels)
    face, sides = _face(segment, channels)
    eyes, gaze = _eyes(segment)
    head, log_distance = _head(segment, gaze)
    return Performance(head, mouth, face, sides, eyes, gaze, log_distance)


def _face(segment: Segment, channels: dict[str, Float64Array]) -> tuple[Float64Array, Float64Array]:
    """Face weights [T, 9] and sides [T, 2]."""
    both = {
        name: (channels[f"{name}Left"] + channels[f"{name}Right"]) / 2
        for name in ("mouthSmile", "mouthFrown", "browDown", "browOuterUp")
    }
    opening = _lid_opening(segment)
    weights = both | {
        "browInnerUp": channels["browInnerUp"],
        "eyeSquint": np.clip((1.0 - opening - LID_DEAD_ZONE) / SQUINT_GAIN, 0.0, 1.0),
        "eyeWide": np.clip((opening - 1.0 - LID_DEAD_ZONE) / WIDE_GAIN, 0.0, 1.0),
    }
    none = np.zeros(segment.num_frames)
    face = np.stack([with_dead_zone(weights.get(name, none)) for name in FACE], axis=1)
    smile = (channels["mouthSmileLeft"] - channels["mouthSmileRight"]) / 2
    brow = sum(
        channels[f"{name}Left"] - channels[f"{name}Right"] for name in ("browOuterUp", "browDown")
    )
    return face, np.stack([smile, np.asarray(brow) / 2], axis=1)


# --- eyes and head ------------------------------------------------------------------------------


def _ratio(values: Float64Array) -> Float64Array:
    """Opening of both eyes by their width [T]."""
    left, right = (MEASURE_INDEX[f"eye_ratio_{side}"] for side in ("left", "right"))
    return np.asarray((values[:, left] + values[:, right]) / 2)


def _shut(segment: Segment) -> Float64Array:
    """Share of their way that the lids have gone [T], 0 = open as usual."""
    ratio = _ratio(segment.raw)
    usual = float(np.median(ratio))
    open_eye = float(np.median(ratio[ratio > 0.8 * usual]))
    return np.asarray(1.0 - ratio / max(open_eye, 1e-3))


def blink_starts(segment: Segment) -> list[int]:
    """Frames in which a blink begins."""
    shut = _shut(segment)
    starts: list[int] = []
    edges = np.flatnonzero(
        np.diff(np.concatenate([[False], shut > BLINK_BEGINS, [False]]).astype(np.int8))
    )
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        deepest = float(shut[start:end].max())
        if deepest < SHUT_FROM or end - start > MAX_BLINK_FRAMES:
            continue
        # The course of a lid is half-way in its first frame and shut in the next.
        first = max(int(start + np.argmax(shut[start:end] > NEARLY_SHUT * deepest)) - 1, 0)
        if not starts or first - starts[-1] >= LID_PAUSE_FRAMES:
            starts.append(first)
    return starts


def _lid_opening(segment: Segment) -> Float64Array:
    """Opening of the lids [T] by what is usual, without the blinks."""
    shut = _shut(segment)
    lowered = np.convolve(shut > BLINK_BEGINS, np.ones(5), mode="same") > 0
    frames = np.arange(len(shut))
    if lowered.all():
        return np.ones(len(shut))
    opening = np.interp(frames, frames[~lowered], 1.0 - shut[~lowered])
    return np.asarray(gaussian_filter1d(opening, 3.0, mode="nearest"))


def _eyes(segment: Segment) -> tuple[Float64Array, Float64Array]:
    """Blinks and gaze relative to the camera [T, 3], and the main gaze [T, 2]."""
    num_frames = segment.num_frames
    blink = np.zeros(num_frames + len(LID_COURSE))
    for start in blink_starts(segment):
        # Lids begin to move when the latent passes `BLINK_FROM`, which is in the course's second.
        begin = max(start - 1, 0)
        blink[begin : begin + len(LID_COURSE)] = LID_COURSE
    blink = blink[:num_frames]
    open_eyes = np.flatnonzero(np.convolve(_shut(segment) > BLINK_BEGINS, np.ones(3), "same") == 0)
    look = []
    for name in ("yaw", "pitch"):
        eye = segment.raw[:, MEASURE_INDEX[f"gaze_{name}"]]
        if len(open_eyes):
            eye = np.interp(np.arange(num_frames), open_eyes, eye[open_eyes])
        head = segment.values[:, MEASURE_INDEX[name]]
        if name == "pitch":
            # How far eyes and noses point down at rest is a matter of the face's shape.
            eye, head = eye - np.median(eye), head - np.median(head)
        # What the eyes do not make up for, they move by: turning against the head.
        look.append(median_filter(eye, 5, mode="nearest") + VOR_GAIN * head)
    camera = np.clip(np.stack(look, axis=1), -MAX_GAZE_RAD, MAX_GAZE_RAD)
    main = gaussian_filter1d(camera, MAIN_GAZE_S * FRAME_RATE_HZ, axis=0, mode="nearest")
    return np.concatenate([blink[:, None], camera], axis=1), np.asarray(main)


def _head(segment: Segment, gaze: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Deviation of the head from its anchor [T, 6], and the distance asked for [T]."""

    def track(name: str) -> Float64Array:
        return segment.values[:, MEASURE_INDEX[name]]

    size = np.log(np.maximum(track("iod_px"), 1.0))
    size -= size.mean()
    slow = MAIN_PLACE_S * FRAME_RATE_HZ
    main_size = gaussian_filter1d(size, slow, mode="nearest")
    limit = np.log(MAX_HEAD_DISTANCE)
    log_distance = np.clip(-main_size, -limit, limit)
    turns = np.stack([track(name) for name in HEAD[:3]], axis=1)
    turns[:, :2] -= HEAD_GAZE_SHARE * gaze
    turns = np.clip(turns - np.median(turns, axis=0), -MAX_TURN_RAD, MAX_TURN_RAD)
    places = np.stack([track("x_px"), track("y_px")], axis=1)
    places = places - gaussian_filter1d(places, slow, axis=0, mode="nearest")
    places = np.clip(places / track("iod_px")[:, None], -MAX_SHIFT_IOD, MAX_SHIFT_IOD)
    scale = np.clip(size + log_distance, -MAX_LOG_SCALE, MAX_LOG_SCALE)
    return np.concatenate([turns, places, scale[:, None]], axis=1), np.asarray(log_distance)
