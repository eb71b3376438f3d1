"""Recordings of many formats become one channel of samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording, read_recording


def tone(rate_hz: int, *, seconds: float = 1.0, level: float = 0.5) -> np.ndarray[Any, Any]:
    wave = np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)
    return (level * wave).astype(np.float32)


def level_of(recording: Recording) -> float:
    """Give the amplitude of a tone from its middle, where codecs have settled."""
    middle = recording.samples[len(recording.samples) // 4 : -len(recording.samples) // 4]
    return float(np.sqrt(2 * np.mean(middle**2)))


def write_with_ffmpeg(path: Path, codec: str, samples: np.ndarray[Any, Any], rate_hz: int) -> None:
    with av.open(str(path), "w") as container:
        channels = np.atleast_2d(samples)
        layout = "stereo" if len(channels) == 2 else "mono"
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        frame.time_base = Fraction(1, rate_hz)
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_read_recording_reads_what_libsndfile_knows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(24_000), 24_000)
    recording = read_recording(path)
    assert recording.sample_rate_hz == 24_000
    assert recording.seconds == pytest.approx(1.0, abs=0.06)  # MP3 pads
    assert level_of(recording) == pytest.approx(0.5, abs=0.03)


def test_read_recording_reads_m4a(tmp_path: Path) -> None:
    path = tmp_path / "tone.m4a"
    write_with_ffmpeg(path, "aac", tone(44_100), 44_100)
    recording = read_recording(path)
    assert recording.sample_rate_hz == 44_100
    assert level_of(recording) == pytest.approx(0.5, abs=0.03)


def test_read_recording_takes_the_sound_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    write_with_ffmpeg(path, "libopus", tone(48_000), 48_000)
    assert read_recording(path).seconds == pytest.approx(1.0, abs=0.03)


def test_read_recording_mixes_channels(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left = tone(16_000)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), 16_000)
    assert level_of(read_recording(path)) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("suffix", ["wav", "mkv"])
def test_read_recording_takes_a_channel_when_all_cancel_each_other_out(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"antiphase.{suffix}"
    channels = np.stack([tone(48_000, level=0.4), tone(48_000, level=-0.5)])
    if suffix == "wav":
        soundfile.write(path, channels.T, 48_000)
    else:
        write_with_ffmpeg(path, "pcm_f32le", channels, 48_000)
    samples = read_recording(path).samples
    np.testing.assert_allclose(samples, channels[1], atol=1e-4)
    assert samples.flags.owndata or samples.base.size == samples.size  # no block is kept for it


@pytest.mark.parametrize(
    "levels", [(0.5,), (0.5, 0.0), (0.5, 0.5), (0.5, -0.2), (0.0, 0.0, 0.5, 0.0, 0.0, 0.0)]
)
def test_read_recording_takes_the_mean_of_channels_that_do_not(
    tmp_path: Path, levels: tuple[float, ...]
) -> None:
    path = tmp_path / "mix.wav"
    channels = np.stack([tone(16_000, level=level) for level in levels], axis=1)
    soundfile.write(path, channels, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_recording(path).samples, channels.mean(axis=1))


def test_read_recording_takes_the_mean_of_voices_that_know_nothing_of_each_other(
    tmp_path: Path,
) -> None:
    path = tmp_path / "two.flac"
    voices = np.random.default_rng(0).normal(0.0, 0.1, (150_000, 2)).astype(np.float32)
    soundfile.write(path, voices, 16_000)
    assert read_recording(path).samples.std() == pytest.approx(0.1 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("rate_hz", "expected_hz"), [(96_000, 48_000), (4_000, 8_000)])
def test_read_recording_brings_rates_into_range(
    tmp_path: Path, rate_hz: int, expected_hz: int
) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate_hz), rate_hz)
    recording = read_recording(path)
    assert (recording.sample_rate_hz, len(recording.samples)) == (expected_hz, expected_hz)
    assert level_of(recording) == pytest.approx(0.5, abs=0.03)


def test_read_recording_reads_8_bit_and_24_bit(tmp_path: Path) -> None:
    for subtype in ("PCM_U8", "PCM_24"):
        path = tmp_path / f"{subtype}.wav"
        soundfile.write(path, tone(16_000), 16_000, subtype=subtype)
        assert level_of(read_recording(path)) == pytest.approx(0.5, abs=0.02)


def test_read_recording_refuses_what_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(8_000, seconds=3), 8_000)
    with pytest.raises(InvalidInput) as caught:
        read_recording(path, max_seconds=2)
    assert caught.value.reason == "AUDIO_TOO_LONG"


def test_read_recording_refuses_samples_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, np.nan], dtype=np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(InvalidInput) as caught:
        read_recording(path)
    assert caught.value.reason == "AUDIO_NOT_FINITE"


def test_read_recording_refuses_a_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(InvalidInput) as caught:
        read_recording(path)
    assert caught.value.reason == "AUDIO_UNREADABLE"


@pytest.mark.parametrize("cut", [60, 2000])
def test_read_recording_does_not_crash_on_a_cut_file(tmp_path: Path, cut: int) -> None:
    whole = tmp_path / "whole.m4a"
    write_with_ffmpeg(whole, "aac", tone(44_100), 44_100)
    path = tmp_path / "cut.m4a"
    path.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(InvalidInput) as caught:
        read_recording(path)
    assert caught.value.reason == "AUDIO_UNREADABLE"


def test_pcm16_resamples_and_clips() -> None:
    recording = Recording(samples=tone(48_000, level=1.0), sample_rate_hz=48_000)
    pcm = recording.pcm16(16_000)
    assert (pcm.dtype, len(pcm)) == (np.int16, 16_000)
    assert abs(int(np.abs(pcm).max()) - 32_767) < 200
