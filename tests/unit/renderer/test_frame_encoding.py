"""Encoded frames decode to what went in."""

from __future__ import annotations

import sys

import av
import cv2
import numpy as np
import pytest

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.media.frame_encoding import (
    KEY_FRAME_INTERVAL,
    H264Encoder,
    make_frame_encoder,
    warm_up,
)
from parlante.types import Background, BackgroundKind, FrameEncoding, RenderConfig


def make(encoding, **options):
    return make_frame_encoder(RenderConfig(avatar_key="a", encoding=encoding, **options))


def decode_h264(chunks):
    decoder = av.CodecContext.create("h264", "r")
    frames = [f for chunk in chunks for f in decoder.decode(av.Packet(chunk))]
    return frames + decoder.decode(None)


def to_rgb(y, u, v):
    """BT.709, limited range, by the book."""
    y, u, v = (
        (p.astype(np.float64) - o) / s for p, o, s in ((y, 16, 219), (u, 128, 224), (v, 128, 224))
    )
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.clip(np.stack([red, green, blue], -1) * 255.0, 0, 255)


def test_jpeg_round_trips(portrait, psnr_db):
    data = make(FrameEncoding.JPEG, jpeg_quality=90).encode(portrait.image).data
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert psnr_db(decoded, portrait.image) > 30.0


def test_jpeg_quality_sets_the_size(portrait):
    sizes = [
        len(make(FrameEncoding.JPEG, jpeg_quality=q).encode(portrait.image).data) for q in (50, 95)
    ]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        (FrameEncoding.RGB24, [0, 1, 2]),
        (FrameEncoding.RGBA32, [0, 1, 2]),
        (FrameEncoding.BGRA32, [2, 1, 0]),
    ],
)
def test_raw_formats_carry_the_exact_pixels(portrait, encoding, order):
    picture = make(encoding).encode(portrait.image)
    pixels = np.frombuffer(picture.data, np.uint8).reshape(512, 512, -1)
    assert (pixels[..., order] == portrait.image).all()
    assert picture.key_frame


def test_nv12_is_bt709_limited_range(portrait, psnr_db):
    data = np.frombuffer(make(FrameEncoding.NV12).encode(portrait.image).data, np.uint8)
    assert data.size == 512 * 512 * 3 // 2
    y = data[: 512 * 512].reshape(512, 512)
    chroma = data[512 * 512 :].reshape(256, 256, 2).repeat(2, 0).repeat(2, 1)
    assert psnr_db(to_rgb(y, chroma[..., 0], chroma[..., 1]), portrait.image) > 30.0


@pytest.mark.parametrize(("level", "luma"), [(0, 16), (255, 235)])
def test_nv12_ends_of_the_scale(level, luma):
    data = make(FrameEncoding.NV12).encode(np.full((512, 512, 3), level, np.uint8)).data
    assert data[0] == luma
    assert data[-1] == 128


def test_nv12_refuses_odd_sizes():
    with pytest.raises(InvalidInput):
        make(FrameEncoding.NV12).encode(np.zeros((511, 512, 3), np.uint8))


def test_h264_round_trips_with_colour_tags(portrait, psnr_db):
    encoder = make(FrameEncoding.H264, h264_bitrate_kbps=8000)
    chunks = [encoder.encode(portrait.image).data for _ in range(8)]
    encoder.close()
    frames = decode_h264(chunks)
    last = frames[-1]
    assert len(frames) == len(chunks)
    assert (int(last.colorspace), int(last.color_primaries), int(last.color_range)) == (1, 1, 1)
    y, u, v = (np.frombuffer(p, np.uint8).reshape(p.height, p.line_size) for p in last.planes)
    y, u, v = y[:, :512], u[:, :256], v[:, :256]
    rgb = to_rgb(y, u.repeat(2, 0).repeat(2, 1), v.repeat(2, 0).repeat(2, 1))
    assert psnr_db(rgb, portrait.image) > 28.0


def test_h264_key_frames_come_first_and_every_two_seconds(portrait):
    encoder = make(FrameEncoding.H264)
    flags = [encoder.encode(portrait.image).key_frame for _ in range(KEY_FRAME_INTERVAL + 2)]
    encoder.close()
    assert [i for i, flag in enumerate(flags) if flag] == [0, KEY_FRAME_INTERVAL]


def test_h264_can_be_entered_at_any_key_frame(portrait):
    encoder = make(FrameEncoding.H264)
    chunks = [encoder.encode(portrait.image).data for _ in range(KEY_FRAME_INTERVAL + 3)]
    encoder.close()
    assert len(decode_h264(chunks[KEY_FRAME_INTERVAL:])) == 3


def test_h264_gives_one_access_unit_per_frame_at_once(portrait):
    encoder = make(FrameEncoding.H264)
    chunks = [encoder.encode(np.roll(portrait.image, i, 1)).data for i in range(5)]
    encoder.close()
    assert all(chunk.startswith((b"\0\0\0\1", b"\0\0\1")) for chunk in chunks)


def test_h264_refuses_frames_after_close(portrait):
    encoder = H264Encoder()
    encoder.close()
    encoder.close()
    with pytest.raises(FailedPrecondition):
        encoder.encode(portrait.image)


def test_h264_refuses_another_size():
    encoder = H264Encoder()
    with pytest.raises(InvalidInput):
        encoder.encode(np.zeros((256, 256, 3), np.uint8))
    encoder.close()


@pytest.fixture
def clear(portrait):
    """The portrait with its matte as alpha."""
    return np.dstack([portrait.image, portrait.matte])


def test_png_keeps_every_pixel_and_alpha(portrait, clear):
    for pixels, order in ((portrait.image, [2, 1, 0]), (clear, [2, 1, 0, 3])):
        data = make(FrameEncoding.PNG).encode(pixels).data
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(decoded[..., order], pixels)


def test_webp_keeps_alpha_and_is_far_smaller_than_png(clear, psnr_db):
    picture = make(FrameEncoding.WEBP, jpeg_quality=80).encode(clear)
    decoded = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded[..., 3], clear[..., 3])
    person = clear[..., 3] == 255
    assert psnr_db(decoded[..., 2::-1][..., :3], clear[..., :3], person) > 28.0
    assert len(picture.data) < 0.3 * len(make(FrameEncoding.PNG).encode(clear).data)


@pytest.mark.parametrize(
    ("encoding", "order"),
    [(FrameEncoding.RGBA32, [0, 1, 2, 3]), (FrameEncoding.BGRA32, [2, 1, 0, 3])],
)
def test_raw_formats_with_room_keep_alpha(clear, encoding, order):
    data = make(encoding).encode(clear).data
    np.testing.assert_array_equal(
        np.frombuffer(data, np.uint8).reshape(512, 512, 4)[..., order], clear
    )


@pytest.mark.parametrize("encoding", [e for e in FrameEncoding if not e.has_alpha])
def test_an_encoding_without_alpha_refuses_a_transparent_background(encoding):
    background = Background(kind=BackgroundKind.TRANSPARENT)
    with pytest.raises(InvalidInput) as caught:
        RenderConfig(avatar_key="a", encoding=encoding, background=background)
    assert caught.value.reason == "ENCODING_WITHOUT_ALPHA"


def test_h264_takes_pictures_that_are_not_square():
    encoder = H264Encoder(width_px=320, height_px=180)
    pixels = np.zeros((180, 320, 3), np.uint8)
    pixels[:, :160] = (200, 40, 40)
    frames = decode_h264([encoder.encode(pixels).data])
    encoder.close()
    assert (frames[0].width, frames[0].height) == (320, 180)
    with pytest.raises(InvalidInput):
        H264Encoder(width_px=320, height_px=180).encode(pixels[:, :100])


def test_only_h264_needs_pyav(portrait, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    warm_up()
    assert make(FrameEncoding.JPEG).encode(portrait.image).key_frame
    with pytest.raises(FailedPrecondition) as caught:
        make(FrameEncoding.H264)
    assert caught.value.reason == "H264_UNAVAILABLE"
