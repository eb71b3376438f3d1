"""A motion that shows all that is to be read: speech-like lips, brows, blinks, gaze, a moving head.

Axis letter: T frames at 25 Hz.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.types import FRAME_RATE_HZ, MOTION_DIM, MOTION_INDEX, Float32Array

__all__ = ["exercise"]

Float64Array = npt.NDArray[np.float64]

# Mouth shapes that are gone through, as visemes are: channels and weights.
_SHAPES: Final[tuple[dict[str, float], ...]] = (
    {"jawOpen": 0.35, "mouthLowerDown": 0.2},
    {"jawOpen": 0.2, "mouthStretch": 0.5, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15},
    {"jawOpen": 0.15, "mouthPucker": 0.6, "mouthFunnel": 0.3},
    {"jawOpen": 0.3, "mouthFunnel": 0.6},
    {"mouthClose": 1.0, "mouthPress": 0.5},
    {"mouthStretch": 0.6, "jawOpen": 0.08, "mouthUpperUp": 0.2},
    {"jawOpen": 0.5},
    {"mouthPucker": 0.8, "jawOpen": 0.06},
    {},
)
_PAIRED: Final = ("mouthStretch", "mouthLowerDown", "mouthUpperUp", "mouthPress")
_SHAPE_FRAMES: Final = (3, 7)  # how long a shape takes to become the next
_EVENT_FRAMES: Final = (20, 60)
_LOOK_FRAMES: Final = (10, 40)
_HEAD_RAD: Final = (0.2, 0.13, 0.1)  # yaw, pitch, roll
_GAZE_RAD: Final = (0.3, 0.18)


def exercise(num_frames: int, seed: int) -> Float32Array:
    """Draw the motion: float32 [T, 60]; its first ten frames rest."""
    rng = np.random.default_rng([seed, 7])
    out = np.zeros((num_frames, MOTION_DIM))
    _speak(out, rng)
    for names, size in (
        (("mouthSmileLeft", "mouthSmileRight"), 0.8),
        (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 0.9),
        (("browDownLeft", "browDownRight"), 0.8),
    ):
        course = _events(num_frames, rng) * size
        out[:, [MOTION_INDEX[name] for name in names]] += course[:, None]
    brows = [MOTION_INDEX[n] for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]
    frowns = [MOTION_INDEX[n] for n in ("browDownLeft", "browDownRight")]
    raised = out[:, brows[0]] > out[:, frowns[0]]  # not both at once
    for columns, rows in ((frowns, raised), (brows, ~raised)):
        for column in columns:
            out[rows, column] = 0.0
    _look(out, rng)
    time_s = np.arange(num_frames) / FRAME_RATE_HZ
    for name, size in zip(("headYaw", "headPitch", "headRoll"), _HEAD_RAD, strict=True):
        phase, rate = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.15, 0.4)
        out[:, MOTION_INDEX[name]] = size * np.sin(2.0 * np.pi * rate * time_s + phase)
    ease = np.clip((np.arange(num_frames) - 10) / 10.0, 0.0, 1.0)
    return np.asarray(out * ease[:, None], np.float32)


def _speak(out: Float64Array, rng: np.random.Generator) -> None:
    frame, now = 0, _weights({})
    while frame < len(out):
        goal = _weights(_SHAPES[int(rng.integers(len(_SHAPES)))]) * rng.uniform(0.6, 1.0)
        closes = goal[MOTION_INDEX["mouthClose"]] > 0.0
        goal[MOTION_INDEX["mouthClose"]] = float(closes)  # whole or not at all
        steps = int(rng.integers(*_SHAPE_FRAMES))
        for step in range(min(steps, len(out) - frame)):
            share = 0.5 - 0.5 * np.cos(np.pi * (step + 1) / steps)
            out[frame + step] = now + share * (goal - now)
        frame, now = frame + steps, goal


def _weights(shape: dict[str, float]) -> Float64Array:
    out = np.zeros(MOTION_DIM)
    for name, weight in shape.items():
        for side in ("Left", "Right") if name in _PAIRED else ("",):
            out[MOTION_INDEX[name + side]] = weight
    return out


def _events(num_frames: int, rng: np.random.Generator) -> Float64Array:
    """Now and then up, held, and down: float64 [T], [0, 1]."""
    out = np.zeros(num_frames)
    frame = int(rng.integers(15, 40))
    while frame < num_frames:
        length = int(rng.integers(*_EVENT_FRAMES))
        time = np.linspace(0.0, 1.0, length)
        course = np.clip(np.minimum(time, 1.0 - time) * 5.0, 0.0, 1.0)
        course = course * course * (3.0 - 2.0 * course) * rng.uniform(0.4, 1.0)
        end = min(frame + length, num_frames)
        out[frame:end] = course[: end - frame]
        frame = end + int(rng.integers(15, 60))
    return out


def _look(out: Float64Array, rng: np.random.Generator) -> None:
    """Eyes jump and hold; lids blink now and then."""
    frame = 0
    while frame < len(out):
        length = int(rng.integers(*_LOOK_FRAMES))
        gaze = rng.uniform(-1.0, 1.0, 2) * _GAZE_RAD
        out[frame : frame + length, MOTION_INDEX["gazeYaw"]] = gaze[0]
        out[frame : frame + length, MOTION_INDEX["gazePitch"]] = gaze[1]
        frame += length
    blink = np.array([0.4, 0.9, 1.0, 0.8, 0.4, 0.1])
    frame = int(rng.integers(20, 50))
    while frame < len(out) - len(blink):
        for side in ("Left", "Right"):
            lid = out[frame : frame + len(blink), MOTION_INDEX[f"eyeBlink{side}"]]
            lid[:] = np.maximum(lid, blink)
        frame += int(rng.integers(40, 110))
