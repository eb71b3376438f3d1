"""What the renderer is asked for, and the frames it makes."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Final

from parlante.errors import InvalidInput
from parlante.types.avatars import Framing
from parlante.types.controls import check_range
from parlante.types.units import (
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    MAX_PICTURE_LONG_PX,
    MAX_PICTURE_SHORT_PX,
)

__all__ = [
    "MAX_BACKGROUND_BYTES",
    "MAX_FRAME_DEADLINE_MS",
    "Background",
    "BackgroundKind",
    "FrameEncoding",
    "RenderConfig",
    "RenderedFrame",
    "picture_frame_size",
    "picture_zoom",
    "usual_bitrate_kbps",
]


class FrameEncoding(enum.Enum):
    """How a frame's pixels are carried; raw ones are full range, top row first, no padding."""

    JPEG = "jpeg"
    H264 = "h264"  # Annex B, one access unit per frame
    RGBA32 = "rgba32"
    BGRA32 = "bgra32"
    RGB24 = "rgb24"
    NV12 = "nv12"  # BT.709 limited range
    PNG = "png"  # with alpha when the background is transparent
    WEBP = "webp"  # lossy; with alpha when the background is transparent

    @property
    def has_alpha(self) -> bool:
        """Whether frames can be transparent; not premultiplied."""
        return self in _ALPHA_ENCODINGS


_ALPHA_ENCODINGS: Final = frozenset(
    {FrameEncoding.RGBA32, FrameEncoding.BGRA32, FrameEncoding.PNG, FrameEncoding.WEBP}
)
# Beside an inline portrait of 3 MiB it must fit into a message of 4 MiB.
MAX_BACKGROUND_BYTES: Final = 960 * 1024


class BackgroundKind(enum.Enum):
    """What is seen behind the person."""

    KEPT = "kept"  # the portrait's own
    BLURRED = "blurred"  # the portrait's own, out of focus
    COLOUR = "colour"
    PICTURE = "picture"  # another picture, scaled and cropped to fill the frame
    TRANSPARENT = "transparent"  # none: frames carry an alpha channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What is seen behind the person.

    Attributes:
        kind: What.
        colour_rgb: With COLOUR: red, green, blue, [0, 255] each.
        picture: With PICTURE: a JPEG, PNG or WebP file, at most 960 KiB.

    Raises:
        InvalidInput: BAD_COLOUR, BACKGROUND_PICTURE_REQUIRED or IMAGE_TOO_LARGE.
    """

    kind: BackgroundKind = BackgroundKind.KEPT
    colour_rgb: tuple[int, int, int] = (0, 0, 0)
    picture: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.colour_rgb) != 3 or not all(0 <= v <= 255 for v in self.colour_rgb):
            raise InvalidInput(
                f"a colour is red, green and blue in [0, 255]; got {self.colour_rgb}",
                reason="BAD_COLOUR",
                field="background.colour_rgb",
            )
        if self.kind is BackgroundKind.PICTURE and not self.picture:
            raise InvalidInput(
                "a picture as background needs background.picture; got none",
                reason="BACKGROUND_PICTURE_REQUIRED",
                field="background.picture",
            )
        if len(self.picture) > MAX_BACKGROUND_BYTES:
            raise InvalidInput(
                f"a picture as background has at most {MAX_BACKGROUND_BYTES} bytes; got "
                f"{len(self.picture)}; scale it down, 1024 px are enough",
                reason="IMAGE_TOO_LARGE",
                field="background.picture",
            )


def usual_bitrate_kbps(size_px: int) -> int:
    """H.264 bit rate that suits frames of size_px x size_px, kbit/s: 1500 at 512 px."""
    kbps = 1500.0 * math.pow(size_px / FRAME_SIZE_PX, 1.5)
    return round(min(max(kbps, 100.0), 20_000.0))


def picture_zoom(width_px: int, height_px: int) -> float:
    """Frame pixels per pixel of a picture that is shown whole: at most 1, to fit 1920x1080."""
    long_px, short_px = max(width_px, height_px), min(width_px, height_px)
    return min(1.0, MAX_PICTURE_LONG_PX / long_px, MAX_PICTURE_SHORT_PX / short_px)


def picture_frame_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height of frames that show a whole picture, even, at most 1920x1080 either way."""
    zoom = picture_zoom(width_px, height_px)
    width, height = (max(2, 2 * int(side * zoom / 2 + 1e-6)) for side in (width_px, height_px))
    return width, height


MAX_FRAME_DEADLINE_MS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderConfig:
    """What a render stream needs before its first motion frame.

    Attributes:
        avatar_key: Content key of the avatar's latents.
        encoding: How frames are carried.
        jpeg_quality: Of JPEG and WebP, [1, 100].
        h264_bitrate_kbps: Target, [100, 20000].
        frame_size_px: Edge of square frames: 256, 512, 768 or 1024; 0 takes 512, or the picture's
            own size for avatars framed `Framing.FULL`, which have no other.
        background: What is seen behind the person.
        frame_deadline_ms: A frame that is not made this long after its motion came is left out,
            [0, 10000]; 0 = frames are never left out, and get the time that streams with a deadline
            leave.

    Raises:
        InvalidInput: A value is out of range (CONTROL_OUT_OF_RANGE, BAD_FRAME_SIZE) or the
            encoding cannot carry a transparent background (ENCODING_WITHOUT_ALPHA).
    """

    avatar_key: str
    encoding: FrameEncoding = FrameEncoding.JPEG
    jpeg_quality: int = 85
    h264_bitrate_kbps: int = 1500
    frame_size_px: int = 0
    background: Background = field(default_factory=Background)
    frame_deadline_ms: int = 0

    def __post_init__(self) -> None:
        check_range("jpeg_quality", self.jpeg_quality, 1, 100)
        check_range("h264_bitrate_kbps", self.h264_bitrate_kbps, 100, 20_000)
        check_range("frame_deadline_ms", self.frame_deadline_ms, 0, MAX_FRAME_DEADLINE_MS)
        if self.frame_size_px not in (0, *FRAME_SIZES_PX):
            raise InvalidInput(
                f"frame_size_px must be one of {', '.join(map(str, FRAME_SIZES_PX))}, or 0 for "
                f"the default; got {self.frame_size_px}",
                reason="BAD_FRAME_SIZE",
                field="frame_size_px",
            )
        is_clear = self.background.kind is BackgroundKind.TRANSPARENT
        if is_clear and not self.encoding.has_alpha:
            raise InvalidInput(
                f"{self.encoding.value} cannot carry a transparent background; take png, webp, "
                "rgba32 or bgra32, or a coloured background to key out",
                reason="ENCODING_WITHOUT_ALPHA",
                field="frame_encoding",
            )

    @property
    def in_background(self) -> bool:
        """True when nobody waits for the frames in real time."""
        return self.frame_deadline_ms == 0

    def frame_size_of(self, framing: Framing, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the frames of an avatar.

        Args:
            framing: The avatar's.
            width_px: Of its picture.
            height_px: Of its picture.

        Raises:
            InvalidInput: The avatar shows its whole picture, and another size (FRAME_SIZE_FIXED)
                or background (BACKGROUND_FIXED) is asked for.
        """
        if framing is not Framing.FULL:
            size = self.frame_size_px or FRAME_SIZE_PX
            return size, size
        if self.frame_size_px:
            raise InvalidInput(
                "frames that show the whole picture have its size; leave frame_size_px at 0, or "
                "create the avatar with the framing head or shoulders",
                reason="FRAME_SIZE_FIXED",
                field="frame_size_px",
            )
        if self.background.kind is not BackgroundKind.KEPT:
            raise InvalidInput(
                "frames that show the whole picture keep its background; create the avatar with "
                "the framing head or shoulders for another",
                reason="BACKGROUND_FIXED",
                field="background",
            )
        return picture_frame_size(width_px, height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFrame:
    """One encoded frame.

    Attributes:
        frame_index: Index on the stream's 25 Hz clock, as in the motion block it came from.
        data: Encoded or raw pixels; b"" for a frame that was left out because it was late.
        key_frame: True when the frame can be decoded by itself.
        width_px: Width in pixels.
        height_px: Height in pixels.
    """

    frame_index: int
    data: bytes
    key_frame: bool
    width_px: int = FRAME_SIZE_PX
    height_px: int = FRAME_SIZE_PX

    @property
    def is_left_out(self) -> bool:
        """True when there is no picture."""
        return not self.data
