"""A Triton server in memory, whose faults a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt

from parlante.models.motion_batch import BatchGenerator
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.layout import MAX_ROWS, DecoderSize, FrameRow, RowResult, RowStatus
from parlante.triton.motion_layout import BlockRow, pad_past
from parlante.types import Uint8Array


class FakeTritonServer:
    """Implements `services.renderer.triton_instance.FrameServer`.

    A frame's JPEG is ``KEY:FIRST MOTION VALUE``.

    Args:
        frame_s: Time that each row of a batch takes.
        knows: Keys of avatars that it has; None = it has all.
        batch_s: Time that a batch takes whatever its size, as on a device.

    Attributes:
        num_rows: Rows that it takes in one batch.
        num_processes: Batches that it makes at once.
        most_at_once: Calls that were there together.
        fault: Raised by `decode` while it is set, and by `probe`.
        is_frozen: Calls wait until it is false.
        batches: Keys of every batch, in order.
        stored: Keys that were stored.
        reloaded: Models that were loaded anew; each takes the fault away.
    """

    def __init__(
        self, *, frame_s: float = 0.0, knows: set[str] | None = None, batch_s: float = 0.0
    ) -> None:
        self.address = "fake:8001"
        self.frame_s = frame_s
        self.batch_s = batch_s
        self.num_rows = MAX_ROWS
        self.num_processes = 1
        self.most_at_once = 0
        self.fault: TritonFault | None = None
        self.is_frozen = False
        self.batches: list[list[str]] = []
        self.stored: list[str] = []
        self.reloaded: list[str] = []
        self._knows = knows
        self._preparing: set[str] = set()
        self._turn = asyncio.Lock()
        self._num_at_once = 0

    async def decode(self, rows: Sequence[FrameRow], *, timeout_s: float) -> list[RowResult]:
        """Make frames, one batch after the other."""
        self._num_at_once += 1
        self.most_at_once = max(self.most_at_once, self._num_at_once)
        try:
            return await self._in_turn(rows)
        finally:
            self._num_at_once -= 1

    async def _in_turn(self, rows: Sequence[FrameRow]) -> list[RowResult]:
        async with self._turn:
            await self._pass()
            if len(rows) > self.num_rows:
                raise TritonFault(Fault.REFUSED, f"{len(rows)} rows exceed {self.num_rows}")
            await asyncio.sleep(self.batch_s + self.frame_s * len(rows))
            self.batches.append([row.avatar_key for row in rows])
            return [self._make(row) for row in rows]

    async def store(self, key: str, data: Uint8Array, *, timeout_s: float) -> None:
        """Note the key; its first frame will still be in preparation."""
        await self._pass()
        self.stored.append(key)
        if self._knows is not None:
            self._knows.add(key)
            self._preparing.add(key)

    async def probe(self, *, timeout_s: float) -> None:
        """Work, unless there is a fault."""
        await self._pass()

    async def decoder_size(self, *, timeout_s: float) -> DecoderSize:
        """Tell how it is configured."""
        await self._pass()
        return DecoderSize(self.num_rows, self.num_processes)

    async def reload(self, model: str) -> None:
        """Repair."""
        self.reloaded.append(model)
        self.fault = None

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _pass(self) -> None:
        while self.is_frozen:  # noqa: ASYNC110 (set by a test)
            await asyncio.sleep(0.005)
        if self.fault is not None:
            raise self.fault

    def _make(self, row: FrameRow) -> RowResult:
        if self._knows is not None and len(row.avatar_key) == 64:
            if row.avatar_key not in self._knows:
                return RowResult(status=RowStatus.AVATAR_MISSING)
            _, _, backdrop_key = row.look_key.partition(" picture ")
            if backdrop_key and backdrop_key not in self._knows:
                return RowResult(status=RowStatus.BACKDROP_MISSING)
            if row.avatar_key in self._preparing:
                self._preparing.discard(row.avatar_key)
                return RowResult(status=RowStatus.AVATAR_PREPARING)
        return RowResult(status=RowStatus.OK, jpeg=f"{row.avatar_key}:{row.motion[0]:g}".encode())


class FakeBlockServer:
    """Implements `services.motion.network.BlockServer` with a network in memory.

    Args:
        generator: What draws.

    Attributes:
        fault: Raised by `draw` while it is set.
        delay_s: Time that each block takes; beyond its deadline it is TIMED_OUT.
        num_drawn: Blocks drawn.
        num_loads: Times it was told to have the model loaded.
        num_reloads: Times it was told to load it anew; each takes the fault away.
        is_closed: True after `aclose`.
    """

    def __init__(self, generator: BatchGenerator) -> None:
        self.address = "fake:8001"
        self.fault: TritonFault | None = None
        self.delay_s = 0.0
        self.num_drawn = 0
        self.num_loads = 0
        self.num_reloads = 0
        self.is_closed = False
        self._generator = generator

    async def draw(self, row: BlockRow, *, timeout_s: float) -> npt.NDArray[np.float16]:
        """Draw a block by itself."""
        if self.delay_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise TritonFault(Fault.TIMED_OUT, "too slow")
        await asyncio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault
        self.num_drawn += 1
        num_past = np.array([[len(row.past)]], np.int32)
        past = pad_past(row.past, self._generator.past_frames)
        return self._generator.draw(row.frames[None], past[None], num_past)[0]

    async def load(self) -> None:
        """Count it."""
        self.num_loads += 1

    async def reload(self) -> None:
        """Repair."""
        self.num_reloads += 1
        self.fault = None

    async def aclose(self) -> None:
        """Note it."""
        self.is_closed = True


class OpenDoor:
    """Stands in for `Admission` where the speed of the machine is no matter of a test."""

    def hold(self) -> AbstractContextManager[None]:
        """Let everybody in."""
        return nullcontext()
