"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import math
from typing import Final

from parlante.errors import InvalidInput
from parlante.types import (
    EMOTIONS,
    MAX_GAZE_RAD,
    MAX_HEAD_DISTANCE,
    MIN_HEAD_DISTANCE,
    Controls,
    FaceChoice,
    FaceSelection,
)

__all__ = [
    "add_control_options",
    "add_face_option",
    "add_server_option",
    "controls_of",
    "face_of",
]

_MAX_GAZE_DEG: Final = math.degrees(MAX_GAZE_RAD)


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--server``."""
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="a running gateway; without it everything runs in this process",
    )


def add_face_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--face``."""
    parser.add_argument(
        "--face",
        default="only",
        metavar="only|largest|INDEX",
        help="which face of a picture with several; INDEX counts from 0, left to right "
        "(default: only)",
    )


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add what steers the face: gaze, distance, emotion."""
    parser.add_argument(
        "--gaze",
        metavar="YAW,PITCH",
        help=f"where the eyes look, degrees within {_MAX_GAZE_DEG:g}; + is image right and down",
    )
    parser.add_argument(
        "--distance",
        type=float,
        default=1.0,
        metavar="D",
        help=f"distance of the head relative to the portrait, {MIN_HEAD_DISTANCE:g} to "
        f"{MAX_HEAD_DISTANCE:g} (default: 1)",
    )
    parser.add_argument(
        "--emotion",
        metavar="NAME=W,...",
        help=f"emotions with weights from 0 to 1; names: {', '.join(EMOTIONS)}",
    )


def controls_of(args: argparse.Namespace) -> Controls:
    """Build the controls of the options; raises `InvalidInput`."""
    yaw_deg, pitch_deg = _read_gaze(args.gaze)
    return Controls(
        gaze_yaw_rad=math.radians(yaw_deg),
        gaze_pitch_rad=math.radians(pitch_deg),
        head_distance=args.distance,
        emotion=_read_emotion(args.emotion),
    )


def face_of(text: str) -> FaceSelection:
    """Read ``only``, ``largest`` or an index; raises `InvalidInput`."""
    if text.isascii() and text.isdigit():
        return FaceSelection(choice=FaceChoice.INDEX, index=int(text))
    if text in (FaceChoice.ONLY.value, FaceChoice.LARGEST.value):
        return FaceSelection(choice=FaceChoice(text))
    raise InvalidInput(
        f"--face takes only, largest or an index from 0; got {text!r}",
        reason="BAD_OPTION",
        field="face",
    )


def _read_gaze(text: str | None) -> tuple[float, float]:
    if text is None:
        return 0.0, 0.0
    try:
        yaw_deg, pitch_deg = (float(part) for part in text.split(","))
    except ValueError:
        yaw_deg = pitch_deg = math.nan
    for angle in (yaw_deg, pitch_deg):
        if not abs(angle) <= _MAX_GAZE_DEG:  # also when it is not a number
            raise InvalidInput(
                f"--gaze takes YAW,PITCH in degrees within {_MAX_GAZE_DEG:g}; got {text!r}",
                reason="BAD_OPTION",
                field="gaze",
            )
    return yaw_deg, pitch_deg


def _read_emotion(text: str | None) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in (text or "").split(",") if text else ():
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            raise InvalidInput(
                f"--emotion takes NAME=W,... such as happy=0.6; got {part!r}",
                reason="BAD_OPTION",
                field="emotion",
            ) from None
    return weights
