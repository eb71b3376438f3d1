"""Reading videos as they come: rates, late sound, damage, phones held upright."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.media.video_file import read_pictures, read_sound, sample_pictures


def _tone(seconds=1.0):
    time_s = np.arange(int(16_000 * seconds)) / 16_000
    return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "step_s"), [(24, 1 / 24), (25, 0.04), (30, 1 / 30), (50, 0.04), (60, 1 / 30)]
)
def test_high_rates_are_thinned_and_others_kept(tmp_path, write_video, rate, step_s):
    path = write_video(tmp_path / "v.mp4", [50] * rate, rate=rate)
    times = np.array([picture.time_s for picture in read_pictures(path)])
    np.testing.assert_allclose(np.diff(times), step_s, atol=1e-3)


def test_times_are_those_of_the_stamps(tmp_path, write_video):
    stamps = [0, 40, 80, 200, 240]
    path = write_video(tmp_path / "v.mkv", [50] * 5, rate=25, times=stamps)
    times = [picture.time_s for picture in read_pictures(path)]
    np.testing.assert_allclose(times, np.array(stamps) / 1000, atol=2e-3)


def test_large_pictures_are_scaled_down(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", [50] * 3)
    (first, *_) = read_pictures(path, max_side_px=48)
    assert first.rgb.shape == (32, 48, 3)


def test_sound_comes_as_it_is(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", [50] * 25, _tone())
    sound = read_sound(path)
    assert len(sound) == pytest.approx(16_000, abs=1100)
    assert np.corrcoef(sound[2000:14_000], _tone()[2000:14_000])[0, 1] > 0.98


def test_sound_that_begins_late_stays_late(tmp_path):
    path = tmp_path / "late.mkv"
    _write_late(path, late_s=0.5)
    sound = read_sound(path)
    assert np.abs(sound[:7000]).max() < 0.01
    assert np.abs(sound[8500:12_000]).max() > 0.3


def _write_late(path, late_s):
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        pcm = (_tone() * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
        frame.pts = int(late_s * 16_000)
        container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode())


def test_a_phone_held_upright_is_shown_upright(tmp_path, write_video):
    """Phones store the picture as the sensor has it, and how to turn it."""
    path = write_video(tmp_path / "v.mp4", [40] * 3)
    data = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    at = data.index(identity, data.index(b"tkhd"))
    data[at : at + 36] = turned
    path.write_bytes(data)
    (first, *_) = read_pictures(path)
    assert first.rgb.shape == (96, 64, 3)
    # The bright corner was top left; clockwise it goes to the top right.
    assert first.rgb[:40, 40:].mean() > 200
    assert first.rgb[:40, :24].mean() < 60


def test_a_damaged_end_costs_only_the_end(tmp_path, write_video):
    path = write_video(tmp_path / "v.mkv", list(range(0, 250, 2)), _tone(5.0))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    pictures = list(read_pictures(path))
    assert 10 < len(pictures) < 125
    assert len(read_sound(path)) > 16_000


@pytest.mark.parametrize("read", [lambda path: list(read_pictures(path)), read_sound])
def test_junk_is_refused(tmp_path, read):
    path = tmp_path / "junk.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InvalidInput) as caught:
        read(path)
    assert caught.value.reason == "VIDEO_UNREADABLE"


def test_no_sound_is_refused(tmp_path, write_video):
    with pytest.raises(InvalidInput) as caught:
        read_sound(write_video(tmp_path / "v.mp4", [50] * 5))
    assert caught.value.reason == "NO_SOUND"


def test_no_pictures_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(_tone()[None, :1024], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    with pytest.raises(InvalidInput) as caught:
        list(read_pictures(path))
    assert caught.value.reason == "NO_PICTURES"


def test_samples_are_spread_over_a_video(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", list(range(0, 200, 2)))
    samples = list(sample_pictures(path, 4))
    assert [sample.time_s for sample in samples] == pytest.approx([0.5, 1.5, 2.5, 3.5])
    levels = [float(sample.rgb[48:, 56:].mean()) for sample in samples]
    assert levels == pytest.approx([25, 75, 125, 175], abs=8)


def test_samples_of_a_damaged_video_are_those_that_can_be_read(tmp_path, write_video):
    path = write_video(tmp_path / "v.mkv", list(range(0, 200, 2)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert len(list(sample_pictures(path, 6))) < 6
