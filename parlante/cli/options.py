"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import math
from typing import Final

from parlante.errors import InvalidInput
from parlante.types import (
    EMOTIONS,
    MAX_BLINK_RATE,
    MAX_GAZE_RAD,
    MAX_HEAD_DISTANCE,
    MAX_HEAD_POSE_RAD,
    MAX_INTENSITY,
    MIN_HEAD_DISTANCE,
    Controls,
    Driving,
    FaceChoice,
    FaceSelection,
    HeadPose,
)

__all__ = [
    "add_control_options",
    "add_face_net_option",
    "add_face_option",
    "add_server_option",
    "controls_of",
    "face_of",
]

_MAX_GAZE_DEG: Final = math.degrees(MAX_GAZE_RAD)
_MAX_HEAD_POSE_DEG: Final = math.floor(math.degrees(MAX_HEAD_POSE_RAD))


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


def add_face_net_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--face-net``."""
    parser.add_argument(
        "--face-net",
        metavar="auto|none|nano|base|FILE",
        help="network that retouches mouth, eyes and contour, without --server (default: "
        "PARLANTE_FACE_NET, or auto: nano if it is packaged)",
    )


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add what steers the face: gaze, distance, emotion, and how head and face move."""
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
    parser.add_argument(
        "--head-motion",
        type=float,
        default=1.0,
        metavar="X",
        help=f"how much the head moves, 0 to {MAX_INTENSITY:g} (default: 1)",
    )
    parser.add_argument(
        "--expression",
        type=float,
        default=1.0,
        metavar="X",
        help=f"how much brows and expression move, 0 to {MAX_INTENSITY:g} (default: 1)",
    )
    parser.add_argument(
        "--blink-rate",
        type=float,
        default=1.0,
        metavar="X",
        help=f"how often the eyes blink, 0 = never, to {MAX_BLINK_RATE:g} (default: 1)",
    )
    parser.add_argument(
        "--head-pose",
        metavar="YAW,PITCH,ROLL",
        help="pose that the head moves about, relative to the portrait, degrees within "
        f"{_MAX_HEAD_POSE_DEG:g}; + is nose to image right, nose down, clockwise "
        "(default: as the gaze asks)",
    )
    parser.add_argument(
        "--driving",
        choices=[driving.value for driving in Driving],
        default=Driving.FULL.value,
        help="what the voice drives: all, the face alone, or the head alone (default: full)",
    )


def controls_of(args: argparse.Namespace) -> Controls:
    """Build the controls of the options; raises `InvalidInput`."""
    gaze = _read_angles("gaze", args.gaze, "YAW,PITCH", _MAX_GAZE_DEG) or (0.0, 0.0)
    pose = _read_angles("head-pose", args.head_pose, "YAW,PITCH,ROLL", _MAX_HEAD_POSE_DEG)
    return Controls(
        gaze_yaw_rad=gaze[0],
        gaze_pitch_rad=gaze[1],
        head_distance=args.distance,
        emotion=_read_emotion(args.emotion),
        head_motion=args.head_motion,
        expression=args.expression,
        blink_rate=args.blink_rate,
        head_pose=None
        if pose is None
        else HeadPose(yaw_rad=pose[0], pitch_rad=pose[1], roll_rad=pose[2]),
        driving=Driving(args.driving),
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


def _read_angles(
    option: str, text: str | None, names: str, max_deg: float
) -> tuple[float, ...] | None:
    """Read as many degrees as there are names; gives radians, None when the option is absent."""
    if text is None:
        return None
    try:
        angles_deg = tuple(float(part) for part in text.split(","))
    except ValueError:
        angles_deg = ()
    in_range = all(abs(angle) <= max_deg for angle in angles_deg)  # false for NaN too
    if not in_range or len(angles_deg) != len(names.split(",")):
        raise InvalidInput(
            f"--{option} takes {names} in degrees within {max_deg:g}; got {text!r}",
            reason="BAD_OPTION",
            field=option.replace("-", "_"),
        )
    return tuple(math.radians(angle) for angle in angles_deg)


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
