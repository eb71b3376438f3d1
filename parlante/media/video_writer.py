"""Files of finished videos: MP4, and what can hold alpha: ProRes 4444, VP9 and PNG pictures.

The name's end says which. MP4 takes H.264 as it comes; the others take pixels.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import av
import cv2
import numpy as np

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.media.frame_encoding import BT709, LIMITED_RANGE, H264Encoder
from parlante.media.mux import Mp4Writer
from parlante.media.whole_file import WholeFileWriter, check_can_write
from parlante.types import FRAME_RATE_HZ, FrameEncoding, Uint8Array

__all__ = [
    "PictureWriter",
    "PixelVideoWriter",
    "VideoWriter",
    "check_video_path",
    "frame_encoding_for",
    "open_pixel_writer",
    "open_writer",
]

MP4_SUFFIXES: Final = (".mp4", ".m4v")
# Codec and options; VP9 with alpha has no look-ahead and no hidden frames.
_PIXEL_CODECS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    ".mov": ("prores_ks", "aac", {"profile": "4444", "alpha_bits": "16"}),
    ".webm": (
        "libvpx-vp9",
        "libopus",
        {"deadline": "realtime", "cpu-used": "6", "crf": "24", "b": "0", "auto-alt-ref": "0"},
    ),
}
_SOUND_RATE_HZ: Final = 48_000
_SOUND_BITRATE: Final = 96_000
_NUMBER: Final = re.compile(r"%(0[1-9])?d")
_OUTPUTS: Final = ".mp4, .mov (ProRes 4444), .webm (VP9) or frame_%05d.png"


class VideoWriter(Protocol):
    """Writes one video; a context manager. There is no file before it is left without an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def write_frame(self, frame_index: int, data: bytes, *, key_frame: bool) -> None:
        """Append a frame in the encoding that `frame_encoding_for` names for the file."""
        ...


def frame_encoding_for(path: Path) -> FrameEncoding:
    """How frames for a file are to be carried."""
    is_mp4 = path.suffix.lower() in MP4_SUFFIXES
    return FrameEncoding.H264 if is_mp4 else FrameEncoding.RGBA32


def check_video_path(path: Path, *, has_alpha: bool = False) -> None:
    """Raise `InvalidInput` unless a video can be written at `path`.

    Args:
        path: Its end says what is written.
        has_alpha: True when its background is transparent.
    """
    suffix = path.suffix.lower()
    is_sequence = suffix == ".png" and len(_NUMBER.findall(path.name)) == 1
    if not (suffix in (*MP4_SUFFIXES, *_PIXEL_CODECS) or is_sequence):
        raise InvalidInput(
            f"the output must end in {_OUTPUTS}; got {path.name!r}",
            reason="BAD_OUTPUT",
            field="output",
        )
    if has_alpha and suffix in MP4_SUFFIXES:
        raise InvalidInput(
            f"{suffix} holds no transparency; give an output that ends in .mov (ProRes 4444), "
            ".webm (VP9) or frame_%05d.png, or a coloured background",
            reason="OUTPUT_WITHOUT_ALPHA",
            field="output",
        )
    check_can_write(path)


def open_writer(
    path: Path, *, width_px: int, height_px: int, recording: Recording | None, has_alpha: bool
) -> VideoWriter:
    """Make the writer for a file.

    Args:
        path: Its end says what is written.
        width_px: Width of the frames, even.
        height_px: Height of the frames, even.
        recording: Sound from time 0, or None; pictures one by one have none.
        has_alpha: True when the background is transparent.
    """
    check_video_path(path, has_alpha=has_alpha)
    suffix = path.suffix.lower()
    if suffix in MP4_SUFFIXES:
        return Mp4Writer(path, width_px=width_px, height_px=height_px, recording=recording)
    size_px = (width_px, height_px)
    if suffix == ".png":
        return PictureWriter(path, size_px=size_px, has_alpha=has_alpha)
    return PixelVideoWriter(path, size_px=size_px, recording=recording, has_alpha=has_alpha)


def open_pixel_writer(
    path: Path,
    *,
    width_px: int,
    height_px: int,
    recording: Recording | None,
    has_alpha: bool,
    bitrate_kbps: int,
) -> VideoWriter:
    """Make a writer that takes RGBA32 whatever the file is; MP4 is encoded here."""
    writer = open_writer(
        path, width_px=width_px, height_px=height_px, recording=recording, has_alpha=has_alpha
    )
    if isinstance(writer, Mp4Writer):
        encoder = H264Encoder(bitrate_kbps=bitrate_kbps, width_px=width_px, height_px=height_px)
        return _EncodingWriter(writer, encoder, (width_px, height_px))
    return writer


class _EncodingWriter:
    """RGBA32 pixels into an MP4."""

    def __init__(self, writer: Mp4Writer, encoder: H264Encoder, size_px: tuple[int, int]) -> None:
        self._writer = writer
        self._encoder = encoder
        self._size_px = size_px

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._encoder.close()
        self._writer.__exit__(exc_type, exc, traceback)

    def write_frame(self, frame_index: int, data: bytes, *, key_frame: bool) -> None:
        """Encode and append a frame."""
        rgb = np.ascontiguousarray(_pixels(data, self._size_px)[..., :3])
        picture = self._encoder.encode(rgb)
        self._writer.write_frame(frame_index, picture.data, key_frame=picture.key_frame)


def _pixels(data: bytes, size_px: tuple[int, int]) -> Uint8Array:
    width, height = size_px
    if len(data) != width * height * 4:
        raise InvalidInput(
            f"a frame of {width}x{height} RGBA32 has {width * height * 4} bytes; got {len(data)}",
            reason="BAD_FRAME_SHAPE",
            field="frame",
        )
    return np.frombuffer(data, np.uint8).reshape(height, width, 4)


class PixelVideoWriter(WholeFileWriter):
    """ProRes 4444 in .mov with AAC, or VP9 in .webm with Opus; takes RGBA32.

    Args:
        path: Ends in .mov or .webm.
        size_px: Width and height, even.
        recording: Sound from time 0, or None.
        has_alpha: Whether alpha is kept.
    """

    def __init__(
        self,
        path: Path,
        *,
        size_px: tuple[int, int],
        recording: Recording | None,
        has_alpha: bool,
    ) -> None:
        super().__init__(path)
        self._size_px = size_px
        self._has_alpha = has_alpha
        self._pcm = None if recording is None else recording.pcm16(_SOUND_RATE_HZ)
        self._num_sent = 0
        self._num_frames = 0

    def __enter__(self) -> Self:
        video_codec, sound_codec, options = _PIXEL_CODECS[self._path.suffix.lower()]
        self._open(self._path.suffix.lower().lstrip("."))
        self._video: Any = self._container.add_stream(
            video_codec, rate=FRAME_RATE_HZ, options=options
        )
        self._video.width, self._video.height = self._size_px
        if video_codec == "prores_ks":
            self._video.pix_fmt = "yuva444p10le" if self._has_alpha else "yuv444p10le"
        else:
            self._video.pix_fmt = "yuva420p" if self._has_alpha else "yuv420p"
        context = self._video.codec_context
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        self._sound: Any = None
        if self._pcm is not None:
            self._sound = self._container.add_stream(
                sound_codec, rate=_SOUND_RATE_HZ, layout="mono"
            )
            self._sound.bit_rate = _SOUND_BITRATE
        return self

    def write_frame(self, frame_index: int, data: bytes, *, key_frame: bool) -> None:
        """Append a frame of RGBA32; `key_frame` means nothing here."""
        rgba = np.ascontiguousarray(_pixels(data, self._size_px))
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
        frame = frame.reformat(format=self._video.pix_fmt, dst_colorspace="ITU709")
        frame.pts = frame_index
        frame.time_base = Fraction(1, FRAME_RATE_HZ)
        self._container.mux(self._video.encode(frame))
        self._num_frames += 1
        self._write_sound((frame_index + 1) * _SOUND_RATE_HZ // FRAME_RATE_HZ)

    def _write_sound(self, until_sample: int) -> None:
        if self._pcm is None:
            return
        samples = self._pcm[self._num_sent : until_sample]
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = _SOUND_RATE_HZ
        frame.time_base = Fraction(1, _SOUND_RATE_HZ)
        frame.pts = self._num_sent
        self._num_sent += len(samples)
        self._container.mux(self._sound.encode(frame))

    def _finish(self) -> None:
        if self._num_frames == 0:
            raise InvalidInput("a video needs at least one frame; got none", reason="NO_FRAMES")
        self._container.mux(self._video.encode(None))
        if self._pcm is not None:
            self._write_sound(len(self._pcm))
            self._container.mux(self._sound.encode(None))
        self._container.close()


class PictureWriter:
    """PNG pictures, one a frame, numbered from 0; takes RGBA32. They have no sound.

    Args:
        path: With one ``%d``, or ``%05d``, for the number.
        size_px: Width and height.
        has_alpha: Whether alpha is kept.
    """

    def __init__(self, path: Path, *, size_px: tuple[int, int], has_alpha: bool) -> None:
        self._path = path
        self._size_px = size_px
        self._has_alpha = has_alpha
        self._written: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            for path in self._written:
                path.unlink(missing_ok=True)

    def write_frame(self, frame_index: int, data: bytes, *, key_frame: bool) -> None:
        """Write a frame of RGBA32; `key_frame` means nothing here."""
        rgba = _pixels(data, self._size_px)
        code = cv2.COLOR_RGBA2BGRA if self._has_alpha else cv2.COLOR_RGBA2BGR
        ok, png = cv2.imencode(".png", cv2.cvtColor(rgba, code))
        if not ok:
            raise InvalidInput("the frame cannot be written as PNG", reason="BAD_FRAME_SHAPE")
        name = _NUMBER.sub(lambda match: match.group() % frame_index, self._path.name)
        path = self._path.with_name(name)
        path.write_bytes(png.tobytes())
        self._written.append(path)
