"""The motion latents: what the generator makes, frame by frame.

A latent frame has `LATENT_DIM` numbers, each named and scaled to unit variance over speech, so that
the diffusion model sees a well-conditioned space and anyone can read what it made:

- head: what moves the head's *deviation* from its anchor in one frame (a leaky velocity). The
  deviation is its leaky sum, so it is smooth whatever the sampler's grain and cannot drift away;
- mouth, face: blendshape weights shared by left and right, and two numbers for asymmetry;
- eyes: blinks, of which only the beginning is taken, and gaze relative to the *camera*.

`motion_channels` turns them into the public channels. Axis letters: T frames, D latent channels.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from parlante.models.listening import LISTENING_DIM
from parlante.types import EMOTIONS, FRAME_RATE_HZ, Controls, Float32Array

HEAD: Final = ("yaw", "pitch", "roll", "x", "y", "log_scale")
MOUTH: Final = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthStretch",
    "mouthRollLower",
    "mouthPress",
    "mouthLowerDown",
    "mouthUpperUp",
)
SHAPES: Final = ("mouthFunnel", "mouthPucker", "mouthStretch")  # of lips, among `MOUTH`
FACE: Final = (
    "mouthSmile",
    "mouthFrown",
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekSquint",
    "eyeSquint",
    "noseSneer",
    "eyeWide",
)
SIDES: Final = ("smileSide", "browSide")  # + = more on the subject's left
EYES: Final = ("blink", "gazeYaw", "gazePitch")
LATENTS: Final = HEAD + MOUTH + FACE + SIDES + EYES
LATENT_DIM: Final = len(LATENTS)  # 29
LATENT_INDEX: Final = {name: index for index, name in enumerate(LATENTS)}

HEAD_SLICE: Final = slice(0, 6)
MOUTH_SLICE: Final = slice(6, 15)
FACE_SLICE: Final = slice(15, 24)
SIDES_SLICE: Final = slice(24, 26)
EYES_SLICE: Final = slice(26, 29)
GAZE_SLICE: Final = slice(27, 29)  # of the eyes, yaw and pitch

# Natural unit of each latent (rad or IOD per frame, blendshape weight, rad): its standard
# deviation over the synthetic corpus, rounded.
LATENT_SCALE: Final[Float32Array] = np.array(
    [
        *(0.012, 0.012, 0.010, 0.020, 0.016, 0.0030),
        *(0.14, 0.30, 0.18, 0.28, 0.25, 0.13, 0.15, 0.10, 0.08),
        *(0.15, 0.12, 0.12, 0.15, 0.14, 0.12, 0.08, 0.08, 0.08),
        *(0.02, 0.03),
        *(0.25, 0.16, 0.11),
    ],
    dtype=np.float32,
)

HEAD_LEAK: Final = math.exp(-1.0 / (2.0 * FRAME_RATE_HZ))  # the deviation relaxes in 2 s


def head_latents(deviation: Float32Array) -> Float32Array:
    """Invert the leaky sum: a deviation track -> head latents.

    Args:
        deviation: float32 [T, 6], rad, IOD, log; the frame before is taken as at rest there.

    Returns:
        float32 [T, 6] unit-variance latents.
    """
    before = np.concatenate([deviation[:1], deviation[:-1]])
    push = deviation - HEAD_LEAK * before
    return (push / LATENT_SCALE[HEAD_SLICE]).astype(np.float32)


def condition(controls: Controls) -> Float32Array:
    """Controls as the model sees them, before anything was heard of the user.

    Returns:
        float32 [CONDITION_DIM]: gaze yaw, gaze pitch (of order one), log distance, seven emotion
        weights whose sum is at most 1, and zeros in place of what `listening.listen` gives.
    """
    weights = np.array([controls.emotion.get(name, 0.0) for name in EMOTIONS])
    weights /= max(1.0, float(weights.sum()))
    head = [
        controls.gaze_yaw_rad / 0.3,
        controls.gaze_pitch_rad / 0.3,
        math.log(controls.head_distance) / 0.4,
    ]
    return np.concatenate([head, weights, np.zeros(LISTENING_DIM)]).astype(np.float32)


LISTENING_SLICE: Final = slice(10, 10 + LISTENING_DIM)
CONDITION_DIM: Final = 10 + LISTENING_DIM
# gaze, distance, emotion, listening
CONDITION_GROUPS: Final = (slice(0, 2), slice(2, 3), slice(3, 10), LISTENING_SLICE)
