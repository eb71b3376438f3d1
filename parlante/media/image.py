"""Decoding an uploaded portrait: JPEG, PNG or WebP bytes -> upright 8-bit sRGB pixels.

The file's type is told from its first bytes, never from a name. Limits are checked on the header,
before any pixel is decoded.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from parlante.errors import PortraitRejected
from parlante.types import Uint8Array

__all__ = ["MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS", "decode_image", "shrink_image"]

MAX_IMAGE_BYTES: Final = 20 * 1024 * 1024
MAX_IMAGE_PIXELS: Final = 64_000_000
# Larger pictures are shrunk as they are decoded: no face needs more, and memory stays bounded.
WORKING_PIXELS: Final = 16_000_000
# Shows through transparent pixels: light enough to not look like a hole around hair.
BACKDROP_RGB: Final = (200, 200, 200)

_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# (offset, bytes at it, name) of formats that people do send.
_FOREIGN_SIGNATURES: Final = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
)
# What Pillow raises on damaged data, by format and place of the damage.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


def decode_image(data: bytes) -> Uint8Array:
    """Decode a picture to upright sRGB.

    EXIF orientation is applied, alpha is composited on light grey, grey, palette, CMYK and 16-bit
    pictures become 8-bit RGB, an embedded colour profile is converted, of an animation the first
    frame is taken, and pictures of more than 16 megapixels are shrunk by 2.

    Args:
        data: A JPEG, PNG or WebP file, at most 20 MiB and 64 megapixels.

    Returns:
        uint8 [H, W, 3], at most 16 megapixels.

    Raises:
        PortraitRejected: With reason ``NOT_AN_IMAGE``, ``UNSUPPORTED_IMAGE_FORMAT``,
            ``IMAGE_TRUNCATED`` or ``IMAGE_TOO_LARGE``.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise _reject(
            "IMAGE_TOO_LARGE",
            f"a portrait file may have {MAX_IMAGE_BYTES} bytes; got {len(data)}; "
            "save it as JPEG or scale it down",
        )
    picture = _open(data, _sniff(data))
    _check_num_pixels(*picture.size)
    factor = math.ceil(math.sqrt(picture.width * picture.height / WORKING_PIXELS))
    try:
        if factor > 1:
            # JPEGs are decoded at half their size; nothing happens for the others.
            width, height = (math.ceil(side / factor) for side in picture.size)
            picture.draft("", (width, height))
        picture.load()
    except _DECODE_ERRORS as error:
        raise _truncated(picture.format or "image") from error
    return _to_srgb(picture)


def _shrunk(picture: Image.Image) -> Image.Image:
    """A picture of any mode but palettes within the working size."""
    factor = math.ceil(math.sqrt(picture.width * picture.height / WORKING_PIXELS))
    return picture if factor <= 1 else picture.reduce(factor)


def _shrunk_grey(picture: Image.Image) -> np.ndarray:
    """Values of a 16-bit grey picture within the working size, float32 [H, W] in [0, 65535]."""
    values = np.asarray(picture)
    factor = math.ceil(math.sqrt(values.size / WORKING_PIXELS))
    height, width = (side // factor * factor for side in values.shape)
    total = np.zeros((height // factor, width // factor), np.float32)
    for row in range(factor):
        for column in range(factor):
            part = values[row:height:factor, column:width:factor]
            total += np.clip(part, 0, 65_535)
    return np.asarray(total / factor**2)


def shrink_image(data: bytes, short_px: int) -> bytes:
    """Make a JPEG of a picture whose shorter edge has at most `short_px`.

    Raises:
        PortraitRejected: As `decode_image`.
    """
    picture = Image.fromarray(decode_image(data))
    zoom = min(1.0, short_px / min(picture.size))
    size = tuple(max(1, round(side * zoom)) for side in picture.size)
    stream = io.BytesIO()
    picture.resize((size[0], size[1]), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _reject(reason: str, message: str) -> PortraitRejected:
    return PortraitRejected(message, reason=reason, field="image")


def _check_num_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise _reject(
            "IMAGE_TOO_LARGE",
            f"a portrait may have {MAX_IMAGE_PIXELS // 1_000_000} megapixels; got "
            f"{width}x{height} px; scale it down (1024 px across the face is plenty)",
        )


def _truncated(name: str) -> PortraitRejected:
    return _reject(
        "IMAGE_TRUNCATED",
        f"the picture must be a whole {name} file; its data end early or are damaged; "
        "upload the file again",
    )


def _sniff(data: bytes) -> str:
    """Tell JPEG, PNG or WEBP from the first bytes."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for offset, signature, name in _FOREIGN_SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            raise _reject(
                "UNSUPPORTED_IMAGE_FORMAT",
                f"a portrait must be a JPEG, PNG or WebP file; got {name}; convert it",
            )
    raise _reject(
        "NOT_AN_IMAGE",
        f"a portrait must be a JPEG, PNG or WebP file; got {len(data)} bytes of something else; "
        "send the unchanged content of a picture file",
    )


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Read the header only.

    The plug-ins are called directly, as `Image.open` would check its own process-wide pixel
    limit first and raise or warn before ours can speak.
    """
    stream = io.BytesIO(data)
    try:
        match kind:
            case "JPEG":
                return JpegImagePlugin.JpegImageFile(stream)
            case "PNG":
                return PngImagePlugin.PngImageFile(stream)
            case _:
                if len(data) < 8 + int.from_bytes(data[4:8], "little"):
                    raise _truncated(kind)
                # The plug-in makes room for the pixels as soon as it opens the file.
                _check_num_pixels(*_read_webp_size(data))
                return WebPImagePlugin.WebPImageFile(stream)
    except _DECODE_ERRORS as error:
        raise _truncated(kind) from error


def _read_webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header of a WebP file's first chunk."""
    match data[12:16]:
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            height = int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return width, height


def _to_srgb(picture: Image.Image) -> Uint8Array:
    """Turn a loaded picture of any mode upright and into 8-bit sRGB without alpha."""
    profile = picture.info.get("icc_profile")
    upright = _UPRIGHT.get(_read_orientation(picture))
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        picture = Image.fromarray(np.rint(_shrunk_grey(picture) / 257.0).astype(np.uint8))
    elif picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        layer = _shrunk(picture.convert("RGBA"))
        backdrop = Image.new("RGBA", layer.size, (*BACKDROP_RGB, 255))
        picture = Image.alpha_composite(backdrop, layer).convert("RGB")
    elif picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("RGB")
    picture = _apply_profile(_shrunk(picture), profile).convert("RGB")
    if upright is not None:
        picture = picture.transpose(upright)
    return np.array(picture, np.uint8)


def _read_orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 when absent; damaged EXIF data count as absent."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _apply_profile(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB by the embedded profile; one that does not fit the picture is ignored."""
    if not profile:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return converted or picture
