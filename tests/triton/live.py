"""Live streams of an engine on Triton, each frame checked to be the right one of the right face."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from parlante.aio import closing
from parlante.triton.client import TritonClient
from parlante.triton.server import TritonServer
from parlante.types import FrameEncoding, MotionBlock, RenderConfig
from services.renderer.engine import RendererEngine
from tests.fakes.encoder import portrait_bytes
from tests.fakes.faces import FaceEncoder, RightFrames, row_of
from tests.fakes.triton import OpenDoor

NUM_ROWS = 12
FRAME_S = 0.04
DEADLINE_MS = 400


@dataclass
class LiveStream:
    """One stream at 25 frames per second, until it is told to stop.

    Attributes:
        arrivals_s: When frames with a picture came.
        num_late: Frames that came without one.
        num_wrong: Frames that were not what this process makes for the stream's face and motion.
    """

    engine: RendererEngine
    right: RightFrames
    key: str
    encoding: FrameEncoding
    arrivals_s: list[float] = field(default_factory=list)
    num_late: int = 0
    num_wrong: int = 0
    expected: dict[int, bytes] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def prepare(self) -> None:
        """Make what is right beforehand: it would take the processor from the server."""
        for number in range(NUM_ROWS):
            row = row_of(number)
            if self.encoding is FrameEncoding.JPEG:
                self.expected[number] = self.right.jpeg(self.key, row)
            else:
                self.expected[number] = self.right.pixels(self.key, row).tobytes()

    async def run(self) -> None:
        """Stream until `stopping` is set, then to the end."""
        config = RenderConfig(
            avatar_key=self.key, encoding=self.encoding, frame_deadline_ms=DEADLINE_MS
        )
        async with closing(self.engine.stream(config, self._motion())) as frames:
            async for frame in frames:
                if frame.is_left_out:
                    self.num_late += 1
                    continue
                self.arrivals_s.append(time.monotonic())
                self.num_wrong += frame.data != self.expected[frame.frame_index % NUM_ROWS]

    async def _motion(self) -> AsyncIterator[MotionBlock]:
        start_s, frame_index = time.monotonic(), 0
        while not self.stopping.is_set():
            await asyncio.sleep(max(0.0, start_s + frame_index * FRAME_S - time.monotonic()))
            yield MotionBlock(start_frame=frame_index, values=row_of(frame_index % NUM_ROWS)[None])
            frame_index += 1

    async def until(self, num_more: int, *, timeout_s: float = 90.0) -> None:
        """Wait for so many further pictures."""
        wanted = len(self.arrivals_s) + num_more
        async with asyncio.timeout(timeout_s):
            while len(self.arrivals_s) < wanted:  # noqa: ASYNC110 (appended by a task)
                await asyncio.sleep(0.02)

    def gap_s(self, since_s: float) -> float:
        """Give the longest time without a picture after a moment."""
        times = [since_s, *(arrival_s for arrival_s in self.arrivals_s if arrival_s > since_s)]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


@asynccontextmanager
async def live_streams(
    *servers: TritonServer, encodings: tuple[FrameEncoding, ...], shared_memory: bool = True
) -> AsyncIterator[list[LiveStream]]:
    """Run streams of different faces until the block ends; each must end well."""
    encoder, right = FaceEncoder(), RightFrames()
    clients = [TritonClient(s.grpc_address, shared_memory=shared_memory) for s in servers]
    engine = RendererEngine.on_triton(encoder, clients)
    # How fast the machine happens to be is no matter of these tests.
    engine._decoder.admission = OpenDoor()
    try:
        await engine.warm_up()
        streams = []
        for number, encoding in enumerate(encodings):
            avatar = await encoder.create(portrait_bytes(f"face{number}"))
            stream = LiveStream(engine, right, avatar.key, encoding)
            stream.prepare()
            streams.append(stream)
        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(stream.run())
            for stream in streams:
                await stream.until(10)
            yield streams
            for stream in streams:
                stream.stopping.set()
        # Nothing that breaks at a server on this host takes the shared memory away for good.
        assert all(client._regions._is_wanted == shared_memory for client in clients)
        for stream in streams:
            assert stream.num_wrong == 0
    finally:
        await engine.aclose()
    assert _regions() == [], "shared memory was left behind"


def _regions() -> list[Path]:
    return list(Path("/dev/shm").glob(f"parlante-{os.getpid()}-*"))


def pids_of(server: TritonServer, model: str) -> list[int]:
    """Find the processes of a model of a server."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _is_stub_of(path, server.pid, model)
    ]


def _is_stub_of(path: Path, server_pid: int, model: str) -> bool:
    try:
        command = path.read_bytes().split(b"\0")
        parent = int(Path(path.parent, "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return False
    return parent == server_pid and f"/{model}/1/model.py".encode() in b" ".join(command)
