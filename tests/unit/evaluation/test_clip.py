"""Videos of any rate and offset: what is seen and heard is on one clock."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.evaluation.clip import find_videos, read_frames, read_sound


def write_video(path: Path, *, fps: int, num_frames: int, sound_late_s: float = 0.0) -> None:
    """Frames that get brighter; a click that is heard when frame 10 is seen."""
    rate = 16_000
    samples = np.zeros(int(num_frames / fps * rate), np.int16)
    click = int((10 / fps - sound_late_s) * rate)
    samples[click : click + 40] = 20_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=fps, width=64, height=48)
        sound = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * index, np.uint8), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        block.sample_rate, block.time_base = rate, Fraction(1, rate)
        block.pts = int(sound_late_s * rate)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))


@pytest.mark.parametrize("late_s", [0.0, 0.2])
def test_sound_starts_with_the_first_picture(tmp_path: Path, late_s: float) -> None:
    path = tmp_path / "clip.mkv"
    write_video(path, fps=25, num_frames=40, sound_late_s=late_s)
    sound = read_sound(path)
    assert int(np.argmax(np.abs(sound) > 0.3)) == pytest.approx(0.4 * 16_000, abs=32)


def test_frames_come_with_their_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    write_video(path, fps=30, num_frames=40)
    frames = list(read_frames(path))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(40) / 30, atol=1e-3)
    assert frames[0].rgb.shape == (48, 64, 3)
    assert frames[30].rgb.mean() == pytest.approx(120, abs=4)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(InvalidInput) as refusal:
        list(read_frames(path))
    assert refusal.value.reason == "VIDEO_UNREADABLE"


def test_videos_of_a_folder_come_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_videos([tmp_path])] == ["a.MOV", "b.mp4"]


@pytest.mark.parametrize(("name", "reason"), [("", "NO_VIDEOS"), ("x.mp4", "FILE_NOT_FOUND")])
def test_missing_videos_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        find_videos([tmp_path / name])
    assert refusal.value.reason == reason
