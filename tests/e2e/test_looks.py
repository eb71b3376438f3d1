"""Frame size, background and framing through the gateway, over both wirings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from parlante.client import ParlanteClient
from parlante.errors import InvalidInput
from parlante.types import (
    Background,
    BackgroundKind,
    FaceSelection,
    FrameEncoding,
    Framing,
    RenderConfig,
)
from parlante.v1 import common_pb2, encoder_pb2, gateway_pb2
from tests.e2e.test_client_motion import motion_of
from tests.fakes.encoder import portrait_bytes

pytestmark = pytest.mark.e2e
OpenGateway = Callable[..., Any]
JPEG, PNG = common_pb2.FRAME_ENCODING_JPEG, common_pb2.FRAME_ENCODING_PNG
FULL = encoder_pb2.FRAMING_FULL
CLEAR = common_pb2.Background(kind=common_pb2.BACKGROUND_KIND_TRANSPARENT)


async def test_a_session_tells_its_size_and_passes_the_look_on(open_gateway: OpenGateway) -> None:
    picture = portrait_bytes()
    background = common_pb2.Background(
        kind=common_pb2.BACKGROUND_KIND_PICTURE, picture=picture, colour_rgb=0x0102FF
    )
    async with open_gateway() as gateway:
        session = gateway.converse()
        started = await session.configure(frame_size_px=768, background=background)
        assert (started.width_px, started.height_px) == (768, 768)
        assert started.config.frame_size_px == 768
        assert started.config.h264_bitrate_kbps > 1500
        assert started.config.background.kind == common_pb2.BACKGROUND_KIND_PICTURE
        assert started.config.background.picture == b""  # told of, not sent back
        await session.say(200)
        await session.finish()
        config = gateway.fakes.renderer.configs[-1]
    assert config.frame_size_px == 768
    assert config.background == Background(
        kind=BackgroundKind.PICTURE, colour_rgb=(1, 2, 255), picture=picture
    )


async def test_a_full_avatar_has_the_size_of_its_picture(open_gateway: OpenGateway) -> None:
    async with open_gateway() as gateway:
        started = await gateway.converse().configure(framing=FULL)
        assert (started.width_px, started.height_px) == (640, 480)  # of the fake's portraits
        assert started.avatar.framing == FULL
        for config, reason in (
            ({"frame_size_px": 256}, "FRAME_SIZE_FIXED"),
            ({"background": CLEAR, "frame_encodings": [PNG]}, "BACKGROUND_FIXED"),
        ):
            error = await _refusal(gateway, framing=FULL, **config)
            assert error.reason == reason


async def test_transparency_takes_the_first_encoding_that_carries_it(
    open_gateway: OpenGateway,
) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        started = await session.configure(background=CLEAR, frame_encodings=[JPEG, PNG])
        assert started.frame_encoding == PNG
        for encodings in ([], [JPEG], [common_pb2.FRAME_ENCODING_H264]):
            error = await _refusal(gateway, background=CLEAR, frame_encodings=encodings)
            assert error.reason == "ENCODING_WITHOUT_ALPHA"


async def test_a_server_may_limit_the_size(open_gateway: OpenGateway) -> None:
    async with (
        open_gateway(max_frame_size_px=512) as gateway,
        ParlanteClient(gateway.target) as client,
    ):
        started = await gateway.converse().configure()
        assert started.width_px == 512
        for config in ({"frame_size_px": 768}, {"framing": FULL}):
            error = await _refusal(gateway, **config)
            assert error.reason == "FRAME_TOO_LARGE"
        avatar = await client.create_avatar(portrait_bytes())
        large = RenderConfig(avatar_key=avatar.key, frame_size_px=1024)
        with pytest.raises(InvalidInput, match="at most 512 px"):
            async for _ in client.render(large, motion_of(1)):
                pass
        small = replace(large, frame_size_px=256)
        assert [frame async for frame in client.render(small, motion_of(2))]


async def test_the_client_names_framing_size_and_background(open_gateway: OpenGateway) -> None:
    async with open_gateway() as gateway, ParlanteClient(gateway.target) as client:
        face = FaceSelection(framing=Framing.SHOULDERS)
        avatar = await client.create_avatar(portrait_bytes(), face=face)
        assert avatar.framing is Framing.SHOULDERS
        assert (await client.get_avatar(avatar.name)).framing is Framing.SHOULDERS
        session = client.converse(
            avatar=avatar.name,
            encodings=(FrameEncoding.WEBP,),
            frame_size_px=256,
            background=Background(kind=BackgroundKind.TRANSPARENT),
        )
        async with session:
            assert (session.info.width_px, session.info.encoding) == (256, FrameEncoding.WEBP)
            await session.finish()
            async for _ in session:
                pass


async def _refusal(gateway: Any, **config: Any) -> Any:
    session = gateway.converse()
    message = gateway_pb2.SessionConfig(portrait=portrait_bytes(), **config)
    await session.send(config=message)
    return await session.error()
