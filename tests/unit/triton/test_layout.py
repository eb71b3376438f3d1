"""What travels between renderer and server, and the models' configurations."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from parlante.errors import FailedPrecondition
from parlante.models.frame_look import FrameLook
from parlante.triton.installation import repository_dir
from parlante.triton.layout import (
    DECODER,
    MAX_ROWS,
    PROBE_KEY,
    STORE,
    FrameRow,
    RowResult,
    RowStatus,
    backdrop_key_of,
    check_stored,
    join_results,
    pack_backdrop,
    pack_latents,
    pack_row,
    split_results,
    unpack_backdrop,
    unpack_latents,
    unpack_row,
)
from parlante.triton.regions import PixelRoom
from parlante.types import MOTION_DIM, BackgroundKind
from tests.fakes.faces import face_latents

KEY = "5a" * 32


def test_latents_survive_the_way() -> None:
    latents = face_latents(KEY)
    back = unpack_latents(pack_latents(latents).tobytes())
    assert (back.key, back.spec) == (latents.key, latents.spec)
    assert back.tensors.keys() == latents.tensors.keys()
    for name, tensor in latents.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 40, b"\x08\0\0\0\0\0\0\0{}      ", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_what_is_no_latents_is_refused(data: bytes) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        unpack_latents(data)
    assert caught.value.reason == "BAD_LATENTS"


PICTURE = np.arange(20 * 20 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 20, 3)


def test_a_backdrop_survives_the_way() -> None:
    data = pack_backdrop(PICTURE).tobytes()
    np.testing.assert_array_equal(unpack_backdrop(data), PICTURE)
    check_stored(backdrop_key_of(PICTURE), data)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 1025, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_backdrop_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        unpack_backdrop(pack_backdrop(picture).tobytes())
    assert caught.value.reason == "BAD_BACKDROP"


def test_nothing_is_stored_under_the_key_of_another() -> None:
    other = backdrop_key_of(255 - PICTURE)
    for key, data in (
        (other, pack_backdrop(PICTURE)),
        ("6b" * 32, pack_latents(face_latents(KEY))),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            check_stored(key, data.tobytes())
        assert caught.value.reason == "KEY_MISMATCH"


@pytest.mark.parametrize(
    "look",
    [
        FrameLook(),
        FrameLook(size_px=256, background=BackgroundKind.BLURRED),
        FrameLook(size_px=768, background=BackgroundKind.COLOUR, colour_rgb=(1, 20, 255)),
        FrameLook(size_px=1024, background=BackgroundKind.TRANSPARENT),
        FrameLook(background=BackgroundKind.PICTURE, picture=PICTURE),
    ],
)
def test_a_look_is_read_from_its_key(look: FrameLook) -> None:
    back, backdrop_key = FrameLook.read(look.key)
    told = (back.size_px, back.background, back.colour_rgb)
    assert told == (look.size_px, look.background, look.colour_rgb)
    assert backdrop_key == ("" if look.picture is None else backdrop_key_of(look.picture))


@pytest.mark.parametrize(
    "key", ["", "512", "513 kept", "512 gone", "512 colour 1 2", "512 colour 1 2 256", "512 kept x",
            "512 picture", "512 colour a b c"]
)  # fmt: skip
def test_what_is_no_look_is_refused(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each has another text)
        FrameLook.read(key)


def test_rows_of_all_sizes_come_apart_again() -> None:
    rng = np.random.default_rng(3)
    results = [
        RowResult(status=RowStatus.OK, pixels=rng.integers(0, 255, (4, 6, 3), np.uint8)),
        RowResult(status=RowStatus.AVATAR_MISSING),
        RowResult(status=RowStatus.OK, jpeg=b"\xff\xd8 a picture"),
        RowResult(status=RowStatus.OK, pixels=rng.integers(0, 255, (9, 9, 4), np.uint8)),
        RowResult(status=RowStatus.FAILED),
    ]
    told, data = join_results(results)
    assert data is not None
    assert data.shape[0] == len(results)
    for back, result in zip(split_results(told, data), results, strict=True):
        assert (back.status, back.jpeg) == (result.status, result.jpeg)
        np.testing.assert_array_equal(back.pixels, result.pixels)


def test_rows_drawn_in_a_region_are_found_there_and_the_others_in_the_data() -> None:
    memory = np.zeros(400, np.uint8)
    room = PixelRoom(memory)
    first, second = room.take((4, 6, 3)), room.take((9, 9, 4))
    assert first is not None
    assert second is not None
    first.pixels[:], second.pixels[:] = 3, 5
    results = [
        RowResult(status=RowStatus.OK, pixels=first.pixels, offset=first.offset),
        RowResult(status=RowStatus.FAILED),
        RowResult(status=RowStatus.OK, jpeg=b"a picture"),
        RowResult(status=RowStatus.OK, pixels=second.pixels, offset=second.offset),
        RowResult(status=RowStatus.OK, pixels=np.full((2, 2, 3), 7, np.uint8)),
    ]
    told, data = join_results(results)
    assert data is not None
    assert data.size < 30  # nothing of what is in the region
    for back, result in zip(split_results(told, data, memory), results, strict=True):
        assert (back.status, back.jpeg, back.offset) == (result.status, result.jpeg, result.offset)
        np.testing.assert_array_equal(back.pixels, result.pixels)


def test_rows_in_a_region_that_nobody_named_are_refused() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    told, data = join_results([RowResult(status=RowStatus.OK, pixels=pixels, offset=0)])
    with pytest.raises(ValueError, match="bytes"):
        split_results(told, data)
    told[0, 5] = -2
    with pytest.raises(ValueError, match="bytes"):
        split_results(told, data, np.zeros(400, np.uint8))


def test_failed_rows_have_no_data() -> None:
    told, data = join_results([RowResult(status=RowStatus.FAILED)] * 2)
    assert data is None  # no tensor may be empty
    assert [row.status for row in split_results(told, data)] == [RowStatus.FAILED] * 2


@pytest.mark.parametrize("look_key", ["", "512 colour 1 20 255"])
def test_a_row_survives_the_way(look_key: str) -> None:
    motion = np.arange(MOTION_DIM, dtype=np.float32)
    row = FrameRow(avatar_key=KEY, motion=motion, jpeg_quality=85, look_key=look_key)
    back = unpack_row(pack_row(row))
    assert (back.name, back.jpeg_quality) == (row.name, 85)
    np.testing.assert_array_equal(back.motion, motion)
    assert back.motion.flags.writeable


@pytest.mark.parametrize("data", [b"", b"too short", bytes(244) + b"\xff\xfe\xfd"])
def test_what_is_no_row_asks_for_what_there_is_not(data: bytes) -> None:
    row = unpack_row(data)
    assert row.avatar_key not in (KEY, PROBE_KEY)
    assert row.motion.shape == (MOTION_DIM,)


def test_results_that_do_not_fit_the_data_are_refused() -> None:
    told, data = join_results([RowResult(status=RowStatus.OK, jpeg=b"12345")])
    for wrong in (6, -1):
        told[0, 1] = wrong
        with pytest.raises(ValueError, match="bytes"):
            split_results(told, data)


def config_of(model: str) -> model_config_pb2.ModelConfig:
    text = (repository_dir() / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_decoder_is_configured_as_callers_expect() -> None:
    config = config_of(DECODER)
    assert (config.name, config.max_batch_size) == (DECODER, MAX_ROWS)
    shapes = {tensor.name: list(tensor.dims) for tensor in [*config.input, *config.output]}
    assert shapes["DATA"] == [-1]  # frames of any size
    assert shapes["RESULT"] == [6]
    assert [tensor.name for tensor in config.input] == ["ROW"]


def test_decoder_has_nothing_that_stalls_the_batcher() -> None:
    config = config_of(DECODER)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching == model_config_pb2.ModelDynamicBatching()
    assert not any(tensor.optional for tensor in config.input)
    # No kind: each GPU gets one, a machine without any still runs it.
    assert [group.kind for group in config.instance_group] == [
        model_config_pb2.ModelInstanceGroup.KIND_AUTO
    ]


def test_decoder_is_warmed_up_with_the_avatar_that_it_always_has() -> None:
    data = (repository_dir() / DECODER / "warmup" / "probe").read_bytes()
    row = FrameRow(avatar_key=PROBE_KEY, motion=np.zeros(MOTION_DIM, np.float32), jpeg_quality=0)
    assert data == len(pack_row(row)).to_bytes(4, "little") + pack_row(row)
    assert {warm.batch_size for warm in config_of(DECODER).model_warmup} == {1, MAX_ROWS}


def test_store_is_one_process_on_the_cpu() -> None:
    config = config_of(STORE)
    assert config.max_batch_size == 0
    assert [group.count for group in config.instance_group] == [1]
