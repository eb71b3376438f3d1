"""What the decoder counts, as the server's metrics endpoint tells it."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest

from parlante.triton.client import TritonClient
from parlante.triton.faults import TritonFault
from parlante.triton.layout import MAX_ROWS, PROBE_KEY, FrameRow
from parlante.triton.server import TritonServer
from tests.fakes.faces import row_of

pytestmark = pytest.mark.triton


def counted(server: TritonServer) -> dict[str, float]:
    url = f"http://127.0.0.1:{server.ports.metrics}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    found = (line.split() for line in lines if line.startswith("parlante_decoder_"))
    return {name.partition("{")[0]: float(value) for name, value in found}


async def test_frames_and_batches_are_counted(triton_server: TritonServer) -> None:
    client = TritonClient(triton_server.grpc_address)
    row = FrameRow(avatar_key=PROBE_KEY, motion=row_of(0), jpeg_quality=85)
    await asyncio.sleep(1.5)  # for what others have had made
    before = counted(triton_server)
    try:
        for _ in range(3):
            await client.decode([row] * 4, timeout_s=20)
        async with asyncio.timeout(20):
            while (  # noqa: ASYNC110 (told by another process)
                counted(triton_server)["parlante_decoder_frames"]
                < before["parlante_decoder_frames"] + 12
            ):
                await asyncio.sleep(0.1)
    finally:
        await client.aclose()
    after = counted(triton_server)
    more = {name: after[name] - before[name] for name in after}
    assert more["parlante_decoder_frames"] == 12
    assert more["parlante_decoder_batches"] == 3
    assert more["parlante_decoder_busy_seconds"] > 0
    assert after["parlante_decoder_avatars"] >= 1


async def test_the_size_of_batches_is_told(triton_server: TritonServer) -> None:
    client = TritonClient(triton_server.grpc_address)
    try:
        assert await client.decoder_size(timeout_s=20) == (MAX_ROWS, 1)
    finally:
        await client.aclose()


async def test_a_server_that_is_gone_tells_nothing_of_batches() -> None:
    client = TritonClient("127.0.0.1:9")
    try:
        with pytest.raises(TritonFault):
            await client.decoder_size(timeout_s=0.2)
    finally:
        await client.aclose()
