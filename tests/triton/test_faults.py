"""What breaks at a real Triton server while live streams run, and that they go on.

Two streams of different faces run at 25 frames per second, one over shared memory and one with
JPEGs made by the server. Every frame is compared with what this process makes for that face and
that row of motion: a frame of the other stream, or of another time, would be found.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from parlante.aio import closing
from parlante.errors import Overloaded
from parlante.triton.client import TritonClient
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.installation import Installation
from parlante.triton.layout import DECODER, MAX_ROWS, PROBE_KEY, STORE, FrameRow
from parlante.triton.server import TritonServer
from parlante.types import FrameEncoding, MotionBlock, RenderConfig
from services.renderer.engine import RendererEngine
from services.renderer.triton_instance import BATCH_TIMEOUT_S
from tests.fakes.encoder import portrait_bytes
from tests.fakes.faces import FaceEncoder, row_of
from tests.triton.live import live_streams, pids_of

pytestmark = [pytest.mark.triton, pytest.mark.slow]

BOTH = (FrameEncoding.RGB24, FrameEncoding.JPEG)
# Starting the decoder takes 3 s on two free cores; the machine that tests run on is not free.
RESTART_S = 60.0
ELSEWHERE_S = 5.0


async def test_streams_go_on_after_the_server_is_killed_and_restarted(
    triton_installation: Installation,
) -> None:
    with TritonServer(triton_installation) as server:
        async with live_streams(server, encodings=BOTH) as streams:
            since_s = time.monotonic()
            os.killpg(server.pid, signal.SIGKILL)
            server.stop(grace_s=0.0)
            server.launch()
            for stream in streams:
                await stream.until(20)
            gaps_s = [stream.gap_s(since_s) for stream in streams]
        assert max(gaps_s) < RESTART_S
        assert all(stream.num_late > 0 for stream in streams)


async def test_streams_go_on_at_another_server(triton_installation: Installation) -> None:
    with TritonServer(triton_installation) as doomed, TritonServer(triton_installation) as other:
        async with live_streams(doomed, other, encodings=BOTH) as streams:
            for stream in streams:
                await stream.until(20)  # both servers have prepared both faces by now
            since_s = time.monotonic()
            os.killpg(doomed.pid, signal.SIGKILL)
            for stream in streams:
                await stream.until(30)
            assert max(stream.gap_s(since_s) for stream in streams) < ELSEWHERE_S


async def test_a_model_whose_process_was_killed_is_loaded_again(
    triton_server: TritonServer,
) -> None:
    async with live_streams(triton_server, encodings=BOTH) as streams:
        since_s = time.monotonic()
        (pid,) = pids_of(triton_server, DECODER)
        os.kill(pid, signal.SIGKILL)
        for stream in streams:
            await stream.until(20)
        assert max(stream.gap_s(since_s) for stream in streams) < RESTART_S
    assert pids_of(triton_server, DECODER) != [pid]


async def test_latents_that_the_server_has_lost_are_sent_again(
    triton_server: TritonServer,
) -> None:
    async with live_streams(triton_server, encodings=BOTH) as streams:
        since_s = time.monotonic()
        client = TritonClient(triton_server.grpc_address)
        await client.reload(STORE)
        await client.reload(DECODER)  # it has prepared avatars: without it the store is not asked
        await client.aclose()
        for stream in streams:
            await stream.until(20)
        assert max(stream.gap_s(since_s) for stream in streams) < RESTART_S


async def test_a_store_whose_process_was_killed_is_loaded_again(
    triton_server: TritonServer,
) -> None:
    (pid,) = pids_of(triton_server, STORE)
    os.kill(pid, signal.SIGKILL)
    async with live_streams(triton_server, encodings=BOTH) as streams:
        for stream in streams:
            await stream.until(10)
    assert pids_of(triton_server, STORE) != [pid]


async def test_streams_go_on_after_the_server_was_frozen(
    triton_installation: Installation,
) -> None:
    frozen_s = 3.0
    with TritonServer(triton_installation) as server:
        async with live_streams(server, encodings=BOTH) as streams:
            pids = [server.pid, *pids_of(server, DECODER)]
            since_s = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                before = [stream.num_late for stream in streams]
                await asyncio.sleep(frozen_s)
                # The session never stalls: frames are given up one by one meanwhile.
                late = [stream.num_late - num for stream, num in zip(streams, before, strict=True)]
                assert min(late) > 10
            finally:
                for pid in reversed(pids):  # the server aborts where a model still holds a lock
                    os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(1.0)
            # Triton 2.51 ends itself now and then when it was stopped while it waited for a lock
            # (boost's lock_exception); it is started again then, as the keeper would.
            was_lost = not server.is_running
            if was_lost:
                server.stop(grace_s=0.0)
                server.launch()
            for stream in streams:
                await stream.until(20)
            gap_s = max(stream.gap_s(since_s) for stream in streams)
    assert gap_s < (RESTART_S if was_lost else frozen_s + BATCH_TIMEOUT_S + 10.0)


def _short_of_memory() -> None:
    """Let no file grow beyond 6 MB, less than a full batch: as where /dev/shm is too small."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000))


def _without_warm_up(installation: Installation, folder: Path) -> Installation:
    """Copy the models without their warm-up, which would find the memory short before any call."""
    repository = folder / "models"
    shutil.copytree(installation.repository, repository)
    config = repository / DECODER / "config.pbtxt"
    config.write_text(config.read_text().partition("model_warmup")[0])
    return replace(installation, repository=repository)


async def test_batches_shrink_when_the_server_is_short_of_shared_memory(
    triton_installation: Installation, tmp_path: Path
) -> None:
    installation = _without_warm_up(triton_installation, tmp_path)
    with TritonServer(installation, limit=_short_of_memory) as server:
        # Pixels within messages: those through our own shared memory need none of the server's.
        encodings = (FrameEncoding.RGB24,) * 3
        async with live_streams(server, encodings=encodings, shared_memory=False) as streams:
            (instance,) = streams[0].engine._decoder.scheduler._instances
            with pytest.raises(TritonFault) as caught:  # as a full batch of any renderer would be
                await instance.decode([probe_row()] * MAX_ROWS, more_wait=bool)
            assert caught.value.kind is Fault.SHARED_MEMORY
            assert instance.row_limit < MAX_ROWS
            for stream in streams:
                await stream.until(15)
        assert server.is_running


def probe_row() -> FrameRow:
    return FrameRow(avatar_key=PROBE_KEY, motion=row_of(0), jpeg_quality=0)


async def test_a_stream_beyond_the_measured_speed_is_refused(triton_server: TritonServer) -> None:
    encoder = FaceEncoder()
    engine = RendererEngine.on_triton(encoder, [TritonClient(triton_server.grpc_address)])
    avatar = await encoder.create(portrait_bytes())
    config = RenderConfig(avatar_key=avatar.key)
    try:
        await engine.warm_up()
        async with AsyncExitStack() as held:
            for _ in range(engine._decoder.admission.capacity):
                await held.enter_async_context(engine._decoder.open(config))
            frames = await held.enter_async_context(closing(engine.stream(config, no_motion())))
            with pytest.raises(Overloaded) as caught:
                await anext(frames)
        assert caught.value.reason == "RENDERER_FULL"
        assert caught.value.retry_after_ms
    finally:
        await engine.aclose()


async def no_motion() -> AsyncIterator[MotionBlock]:
    for block in ():
        yield block
