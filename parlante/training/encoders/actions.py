"""What the heads do that encoders learn from: pose, gaze and expression drawn apart.

A data set of `parlante synth` shows what talking heads do. There, gaze and pose say something about
each other and so do lips and brows, and an encoder would learn that instead of looking. Here each
is drawn for itself, evenly and far, so that none tells another.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from parlante.synth.assets import HeadPack
from parlante.synth.performance import (
    ARKIT_OF_UNIT,
    GAZE_LIMIT_RAD,
    LID_UNITS,
    FrameScript,
    sample_frames,
)

__all__ = ["sample_actions"]

YAW_LIMIT_DEG: Final = 38.0
PITCH_LIMIT_DEG: Final = 27.0
ROLL_LIMIT_DEG: Final = 12.0  # crops are upright; what is left is drawn when they are trained on
CALM_SHARE: Final = 0.12  # of frames: nothing but small things, lips shut
FREE_SHARE: Final = 0.5  # of frames: units at random; the others are visemes and expressions
UNIT_SHARE: Final = 0.16  # of units that a free frame moves
BROW_SHARE: Final = 0.35  # of frames that move brows besides
CAMERA_SHARE: Final = 0.2  # of frames whose eyes hold the camera
BLINK_SHARE: Final = 0.12
HALF_SHUT_SHARE: Final = 0.13
LIDS_FOLLOW: Final = 1.3  # of a lowered gaze, per rad
# A head that shows these at random looks broken, or they say what lids and gaze say.
_LEFT_OUT: Final = ("JawDropStretched", "ChinForward", *LID_UNITS)
_BROWS: Final = ("BrowDown", "OuterBrowUp", "InnerBrowUp")


def sample_actions(
    pack: HeadPack, rng: np.random.Generator, *, num_frames: int
) -> list[FrameScript]:
    """Draw what one head does in F frames, the first of them calm.

    Args:
        pack: Gives units, visemes and expressions.
        rng: Source of chance.
        num_frames: F, at least 1.
    """
    talking = sample_frames(pack, rng, num_frames=num_frames)
    return [
        _frame(pack, rng, base, calm=index == 0 or rng.random() < CALM_SHARE)
        for index, base in enumerate(talking)
    ]


def _frame(
    pack: HeadPack, rng: np.random.Generator, base: FrameScript, *, calm: bool
) -> FrameScript:
    units = dict(base.units)
    if calm:
        units = {name: abs(float(rng.normal(0.0, 0.04))) for name in ("lowerLipUp", "LeftCheekUp")}
    elif rng.random() < FREE_SHARE:
        units = _free_units(pack, rng)
    if not calm and rng.random() < BROW_SHARE:
        units |= _brows(rng)
    yaw, pitch, roll = _angles(rng)
    gaze_yaw, gaze_pitch = _gaze(rng, yaw, pitch)
    _move_lids(rng, units, gaze_pitch)
    known = {
        name: min(weight, 1.2)
        for name, weight in units.items()
        if name in pack.unit_names and weight > 0.0
    }
    return replace(
        base,
        units=known,
        yaw_rad=yaw,
        pitch_rad=pitch,
        roll_rad=roll,
        gaze_yaw_rad=gaze_yaw,
        gaze_pitch_rad=gaze_pitch,
        shift_x=float(rng.uniform(-0.1, 0.1)),
        shift_y=float(rng.uniform(-0.1, 0.1)),
        log_scale=0.0,
        kind="calm" if calm else base.kind,
    )


def _free_units(pack: HeadPack, rng: np.random.Generator) -> dict[str, float]:
    """Some units, mostly alike on both sides, few of them far."""
    units: dict[str, float] = {}
    for name in ARKIT_OF_UNIT:
        if name in _LEFT_OUT or name not in pack.unit_names or rng.random() > UNIT_SHARE:
            continue
        weight = float(rng.beta(1.0, 1.6))
        units[name] = weight
        if "Left" in name and rng.random() < 0.75:
            units[name.replace("Left", "Right")] = weight * float(np.exp(rng.normal(0.0, 0.1)))
    if rng.random() < 0.5:
        units["JawDrop"] = float(rng.beta(1.0, 2.0))
    return units


def _brows(rng: np.random.Generator) -> dict[str, float]:
    out: dict[str, float] = {}
    for name in rng.permutation(np.array(_BROWS))[: int(rng.integers(1, 3))]:
        weight = float(rng.uniform(0.1, 1.0))
        for side in ("Left", "Right"):
            is_alone = rng.random() < 0.15
            out[f"{side}{name}"] = 0.0 if is_alone else weight * float(np.exp(rng.normal(0, 0.1)))
    return out


def _angles(rng: np.random.Generator) -> tuple[float, float, float]:
    limits = np.radians((YAW_LIMIT_DEG, PITCH_LIMIT_DEG, ROLL_LIMIT_DEG))
    angles = rng.uniform(-limits, limits)
    if rng.random() < 0.5:
        angles = np.clip(rng.normal(0.0, limits / 3.0), -limits, limits)
    return float(angles[0]), float(angles[1]), float(angles[2])


def _gaze(rng: np.random.Generator, yaw_rad: float, pitch_rad: float) -> tuple[float, float]:
    """Even over an ellipse, or held on the camera."""
    yaw_limit, pitch_limit = GAZE_LIMIT_RAD
    if rng.random() < CAMERA_SHARE:
        yaw, pitch = -yaw_rad, -pitch_rad
    else:
        radius, angle = math.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * math.pi)
        yaw = yaw_limit * radius * math.cos(angle)
        pitch = pitch_limit * radius * math.sin(angle)
    return (
        float(np.clip(yaw, -yaw_limit, yaw_limit)),
        float(np.clip(pitch, -pitch_limit, pitch_limit)),
    )


def _move_lids(rng: np.random.Generator, units: dict[str, float], gaze_pitch_rad: float) -> None:
    """Blinks, winks, and lids that follow a lowered gaze."""
    chance = float(rng.random())
    closed = LIDS_FOLLOW * max(gaze_pitch_rad, 0.0) + abs(float(rng.normal(0.0, 0.06)))
    if chance < BLINK_SHARE:
        closed = float(rng.uniform(0.9, 1.0))
    elif chance < BLINK_SHARE + HALF_SHUT_SHARE:
        closed = float(rng.uniform(0.2, 0.85))
    elif gaze_pitch_rad < -0.1:
        for side in ("Left", "Right"):
            units[f"{side}UpperLidOpen"] = -gaze_pitch_rad
    elif chance > 0.92:
        wide = float(rng.uniform(0.2, 1.0))
        units |= {"LeftUpperLidOpen": wide, "RightUpperLidOpen": wide}
    for name in LID_UNITS:
        units[name] = min(1.0, closed)
    if closed > 0.2 and rng.random() < 0.15:
        units[str(rng.choice(np.array(LID_UNITS)))] = 0.0
