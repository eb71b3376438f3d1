"""Files with alpha, and the refusal of those that hold none."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.media.grid import Grid
from parlante.media.video_writer import (
    check_video_path,
    frame_encoding_for,
    open_pixel_writer,
    open_writer,
)
from parlante.types import FrameEncoding

WIDTH, HEIGHT = 128, 96
NUM_FRAMES = 10
COLOUR = (200, 100, 50)


def rgba_frame() -> np.ndarray:
    """Opaque left half, half transparent middle, clear right."""
    frame = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    frame[..., :3] = COLOUR
    frame[:, :64, 3] = 255
    frame[:, 64:96, 3] = 128
    return frame


def tone() -> Recording:
    time_s = np.arange(int(0.4 * 16_000)) / 16_000
    samples = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    return Recording(samples=samples.astype(np.float32), sample_rate_hz=16_000)


def write(path: Path, *, has_alpha: bool, recording: Recording | None = None) -> None:
    writer = open_writer(
        path, width_px=WIDTH, height_px=HEIGHT, recording=recording, has_alpha=has_alpha
    )
    with writer:
        for index in range(NUM_FRAMES):
            writer.write_frame(index, rgba_frame().tobytes(), key_frame=True)


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # FFmpeg's own VP9 decoder passes over alpha.
        decoder = av.CodecContext.create("libvpx-vp9", "r") if path.suffix == ".webm" else None
        frames = []
        for packet in container.demux(stream):
            frames += decoder.decode(packet) if decoder else packet.decode()
    return [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize("name", ["out.mov", "out.webm"])
def test_colour_alpha_and_sound_are_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, has_alpha=True, recording=tone())
    frames = read(path)
    assert len(frames) == NUM_FRAMES
    frame = frames[-1].astype(int)
    assert np.abs(frame[40, 30] - [*COLOUR, 255]).max() <= 4
    assert abs(frame[40, 80, 3] - 128) <= 4
    assert frame[40, 115, 3] <= 2
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        seconds = sum(f.samples for f in container.decode(sound)) / sound.rate
        assert seconds == pytest.approx(0.4, abs=0.05)
        assert "Parlante" in "".join(v for v in container.metadata.values())


def test_opaque_videos_have_no_alpha(tmp_path: Path) -> None:
    path = tmp_path / "out.mov"
    write(path, has_alpha=False)
    assert (read(path)[0][..., 3] == 255).all()
    with av.open(str(path)) as container:
        assert not container.streams.audio


def test_pictures_are_numbered(tmp_path: Path) -> None:
    write(tmp_path / "frame_%03d.png", has_alpha=True)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"frame_{index:03d}.png" for index in range(NUM_FRAMES)]
    picture = cv2.imread(str(tmp_path / "frame_003.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(picture[..., [2, 1, 0, 3]], rgba_frame())


@pytest.mark.parametrize("name", ["out.mov", "out.webm", "frame_%d.png"])
def test_nothing_is_left_after_an_error(tmp_path: Path, name: str) -> None:
    writer = open_writer(
        tmp_path / name, width_px=WIDTH, height_px=HEIGHT, recording=None, has_alpha=True
    )

    def fail_at_the_second_frame() -> None:
        with writer:
            writer.write_frame(0, rgba_frame().tobytes(), key_frame=True)
            writer.write_frame(1, b"short", key_frame=True)

    with pytest.raises(InvalidInput, match="RGBA32"):
        fail_at_the_second_frame()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "has_alpha", "reason"),
    [
        ("out.mp4", True, "OUTPUT_WITHOUT_ALPHA"),
        ("out.gif", False, "BAD_OUTPUT"),
        ("out.png", True, "BAD_OUTPUT"),
        ("out_%d_%d.png", True, "BAD_OUTPUT"),
        ("none/out.mov", True, "OUTPUT_FOLDER_MISSING"),
    ],
)
def test_files_that_cannot_be_are_refused(
    tmp_path: Path, name: str, has_alpha: bool, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_video_path(tmp_path / name, has_alpha=has_alpha)
    assert caught.value.reason == reason


def test_mp4_takes_h264_and_the_others_pixels() -> None:
    assert frame_encoding_for(Path("a.MP4")) is FrameEncoding.H264
    for name in ("a.mov", "a.webm", "a_%d.png"):
        assert frame_encoding_for(Path(name)) is FrameEncoding.RGBA32


def test_pixels_become_an_mp4_too(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    writer = open_pixel_writer(
        path, width_px=WIDTH, height_px=HEIGHT, recording=None, has_alpha=False, bitrate_kbps=500
    )
    with writer:
        for index in range(NUM_FRAMES):
            writer.write_frame(index, rgba_frame().tobytes(), key_frame=True)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == NUM_FRAMES
    assert np.abs(frames[-1][40, 40].astype(int) - COLOUR).max() < 12


@pytest.mark.parametrize(
    ("num_cells", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (16, 4, 4)]
)
def test_grids_are_as_square_as_they_go(num_cells: int, columns: int, rows: int) -> None:
    grid = Grid(num_cells=num_cells, cell_width_px=512, cell_height_px=512)
    assert (grid.num_columns, grid.num_rows) == (columns, rows)
    width, height = grid.size_px
    assert max(width, height) <= 2048
    assert width % 2 == height % 2 == 0


def test_pictures_of_other_shapes_are_scaled_into_their_cells() -> None:
    grid = Grid(num_cells=2, cell_width_px=100, cell_height_px=100)
    wide = np.full((50, 100, 4), 9, np.uint8)
    out = grid.compose([np.full((100, 100, 4), 7, np.uint8), wide])
    assert (out[:, :100] == 7).all()
    assert (out[26:74, 100:] == 9).all()
    assert (out[:24, 100:] == 0).all()


@pytest.mark.parametrize("num_cells", [0, 17])
def test_grids_are_bounded(num_cells: int) -> None:
    with pytest.raises(InvalidInput):
        Grid(num_cells=num_cells, cell_width_px=512, cell_height_px=512)
