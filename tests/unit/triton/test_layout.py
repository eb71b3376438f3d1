"""What travels between renderer and server, and the models' configurations."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from parlante.errors import FailedPrecondition
from parlante.triton.installation import repository_dir
from parlante.triton.layout import (
    DECODER,
    MAX_ROWS,
    PROBE_KEY,
    STORE,
    pack_latents,
    unpack_latents,
)
from parlante.types import FRAME_SIZE_PX, MOTION_DIM
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


def config_of(model: str) -> model_config_pb2.ModelConfig:
    text = (repository_dir() / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_decoder_is_configured_as_callers_expect() -> None:
    config = config_of(DECODER)
    assert (config.name, config.max_batch_size) == (DECODER, MAX_ROWS)
    shapes = {tensor.name: list(tensor.dims) for tensor in [*config.input, *config.output]}
    assert shapes["MOTION"] == [MOTION_DIM]
    assert shapes["FRAME"] == [FRAME_SIZE_PX, FRAME_SIZE_PX, 3]
    assert {"AVATAR", "QUALITY", "STATUS", "PICTURE"} <= shapes.keys()


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
    assert data == len(PROBE_KEY).to_bytes(4, "little") + PROBE_KEY.encode()
    assert {warm.batch_size for warm in config_of(DECODER).model_warmup} == {1, MAX_ROWS}


def test_store_is_one_process_on_the_cpu() -> None:
    config = config_of(STORE)
    assert config.max_batch_size == 0
    assert [group.count for group in config.instance_group] == [1]
