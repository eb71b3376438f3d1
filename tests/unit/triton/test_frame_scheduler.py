"""The scheduler: sharing, fairness, deadlines, faults; over servers in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parlante.errors import Expired, InternalError, Unavailable
from parlante.models.frame_look import FrameLook
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.layout import (
    DECODER,
    MAX_PIXEL_BYTES,
    MAX_ROWS,
    FrameRow,
    RowStatus,
    backdrop_key_of,
)
from parlante.types import AvatarLatents, BackgroundKind
from services.renderer import frame_scheduler, triton_instance
from services.renderer.frame_scheduler import AvatarParts, FrameQueue, FrameScheduler
from tests.fakes.faces import face_latents
from tests.fakes.triton import FakeTritonServer

A, B = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_instance, "CALIBRATION_S", 0.0)
    monkeypatch.setattr(triton_instance, "PROBE_INTERVAL_S", 0.01)


Open = Callable[..., Any]


@asynccontextmanager
async def scheduling(
    *servers: FakeTritonServer, max_outage_s: float = 30.0
) -> AsyncIterator[FrameScheduler]:
    scheduler = FrameScheduler(servers, max_outage_s=max_outage_s)
    try:
        await scheduler.start(timeout_s=5)
        for server in servers:
            server.batches.clear()
        yield scheduler
    finally:
        await scheduler.aclose()


def row(key: str, value: float = 0.0, *, quality: int = 85) -> FrameRow:
    motion = np.zeros(60, np.float32)
    motion[0] = value
    return FrameRow(avatar_key=key, motion=motion, jpeg_quality=quality)


async def ask(
    scheduler: FrameScheduler,
    queue: FrameQueue,
    key: str,
    value: float = 0.0,
    *,
    within_s: float | None = None,
    latents: AvatarLatents | None = None,
    quality: int = 85,
) -> bytes:
    deadline_s = None if within_s is None else asyncio.get_running_loop().time() + within_s
    result = await scheduler.decode(
        queue,
        row(key, value, quality=quality),
        parts=None if latents is None else AvatarParts(latents=latents),
        deadline_s=deadline_s,
    )
    assert result.status is RowStatus.OK
    return result.jpeg


async def test_streams_share_a_batch_and_each_gets_its_own() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queues = [scheduler.open() for _ in range(4)]
        keys = [f"{number}" * 64 for number in range(4)]
        frames = await asyncio.gather(
            *(ask(scheduler, q, k, n) for n, (q, k) in enumerate(zip(queues, keys, strict=True)))
        )
    assert frames == [f"{key}:{number}".encode() for number, key in enumerate(keys)]
    assert server.batches == [keys]


async def test_a_greedy_stream_does_not_keep_others_waiting() -> None:
    server = FakeTritonServer(frame_s=0.002)
    async with scheduling(server) as scheduler:
        greedy, modest = scheduler.open(), scheduler.open()
        many = [asyncio.create_task(ask(scheduler, greedy, A, n)) for n in range(60)]
        await asyncio.sleep(0.01)
        await ask(scheduler, modest, B)
        assert sum(task.done() for task in many) <= 3 * MAX_ROWS
        await asyncio.gather(*many)
    shared = next(batch for batch in server.batches if B in batch)
    assert len(shared) == MAX_ROWS


async def test_the_most_urgent_stream_is_first() -> None:
    server = FakeTritonServer(frame_s=0.005)
    async with scheduling(server) as scheduler:
        queues = [scheduler.open() for _ in range(MAX_ROWS * 3)]
        work = [
            ask(scheduler, queue, A, within_s=None if n else 0.5) for n, queue in enumerate(queues)
        ]
        urgent = ask(scheduler, scheduler.open(), B, within_s=0.2)
        await asyncio.gather(*work, urgent)
    assert B in server.batches[0]


async def test_frames_without_a_deadline_fill_what_live_ones_leave() -> None:
    """First frames of many recordings went before the second frame of a live stream."""
    server = FakeTritonServer(frame_s=0.005)
    async with scheduling(server) as scheduler:
        live = scheduler.open()
        burst = [ask(scheduler, scheduler.open(), A) for _ in range(MAX_ROWS * 3)]
        frames = [ask(scheduler, live, B, n, within_s=5.0) for n in range(3)]
        await asyncio.gather(*burst, *frames)
    assert server.batches[0].count(B) == 3


async def test_frames_without_a_deadline_do_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frame_scheduler, "PATIENCE_S", 0.0)
    server = FakeTritonServer(frame_s=0.005)
    async with scheduling(server) as scheduler:
        burst = ask(scheduler, scheduler.open(), A)
        live = scheduler.open()
        frames = [ask(scheduler, live, B, n, within_s=5.0) for n in range(MAX_ROWS * 3)]
        await asyncio.gather(burst, *frames)
    assert A in server.batches[0]


async def test_a_late_frame_expires_and_the_stream_goes_on() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        server.is_frozen = True
        with pytest.raises(Expired) as caught:
            await ask(scheduler, queue, A, within_s=0.05)
        assert caught.value.reason == "FRAME_LATE"
        server.is_frozen = False
        assert await ask(scheduler, queue, A, 2, within_s=2.0) == f"{A}:2".encode()


async def test_many_late_frames_close_the_door() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        server.is_frozen = True
        late = [ask(scheduler, queue, A, within_s=0.02) for _ in range(4)]
        await asyncio.gather(*late, return_exceptions=True)
        assert scheduler.struggle.is_on
        server.is_frozen = False


async def test_a_missing_avatar_is_sent_once_for_all_who_wait() -> None:
    server = FakeTritonServer(knows=set())
    async with scheduling(server) as scheduler:
        queue, latents = scheduler.open(), face_latents(A)
        frames = await asyncio.gather(
            *(ask(scheduler, queue, A, n, latents=latents) for n in range(4))
        )
    assert frames == [f"{A}:{n}".encode() for n in range(4)]
    assert server.stored == [A]


async def test_a_missing_backdrop_is_sent_too() -> None:
    server = FakeTritonServer(knows=set())
    look = FrameLook(background=BackgroundKind.PICTURE, picture=np.zeros((8, 8, 3), np.uint8))
    key = backdrop_key_of(look.picture)
    parts = AvatarParts(latents=face_latents(A), backdrop=look.picture, backdrop_key=key)
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        wanted = replace(row(A, 3), look_key=look.key)
        results = await asyncio.gather(
            *(scheduler.decode(queue, wanted, parts=parts) for _ in range(4))
        )
    assert {result.jpeg for result in results} == {f"{A}:3".encode()}
    assert server.stored == [A, key]


async def test_large_pixels_make_batches_smaller() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        wanted = replace(row(A, quality=0), num_pixel_bytes=MAX_PIXEL_BYTES // 2)
        await asyncio.gather(*(scheduler.decode(queue, wanted, parts=None) for _ in range(6)))
        pictures = replace(row(A), num_pixel_bytes=MAX_PIXEL_BYTES // 2)  # small when encoded
        await asyncio.gather(*(scheduler.decode(queue, pictures, parts=None) for _ in range(6)))
    assert list(map(len, server.batches)) == [2, 2, 2, 6]


async def test_pixels_and_pictures_are_not_mixed_in_a_batch() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        await asyncio.gather(
            *(ask(scheduler, queue, A if n % 2 else B, quality=85 * (n % 2)) for n in range(6))
        )
    assert sorted(map(len, server.batches)) == [3, 3]
    assert all(len(set(batch)) == 1 for batch in server.batches)


async def test_a_failed_batch_is_made_by_another_server() -> None:
    bad, good = FakeTritonServer(), FakeTritonServer()
    async with scheduling(bad, good) as scheduler:
        await _both_healthy(scheduler)
        bad.fault = TritonFault(Fault.UNREACHABLE, "gone")
        queue = scheduler.open()
        frames = await asyncio.gather(*(ask(scheduler, queue, A, n) for n in range(6)))
    assert frames == [f"{A}:{n}".encode() for n in range(6)]
    assert sum(map(len, good.batches)) == 6


async def _both_healthy(scheduler: FrameScheduler) -> None:
    async with asyncio.timeout(5):
        while not all(item.is_healthy for item in scheduler._instances):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_dead_model_is_loaded_again() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        server.fault = TritonFault(Fault.MODEL_DEAD, "Stub process is not healthy")
        assert await ask(scheduler, scheduler.open(), A, 1) == f"{A}:1".encode()
    assert server.reloaded == [DECODER]


async def test_work_is_split_between_servers() -> None:
    servers = [FakeTritonServer(frame_s=0.002) for _ in range(2)]
    async with scheduling(*servers) as scheduler:
        await _both_healthy(scheduler)
        queue = scheduler.open()
        await asyncio.gather(*(ask(scheduler, queue, A, n) for n in range(8)))
    counts = [sum(map(len, server.batches)) for server in servers]
    assert counts == [4, 4]


async def test_without_any_server_frames_fail_after_a_while() -> None:
    server = FakeTritonServer()
    async with scheduling(server, max_outage_s=0.1) as scheduler:
        server.fault = TritonFault(Fault.UNREACHABLE, "gone")
        with pytest.raises(Unavailable) as caught:
            await ask(scheduler, scheduler.open(), A)
        assert caught.value.reason == "TRITON_UNAVAILABLE"
        assert caught.value.retry_after_ms


async def test_a_refused_call_is_not_repeated_for_ever() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        server.fault = TritonFault(Fault.REFUSED, "no such tensor")
        with pytest.raises(InternalError) as caught:
            await ask(scheduler, scheduler.open(), A)
        assert caught.value.reason == "TRITON_REFUSED"


async def test_short_memory_makes_batches_smaller() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        queue = scheduler.open()
        server.fault = TritonFault(Fault.SHARED_MEMORY, "Failed to increase")
        work = [asyncio.create_task(ask(scheduler, queue, A, n)) for n in range(8)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        server.fault = None
        await asyncio.gather(*work)
    assert 1 <= max(map(len, server.batches)) <= MAX_ROWS // 2


@pytest.mark.parametrize("num_rows", [4, 32])
async def test_batches_are_as_large_as_the_server_takes(num_rows: int) -> None:
    server = FakeTritonServer()
    server.num_rows = num_rows
    async with scheduling(server) as scheduler:
        queues = [scheduler.open() for _ in range(3 * num_rows)]
        await asyncio.gather(*(ask(scheduler, queue, A) for queue in queues))
    assert max(map(len, server.batches)) == num_rows


@pytest.mark.parametrize("num_processes", [1, 4])
async def test_each_process_has_a_batch_and_one_more_waits(num_processes: int) -> None:
    server = FakeTritonServer(batch_s=0.002)
    server.num_rows, server.num_processes = 2, num_processes
    async with scheduling(server) as scheduler:
        queues = [scheduler.open() for _ in range(24)]
        await asyncio.gather(*(ask(scheduler, queue, A) for queue in queues))
    assert server.most_at_once == num_processes + 1


async def test_a_server_that_comes_back_with_other_batches_is_asked_again() -> None:
    server = FakeTritonServer()
    server.num_rows = 32
    async with scheduling(server) as scheduler:
        server.fault = TritonFault(Fault.UNREACHABLE, "gone")
        queues = [scheduler.open() for _ in range(32)]
        work = [asyncio.create_task(ask(scheduler, queue, A)) for queue in queues]
        await asyncio.sleep(0.02)
        server.num_rows, server.fault = 4, None
        await asyncio.gather(*work)
    assert max(map(len, server.batches)) == 4


async def test_speed_is_measured_with_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device takes as long for one row as for many: single rows would tell a 32nd of it."""
    monkeypatch.setattr(triton_instance, "CALIBRATION_S", 0.05)
    server = FakeTritonServer(batch_s=0.005)
    server.num_rows = 32
    scheduler = FrameScheduler([server])
    begin_s = asyncio.get_running_loop().time()
    try:
        await scheduler.start(timeout_s=5)
        duration_s = asyncio.get_running_loop().time() - begin_s
        assert {len(batch) for batch in server.batches} == {32}
        # Every row counts: the measuring itself took less than all until now.
        assert scheduler.rate_hz >= 32 * len(server.batches) / duration_s
    finally:
        await scheduler.aclose()


async def test_closing_a_stream_fails_what_it_waits_for() -> None:
    server = FakeTritonServer()
    async with scheduling(server) as scheduler:
        server.is_frozen = True
        queues = [scheduler.open() for _ in range(3)]
        async with AsyncExitStack():
            work = [asyncio.create_task(ask(scheduler, queue, A)) for queue in queues]
            await asyncio.sleep(0.02)
            extra = asyncio.create_task(ask(scheduler, queues[0], A))
            more = asyncio.create_task(ask(scheduler, queues[1], A))
            await asyncio.sleep(0.02)
            late = asyncio.create_task(ask(scheduler, queues[2], A))
            await asyncio.sleep(0.02)
            scheduler.close(queues[2])
            server.is_frozen = False
            done = await asyncio.gather(*work, extra, more, late, return_exceptions=True)
    assert Counter(type(item) for item in done)[Unavailable] >= 1
    assert isinstance(done[-1], Unavailable)
