"""What every encoder does, embedded or remote."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from parlante.errors import AlreadyExists, InvalidInput, NotFound, PortraitRejected, Unavailable
from parlante.fleet.encoder import FleetEncoder
from parlante.ports import Encoder
from parlante.types import FaceChoice, FaceSelection
from tests.fakes.encoder import FakeEncoder, portrait_bytes
from tests.fakes.fleet import fake_pool
from tests.fakes.stages import serve_fakes


@pytest_asyncio.fixture(params=["fake", "remote", "fleet"])
async def encoder(request: pytest.FixtureRequest) -> AsyncIterator[Encoder]:
    """One implementation of the port after the other."""
    if request.param == "fake":
        yield FakeEncoder()
        return
    async with serve_fakes() as stages, fake_pool("encoder", stages) as pool:
        yield FleetEncoder(pool) if request.param == "fleet" else stages.remote_encoder


async def test_created_avatar_is_found_by_its_name(encoder: Encoder) -> None:
    info = await encoder.create(portrait_bytes(), name="anna")
    assert info.name == "anna"
    assert await encoder.get("anna") == info


async def test_avatar_without_a_name_gets_one(encoder: Encoder) -> None:
    info = await encoder.create(portrait_bytes())
    assert info.name
    assert (await encoder.get(info.name)).key == info.key


async def test_same_portrait_is_not_encoded_again(encoder: Encoder) -> None:
    first = await encoder.create(portrait_bytes())
    second = await encoder.create(portrait_bytes())
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.key == second.key


async def test_selection_is_part_of_the_identity(encoder: Encoder) -> None:
    one = await encoder.create(portrait_bytes())
    largest = FaceSelection(choice=FaceChoice.LARGEST)
    other = await encoder.create(portrait_bytes(), selection=largest)
    assert one.key != other.key


async def test_name_of_another_portrait_is_refused(encoder: Encoder) -> None:
    await encoder.create(portrait_bytes("anna"), name="a")
    with pytest.raises(AlreadyExists):
        await encoder.create(portrait_bytes("bea"), name="a")


@pytest.mark.parametrize("image", [b"", b"GIF89a", b"\0" * 2_000_000])
async def test_no_image_is_refused_with_a_reason(encoder: Encoder, image: bytes) -> None:
    with pytest.raises(PortraitRejected) as caught:
        await encoder.create(image)
    assert caught.value.reason == "NOT_AN_IMAGE"


async def test_list_gives_pages_in_order_of_names(encoder: Encoder) -> None:
    for name in ("cleo", "anna", "bea"):
        await encoder.create(portrait_bytes(name), name=name)
    first, token = await encoder.list(page_size=2)
    second, end = await encoder.list(page_size=2, page_token=token)
    assert [info.name for info in (*first, *second)] == ["anna", "bea", "cleo"]
    assert end == ""


async def test_bad_page_token_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InvalidInput):
        await encoder.list(page_token="!")


async def test_deleted_avatar_is_gone(encoder: Encoder) -> None:
    info = await encoder.create(portrait_bytes(), name="anna")
    await encoder.delete("anna")
    with pytest.raises(NotFound):
        await encoder.get("anna")
    with pytest.raises(NotFound):
        await encoder.latents(info.key)
    with pytest.raises(NotFound):
        await encoder.delete("anna")


async def test_latents_are_complete_and_read_only(encoder: Encoder) -> None:
    info = await encoder.create(portrait_bytes())
    latents = await encoder.latents(info.key)
    assert latents.key == info.key
    assert latents.num_bytes == info.latent_bytes
    assert [spec.name for spec in latents.spec.tensors] == sorted(latents.tensors)
    for spec in latents.spec.tensors:
        tensor = latents.tensors[spec.name]
        assert (tensor.dtype.name, tensor.shape) == (spec.dtype, spec.shape)
        assert not tensor.flags.writeable
    np.testing.assert_array_equal(latents.tensors["image"], int(info.key[:2], 16))


async def test_latents_of_an_unknown_key_are_not_found(encoder: Encoder) -> None:
    with pytest.raises(NotFound):
        await encoder.latents("ab" * 32)


async def test_error_keeps_its_class_and_hint() -> None:
    async with serve_fakes() as stages:
        stages.encoder.error = Unavailable("warming", reason="WARM", retry_after_ms=70)
        with pytest.raises(Unavailable) as caught:
            await stages.remote_encoder.get("anna")
    assert (caught.value.reason, caught.value.retry_after_ms) == ("WARM", 70)
