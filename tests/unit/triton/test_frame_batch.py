"""What the decoder model runs, without a server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from parlante.models.decoder import Decoder
from parlante.models.face_net import FaceNet, FaceNetConfig, RegionNetConfig
from parlante.models.face_retouch import FaceRetouch
from parlante.models.frame_batch import BatchDecoder
from parlante.triton.layout import PROBE_KEY, FrameRow, RowResult, RowStatus
from parlante.types import AvatarLatents
from tests.fakes.faces import RightFrames, face_latents, row_of

KEYS = ["11" * 32, "22" * 32, "33" * 32]


class Shelf:
    """The latents that a decoder can fetch."""

    def __init__(self) -> None:
        self.latents: dict[str, AvatarLatents] = {}

    def fetch(self, key: str) -> AvatarLatents | None:
        return self.latents.get(key)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def decoder(shelf: Shelf) -> Iterator[BatchDecoder]:
    decoder = BatchDecoder(shelf.fetch, num_threads=2, max_avatars=3)
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
        shelf.latents[key] = face_latents(key)
        until_ready(decoder, row(key))
    rows = [row(KEYS[n % 2], n, quality=0 if n == 3 else 85) for n in range(6)]
    results = decoder.decode(rows)
    for number, result in enumerate(results):
        assert result.status is RowStatus.OK
        if number == 3:
            np.testing.assert_array_equal(result.pixels, right.pixels(KEYS[1], row_of(3)))
        else:
            assert result.jpeg == right.jpeg(KEYS[number % 2], row_of(number))


def test_an_unknown_avatar_fails_its_own_row_only(decoder: BatchDecoder) -> None:
    decoder.warm_up()
    results = decoder.decode([row(PROBE_KEY), row(KEYS[0]), row(PROBE_KEY)])
    assert [item.status.name for item in results] == ["OK", "AVATAR_MISSING", "OK"]


def test_an_avatar_is_prepared_beside_the_batches(shelf: Shelf, decoder: BatchDecoder) -> None:
    shelf.latents[KEYS[0]] = face_latents(KEYS[0])
    (first,) = decoder.decode([row(KEYS[0])])
    assert first.status is RowStatus.AVATAR_PREPARING
    assert until_ready(decoder, row(KEYS[0])).status is RowStatus.OK
    assert decoder.num_misses == 1


def test_latents_of_another_space_are_refused(shelf: Shelf, decoder: BatchDecoder) -> None:
    wrong = face_latents(KEYS[0])
    tensors = {name: value for name, value in wrong.tensors.items() if name != "matte"}
    shelf.latents[KEYS[0]] = AvatarLatents(key=KEYS[0], spec=wrong.spec, tensors=tensors)
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
        shelf.latents[key] = face_latents(key)
        until_ready(decoder, row(key))
    assert decoder.num_avatars == 3  # the probe's and two
    shelf.latents.clear()
    statuses = [until_ready(decoder, row(key)).status.name for key in [PROBE_KEY, *KEYS]]
    assert statuses == ["OK", "AVATAR_MISSING", "OK", "OK"]


def test_frames_are_retouched_by_the_face_network(shelf: Shelf) -> None:
    torch.manual_seed(0)
    region = RegionNetConfig(widths=(8,), blocks=(1,), code=8)
    net = FaceNet(FaceNetConfig(mouth=region, eye=region, frame=None)).eval()
    with torch.no_grad():  # lay on much
        net.mouth.detail.bias[3 * net.mouth.detail.bias.shape[0] // 4 :] = 4.0
    retouch = FaceRetouch(net)
    shelf.latents[KEYS[0]] = face_latents(KEYS[0])
    decoder = BatchDecoder(shelf.fetch, num_threads=2, retouch=retouch)
    try:
        result = until_ready(decoder, row(KEYS[0], 7, quality=0))
    finally:
        decoder.close()
    alone = Decoder(retouch)
    avatar = alone.prepare(face_latents(KEYS[0]))
    np.testing.assert_array_equal(result.pixels, alone.render(avatar, row_of(7)))
    assert (result.pixels != RightFrames().pixels(KEYS[0], row_of(7))).any()
