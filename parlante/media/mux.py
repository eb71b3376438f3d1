"""Encoded frames and sound become an MP4: H.264 is copied as it is, sound becomes AAC."""

from __future__ import annotations

import os
import secrets
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import av
import numpy as np

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.types import FRAME_RATE_HZ

__all__ = ["Mp4Writer", "check_output_path"]

_VIDEO_TIME_BASE: Final = Fraction(1, FRAME_RATE_HZ)
_AAC_BITRATE: Final = 96_000
_AUDIO_BLOCK: Final = 1024
# Rates of MPEG-4 audio; another one is resampled to the next higher of these.
_AAC_RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def check_output_path(path: Path) -> None:
    """Raise `InvalidInput` unless an MP4 can be written at `path`."""
    if path.suffix.lower() not in (".mp4", ".m4v"):
        raise InvalidInput(
            f"the output must end in .mp4; got {path.name!r}", reason="BAD_OUTPUT", field="output"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(
            f"cannot write {path}: its folder {path.parent} does not exist; make it first",
            reason="OUTPUT_FOLDER_MISSING",
            field="output",
        )
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(
            f"cannot write {path}: no permission in {path.parent}",
            reason="OUTPUT_NOT_WRITABLE",
            field="output",
        )


class Mp4Writer:
    """Writes one MP4; a context manager.

    The file appears under its name only when the context is left without an error; before that,
    and after an error, there is no file. The index comes first, so players start while loading.

    Args:
        path: Where to.
        width_px: Width of the frames.
        height_px: Height of the frames.
        recording: Sound from time 0.
    """

    def __init__(self, path: Path, *, width_px: int, height_px: int, recording: Recording) -> None:
        check_output_path(path)
        self._path = path
        self._size_px = (width_px, height_px)
        rate_hz = next(rate for rate in _AAC_RATES_HZ if rate >= recording.sample_rate_hz)
        self._pcm = recording.pcm16(rate_hz)
        self._rate_hz = rate_hz
        self._num_audio_sent = 0
        self._num_frames = 0

    def __enter__(self) -> Mp4Writer:
        self._partial = self._path.with_name(f".{self._path.stem}-{secrets.token_hex(4)}.part")
        self._container = av.open(
            str(self._partial), "w", format="mp4", options={"movflags": "+faststart"}
        )
        width_px, height_px = self._size_px
        self._video = self._container.add_mux_stream(
            "h264", FRAME_RATE_HZ, width=width_px, height=height_px, time_base=_VIDEO_TIME_BASE
        )
        self._audio = self._container.add_stream("aac", rate=self._rate_hz, layout="mono")
        self._audio.bit_rate = _AAC_BITRATE
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                self._finish()
                self._partial.replace(self._path)
            else:
                self._container.close()
        finally:
            self._partial.unlink(missing_ok=True)

    def write_frame(self, frame_index: int, data: bytes, *, key_frame: bool) -> None:
        """Append a frame.

        Args:
            frame_index: Its index at 25 Hz, rising.
            data: H.264 Annex B, one access unit; the first one carries SPS and PPS.
            key_frame: True when it can be decoded by itself.
        """
        if self._num_frames == 0 and not key_frame:
            raise InvalidInput(
                "the first frame of an MP4 must be a key frame; got another",
                reason="NOT_A_KEY_FRAME",
                field="frame",
            )
        self._num_frames += 1
        packet = av.Packet(data)
        packet.stream = self._video
        packet.time_base = _VIDEO_TIME_BASE
        packet.pts = packet.dts = frame_index
        packet.duration = 1
        packet.is_keyframe = key_frame
        self._container.mux(packet)
        # Sound goes along with the picture so that the muxer has nothing to hold back.
        self._write_audio((frame_index + 1) * self._rate_hz // FRAME_RATE_HZ)

    def _write_audio(self, until_sample: int) -> None:
        """Encode sound up to `until_sample`, in whole blocks."""
        while self._num_audio_sent + _AUDIO_BLOCK <= min(until_sample, len(self._pcm)):
            self._encode(self._pcm[self._num_audio_sent : self._num_audio_sent + _AUDIO_BLOCK])

    def _encode(self, samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> None:
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.time_base = Fraction(1, self._rate_hz)
        frame.pts = self._num_audio_sent
        self._num_audio_sent += len(samples)
        self._container.mux(self._audio.encode(frame))

    def _finish(self) -> None:
        if self._num_frames == 0:
            raise InvalidInput("an MP4 needs at least one frame; got none", reason="NO_FRAMES")
        self._write_audio(len(self._pcm))
        if self._num_audio_sent < len(self._pcm):
            self._encode(self._pcm[self._num_audio_sent :])
        # The encoder's first packet has a negative time (its priming); the muxer turns that into
        # an edit list, so players show sound and picture together.
        self._container.mux(self._audio.encode(None))
        self._container.close()
