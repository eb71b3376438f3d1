"""The channels of motion and the names of emotions.

"Left" in a name is the *subject's* left, as in ARKit: it appears on the right of an unmirrored
picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = [
    "ARKIT_CHANNELS",
    "EMOTIONS",
    "GAZE_CHANNELS",
    "MOTION_CHANNELS",
    "MOTION_DIM",
    "MOTION_INDEX",
    "MOTION_SPACE",
    "POSE_CHANNELS",
]

POSE_CHANNELS: Final[tuple[str, ...]] = (
    "headYaw",  # rad, + = the nose moves towards image right
    "headPitch",  # rad, + = the nose moves down
    "headRoll",  # rad, + = clockwise in the image
    "headX",  # inter-ocular distances, + = image right
    "headY",  # inter-ocular distances, + = down
    "headLogScale",  # natural log of the size relative to the portrait
)

# Apple's ARKit names in the order game engines know from Audio2Face.
ARKIT_CHANNELS: Final[tuple[str, ...]] = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)

GAZE_CHANNELS: Final[tuple[str, ...]] = (
    "gazeYaw",  # rad, eye in head, + = towards image right
    "gazePitch",  # rad, eye in head, + = down
)

MOTION_CHANNELS: Final[tuple[str, ...]] = POSE_CHANNELS + ARKIT_CHANNELS + GAZE_CHANNELS
MOTION_DIM: Final = len(MOTION_CHANNELS)  # 60
MOTION_INDEX: Final[Mapping[str, int]] = MappingProxyType(
    {name: index for index, name in enumerate(MOTION_CHANNELS)}
)
MOTION_SPACE: Final = "parlante.motion/1"

EMOTIONS: Final[tuple[str, ...]] = (
    "neutral",
    "happy",
    "angry",
    "sad",
    "surprised",
    "disgusted",
    "afraid",
)
