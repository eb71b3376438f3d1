"""Options that several commands share, and how they are read."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parlante.errors import InvalidInput
from parlante.types import (
    EMOTIONS,
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    MAX_BACKGROUND_BYTES,
    MAX_BLINK_RATE,
    MAX_GAZE_RAD,
    MAX_HEAD_DISTANCE,
    MAX_HEAD_POSE_RAD,
    MAX_INTENSITY,
    MIN_HEAD_DISTANCE,
    AvatarInfo,
    Background,
    BackgroundKind,
    Controls,
    Driving,
    FaceChoice,
    FaceSelection,
    FrameEncoding,
    Framing,
    HeadPose,
    RenderConfig,
    usual_bitrate_kbps,
)

__all__ = [
    "Look",
    "add_control_options",
    "add_face_net_option",
    "add_face_option",
    "add_framing_option",
    "add_look_options",
    "add_server_option",
    "check_count",
    "controls_of",
    "face_of",
    "look_of",
]

_MAX_GAZE_DEG: Final = math.degrees(MAX_GAZE_RAD)
_MAX_HEAD_POSE_DEG: Final = math.floor(math.degrees(MAX_HEAD_POSE_RAD))


def check_count(option: str, count: int) -> None:
    """Refuse what is to be counted from 1.

    Raises:
        InvalidInput: It is less.
    """
    if count < 1:
        raise InvalidInput(f"{option} takes at least 1; got {count}")


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


def add_framing_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--framing``."""
    parser.add_argument(
        "--framing",
        choices=[framing.value for framing in Framing],
        default=Framing.HEAD.value,
        help="how much of the picture is shown: a square around the head, a wider one with the "
        "shoulders, or the full picture at its own size up to 1920x1080 (default: head)",
    )


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """Add what frames look like beside motion: framing, size, background."""
    add_framing_option(parser)
    parser.add_argument(
        "--size",
        type=int,
        default=0,
        metavar="PX",
        help=f"edge of square frames: {', '.join(map(str, FRAME_SIZES_PX))} "
        f"(default: {FRAME_SIZE_PX}; full pictures have their own)",
    )
    parser.add_argument(
        "--background",
        default=BackgroundKind.KEPT.value,
        metavar="kept|blurred|transparent|#RRGGBB|NAME|FILE",
        help="what is behind the person: the portrait's own, it out of focus, nothing, a colour "
        "(#RRGGBB, #RGB or a CSS name such as white) or a picture (default: kept); transparent "
        "needs an output that ends in .mov, .webm or frame_%%05d.png",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What frames look like beside motion; the options of `add_look_options`."""

    framing: Framing = Framing.HEAD
    frame_size_px: int = 0
    background: Background = field(default_factory=Background)

    @property
    def is_clear(self) -> bool:
        """Whether frames have alpha."""
        return self.background.kind is BackgroundKind.TRANSPARENT

    def config(self, avatar: AvatarInfo, encoding: FrameEncoding) -> RenderConfig:
        """The configuration of a render stream."""
        return RenderConfig(
            avatar_key=avatar.key,
            encoding=encoding,
            h264_bitrate_kbps=self.bitrate_kbps(avatar),
            frame_size_px=self.frame_size_px,
            background=self.background,
        )

    def bitrate_kbps(self, avatar: AvatarInfo) -> int:
        """H.264 bit rate that suits an avatar's frames."""
        config = RenderConfig(
            avatar_key=avatar.key,
            encoding=FrameEncoding.RGBA32,
            frame_size_px=self.frame_size_px,
            background=self.background,
        )
        width, height = config.frame_size_of(
            avatar.framing, avatar.source_width_px, avatar.source_height_px
        )
        return usual_bitrate_kbps(round(math.sqrt(width * height)))


def look_of(args: argparse.Namespace) -> Look:
    """Read what frames are to look like; raises `InvalidInput`."""
    look = Look(
        framing=Framing(args.framing),
        frame_size_px=args.size,
        background=_read_background(args.background),
    )
    # Refuses what does not fit together before there is work to lose.
    encoding = FrameEncoding.RGBA32
    config = RenderConfig(
        avatar_key="", encoding=encoding, frame_size_px=args.size, background=look.background
    )
    config.frame_size_of(look.framing, FRAME_SIZE_PX, FRAME_SIZE_PX)
    return look


def _read_background(text: str) -> Background:
    kinds = (BackgroundKind.KEPT, BackgroundKind.BLURRED, BackgroundKind.TRANSPARENT)
    for kind in kinds:
        if text == kind.value:
            return Background(kind=kind)
    path = Path(text)
    colour = _read_colour(text, named=not path.is_file())
    if colour is not None:
        return Background(kind=BackgroundKind.COLOUR, colour_rgb=colour)
    if not path.is_file():
        raise InvalidInput(
            "--background takes kept, blurred, transparent, a colour such as #20a040, #fff or "
            f"white, or a picture file; got {text[:80]!r}",
            reason="BAD_OPTION",
            field="background",
        )
    picture = path.read_bytes()
    if len(picture) > MAX_BACKGROUND_BYTES:
        # Imported here: most commands need no picture.
        from parlante.media.image import shrink_image

        picture = shrink_image(picture, max(FRAME_SIZES_PX))
    return Background(kind=BackgroundKind.PICTURE, picture=picture)


def _read_colour(text: str, *, named: bool) -> tuple[int, int, int] | None:
    """Read #RRGGBB, #RGB or, if `named`, what CSS calls a colour; None when it is no colour."""
    if re.fullmatch(r"#([0-9a-fA-F]{3}){1,2}", text):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        rgb = bytes.fromhex(digits)
        return rgb[0], rgb[1], rgb[2]
    if not named:
        return None
    # Imported here: most commands need no names.
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        return None
    return colour if len(colour) == 3 else None  # see-through colours are none of ours


def add_face_net_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--face-net``."""
    parser.add_argument(
        "--face-net",
        metavar="none|nano|base|FILE",
        help="network that retouches mouth and eyes, without --server; nano and base are for "
        "rendered characters, not for photos (default: PARLANTE_FACE_NET, or none)",
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


def face_of(text: str, framing: Framing = Framing.HEAD) -> FaceSelection:
    """Read ``only``, ``largest`` or an index; raises `InvalidInput`."""
    if text.isascii() and text.isdigit():
        return FaceSelection(choice=FaceChoice.INDEX, index=int(text), framing=framing)
    if text in (FaceChoice.ONLY.value, FaceChoice.LARGEST.value):
        return FaceSelection(choice=FaceChoice(text), framing=framing)
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
