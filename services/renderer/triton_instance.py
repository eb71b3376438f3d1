"""One Triton server as the renderer sees it: load, health by real inference, and repair."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from parlante.aio import cancel_and_wait
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.layout import (
    DECODER,
    MAX_ROWS,
    PROBE_KEY,
    STORE,
    DecoderSize,
    FrameRow,
    RowResult,
)
from parlante.types import MOTION_DIM, Uint8Array
from services.renderer.capacity import RateMeter

__all__ = ["FrameServer", "TritonInstance"]

logger = logging.getLogger(__name__)

# Each process of the decoder has a batch, and one more waits at the server; others would only wait
# there, where they can no longer be dropped.
MAX_WAITING: Final = 1
# Long enough for a busy machine: sessions are guarded by the deadlines of their frames, and this
# one only tells a frozen server from a slow one.
BATCH_TIMEOUT_S: Final = 3.0
CALIBRATION_TIMEOUT_S: Final = 20.0
STORE_TIMEOUT_S: Final = 5.0
PROBE_TIMEOUT_S: Final = 3.0
PROBE_INTERVAL_S: Final = 0.25
RELOAD_INTERVAL_S: Final = 10.0
CALIBRATION_S: Final = 0.5
ROW_LIMIT_RECOVERY_S: Final = 30.0


class FrameServer(Protocol):
    """What a server can do; `parlante.triton.client.TritonClient` is one."""

    @property
    def address(self) -> str:
        """For logs."""
        ...

    async def decode(self, rows: Sequence[FrameRow], *, timeout_s: float) -> list[RowResult]:
        """Decode rows; raises `TritonFault` when the call fails as a whole."""
        ...

    async def store(self, key: str, data: Uint8Array, *, timeout_s: float) -> None:
        """Store packed latents or a packed backdrop; raises `TritonFault`."""
        ...

    async def probe(self, *, timeout_s: float) -> None:
        """Have a real frame made; raises `TritonFault`."""
        ...

    async def decoder_size(self, *, timeout_s: float) -> DecoderSize:
        """Ask how much it takes at once; raises `TritonFault`."""
        ...

    async def reload(self, model: str) -> None:
        """Load a model anew; raises `TritonFault`."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class TritonInstance:
    """Sends batches to one server while it works, and watches it while it does not.

    Args:
        server: How to call it.
        on_change: Called when there may be room for another batch.

    Attributes:
        is_healthy: True while batches may be sent.
        row_limit: Rows of a batch: what the server takes, lowered while it is short of shared
            memory.
        meter: Frames per second that it can make.
    """

    def __init__(self, server: FrameServer, *, on_change: Callable[[], None]) -> None:
        self._server = server
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self.is_healthy = False
        self.row_limit = self._max_rows = MAX_ROWS
        self._max_calls = 1 + MAX_WAITING
        self.meter = RateMeter(self._loop.time)
        self._num_in_flight = 0
        self._counted_s = 0.0
        self._is_calibrated = False
        self._dead_model: str | None = None
        self._reloaded_s = -RELOAD_INTERVAL_S
        self._lowered_s = -BATCH_TIMEOUT_S
        self._row_limit_timer: asyncio.TimerHandle | None = None
        self._stores: dict[str, asyncio.Task[None]] = {}
        self._recovery: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._server.address

    @property
    def is_free(self) -> bool:
        """True when another batch may be sent now."""
        # The server may join what is in flight to one batch, so a smaller batch is alone.
        max_calls = self._max_calls if self.row_limit == self._max_rows else 1
        return self.is_healthy and self._num_in_flight < max_calls

    def start(self) -> None:
        """Begin to look for the server; it is healthy once it has made a frame."""
        self._recovery = asyncio.create_task(self._recover(), name=f"recover-{self.address}")

    async def aclose(self) -> None:
        """Stop watching and close the connection."""
        tasks = [*self._stores.values()]
        if self._recovery is not None:
            tasks.append(self._recovery)
        await cancel_and_wait(*tasks)
        if self._row_limit_timer is not None:
            self._row_limit_timer.cancel()
        await self._server.aclose()

    async def decode(
        self, rows: Sequence[FrameRow], *, more_wait: Callable[[], bool]
    ) -> list[RowResult]:
        """Decode rows of one kind; raises `TritonFault`, after which the server is examined.

        Args:
            rows: 1 to `row_limit`.
            more_wait: Asked at the end whether further rows wait for a server.
        """
        if self._num_in_flight == 0:
            self._counted_s = self._loop.time()
        self._num_in_flight += 1
        try:
            results = await self._server.decode(rows, timeout_s=BATCH_TIMEOUT_S)
        except TritonFault as fault:
            self._note(fault, DECODER, len(rows))
            raise
        finally:
            self._num_in_flight -= 1
        now_s = self._loop.time()
        self.meter.note(len(rows), now_s - self._counted_s, saturated=more_wait())
        self._counted_s = now_s
        return results

    async def store(self, key: str, pack: Callable[[], Uint8Array]) -> None:
        """Store latents or a backdrop; callers at once share the call. Raises `TritonFault`.

        Args:
            key: Content key.
            pack: Makes the bytes to send, on another thread.
        """
        task = self._stores.get(key)
        if task is None:
            task = asyncio.create_task(self._store(key, pack), name=f"store-{key[:12]}")
            self._stores[key] = task
            task.add_done_callback(lambda _: self._stores.pop(key, None))
        await asyncio.shield(task)

    async def _store(self, key: str, pack: Callable[[], Uint8Array]) -> None:
        data = await asyncio.to_thread(pack)
        try:
            await self._server.store(key, data, timeout_s=STORE_TIMEOUT_S)
        except TritonFault as fault:
            self._note(fault, STORE, 1)
            raise

    def _note(self, fault: TritonFault, model: str, num_rows: int) -> None:
        """Decide what a fault says of the server."""
        if fault.kind is Fault.SHARED_MEMORY and self._may_lower(num_rows):
            self._lower_row_limit(max(1, num_rows // 2))
        elif fault.kind is not Fault.REFUSED:
            if fault.kind is Fault.MODEL_DEAD:
                self._dead_model = model
            self._suspect(fault)

    def _may_lower(self, num_rows: int) -> bool:
        """False when a single row has failed alone: then smaller batches do not help."""
        was_joined = self._loop.time() - self._lowered_s < BATCH_TIMEOUT_S
        return num_rows > 1 or self.row_limit == self._max_rows or was_joined

    def _lower_row_limit(self, row_limit: int) -> None:
        self.row_limit = min(self.row_limit, row_limit)
        self._lowered_s = self._loop.time()
        logger.warning(
            "the server is short of shared memory: smaller batches",
            extra={"server": self.address, "rows": self.row_limit},
        )
        if self._row_limit_timer is not None:
            self._row_limit_timer.cancel()
        self._row_limit_timer = self._loop.call_later(ROW_LIMIT_RECOVERY_S, self._raise_row_limit)

    def _raise_row_limit(self) -> None:
        self.row_limit = self._max_rows
        self._on_change()

    def _suspect(self, fault: TritonFault) -> None:
        if not self.is_healthy:
            return
        self.is_healthy = False
        logger.warning(
            "the server has failed", extra={"server": self.address, "reason": str(fault)[:200]}
        )
        self.start()

    async def _recover(self) -> None:
        """Probe until a frame comes, repairing what can be repaired."""
        told = ""
        while True:
            try:
                await self._repair()
                await self._server.probe(timeout_s=PROBE_TIMEOUT_S)
                await self._learn_size()
                await self._calibrate()
                break
            except TritonFault as fault:
                if fault.kind is Fault.MODEL_DEAD:
                    self._dead_model = self._dead_model or DECODER
                if fault.kind.value != told:
                    told = fault.kind.value
                    logger.info(
                        "waiting for the server",
                        extra={"server": self.address, "reason": str(fault)[:200]},
                    )
            await asyncio.sleep(PROBE_INTERVAL_S)
        self.is_healthy = True
        logger.info("the server works", extra={"server": self.address})
        self._on_change()

    async def _repair(self) -> None:
        """Load a model anew whose process has died, not more often than it takes to come up."""
        now_s = self._loop.time()
        if self._dead_model is None or now_s - self._reloaded_s < RELOAD_INTERVAL_S:
            return
        self._reloaded_s = now_s
        model, self._dead_model = self._dead_model, None
        logger.warning("loading a model anew", extra={"server": self.address, "model": model})
        await self._server.reload(model)

    async def _learn_size(self) -> None:
        """Fit batches to the server: it may be another one than before, on another device."""
        size = await self._server.decoder_size(timeout_s=PROBE_TIMEOUT_S)
        self._max_calls = size.num_processes + MAX_WAITING
        if size.num_rows != self._max_rows:
            self.row_limit = self._max_rows = size.num_rows
            logger.info("batches", extra={"server": self.address, "rows": size.num_rows})

    async def _calibrate(self) -> None:
        """Measure, once, how many frames per second the server makes when it is kept busy.

        With full batches: what a device makes of single rows says nothing of what it can.
        """
        if self._is_calibrated:
            return
        motion = np.zeros(MOTION_DIM, np.float32)
        row = FrameRow(avatar_key=PROBE_KEY, motion=motion, jpeg_quality=85)
        start_s = self._loop.time()
        num_frames = 0

        async def keep_busy() -> None:
            nonlocal num_frames
            while self._loop.time() - start_s < CALIBRATION_S:
                rows = [row] * self._max_rows
                await self._server.decode(rows, timeout_s=CALIBRATION_TIMEOUT_S)
                num_frames += len(rows)

        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._max_calls):
                    tasks.create_task(keep_busy())
        except* TritonFault as group:
            failed = group.exceptions[0]
        if failed is not None:
            raise failed
        self.meter.calibrate(num_frames / (self._loop.time() - start_s))
        self._is_calibrated = True
