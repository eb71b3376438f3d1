"""Frames of every size, background and framing from a real server: those of this process, exactly.

All streams run at once, so that rows of different looks and sizes share batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InvalidInput
from parlante.media.frame_encoding import PngEncoder
from parlante.triton.client import TritonClient
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.layout import DECODER, STORE, backdrop_key_of, pack_backdrop
from parlante.triton.server import TritonServer
from parlante.types import (
    AvatarLatents,
    Background,
    BackgroundKind,
    FrameEncoding,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
)
from services.renderer import triton_instance
from services.renderer.engine import RendererEngine
from tests.fakes.faces import face_latents, fine_latents, full_latents, row_of
from tests.fakes.triton import OpenDoor

pytestmark = pytest.mark.triton

HEAD, FINE, FULL = ("1a" * 32, "2b" * 32, "3c" * 32)
JPEG, RGB24, RGBA32 = FrameEncoding.JPEG, FrameEncoding.RGB24, FrameEncoding.RGBA32
PICTURE = (
    PngEncoder().encode(np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)).data
)
KEPT = Background()
BLURRED = Background(kind=BackgroundKind.BLURRED)
GREEN = Background(kind=BackgroundKind.COLOUR, colour_rgb=(10, 200, 30))
SCENE = Background(kind=BackgroundKind.PICTURE, picture=PICTURE)
CLEAR = Background(kind=BackgroundKind.TRANSPARENT)
NUM_FRAMES = 3


class Latents:
    """Gives the latents of the framings."""

    async def latents(self, key: str) -> AvatarLatents:
        make = {HEAD: face_latents, FINE: fine_latents, FULL: full_latents}[key]
        return make(key)


def config(key: str, size_px: int, background: Background, encoding: FrameEncoding) -> RenderConfig:
    return RenderConfig(
        avatar_key=key, frame_size_px=size_px, background=background, encoding=encoding
    )


LOOKS = [
    config(HEAD, 256, KEPT, JPEG),
    config(HEAD, 512, KEPT, RGB24),
    config(FINE, 768, KEPT, RGB24),
    config(FINE, 1024, KEPT, JPEG),
    config(FINE, 512, BLURRED, JPEG),
    config(HEAD, 1024, BLURRED, RGB24),
    config(FINE, 512, GREEN, RGB24),
    config(FINE, 256, SCENE, RGB24),
    config(FINE, 1024, SCENE, JPEG),
    config(FINE, 512, CLEAR, RGBA32),
    config(FINE, 768, CLEAR, FrameEncoding.WEBP),
    config(FULL, 0, KEPT, JPEG),
    config(FULL, 0, KEPT, RGB24),
    config(HEAD, 768, KEPT, FrameEncoding.H264),
]


async def frames_of(engine: RendererEngine, wanted: RenderConfig) -> list[RenderedFrame]:
    async with closing(engine.stream(wanted, motion())) as frames:
        return [frame async for frame in frames]


async def motion() -> AsyncIterator[MotionBlock]:
    rows = np.stack([row_of(20 * number) for number in range(NUM_FRAMES)])
    yield MotionBlock(start_frame=0, values=rows)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of the largest frames take longer than a live one may, where much else runs."""
    monkeypatch.setattr(triton_instance, "BATCH_TIMEOUT_S", 60.0)


@asynccontextmanager
async def on_triton(server: TritonServer) -> AsyncIterator[RendererEngine]:
    engine = RendererEngine.on_triton(Latents(), [TritonClient(server.grpc_address)])
    engine._decoder.admission = OpenDoor()
    try:
        await engine.warm_up()
        yield engine
    finally:
        await engine.aclose()


async def right_frames(looks: list[RenderConfig]) -> list[list[RenderedFrame]]:
    engine = RendererEngine.create(Latents())
    try:
        return [await frames_of(engine, wanted) for wanted in looks]
    finally:
        await engine.aclose()


async def test_every_look_is_as_in_process(triton_server: TritonServer) -> None:
    right = await right_frames(LOOKS)
    async with on_triton(triton_server) as engine:
        first = await asyncio.gather(*(frames_of(engine, wanted) for wanted in LOOKS))
        scheduler = engine._decoder.scheduler
        scheduler.num_batches = scheduler.num_frames = 0
        # Now everything is prepared, so that the rows of all of them meet.
        again = await asyncio.gather(*(frames_of(engine, wanted) for wanted in LOOKS))
    assert scheduler.num_frames == NUM_FRAMES * len(LOOKS)
    assert scheduler.num_batches < scheduler.num_frames / 1.5
    for wanted, own, first_ones, later_ones in zip(LOOKS, right, first, again, strict=True):
        assert len(own) == NUM_FRAMES
        assert first_ones == later_ones == own, wanted


async def test_without_shared_memory_pixels_are_the_same(triton_server: TritonServer) -> None:
    looks = [LOOKS[1], LOOKS[5], LOOKS[9], LOOKS[12]]
    client = TritonClient(triton_server.grpc_address, shared_memory=False)
    engine = RendererEngine.on_triton(Latents(), [client])
    engine._decoder.admission = OpenDoor()
    try:
        await engine.warm_up()
        found = await asyncio.gather(*(frames_of(engine, wanted) for wanted in looks))
    finally:
        await engine.aclose()
    assert found == await right_frames(looks)


async def test_a_backdrop_that_the_server_has_lost_is_sent_again(
    triton_server: TritonServer,
) -> None:
    looks = [LOOKS[7]]
    async with on_triton(triton_server) as engine:
        before = await frames_of(engine, looks[0])
        client = TritonClient(triton_server.grpc_address)
        await client.reload(STORE)
        await client.reload(DECODER)
        await client.aclose()
        assert await frames_of(engine, looks[0]) == before
    assert [before] == await right_frames(looks)


async def test_a_backdrop_under_a_wrong_key_is_refused(triton_server: TritonServer) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    client = TritonClient(triton_server.grpc_address)
    try:
        with pytest.raises(TritonFault) as caught:
            await client.store(backdrop_key_of(picture + 1), pack_backdrop(picture), timeout_s=20)
    finally:
        await client.aclose()
    assert caught.value.kind is Fault.REFUSED


async def test_a_whole_picture_keeps_size_and_background(triton_server: TritonServer) -> None:
    async with on_triton(triton_server) as engine:
        for wanted, reason in (
            (config(FULL, 256, KEPT, JPEG), "FRAME_SIZE_FIXED"),
            (config(FULL, 0, BLURRED, JPEG), "BACKGROUND_FIXED"),
        ):
            with pytest.raises(InvalidInput) as caught:
                await frames_of(engine, wanted)
            assert caught.value.reason == reason
        wrong = RenderConfig(avatar_key=HEAD, frame_size_px=768)
        engine._encoder = WrongSpace()
        with pytest.raises(FailedPrecondition):
            await frames_of(engine, wrong)


class WrongSpace:
    """Gives latents that lack a tensor."""

    async def latents(self, key: str) -> AvatarLatents:
        good = face_latents(key)
        tensors = {name: value for name, value in good.tensors.items() if name != "matte"}
        return AvatarLatents(key="4d" * 32, spec=good.spec, tensors=tensors)
