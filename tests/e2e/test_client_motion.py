"""Clients that bring motion of their own: frames for it, refusals, and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from parlante.client import ParlanteClient
from parlante.errors import InvalidInput, NotFound, Overloaded, SessionAborted
from parlante.rpc.remote import RemoteRenderer
from parlante.types import MOTION_DIM, FrameEncoding, MotionBlock, RenderConfig
from tests.fakes.encoder import portrait_bytes
from tests.fakes.renderer import read_marker

pytestmark = pytest.mark.e2e
OpenGateway = Callable[..., Any]


def motion_of(num_frames: int) -> np.ndarray[Any, Any]:
    rows = np.arange(num_frames, dtype=np.float32)[:, None] / 1000
    return np.broadcast_to(rows, (num_frames, MOTION_DIM)).copy()


async def test_every_row_of_motion_becomes_a_frame(open_gateway: OpenGateway) -> None:
    async with open_gateway() as gateway, ParlanteClient(gateway.target) as client:
        avatar = await client.create_avatar(portrait_bytes())
        config = RenderConfig(avatar_key=avatar.key, encoding=FrameEncoding.RGB24)
        markers = [read_marker(f.data) async for f in client.render(config, motion_of(60))]
    assert [marker.frame_index for marker in markers] == list(range(60))
    assert {marker.encoding for marker in markers} == {FrameEncoding.RGB24}
    np.testing.assert_array_equal([m.motion for m in markers], motion_of(60))


async def test_unknown_avatars_and_bad_motion_are_refused(open_gateway: OpenGateway) -> None:
    async with open_gateway() as gateway, ParlanteClient(gateway.target) as client:
        with pytest.raises(NotFound):
            async for _ in client.render(RenderConfig(avatar_key="0" * 64), motion_of(2)):
                pass
        avatar = await client.create_avatar(portrait_bytes())
        bad = motion_of(2)
        bad[1, 3] = np.inf
        with pytest.raises(InvalidInput, match="finite"):
            async for _ in client.render(RenderConfig(avatar_key=avatar.key), bad):
                pass
        await gateway.until_free()


async def _silent(event: asyncio.Event) -> AsyncIterator[MotionBlock]:
    await event.wait()
    yield MotionBlock(start_frame=0, values=motion_of(1))


async def test_a_silent_client_is_ended_and_slots_are_bounded(open_gateway: OpenGateway) -> None:
    async with (
        open_gateway(max_idle_s=1, max_sessions=1) as gateway,
        ParlanteClient(gateway.target) as client,
    ):
        avatar = await client.create_avatar(portrait_bytes())
        config = RenderConfig(avatar_key=avatar.key)
        never = asyncio.Event()

        async def wait_for_nothing() -> None:
            async for _ in RemoteRenderer(gateway.channel).stream(config, _silent(never)):
                pass

        silent = asyncio.create_task(wait_for_nothing())
        await asyncio.sleep(0.3)
        with pytest.raises(Overloaded):
            async for _ in client.render(config, motion_of(1)):
                pass
        with pytest.raises(SessionAborted) as caught:
            await silent
        assert caught.value.reason == "SESSION_IDLE"
        assert [frame async for frame in client.render(config, motion_of(1))]
        await gateway.until_free()
