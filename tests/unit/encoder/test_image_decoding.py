"""Decoding uploads: every format and flag, every refusal."""

from __future__ import annotations

import contextlib
import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from parlante.errors import PortraitRejected
from parlante.media import image as image_module
from parlante.media.image import BACKDROP_RGB, MAX_IMAGE_BYTES, decode_image
from parlante.types import Uint8Array


@pytest.fixture(scope="module")
def pixels() -> Uint8Array:
    """A smooth picture without symmetry, uint8 [48, 64, 3]."""
    y, x = np.mgrid[0:48, 0:64].astype(np.float64)
    return np.stack([x * 4, y * 5, 60 + x + y], axis=-1).astype(np.uint8)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(PortraitRejected) as caught:
        decode_image(data)
    assert caught.value.field == "image"
    return caught.value.reason


def distance(first: Uint8Array, second: Uint8Array) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0.0), ("JPEG", 4.0), ("WEBP", 4.0)])
def test_format_is_decoded(pixels: Uint8Array, kind: str, tolerance: float) -> None:
    decoded = decode_image(encode(Image.fromarray(pixels), kind))
    assert decoded.dtype == np.uint8
    assert distance(decoded, pixels) <= tolerance


def test_lossless_webp_is_exact(pixels: Uint8Array) -> None:
    data = encode(Image.fromarray(pixels), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_image(data), pixels)


def test_result_is_writable_and_contiguous(pixels: Uint8Array) -> None:
    decoded = decode_image(encode(Image.fromarray(pixels), "PNG"))
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(pixels: Uint8Array, orientation: int) -> None:
    turn_away = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(turn_away(pixels)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encode(stored, "PNG", exif=exif)), pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own remark
def test_damaged_exif_counts_as_absent(pixels: Uint8Array) -> None:
    data = encode(Image.fromarray(pixels), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert decode_image(data).shape == pixels.shape


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_pixels_show_the_backdrop(pixels: Uint8Array, kind: str) -> None:
    layer = Image.fromarray(pixels)
    layer.putalpha(0)
    decoded = decode_image(encode(layer, kind, lossless=True))
    assert distance(decoded, np.broadcast_to(np.array(BACKDROP_RGB), pixels.shape)) <= 1.0


def test_half_transparent_pixels_are_mixed() -> None:
    data = encode(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG")
    assert decode_image(data)[0, 0, 0] == pytest.approx(BACKDROP_RGB[0] / 2, abs=2)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pictures_have_equal_channels(pixels: Uint8Array, mode: str) -> None:
    decoded = decode_image(encode(Image.fromarray(pixels).convert(mode), "PNG"))
    assert decoded.shape == pixels.shape
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_sixteen_bit_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16)[None].repeat(8, axis=0)
    decoded = decode_image(encode(Image.fromarray(ramp), "PNG"))
    np.testing.assert_allclose(decoded[0, :, 0], ramp[0] / 257, atol=0.51)


def test_palette_is_resolved(pixels: Uint8Array) -> None:
    data = encode(Image.fromarray(pixels).quantize(256), "PNG")
    assert distance(decode_image(data), pixels) < 8.0


def test_palette_transparency_shows_the_backdrop() -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    decoded = decode_image(encode(picture, "PNG", transparency=0))
    assert tuple(decoded[0, 0]) == BACKDROP_RGB


def test_cmyk_is_converted(pixels: Uint8Array) -> None:
    data = encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
    assert distance(decode_image(data), pixels) < 4.0


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_gives_its_first_frame(pixels: Uint8Array, kind: str) -> None:
    first = Image.fromarray(pixels)
    second = Image.new("RGB", first.size, "black")
    data = encode(first, kind, save_all=True, append_images=[second], lossless=True)
    assert distance(decode_image(data), pixels) < 2.0


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_srgb_profile_changes_nothing(pixels: Uint8Array) -> None:
    data = encode(Image.fromarray(pixels), "PNG", icc_profile=srgb_profile())
    np.testing.assert_array_equal(decode_image(data), pixels)


def test_colour_profile_is_applied() -> None:
    swapped = srgb_profile().replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    for old, new in ((b"rXYZ", b"?XYZ"), (b"bXYZ", b"rXYZ"), (b"?XYZ", b"bXYZ")):
        swapped = swapped.replace(old, new)
    data = encode(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG", icc_profile=swapped)
    np.testing.assert_allclose(decode_image(data)[0, 0], [0, 0, 255], atol=3)


@pytest.mark.parametrize("kind", ["LAB", "junk"])
def test_profile_that_does_not_fit_is_ignored(pixels: Uint8Array, kind: str) -> None:
    profile = b"junk"
    if kind == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = encode(Image.fromarray(pixels), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode_image(data), pixels)


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 5000, b"<html></html>"])
def test_other_bytes_are_not_an_image(data: bytes) -> None:
    assert refusal(data) == "NOT_AN_IMAGE"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_named(pixels: Uint8Array, kind: str) -> None:
    assert refusal(encode(Image.fromarray(pixels), kind)) == "UNSUPPORTED_IMAGE_FORMAT"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_truncated_file_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    assert refusal(data[: max(16, int(len(data) * share))]) == "IMAGE_TRUNCATED"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_file_is_decoded_or_refused(pixels: Uint8Array, kind: str) -> None:
    data = encode(Image.fromarray(pixels), kind)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 6):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(PortraitRejected):
            assert decode_image(bytes(damaged)).ndim == 3


def test_large_file_is_refused_before_it_is_looked_at() -> None:
    assert refusal(b"\xff\xd8\xff" + bytes(MAX_IMAGE_BYTES)) == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_decompression_bomb_is_refused_by_its_header(kind: str) -> None:
    small = encode(Image.new("RGB", (16, 16)), kind)
    huge = {
        "PNG": lambda: small[:16] + (60_000).to_bytes(4, "big") * 2 + small[24:],
        "JPEG": lambda: small.replace(b"\x08\x00\x10\x00\x10", b"\x08\xff\xff\xff\xff", 1),
        "WEBP": lambda: small[:26] + b"\xff\x3f\xff\x3f" + small[30:],
    }[kind]()
    if kind == "PNG":
        huge = huge[:29] + zlib.crc32(huge[12:29]).to_bytes(4, "big") + huge[33:]
    assert refusal(huge) == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16"])
def test_pictures_above_the_working_size_are_shrunk(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(image_module, "WORKING_PIXELS", 5000)
    ramp = np.tile(np.linspace(0, 255, 120, dtype=np.uint8), (90, 1))
    picture = Image.fromarray(ramp)
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert("RGB").convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "JPEG" if mode == "CMYK" else "PNG")
    decoded = decode_image(stream.getvalue())
    assert decoded.shape == (45, 60, 3)
    wanted = np.linspace(0, 255, 120).reshape(60, 2).mean(1)
    worst = np.abs(decoded[20, :, 0].astype(float) - wanted).max()
    assert worst < (30 if mode in ("P", "CMYK") else 4)
