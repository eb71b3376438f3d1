"""What a client steers while the avatar runs."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from parlante.errors import InvalidInput
from parlante.types.channels import EMOTIONS

__all__ = [
    "MAX_BLINK_RATE",
    "MAX_GAZE_RAD",
    "MAX_HEAD_DISTANCE",
    "MAX_HEAD_POSE_RAD",
    "MAX_INTENSITY",
    "MIN_HEAD_DISTANCE",
    "Controls",
    "Driving",
    "HeadPose",
    "check_range",
]

MAX_GAZE_RAD: Final = math.radians(35.0)
MIN_HEAD_DISTANCE: Final = 0.5
MAX_HEAD_DISTANCE: Final = 2.0
MAX_INTENSITY: Final = 2.0
MAX_BLINK_RATE: Final = 3.0
MAX_HEAD_POSE_RAD: Final = 0.44  # 25 degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """A pose of the head relative to the portrait's; signs as `POSE_CHANNELS`.

    Attributes:
        yaw_rad: [-0.44, 0.44], + = the nose moves towards image right.
        pitch_rad: [-0.44, 0.44], + = the nose moves down.
        roll_rad: [-0.44, 0.44], + = clockwise in the image.

    Raises:
        InvalidInput: An angle is not finite or out of range.
    """

    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    def __post_init__(self) -> None:
        for name in ("yaw_rad", "pitch_rad", "roll_rad"):
            value = getattr(self, name)
            check_range(f"head_pose.{name}", value, -MAX_HEAD_POSE_RAD, MAX_HEAD_POSE_RAD)


class Driving(enum.Enum):
    """What of a face the voice drives."""

    FULL = "full"
    EXPRESSION_ONLY = "expression_only"  # the head rests where it is anchored, the face moves
    POSE_ONLY = "pose_only"  # the face rests, the head moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a client may steer while a session runs.

    Attributes:
        gaze_yaw_rad: Main gaze direction, [-0.61, 0.61], + = towards image right.
        gaze_pitch_rad: Main gaze direction, [-0.61, 0.61], + = down.
        head_distance: Distance relative to the portrait, [0.5, 2]; 2 halves the size of the face.
        emotion: Weights in [0, 1] by name of `EMOTIONS`; absent names are 0.
        head_motion: Intensity of head motion, [0, 2], 1 = as generated; 0 holds the head still.
        expression: Intensity of brows, blinks and expression, [0, 2], 1 = as generated.
        blink_rate: Blinks relative to the natural rate, [0, 3]; 0 = none.
        head_pose: Rest pose that the head moves about; None = as the gaze asks. With `head_motion`
            0 the head is held exactly there.
        driving: What of the face the voice drives.

    Raises:
        InvalidInput: A value is not finite or out of range, or an emotion is unknown.
    """

    gaze_yaw_rad: float = 0.0
    gaze_pitch_rad: float = 0.0
    head_distance: float = 1.0
    emotion: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    head_motion: float = 1.0
    expression: float = 1.0
    blink_rate: float = 1.0
    head_pose: HeadPose | None = None
    driving: Driving = Driving.FULL

    def __post_init__(self) -> None:
        check_range("gaze_yaw_rad", self.gaze_yaw_rad, -MAX_GAZE_RAD, MAX_GAZE_RAD)
        check_range("gaze_pitch_rad", self.gaze_pitch_rad, -MAX_GAZE_RAD, MAX_GAZE_RAD)
        check_range("head_distance", self.head_distance, MIN_HEAD_DISTANCE, MAX_HEAD_DISTANCE)
        check_range("head_motion", self.head_motion, 0.0, MAX_INTENSITY)
        check_range("expression", self.expression, 0.0, MAX_INTENSITY)
        check_range("blink_rate", self.blink_rate, 0.0, MAX_BLINK_RATE)
        for name, weight in self.emotion.items():
            if name not in EMOTIONS:
                raise InvalidInput(
                    f"emotion names are {', '.join(EMOTIONS)}; got {name[:40]!r}; use one of them",
                    reason="UNKNOWN_EMOTION",
                    field="controls.emotion",
                )
            check_range(f"emotion[{name}]", weight, 0.0, 1.0)
        object.__setattr__(self, "emotion", MappingProxyType(dict(self.emotion)))


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidInput` unless `value` is finite and within [low, high]."""
    if not (math.isfinite(value) and low - 1e-6 <= value <= high + 1e-6):
        raise InvalidInput(
            f"{name} must be a finite number in [{low:g}, {high:g}]; got {value!r}",
            reason="CONTROL_OUT_OF_RANGE",
            field=name,
        )
