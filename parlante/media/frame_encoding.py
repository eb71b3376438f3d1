"""Frame encoders: RGB pixels -> JPEG, PNG, WebP, H.264 or raw formats.

One encoder belongs to one stream. Only H.264 keeps state between frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

import cv2
import numpy as np

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.jit import kernel
from parlante.types import FRAME_RATE_HZ, FRAME_SIZE_PX, FrameEncoding, RenderConfig, Uint8Array

if TYPE_CHECKING:
    import av

__all__ = [
    "EncodedPicture",
    "FrameEncoder",
    "H264Encoder",
    "JpegEncoder",
    "PngEncoder",
    "RawEncoder",
    "WebpEncoder",
    "make_frame_encoder",
    "warm_up",
]

KEY_FRAME_INTERVAL: Final = 2 * FRAME_RATE_HZ
# superfast: 2 ms per frame; ultrafast saves 1 ms and needs 60 % more bits (512x512, one thread).
H264_PRESET: Final = "superfast"
BT709: Final = 1  # ITU-T H.273: primaries, transfer and matrix
LIMITED_RANGE: Final = 1  # AVCOL_RANGE_MPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPicture:
    """One encoded frame.

    Attributes:
        data: Bytes of the picture; H.264 is one Annex B access unit.
        key_frame: True when it can be decoded by itself.
    """

    data: bytes
    key_frame: bool


class FrameEncoder(Protocol):
    """Encodes the frames of one stream, in order."""

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Encode one frame, uint8 [H, W, 3], or [H, W, 4] with alpha where the encoding has it.

        H and W must not change within a stream.
        """
        ...

    def close(self) -> None:
        """Free what the encoder holds; more than once is fine."""
        ...


def make_frame_encoder(
    config: RenderConfig, *, width_px: int = FRAME_SIZE_PX, height_px: int = FRAME_SIZE_PX
) -> FrameEncoder:
    """Make the encoder that a render stream asks for.

    Args:
        config: Encoding and its parameters.
        width_px: Width of the frames, even.
        height_px: Height of the frames, even.
    """
    match config.encoding:
        case FrameEncoding.JPEG:
            return JpegEncoder(quality=config.jpeg_quality)
        case FrameEncoding.H264:
            return H264Encoder(
                bitrate_kbps=config.h264_bitrate_kbps, width_px=width_px, height_px=height_px
            )
        case FrameEncoding.PNG:
            return PngEncoder()
        case FrameEncoding.WEBP:
            return WebpEncoder(quality=config.jpeg_quality)
        case _:
            return RawEncoder(config.encoding)


def warm_up() -> None:
    """Compile the pixel loops of this module, or load them from their cache."""
    black = np.zeros((FRAME_SIZE_PX, FRAME_SIZE_PX, 3), np.uint8)
    config = RenderConfig(avatar_key="", encoding=FrameEncoding.NV12)
    make_frame_encoder(config).encode(black)
    if find_spec("av") is None:  # every other encoding works without it
        return
    encoder = H264Encoder()
    encoder.encode(black)
    encoder.close()


class JpegEncoder:
    """Baseline JPEG, 4:2:0.

    Args:
        quality: [1, 100].
    """

    def __init__(self, *, quality: int = 85) -> None:
        self._parameters = [int(cv2.IMWRITE_JPEG_QUALITY), int(quality)]

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Encode one frame, uint8 [H, W, 3]."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        ok, data = cv2.imencode(".jpg", bgr, self._parameters)
        if not ok:
            raise InvalidInput(
                f"a frame uint8 [H, W, 3] is needed; got {rgb.dtype} {list(rgb.shape)}",
                reason="BAD_FRAME_SHAPE",
            )
        return EncodedPicture(data=data.tobytes(), key_frame=True)

    def close(self) -> None:
        """Nothing to free."""


class PngEncoder:
    """PNG, RGB or RGBA, quick rather than small."""

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Encode one frame, uint8 [H, W, 3 or 4]."""
        return _encode_with_opencv(".png", rgb, [int(cv2.IMWRITE_PNG_COMPRESSION), 1])

    def close(self) -> None:
        """Nothing to free."""


class WebpEncoder:
    """Lossy WebP; alpha, if there is one, is lossless.

    Args:
        quality: [1, 100].
    """

    def __init__(self, *, quality: int = 85) -> None:
        self._parameters = [int(cv2.IMWRITE_WEBP_QUALITY), int(quality)]

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Encode one frame, uint8 [H, W, 3 or 4]."""
        return _encode_with_opencv(".webp", rgb, self._parameters)

    def close(self) -> None:
        """Nothing to free."""


def _encode_with_opencv(suffix: str, rgb: Uint8Array, parameters: list[int]) -> EncodedPicture:
    has_alpha = rgb.ndim == 3 and rgb.shape[2] == 4
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(suffix, bgr, parameters)
    if not ok:
        raise InvalidInput(
            f"a frame uint8 [H, W, 3 or 4] is needed; got {rgb.dtype} {list(rgb.shape)}",
            reason="BAD_FRAME_SHAPE",
        )
    return EncodedPicture(data=data.tobytes(), key_frame=True)


class RawEncoder:
    """Uncompressed pixels: RGBA32, BGRA32, RGB24 or NV12.

    Args:
        encoding: One of the raw formats.
    """

    def __init__(self, encoding: FrameEncoding) -> None:
        self._encoding = encoding

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Convert one frame, uint8 [H, W, 3], with alpha [H, W, 4] for RGBA32 and BGRA32 only.

        NV12 needs even H and W.
        """
        has_alpha = rgb.shape[2] == 4
        if has_alpha and not self._encoding.has_alpha:
            raise InvalidInput(
                f"{self._encoding.value} has no room for alpha; take rgba32 or bgra32",
                reason="ENCODING_WITHOUT_ALPHA",
                field="encoding",
            )
        match self._encoding:
            case FrameEncoding.RGBA32:
                rgba = rgb if has_alpha else cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
                data = rgba.tobytes()
            case FrameEncoding.BGRA32:
                code = cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGRA
                data = cv2.cvtColor(rgb, code).tobytes()
            case FrameEncoding.RGB24:
                data = rgb.tobytes()
            case FrameEncoding.NV12:
                data = _to_nv12(rgb)
            case _:
                raise InvalidInput(
                    f"a raw encoding is needed; got {self._encoding.value}",
                    reason="UNSUPPORTED_ENCODING",
                    field="encoding",
                )
        return EncodedPicture(data=data, key_frame=True)

    def close(self) -> None:
        """Nothing to free."""


class H264Encoder:
    """H.264 for live streams: no B-frames, no look-ahead, one access unit per frame.

    An IDR frame with its parameter sets comes first and then every `KEY_FRAME_INTERVAL` frames,
    so that a reader can start there. Colours are BT.709, limited range, and say so.

    Args:
        bitrate_kbps: Target and cap of the rate.
        width_px: Width, even.
        height_px: Height, even; 0 = the width.

    Raises:
        FailedPrecondition: There is no PyAV here (``H264_UNAVAILABLE``).
    """

    def __init__(
        self, *, bitrate_kbps: int = 1500, width_px: int = FRAME_SIZE_PX, height_px: int = 0
    ) -> None:
        # Imported here: what only makes JPEGs has no use for FFmpeg's libraries.
        try:
            import av
        except ModuleNotFoundError:
            raise FailedPrecondition(
                "H.264 needs the package av; install it, or ask for jpeg",
                reason="H264_UNAVAILABLE",
            ) from None
        self._new_frame = av.VideoFrame
        height_px = height_px or width_px
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = width_px, height_px
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, FRAME_RATE_HZ)
        context.framerate = Fraction(FRAME_RATE_HZ)
        context.gop_size = KEY_FRAME_INTERVAL
        context.max_b_frames = 0
        context.thread_count = 1
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        rate = f"{bitrate_kbps}k"
        context.bit_rate = bitrate_kbps * 1000
        context.options = {
            "preset": H264_PRESET,
            "tune": "zerolatency",
            "maxrate": rate,
            "bufsize": rate,  # one second
            "x264-params": f"keyint={KEY_FRAME_INTERVAL}:min-keyint={KEY_FRAME_INTERVAL}"
            ":scenecut=0:repeat-headers=1:annexb=1",
        }
        context.open()
        self._context: av.VideoCodecContext | None = context
        self._width_px, self._height_px = width_px, height_px
        self._num_frames = 0

    def encode(self, rgb: Uint8Array) -> EncodedPicture:
        """Encode one frame, uint8 [height_px, width_px, 3]."""
        if self._context is None:
            raise FailedPrecondition("the encoder is closed; make a new one")
        if rgb.shape != (self._height_px, self._width_px, 3):
            raise InvalidInput(
                f"a frame uint8 [{self._height_px}, {self._width_px}, 3] is needed; "
                f"got {rgb.dtype} {list(rgb.shape)}",
                reason="BAD_FRAME_SHAPE",
            )
        frame = self._new_frame(self._width_px, self._height_px, "yuv420p")
        y, u, v = (_plane(frame, index) for index in range(3))
        _to_yuv420(rgb, y, u, v)
        frame.pts = self._num_frames
        frame.time_base = self._context.time_base
        self._num_frames += 1
        packets = self._context.encode(frame)
        return EncodedPicture(
            data=b"".join(bytes(packet) for packet in packets),
            key_frame=any(packet.is_keyframe for packet in packets),
        )

    def close(self) -> None:
        """Free the codec."""
        # x264 frees its memory with the context; nothing is delayed, so nothing is lost.
        self._context = None


def _plane(frame: av.VideoFrame, index: int) -> Uint8Array:
    plane = frame.planes[index]
    pixels = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return pixels[:, : plane.width]


def _to_nv12(rgb: Uint8Array) -> bytes:
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        raise InvalidInput(
            f"NV12 needs even width and height; got {width} x {height}", reason="BAD_FRAME_SHAPE"
        )
    out = np.empty((height * 3 // 2, width), np.uint8)
    chroma = out[height:].reshape(height // 2, width // 2, 2)
    _to_yuv420(rgb, out[:height], chroma[..., 0], chroma[..., 1])
    return out.tobytes()


@kernel
def _to_yuv420(rgb: Uint8Array, luma: Uint8Array, blue: Uint8Array, red: Uint8Array) -> None:
    """BT.709, limited range, chroma from the mean of 2 x 2 pixels; 16 bits of fraction."""
    for y in range(0, rgb.shape[0], 2):
        for x in range(0, rgb.shape[1], 2):
            sum_r, sum_g, sum_b = np.int32(0), np.int32(0), np.int32(0)
            for dy in range(2):
                for dx in range(2):
                    r = np.int32(rgb[y + dy, x + dx, 0])
                    g = np.int32(rgb[y + dy, x + dx, 1])
                    b = np.int32(rgb[y + dy, x + dx, 2])
                    # 0.2126, 0.7152, 0.0722 times 219 / 255 and 65536
                    luma[y + dy, x + dx] = (
                        11966 * r + 40254 * g + 4064 * b + (16 << 16) + 32768
                    ) >> 16
                    sum_r += r
                    sum_g += g
                    sum_b += b
            # (B - Y) / 1.8556 and (R - Y) / 1.5748 times 224 / 255 and 65536 / 4
            blue[y // 2, x // 2] = (
                -1649 * sum_r - 5547 * sum_g + 7196 * sum_b + (128 << 16) + 32768
            ) >> 16
            red[y // 2, x // 2] = (
                7196 * sum_r - 6536 * sum_g - 660 * sum_b + (128 << 16) + 32768
            ) >> 16
