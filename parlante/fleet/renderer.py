"""The renderer port over a fleet: motion that a lost replica has not answered goes to the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from parlante.aio import cancel_and_wait, closing
from parlante.errors import ParlanteError
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.relay import Patience, Relay
from parlante.fleet.replica import Lease, Replica
from parlante.rpc.remote import RemoteRenderer
from parlante.types import Float32Array, MotionBlock, RenderConfig, RenderedFrame

__all__ = ["FleetRenderer", "RenderLog"]

_START_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    frame_index: int
    values: Float32Array


class RenderLog:
    """Motion that is not rendered yet; see `parlante.fleet.relay.Log`."""

    def __init__(self) -> None:
        self._rows: deque[_Row] = deque()

    def append(self, item: MotionBlock) -> MotionBlock:
        """Note motion that goes to the replica, as it is."""
        self._rows.extend(
            _Row(item.start_frame + offset, values) for offset, values in enumerate(item.values)
        )
        return item

    def replay(self) -> list[MotionBlock]:
        """Give the motion that no frame has come for."""
        blocks: list[MotionBlock] = []
        rows: list[_Row] = []
        for row in (*self._rows, None):
            if rows and (row is None or row.frame_index != rows[-1].frame_index + 1):
                values = np.stack([item.values for item in rows])
                blocks.append(MotionBlock(start_frame=rows[0].frame_index, values=values))
                rows = []
            if row is not None:
                rows.append(row)
        return blocks

    def accept(self, output: RenderedFrame) -> RenderedFrame | None:
        """Take a frame; None if it was taken before."""
        if not self._rows or output.frame_index < self._rows[0].frame_index:
            return None
        while self._rows and self._rows[0].frame_index <= output.frame_index:
            self._rows.popleft()
        return output

    @property
    def is_owed(self) -> bool:
        """True while motion waits for its frame."""
        return bool(self._rows)

    def give_up_state(self, error: ParlanteError) -> bool:
        """There is none."""
        return False


class FleetRenderer:
    """Implements `parlante.ports.Renderer` over a pool.

    Args:
        pool: The renderer replicas.
        lease: Slot that the first stream takes; None acquires one.
        patience: How long a stream waits for a replica.
    """

    def __init__(
        self,
        pool: ReplicaPool,
        *,
        lease: Lease | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._pool = pool
        self._lease = lease
        self._patience = patience

    def with_lease(self, lease: Lease) -> Self:
        """Make the port of a session whose slot is leased."""
        return type(self)(self._pool, lease=lease, patience=self._patience)

    async def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Render somewhere; see `parlante.ports.Renderer.stream`."""

        standbys: asyncio.Task[None] | None = None

        def open_stream(
            replica: Replica,
            lease_id: str,
            items: AsyncIterator[MotionBlock],
            on_notice: Callable[[], None],
        ) -> AsyncIterator[RenderedFrame]:
            nonlocal standbys
            if standbys is None or standbys.done():
                standbys = asyncio.create_task(self._warm_standbys(config.avatar_key, replica))
            return _remote(replica, lease_id, on_notice).stream(config, items)

        async def warm(replica: Replica) -> None:
            await _remote(replica).prepare(config.avatar_key)

        relay: Relay[MotionBlock, RenderedFrame] = Relay(
            self._pool,
            RenderLog(),
            open_stream,
            key=config.avatar_key,
            lease=self._lease,
            patience=self._patience,
            warm=warm,
        )
        self._lease = None  # of one stream only
        try:
            async with closing(relay.run(motion)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            if standbys is not None:
                await cancel_and_wait(standbys)

    async def _warm_standbys(self, avatar_key: str, serving: Replica) -> None:
        """Let the replicas that a stream would move to make its avatar ready; best effort."""
        for replica in self._pool.standbys(avatar_key, serving):
            with suppress(ParlanteError):
                await _remote(replica).prepare(avatar_key)


def _remote(
    replica: Replica, lease_id: str = "", on_notice: Callable[[], None] | None = None
) -> RemoteRenderer:
    return RemoteRenderer(
        replica.channel,
        start_timeout_s=_START_TIMEOUT_S,
        lease_id=lease_id,
        on_notice=on_notice,
    )
