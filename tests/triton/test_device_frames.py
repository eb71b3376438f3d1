"""Frames of a real server whose decoder runs the GPU's code, on a CPU: those of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import cv2
import numpy as np
import pytest
import pytest_asyncio

from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder
from parlante.models.frame_look import FrameLook
from parlante.triton.client import TritonClient
from parlante.triton.device import DEVICE_VARIABLE
from parlante.triton.installation import Installation
from parlante.triton.layout import PROBE_KEY, FrameRow, RowResult, RowStatus, pack_latents
from parlante.triton.server import TritonServer
from parlante.types import BackgroundKind, Uint8Array
from tests.fakes.faces import face_latents, row_of

pytestmark = pytest.mark.triton

KEYS = ("1a" * 32, "2b" * 32)
SMALL = FrameLook(size_px=256)
CLEAR = FrameLook(size_px=256, background=BackgroundKind.TRANSPARENT)
TIMEOUT_S = 60.0  # a device that is a busy CPU
MAX_STEP = 1


@pytest.fixture(scope="module")
def server(triton_installation: Installation) -> Iterator[TritonServer]:
    with TritonServer(triton_installation, environment={DEVICE_VARIABLE: "cpu"}) as server:
        yield server


@pytest_asyncio.fixture
async def client(server: TritonServer) -> AsyncIterator[TritonClient]:
    client = TritonClient(server.grpc_address)
    for key in KEYS:
        await client.store(key, pack_latents(face_latents(key)), timeout_s=TIMEOUT_S)
    yield client
    await client.aclose()


def row(key: str, number: int, look: FrameLook = SMALL, quality: int = 0) -> FrameRow:
    return FrameRow(avatar_key=key, motion=row_of(number), jpeg_quality=quality, look_key=look.key)


def right(wanted: FrameRow) -> Uint8Array:
    look, _ = FrameLook.read(wanted.look_key)
    decoder = Decoder()
    return decoder.render(decoder.prepare(face_latents(wanted.avatar_key), look), wanted.motion)


async def decoded(client: TritonClient, rows: list[FrameRow]) -> list[RowResult]:
    """Ask until all avatars are prepared."""
    while True:
        results = await client.decode(rows, timeout_s=TIMEOUT_S)
        if RowStatus.AVATAR_PREPARING not in {result.status for result in results}:
            return results
        await asyncio.sleep(0.05)


async def test_a_batch_of_avatars_and_looks_is_as_in_process(
    server: TritonServer, client: TritonClient
) -> None:
    rows = [row(KEYS[0], 5), row(KEYS[1], 40), row(KEYS[0], 90, CLEAR), row(KEYS[1], 5)]
    in_band = TritonClient(server.grpc_address, shared_memory=False)
    try:
        results = [await decoded(each, rows) for each in (client, in_band)]
    finally:
        await in_band.aclose()
    for number, wanted in enumerate(rows):
        for result in (results[0][number], results[1][number]):
            assert result.status is RowStatus.OK
            assert result.pixels is not None
            assert np.abs(result.pixels.astype(int) - right(wanted)).max() <= MAX_STEP
    # It was this code that drew them: the loops would be told in the log instead.
    assert "frames are drawn by cpu" in server.log.read_text()


async def test_jpegs_show_the_same(client: TritonClient) -> None:
    wanted = row(KEYS[0], 70, quality=95)
    (result,) = await decoded(client, [wanted])
    same = JpegEncoder(quality=95).encode(right(wanted)).data
    shown, expected = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)
        for data in (result.jpeg, same)
    )
    assert np.abs(shown - expected).mean() < 0.1


async def test_a_bad_row_harms_no_other(client: TritonClient) -> None:
    bad = row(KEYS[0], 5)
    bad.motion[3] = np.inf
    missing = row("9f" * 32, 5)
    rows = [bad, row(KEYS[1], 7), missing]
    statuses = [result.status.name for result in await decoded(client, rows)]
    assert statuses == ["BAD_MOTION", "OK", "AVATAR_MISSING"]


async def test_probes_are_answered(client: TritonClient) -> None:
    await client.probe(timeout_s=TIMEOUT_S)
    probe = FrameRow(avatar_key=PROBE_KEY, motion=row_of(0), jpeg_quality=0)
    (result,) = await client.decode([probe], timeout_s=TIMEOUT_S)
    assert result.status is RowStatus.OK
