"""What the decoder model runs, without a server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder
from parlante.models.face_net import FaceNet, FaceNetConfig, RegionNetConfig
from parlante.models.face_retouch import FaceRetouch
from parlante.models.frame_batch import BatchDecoder
from parlante.models.frame_look import FrameLook
from parlante.models.frame_makers import DeviceLost
from parlante.models.torch_avatar import TorchAvatar
from parlante.models.torch_decoder import Square, TorchDecoder
from parlante.triton.layout import PROBE_KEY, FrameRow, RowResult, RowStatus, backdrop_key_of
from parlante.triton.regions import PixelRoom
from parlante.types import AvatarLatents, BackgroundKind, Float32Array, Uint8Array
from tests.fakes.faces import RightFrames, face_latents, full_latents, row_of

KEYS = ["11" * 32, "22" * 32, "33" * 32]


class Shelf:
    """The latents that a decoder can fetch."""

    def __init__(self) -> None:
        self.found: dict[str, AvatarLatents] = {}
        self.pictures: dict[str, Uint8Array] = {}

    def latents(self, key: str) -> AvatarLatents | None:
        return self.found.get(key)

    def backdrop(self, key: str) -> Uint8Array | None:
        return self.pictures.get(key)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def decoder(shelf: Shelf) -> Iterator[BatchDecoder]:
    decoder = BatchDecoder(shelf, num_threads=2, max_avatars=3)
    yield decoder
    decoder.close()


def row(key: str, number: int = 0, quality: int = 85) -> FrameRow:
    return FrameRow(avatar_key=key, motion=row_of(number), jpeg_quality=quality)


def until_ready(decoder: BatchDecoder, wanted: FrameRow) -> RowResult:
    for _ in range(1000):
        (result,) = decoder.decode([wanted])
        if result.status is not RowStatus.AVATAR_PREPARING:
            return result
        time.sleep(0.01)
    raise AssertionError("it is never ready")


def test_rows_of_several_avatars_each_get_their_own(shelf: Shelf, decoder: BatchDecoder) -> None:
    right = RightFrames()
    for key in KEYS[:2]:
        shelf.found[key] = face_latents(key)
        until_ready(decoder, row(key))
    rows = [row(KEYS[n % 2], n, quality=0 if n == 3 else 85) for n in range(6)]
    results = decoder.decode(rows)
    for number, result in enumerate(results):
        assert result.status is RowStatus.OK
        if number == 3:
            np.testing.assert_array_equal(result.pixels, right.pixels(KEYS[1], row_of(3)))
        else:
            assert result.jpeg == right.jpeg(KEYS[number % 2], row_of(number))


LOOKS = [
    FrameLook(size_px=256),
    FrameLook(background=BackgroundKind.BLURRED),
    FrameLook(size_px=768, background=BackgroundKind.COLOUR, colour_rgb=(1, 2, 3)),
    FrameLook(background=BackgroundKind.TRANSPARENT),
    FrameLook(background=BackgroundKind.PICTURE, picture=np.full((64, 64, 3), 77, np.uint8)),
]


def test_rows_of_several_looks_share_a_batch(shelf: Shelf) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    for look in LOOKS:
        if look.picture is not None:
            shelf.pictures[backdrop_key_of(look.picture)] = look.picture
    rows = [replace(row(KEYS[0], 5, 0), look_key=look.key) for look in LOOKS]
    decoder, alone = BatchDecoder(shelf, num_threads=2), Decoder()
    try:
        for wanted in rows:
            until_ready(decoder, wanted)
        results = decoder.decode(rows)
    finally:
        decoder.close()
    for look, result in zip(LOOKS, results, strict=True):
        right = alone.render(alone.prepare(face_latents(KEYS[0]), look), row_of(5))
        np.testing.assert_array_equal(result.pixels, right)


def test_frames_are_drawn_where_there_is_room_for_them(shelf: Shelf) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    alone = Decoder()
    rows = [replace(row(KEYS[0], 5, quality=0), look_key=look.key) for look in LOOKS]
    for look in LOOKS:
        if look.picture is not None:
            shelf.pictures[backdrop_key_of(look.picture)] = look.picture
    decoder = BatchDecoder(shelf, num_threads=2, max_avatars=len(LOOKS))
    memory = np.zeros(2 * 1024 * 1024, np.uint8)  # less than all of them need
    try:
        for wanted in rows:
            until_ready(decoder, wanted)
        results = decoder.decode(rows, [PixelRoom(memory)] * len(rows))
        lone = decoder.decode(rows[:1], [PixelRoom(memory)])
    finally:
        decoder.close()
    assert {result.offset is None for result in results} == {False, True}
    for look, result in zip([*LOOKS, LOOKS[0]], [*results, *lone], strict=True):
        right = alone.render(alone.prepare(face_latents(KEYS[0]), look), row_of(5))
        assert result.offset is None or np.shares_memory(result.pixels, memory)
        if result is not results[0]:  # the lone one was drawn over it
            np.testing.assert_array_equal(result.pixels, right)


def test_calls_of_one_batch_draw_in_their_own_regions(shelf: Shelf, decoder: BatchDecoder) -> None:
    right = RightFrames()
    for key in KEYS[:2]:
        shelf.found[key] = face_latents(key)
        until_ready(decoder, row(key))
    memories = [np.zeros(2 * 512 * 512 * 3, np.uint8) for _ in range(2)]
    rooms = [PixelRoom(memory) for memory in memories]
    rows = [row(KEYS[n % 2], n, quality=0) for n in range(4)]
    results = decoder.decode(rows, [rooms[n % 2] for n in range(4)])
    for number, result in enumerate(results):
        assert result.pixels is not None
        assert np.shares_memory(result.pixels, memories[number % 2])
        wanted = right.pixels(KEYS[number % 2], row_of(number))
        np.testing.assert_array_equal(result.pixels, wanted)


def test_what_is_missing_of_an_avatar_is_told(shelf: Shelf, decoder: BatchDecoder) -> None:
    wanted = replace(row(KEYS[0]), look_key=LOOKS[-1].key)
    assert decoder.decode([wanted])[0].status is RowStatus.AVATAR_MISSING
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    assert decoder.decode([wanted])[0].status is RowStatus.BACKDROP_MISSING


@pytest.mark.parametrize("look_key", ["512", "300 kept", "512 colour 1 2 300"])
def test_a_look_that_there_is_not_is_refused(
    shelf: Shelf, decoder: BatchDecoder, look_key: str
) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    (result,) = decoder.decode([replace(row(KEYS[0]), look_key=look_key)])
    assert result.status is RowStatus.AVATAR_REFUSED


def test_a_whole_picture_has_no_other_background(shelf: Shelf, decoder: BatchDecoder) -> None:
    shelf.found[KEYS[0]] = full_latents(KEYS[0])
    wanted = replace(row(KEYS[0]), look_key=LOOKS[1].key)
    assert until_ready(decoder, wanted).status is RowStatus.AVATAR_REFUSED


def test_an_avatar_that_nobody_waits_for_comes_to_the_shelf(
    shelf: Shelf, decoder: BatchDecoder
) -> None:
    decoder.warm_up()
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    decoder.decode([row(KEYS[0])])
    for _ in range(1000):
        decoder.decode([row(PROBE_KEY)])  # of another stream
        if decoder.num_avatars == 2:
            break
        time.sleep(0.01)
    assert decoder.num_avatars == 2


def test_a_jpeg_of_a_frame_with_alpha_is_refused(shelf: Shelf, decoder: BatchDecoder) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    wanted = replace(row(KEYS[0]), look_key=LOOKS[3].key)
    assert until_ready(decoder, wanted).status is RowStatus.BAD_MOTION


def test_an_unknown_avatar_fails_its_own_row_only(decoder: BatchDecoder) -> None:
    decoder.warm_up()
    results = decoder.decode([row(PROBE_KEY), row(KEYS[0]), row(PROBE_KEY)])
    assert [item.status.name for item in results] == ["OK", "AVATAR_MISSING", "OK"]


def test_an_avatar_is_prepared_beside_the_batches(shelf: Shelf, decoder: BatchDecoder) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    (first,) = decoder.decode([row(KEYS[0])])
    assert first.status is RowStatus.AVATAR_PREPARING
    assert until_ready(decoder, row(KEYS[0])).status is RowStatus.OK
    assert decoder.num_misses == 1


def test_latents_of_another_space_are_refused(shelf: Shelf, decoder: BatchDecoder) -> None:
    wrong = face_latents(KEYS[0])
    tensors = {name: value for name, value in wrong.tensors.items() if name != "matte"}
    shelf.found[KEYS[0]] = AvatarLatents(key=KEYS[0], spec=wrong.spec, tensors=tensors)
    assert until_ready(decoder, row(KEYS[0])).status is RowStatus.AVATAR_REFUSED


@pytest.mark.parametrize(("value", "quality"), [(np.nan, 85), (0.0, 101), (0.0, -1)])
def test_a_bad_row_harms_no_other(decoder: BatchDecoder, value: float, quality: int) -> None:
    decoder.warm_up()
    motion = row_of(0)
    motion[5] = value
    bad = FrameRow(avatar_key=PROBE_KEY, motion=motion, jpeg_quality=quality)
    results = decoder.decode([bad, row(PROBE_KEY)])
    assert [item.status.name for item in results] == ["BAD_MOTION", "OK"]


def test_the_least_recently_used_avatar_goes_first(shelf: Shelf, decoder: BatchDecoder) -> None:
    decoder.warm_up()
    for key in KEYS:
        shelf.found[key] = face_latents(key)
        until_ready(decoder, row(key))
    assert decoder.num_avatars == 3  # the probe's and two
    shelf.found.clear()
    statuses = [until_ready(decoder, row(key)).status.name for key in [PROBE_KEY, *KEYS]]
    assert statuses == ["OK", "AVATAR_MISSING", "OK", "OK"]


def test_frames_are_retouched_by_the_face_network(shelf: Shelf) -> None:
    torch.manual_seed(0)
    region = RegionNetConfig(widths=(8,), blocks=(1,), code=8)
    net = FaceNet(FaceNetConfig(mouth=region, eye=region, frame=None)).eval()
    with torch.no_grad():  # lay on much
        net.mouth.detail.grow[-1].bias[-4:] = 4.0
    retouch = FaceRetouch(net)
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    decoder = BatchDecoder(shelf, num_threads=2, retouch=retouch)
    try:
        result = until_ready(decoder, row(KEYS[0], 7, quality=0))
    finally:
        decoder.close()
    alone = Decoder(retouch)
    avatar = alone.prepare(face_latents(KEYS[0]))
    np.testing.assert_array_equal(result.pixels, alone.render(avatar, row_of(7)))
    assert (result.pixels != RightFrames().pixels(KEYS[0], row_of(7))).any()


# --- on a device ---------------------------------------------------------------------------------

SMALL = FrameLook(size_px=256).key


@pytest.fixture
def on_device(shelf: Shelf) -> Iterator[BatchDecoder]:
    """Runs the GPU's code on the CPU."""
    decoder = BatchDecoder(shelf, num_threads=2, device="cpu")
    yield decoder
    decoder.close()


def small_row(key: str, number: int, quality: int = 0) -> FrameRow:
    return replace(row(key, number, quality), look_key=SMALL)


def test_a_device_draws_the_frames_of_the_loops(shelf: Shelf, on_device: BatchDecoder) -> None:
    for key in KEYS[:2]:
        shelf.found[key] = face_latents(key)
        until_ready(on_device, small_row(key, 0))
    rows = [small_row(KEYS[n % 2], 30 * n, quality=85 if n == 2 else 0) for n in range(4)]
    memory = np.zeros(256 * 256 * 3, np.uint8)  # room for one of them
    results = on_device.decode(rows, [PixelRoom(memory)] * len(rows))
    alone, look = Decoder(), FrameLook(size_px=256)
    assert [result.offset for result in results] == [0, None, None, None]
    for wanted, result in zip(rows, results, strict=True):
        right = alone.render(alone.prepare(face_latents(wanted.avatar_key), look), wanted.motion)
        pixels = result.pixels
        if wanted.jpeg_quality:
            shown = cv2.imdecode(np.frombuffer(result.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
            same = JpegEncoder(quality=85).encode(right).data
            pixels = shown
            right = cv2.imdecode(np.frombuffer(same, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        step = np.abs(pixels.astype(int) - right)
        assert step.mean() < 0.1
        assert step.max() <= (16 if wanted.jpeg_quality else 1)


def test_a_bad_row_harms_no_other_on_a_device(shelf: Shelf, on_device: BatchDecoder) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    until_ready(on_device, small_row(KEYS[0], 0))
    bad = small_row(KEYS[0], 1)
    bad.motion[3] = np.nan
    results = on_device.decode([bad, small_row(KEYS[0], 2), small_row(KEYS[1], 3)])
    assert [item.status.name for item in results] == ["BAD_MOTION", "OK", "AVATAR_MISSING"]


def test_a_batch_that_fails_on_a_device_is_tried_row_by_row(
    shelf: Shelf, on_device: BatchDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much at once, or wrong with one row, costs no other row its frame."""
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    until_ready(on_device, small_row(KEYS[0], 0))
    whole = TorchDecoder.squares

    def fails(
        self: TorchDecoder, avatars: Sequence[TorchAvatar], motions: Sequence[Float32Array]
    ) -> list[Square]:
        if len(avatars) > 1 or motions[0][0] == 7.0:
            raise RuntimeError("out of memory")
        return whole(self, avatars, motions)

    monkeypatch.setattr(TorchDecoder, "squares", fails)
    rows = [small_row(KEYS[0], number) for number in range(3)]
    rows[1].motion[0] = 7.0
    results = on_device.decode(rows)
    assert [item.status.name for item in results] == ["OK", "FAILED", "OK"]


def test_a_device_that_is_lost_is_told(
    shelf: Shelf, on_device: BatchDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.found[KEYS[0]] = face_latents(KEYS[0])
    until_ready(on_device, small_row(KEYS[0], 0))

    def fails(self: TorchDecoder, avatars: object, motions: object) -> list[Square]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(TorchDecoder, "squares", fails)
    monkeypatch.setattr(TorchDecoder, "is_usable", lambda self: False)
    with pytest.raises(DeviceLost):
        on_device.decode([small_row(KEYS[0], 1), small_row(KEYS[0], 2)])
