"""The MP4 writer: times, sync, and no file that is not whole."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.media.mux import Mp4Writer

SIZE_PX = 128


@pytest.fixture(scope="module")
def pictures() -> list[tuple[bytes, bool]]:
    """Fifty H.264 pictures, white from number 25 on."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width = codec.height = SIZE_PX
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.options = {"preset": "ultrafast", "tune": "zerolatency"}
    made = []
    for index in range(50):
        image = np.full((SIZE_PX, SIZE_PX, 3), 255 if index >= 25 else 0, dtype=np.uint8)
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture.pts = index
        made += [(bytes(packet), packet.is_keyframe) for packet in codec.encode(picture)]
    return made


def click(rate_hz: int, *, at_s: float = 1.0, seconds: float = 2.0) -> Recording:
    samples = np.zeros(int(seconds * rate_hz), dtype=np.float32)
    start = int(at_s * rate_hz)
    samples[start : start + rate_hz // 20] = 0.9
    return Recording(samples=samples, sample_rate_hz=rate_hz)


def write(path: Path, pictures: list[tuple[bytes, bool]], recording: Recording) -> None:
    with Mp4Writer(path, width_px=SIZE_PX, height_px=SIZE_PX, recording=recording) as writer:
        for index, (data, key_frame) in enumerate(pictures):
            writer.write_frame(index, data, key_frame=key_frame)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 37_000, 48_000])
def test_sound_starts_with_its_picture(
    tmp_path: Path, pictures: list[tuple[bytes, bool]], rate_hz: int
) -> None:
    path = tmp_path / "out.mp4"
    write(path, pictures, click(rate_hz))
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    onset = int(np.argmax(np.abs(samples) > 0.45))
    assert frames[0].time + onset / frames[0].sample_rate == pytest.approx(1.0, abs=0.005)


def test_pictures_are_copied_unchanged(tmp_path: Path, pictures: list[tuple[bytes, bool]]) -> None:
    path = tmp_path / "out.mp4"
    write(path, pictures, click(16_000))
    decoder = av.CodecContext.create("h264", "r")
    sent = [frame for data, _ in pictures for frame in decoder.decode(av.Packet(data))]
    sent += decoder.decode(None)
    with av.open(str(path)) as container:
        for got, expected in zip(container.decode(video=0), sent, strict=True):
            np.testing.assert_array_equal(got.to_ndarray(), expected.to_ndarray())


def test_a_gap_in_the_frames_keeps_the_times(
    tmp_path: Path, pictures: list[tuple[bytes, bool]]
) -> None:
    path = tmp_path / "out.mp4"
    with Mp4Writer(path, width_px=SIZE_PX, height_px=SIZE_PX, recording=click(16_000)) as writer:
        writer.write_frame(0, pictures[0][0], key_frame=True)
        writer.write_frame(10, pictures[1][0], key_frame=False)
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([0, 0.4])


def test_the_index_comes_first(tmp_path: Path, pictures: list[tuple[bytes, bool]]) -> None:
    path = tmp_path / "out.mp4"
    write(path, pictures, click(16_000))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_file_says_that_it_is_synthetic(
    tmp_path: Path, pictures: list[tuple[bytes, bool]]
) -> None:
    path = tmp_path / "out.mp4"
    write(path, pictures, click(16_000))
    with av.open(str(path)) as container:
        assert "Synthetic" in container.metadata["comment"]


def test_an_existing_file_stays_when_writing_fails(
    tmp_path: Path, pictures: list[tuple[bytes, bool]]
) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old one")
    writer = Mp4Writer(path, width_px=SIZE_PX, height_px=SIZE_PX, recording=click(16_000))
    with suppress(KeyboardInterrupt), writer:
        writer.write_frame(0, pictures[0][0], key_frame=True)
        raise KeyboardInterrupt
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the old one"]


def test_a_video_needs_a_frame(tmp_path: Path) -> None:
    writer = Mp4Writer(
        tmp_path / "out.mp4", width_px=SIZE_PX, height_px=SIZE_PX, recording=click(16_000)
    )
    with pytest.raises(InvalidInput), writer:
        pass
    assert not list(tmp_path.iterdir())


def test_the_first_frame_must_be_a_key_frame(
    tmp_path: Path, pictures: list[tuple[bytes, bool]]
) -> None:
    writer = Mp4Writer(
        tmp_path / "out.mp4", width_px=SIZE_PX, height_px=SIZE_PX, recording=click(16_000)
    )
    with pytest.raises(InvalidInput) as caught, writer:
        writer.write_frame(0, pictures[1][0], key_frame=False)
    assert caught.value.reason == "NOT_A_KEY_FRAME"
