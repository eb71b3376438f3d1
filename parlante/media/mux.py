"""Encoded frames and sound become an MP4: H.264 is copied as it is, sound becomes AAC."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.media.whole_file import WholeFileWriter, check_can_write
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
    check_can_write(path)


class Mp4Writer(WholeFileWriter):
    """Writes one MP4; a context manager.

    The index comes first, so players start while loading.

    Args:
        path: Where to.
        width_px: Width of the frames.
        height_px: Height of the frames.
        recording: Sound from time 0; None writes a silent file.
    """

    def __init__(
        self, path: Path, *, width_px: int, height_px: int, recording: Recording | None
    ) -> None:
        check_output_path(path)
        super().__init__(path)
        self._size_px = (width_px, height_px)
        told_hz = _AAC_RATES_HZ[0] if recording is None else recording.sample_rate_hz
        rate_hz = next(rate for rate in _AAC_RATES_HZ if rate >= told_hz)
        self._pcm = np.zeros(0, np.int16) if recording is None else recording.pcm16(rate_hz)
        self._has_sound = recording is not None
        self._rate_hz = rate_hz
        self._num_audio_sent = 0
        self._num_frames = 0

    def __enter__(self) -> Mp4Writer:
        self._open("mp4", {"movflags": "+faststart"})
        width_px, height_px = self._size_px
        self._video = self._container.add_mux_stream(
            "h264", FRAME_RATE_HZ, width=width_px, height=height_px, time_base=_VIDEO_TIME_BASE
        )
        if self._has_sound:
            self._audio = self._container.add_stream("aac", rate=self._rate_hz, layout="mono")
            self._audio.bit_rate = _AAC_BITRATE
        return self

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
        if self._has_sound:
            self._container.mux(self._audio.encode(None))
        self._container.close()
