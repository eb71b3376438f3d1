"""What a head does over a subject's frames: a source portrait, then targets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.synth.assets import HeadPack
from parlante.types import ARKIT_CHANNELS, Float32Array

__all__ = ["ARKIT_OF_UNIT", "FrameScript", "arkit_of", "sample_frames"]

# Degrees; the source portrait and, for the targets, how far they may go.
SOURCE_SPREAD_DEG: Final = (6.0, 4.0, 3.0)
TURNED_SHARE: Final = 0.1  # of source portraits that are turned by up to 30 degrees
TARGET_LIMIT_DEG: Final = (25.0, 18.0, 15.0)
EXPRESSIVE_SHARE: Final = 0.33  # of source portraits that smile or show their teeth
GAZE_LIMIT_RAD: Final = (0.5, 0.35)
LID_UNITS: Final = ("LeftUpperLidClosed", "RightUpperLidClosed")
# Eye turns are gaze, which is given apart; a unit of the eyes would say the same again.
EYE_UNITS: Final = ("Eye",)

# How far a pose unit at weight 1 drives ARKit channels, as far as they correspond.
ARKIT_OF_UNIT: Final[Mapping[str, Mapping[str, float]]] = {
    "LeftUpperLidClosed": {"eyeBlinkLeft": 1.0},
    "RightUpperLidClosed": {"eyeBlinkRight": 1.0},
    "LeftUpperLidOpen": {"eyeWideLeft": 1.0},
    "RightUpperLidOpen": {"eyeWideRight": 1.0},
    "LeftLowerLidUp": {"eyeSquintLeft": 1.0},
    "RightLowerLidUp": {"eyeSquintRight": 1.0},
    "LeftBrowDown": {"browDownLeft": 1.0},
    "RightBrowDown": {"browDownRight": 1.0},
    "LeftOuterBrowUp": {"browOuterUpLeft": 1.0},
    "RightOuterBrowUp": {"browOuterUpRight": 1.0},
    "LeftInnerBrowUp": {"browInnerUp": 0.5},
    "RightInnerBrowUp": {"browInnerUp": 0.5},
    "NoseWrinkler": {"noseSneerLeft": 1.0, "noseSneerRight": 1.0},
    "LeftCheekUp": {"cheekSquintLeft": 1.0},
    "RightCheekUp": {"cheekSquintRight": 1.0},
    "CheeksPump": {"cheekPuff": 1.0},
    "ChinLeft": {"jawLeft": 1.0},
    "ChinRight": {"jawRight": 1.0},
    "ChinForward": {"jawForward": 1.0},
    "JawDrop": {"jawOpen": 1.0},
    "JawDropStretched": {"jawOpen": 1.0},
    "lowerLipUp": {"mouthShrugLower": 1.0},
    "lowerLipDown": {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
    "lowerLipBackward": {"mouthRollLower": 1.0},
    "UpperLipBackward": {"mouthRollUpper": 1.0},
    "lowerLipForward": {"mouthFunnel": 0.5},
    "UpperLipForward": {"mouthFunnel": 0.5},
    "UpperLipUp": {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    "LipsKiss": {"mouthPucker": 1.0},
    "MouthMoveLeft": {"mouthLeft": 1.0},
    "MouthMoveRight": {"mouthRight": 1.0},
    "MouthLeftPullUp": {"mouthSmileLeft": 1.0},
    "MouthRightPullUp": {"mouthSmileRight": 1.0},
    "MouthLeftPullSide": {"mouthStretchLeft": 1.0},
    "MouthRightPullSide": {"mouthStretchRight": 1.0},
    "MouthLeftPullDown": {"mouthFrownLeft": 1.0},
    "MouthRightPullDown": {"mouthFrownRight": 1.0},
    "TongueOut": {"tongueOut": 1.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScript:
    """What one frame shows.

    Attributes:
        units: Pose units by name.
        yaw_rad: Head turn, signs as `POSE_CHANNELS`.
        pitch_rad: Head nod.
        roll_rad: Head tilt.
        gaze_yaw_rad: Eye in head, + = towards image right.
        gaze_pitch_rad: Eye in head, + = down.
        shift_x: Of the whole person, inter-ocular distances, + = image right.
        shift_y: + = down.
        log_scale: Natural log of the size, relative to where the person stands in frame 0.
        kind: Name for the metadata.
    """

    units: Mapping[str, float]
    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    gaze_yaw_rad: float = 0.0
    gaze_pitch_rad: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    log_scale: float = 0.0
    kind: str = "calm"


def arkit_of(units: Mapping[str, float]) -> Float32Array:
    """ARKit coefficients of pose units: float32 [52], [0, 1], in the order of `ARKIT_CHANNELS`."""
    out = np.zeros(len(ARKIT_CHANNELS), np.float32)
    for unit, weight in units.items():
        for channel, gain in ARKIT_OF_UNIT.get(unit, {}).items():
            out[ARKIT_CHANNELS.index(channel)] += gain * weight
    return np.clip(out, 0.0, 1.0)


def sample_frames(
    pack: HeadPack, rng: np.random.Generator, *, num_frames: int
) -> list[FrameScript]:
    """Draw a source portrait and its targets.

    Args:
        pack: Gives visemes and expressions.
        rng: Source of chance.
        num_frames: F, at least 1.
    """
    frames = [_source(pack, rng)]
    # Each subject shows most kinds: the order is drawn, not the kinds themselves.
    kinds = ["viseme", "viseme", "blink", "expression", "viseme", "half_blink", "viseme"]
    order = rng.permutation(len(kinds))
    frames += [
        _target(pack, rng, kinds[int(order[index % len(kinds)])]) for index in range(num_frames - 1)
    ]
    return [_known(pack, frame) for frame in frames]


def _known(pack: HeadPack, frame: FrameScript) -> FrameScript:
    """Without units that the pack lacks and those of the eyes."""
    units = {
        name: float(np.clip(weight, 0.0, 1.2))
        for name, weight in frame.units.items()
        if name in pack.unit_names and not any(eye in name for eye in EYE_UNITS) and weight > 0.0
    }
    fields = {name: getattr(frame, name) for name in FrameScript.__slots__ if name != "units"}
    return FrameScript(units=units, **fields)


def _source(pack: HeadPack, rng: np.random.Generator) -> FrameScript:
    yaw, pitch, roll = (float(rng.normal(0.0, s)) for s in SOURCE_SPREAD_DEG)
    yaw = float(np.clip(yaw, -15.0, 15.0))
    if rng.random() < TURNED_SHARE:
        yaw = float(rng.choice([-1.0, 1.0]) * rng.uniform(15.0, 30.0))
    units = _asymmetric(rng, _small_things(rng))
    kind = "calm"
    if rng.random() < EXPRESSIVE_SHARE:
        kind = str(rng.choice(["smile", "teeth", "open"]))
        _add(units, _portrait_expression(rng, kind))
    return FrameScript(
        units=units,
        yaw_rad=math.radians(yaw),
        pitch_rad=math.radians(float(np.clip(pitch, -12.0, 12.0))),
        roll_rad=math.radians(float(np.clip(roll, -10.0, 10.0))),
        gaze_yaw_rad=-0.8 * math.radians(yaw) + float(rng.normal(0.0, 0.05)),
        gaze_pitch_rad=-0.8 * math.radians(pitch) + float(rng.normal(0.0, 0.04)),
        kind=kind,
    )


def _portrait_expression(rng: np.random.Generator, kind: str) -> dict[str, float]:
    pull = float(rng.uniform(0.35, 0.85))
    smile = {
        "MouthLeftPullUp": pull, "MouthRightPullUp": pull, "LeftCheekUp": 0.6 * pull,
        "RightCheekUp": 0.6 * pull, "MouthLeftPullSide": 0.3 * pull,
        "MouthRightPullSide": 0.3 * pull,
    }  # fmt: skip
    if kind == "smile":
        return smile
    teeth = {
        "UpperLipUp": float(rng.uniform(0.3, 0.7)),
        "lowerLipDown": float(rng.uniform(0.2, 0.6)),
    }
    if kind == "teeth":
        return smile | teeth | {"JawDrop": float(rng.uniform(0.0, 0.2))}
    return {
        "JawDrop": float(rng.uniform(0.1, 0.4)),
        "UpperLipUp": float(rng.uniform(0.0, 0.4)),
        "lowerLipDown": float(rng.uniform(0.0, 0.4)),
    }


def _small_things(rng: np.random.Generator) -> dict[str, float]:
    """Nobody's face is quite at rest."""
    names = (
        "LeftBrowDown", "LeftOuterBrowUp", "LeftInnerBrowUp", "LeftCheekUp", "LeftUpperLidClosed",
        "LeftLowerLidUp", "lowerLipUp", "MouthLeftPullUp", "MouthLeftPullDown",
    )  # fmt: skip
    chosen = rng.choice(np.array(names), 3, replace=False)
    return {str(name): float(abs(rng.normal(0.0, 0.10))) for name in chosen}


def _asymmetric(rng: np.random.Generator, units: Mapping[str, float]) -> dict[str, float]:
    """Give the right side what the left has, nearly."""
    out = dict(units)
    for name, weight in units.items():
        if "Left" in name:
            out[name.replace("Left", "Right")] = weight * float(np.exp(rng.normal(0.0, 0.15)))
    return out


def _target(pack: HeadPack, rng: np.random.Generator, kind: str) -> FrameScript:
    units = _asymmetric(rng, _small_things(rng))
    _add(units, _mouth(pack, rng, kind))
    if kind == "expression" and pack.expressions:
        name = str(rng.choice(sorted(pack.expressions)))
        gain = float(rng.uniform(0.4, 1.0))
        _add(units, {unit: gain * weight for unit, weight in pack.expressions[name].items()})
    gaze = np.clip(rng.normal(0.0, [0.2, 0.12]), [-v for v in GAZE_LIMIT_RAD], GAZE_LIMIT_RAD)
    _move_lids(rng, units, kind, float(gaze[1]))
    angles = _head_angles(rng)
    return FrameScript(
        units=units,
        yaw_rad=angles[0],
        pitch_rad=angles[1],
        roll_rad=angles[2],
        gaze_yaw_rad=float(gaze[0]),
        gaze_pitch_rad=float(gaze[1]),
        shift_x=float(np.clip(rng.normal(0.0, 0.12), -0.35, 0.35)),
        shift_y=float(np.clip(rng.normal(0.0, 0.08), -0.25, 0.25)),
        log_scale=float(np.clip(rng.normal(0.0, 0.06), -0.2, 0.2)),
        kind=kind,
    )


def _head_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Half of the targets turn far, the others as a talking head does."""
    limit = np.radians(TARGET_LIMIT_DEG)
    if rng.random() < 0.5:
        angles = rng.uniform(-limit, limit)
    else:
        angles = np.clip(rng.normal(0.0, limit / 3.5), -limit, limit)
    return float(angles[0]), float(angles[1]), float(angles[2])


def _mouth(pack: HeadPack, rng: np.random.Generator, kind: str) -> dict[str, float]:
    """A viseme or a mixture of two, now and then with lips that show teeth."""
    if kind in ("expression", "blink") and rng.random() < 0.5:
        return {}
    names = sorted(pack.visemes)
    if not names:
        return {}
    units: dict[str, float] = {}
    first, second = (str(name) for name in rng.choice(np.array(names), 2))
    share = float(rng.beta(0.6, 0.6))
    for name, amount in ((first, share), (second, 1.0 - share)):
        gain = amount * float(rng.uniform(0.6, 1.15))
        _add(units, {unit: gain * weight for unit, weight in pack.visemes[name].items()})
    if rng.random() < 0.3:
        pull = float(rng.uniform(0.0, 0.6))
        _add(units, {"MouthLeftPullUp": pull, "MouthRightPullUp": pull})
    if rng.random() < 0.35:
        _add(units, {"UpperLipUp": float(rng.uniform(0.0, 0.5))})
    if rng.random() < 0.12:
        _add(units, {"JawDrop": float(rng.uniform(0.0, 0.4))})
    return units


def _move_lids(
    rng: np.random.Generator, units: dict[str, float], kind: str, gaze_pitch_rad: float
) -> None:
    """Blinks, and lids that follow the gaze."""
    if kind == "blink":
        closed = float(rng.uniform(0.92, 1.0))
    elif kind == "half_blink":
        closed = float(rng.uniform(0.2, 0.85))
    else:
        follow = max(gaze_pitch_rad, 0.0) * 1.3
        closed = follow + abs(float(rng.normal(0.0, 0.05)))
        if gaze_pitch_rad < -0.1:
            _add(units, {"LeftUpperLidOpen": -gaze_pitch_rad, "RightUpperLidOpen": -gaze_pitch_rad})
    for name in LID_UNITS:
        units[name] = min(1.0, max(units.get(name, 0.0), closed))
    if kind == "half_blink" and rng.random() < 0.15:  # a wink
        units[str(rng.choice(np.array(LID_UNITS)))] = 0.0


def _add(units: dict[str, float], more: Mapping[str, float]) -> None:
    for name, weight in more.items():
        units[name] = units.get(name, 0.0) + weight
