"""What every renderer does: fake or real, in process or on Triton, embedded or remote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from parlante.aio import closing
from parlante.errors import InvalidInput, NotFound
from parlante.fleet.renderer import FleetRenderer
from parlante.media.frame_encoding import PngEncoder
from parlante.ports import Encoder, Renderer
from parlante.triton.client import TritonClient
from parlante.types import (
    FRAME_SIZES_PX,
    MOTION_DIM,
    Background,
    BackgroundKind,
    FrameEncoding,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
)
from services.renderer.engine import RendererEngine
from tests.fakes.encoder import FakeEncoder, portrait_bytes
from tests.fakes.faces import FaceEncoder, RightFrames
from tests.fakes.fleet import fake_pool
from tests.fakes.renderer import FakeRenderer, read_marker
from tests.fakes.stages import serve_fakes
from tests.fakes.triton import OpenDoor
from tests.fakes.wire import forever

IsFrameOf = Callable[[bytes, RenderConfig, float], bool]


@dataclass(frozen=True)
class Rendering:
    """A renderer, where its avatars come from, and how its JPEG frames are recognised.

    Attributes:
        is_frame_of: Tells whether a first frame is of a configuration and of motion of one value.
    """

    renderer: Renderer
    encoder: Encoder
    is_frame_of: IsFrameOf


def _is_marked(data: bytes, config: RenderConfig, value: float) -> bool:
    marker = read_marker(data)
    return marker.avatar_key == config.avatar_key and float(marker.motion[0]) == value


def _is_right() -> IsFrameOf:
    """Compare with what this process makes of the same latents and motion, byte by byte."""
    right, found = RightFrames(), dict[tuple[RenderConfig, float], bytes]()

    def check(data: bytes, config: RenderConfig, value: float) -> bool:
        if (config, value) not in found:
            row = np.full(MOTION_DIM, value, np.float32)
            found[config, value] = right.encoded(config, row)
        return data == found[config, value]

    return check


@pytest_asyncio.fixture(
    params=[
        "fake",
        "remote",
        "fleet",
        "inprocess",
        pytest.param("triton", marks=pytest.mark.triton),
    ]
)
async def rendering(request: pytest.FixtureRequest) -> AsyncIterator[Rendering]:
    """One implementation of the port after the other."""
    if request.param == "fake":
        encoder = FakeEncoder()
        yield Rendering(FakeRenderer(encoder), encoder, _is_marked)
    elif request.param in ("remote", "fleet"):
        async with serve_fakes() as stages, fake_pool("renderer", stages) as pool:
            is_fleet = request.param == "fleet"
            renderer = FleetRenderer(pool) if is_fleet else stages.remote_renderer
            yield Rendering(renderer, stages.encoder, _is_marked)
    else:
        faces = FaceEncoder()
        if request.param == "inprocess":
            engine = RendererEngine.create(faces)
        else:
            server = request.getfixturevalue("triton_server")
            engine = RendererEngine.on_triton(faces, [TritonClient(server.grpc_address)])
            engine._decoder.admission = OpenDoor()  # a busy machine may measure room for one
        try:
            await engine.warm_up()
            yield Rendering(engine, faces, _is_right())
        finally:
            await engine.aclose()


def _block(start_frame: int, num_frames: int, *, value: float = 0.0) -> MotionBlock:
    values = np.full((num_frames, MOTION_DIM), value, dtype=np.float32)
    return MotionBlock(start_frame=start_frame, values=values)


async def _of(blocks: Sequence[MotionBlock]) -> AsyncIterator[MotionBlock]:
    for block in blocks:
        yield block


async def _consume(frames: AsyncIterator[RenderedFrame]) -> list[RenderedFrame]:
    async with closing(frames):
        return [frame async for frame in frames]


async def _config(rendering: Rendering, label: str = "anna", **fields: object) -> RenderConfig:
    info = await rendering.encoder.create(portrait_bytes(label))
    return RenderConfig(avatar_key=info.key, **fields)  # type: ignore[arg-type]


async def _run(
    rendering: Rendering, config: RenderConfig, blocks: Sequence[MotionBlock]
) -> list[RenderedFrame]:
    return await _consume(rendering.renderer.stream(config, _of(blocks)))


async def test_one_frame_per_row_in_order(rendering: Rendering) -> None:
    frames = await _run(rendering, await _config(rendering), [_block(0, 3), _block(3, 2)])
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3, 4]
    assert {(frame.width_px, frame.height_px) for frame in frames} == {(512, 512)}
    assert all(frame.data for frame in frames)


async def test_frames_may_be_left_out(rendering: Rendering) -> None:
    frames = await _run(rendering, await _config(rendering), [_block(2, 1), _block(9, 2)])
    assert [frame.frame_index for frame in frames] == [2, 9, 10]


async def test_no_motion_gives_no_frames(rendering: Rendering) -> None:
    assert await _run(rendering, await _config(rendering), []) == []


async def test_long_block_is_rendered_whole(rendering: Rendering) -> None:
    frames = await _run(rendering, await _config(rendering), [_block(0, 260)])
    assert len(frames) == 260


@pytest.mark.parametrize("encoding", FrameEncoding)
async def test_first_frame_is_a_key_frame_in_every_encoding(
    rendering: Rendering, encoding: FrameEncoding
) -> None:
    config = await _config(rendering, encoding=encoding)
    frames = await _run(rendering, config, [_block(0, 2)])
    assert frames[0].key_frame
    assert frames[1].key_frame == (encoding is not FrameEncoding.H264)


async def test_frames_must_not_go_back(rendering: Rendering) -> None:
    with pytest.raises(InvalidInput) as caught:
        await _run(rendering, await _config(rendering), [_block(5, 1), _block(4, 1)])
    assert caught.value.reason == "FRAME_ORDER"


async def test_unknown_avatar_is_not_found(rendering: Rendering) -> None:
    with pytest.raises(NotFound):
        await _run(rendering, RenderConfig(avatar_key="ab" * 32), [_block(0, 1)])


async def test_frames_come_while_motion_is_still_coming(rendering: Rendering) -> None:
    config = await _config(rendering)
    motion = forever([_block(0, 1)])
    async with closing(rendering.renderer.stream(config, motion)) as frames:
        frame = await asyncio.wait_for(anext(frames), 5)
    assert frame.frame_index == 0


async def test_two_avatars_at_once_do_not_mix(rendering: Rendering) -> None:
    configs = [await _config(rendering, label) for label in ("anna", "bea")]
    blocks = [[_block(index, 1, value=value) for index in range(20)] for value in (0.25, 0.75)]
    runs = await asyncio.gather(
        *(_run(rendering, config, own) for config, own in zip(configs, blocks, strict=True))
    )
    for config, frames, value in zip(configs, runs, (0.25, 0.75), strict=True):
        assert len(frames) == 20
        assert all(rendering.is_frame_of(frame.data, config, value) for frame in frames)


def _looks() -> Iterator[Any]:
    kinds = {
        "kept": Background(),
        "blurred": Background(kind=BackgroundKind.BLURRED),
        "colour": Background(kind=BackgroundKind.COLOUR, colour_rgb=(20, 160, 64)),
        "picture": Background(kind=BackgroundKind.PICTURE, picture=_backdrop()),
        "transparent": Background(kind=BackgroundKind.TRANSPARENT),
    }
    pairs = [(size_px, "kept") for size_px in FRAME_SIZES_PX]
    pairs += [(512, name) for name in kinds if name != "kept"]
    pairs += [(256, "transparent"), (1024, "picture")]
    for size_px, name in pairs:
        encoding = FrameEncoding.RGBA32 if name == "transparent" else FrameEncoding.JPEG
        fields = {"frame_size_px": size_px, "background": kinds[name], "encoding": encoding}
        yield pytest.param(fields, id=f"{size_px}-{name}")


def _backdrop() -> bytes:
    y, x = np.mgrid[:90, :160]
    return PngEncoder().encode(np.stack([x, y, x ^ y], -1).astype(np.uint8)).data


@pytest.mark.parametrize("fields", list(_looks()))
async def test_every_look_is_shown(rendering: Rendering, fields: dict[str, object]) -> None:
    config = await _config(rendering, **fields)
    (frame,) = await _run(rendering, config, [_block(0, 1, value=0.25)])
    assert frame.width_px == frame.height_px == config.frame_size_px
    assert rendering.is_frame_of(frame.data, config, 0.25)


async def test_error_of_the_motion_comes_through(rendering: Rendering) -> None:
    """A remote renderer gives up at once; frames on the way may be lost."""

    async def broken() -> AsyncIterator[MotionBlock]:
        yield _block(0, 1)
        raise InvalidInput("from the caller", reason="MINE")

    config = await _config(rendering)
    with pytest.raises(InvalidInput) as caught:
        await _consume(rendering.renderer.stream(config, broken()))
    assert caught.value.reason == "MINE"
