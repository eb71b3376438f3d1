"""The replica that a stream moves to next, made ready while the one that leaves still serves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from parlante.aio import cancel_and_wait
from parlante.errors import Overloaded, ParlanteError, Unavailable
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.replica import Lease, Replica

__all__ = ["Successor", "Warm"]

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.1
# Where nobody has room the stream is searched for the usual way once it has ended.
_MAX_TRIES: Final = 10

# Makes a stream's things ready at a replica.
Warm = Callable[[Replica], Awaitable[None]]


class Successor:
    """Leases a slot for a stream that is about to be given away, and makes it ready there.

    Args:
        pool: The replicas.
        key: Placement's key.
        warm: Makes the stream's things ready at a replica; best effort.
    """

    def __init__(self, pool: ReplicaPool, key: str, warm: Warm | None) -> None:
        self._pool = pool
        self._key = key
        self._warm = warm
        self._lease: Lease | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """True when the next replica waits for the stream."""
        return self._lease is not None and self._task is not None and self._task.done()

    def seek(self, lease: Lease) -> None:
        """Begin to look for the successor of a lease; again does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._seek(lease), name=f"{self._pool.stage}-next")

    async def take(self) -> Lease | None:
        """Give the next replica's lease, ready or not; None when there is none yet."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait(task)
        lease, self._lease = self._lease, None
        return lease

    async def aclose(self) -> None:
        """Stop looking and give back what was found."""
        lease = await self.take()
        if lease is not None:
            await lease.release()

    async def _seek(self, lease: Lease) -> None:
        for _ in range(_MAX_TRIES):
            try:
                self._lease = await self._pool.acquire(self._key, (lease.replica,), patience_s=0.0)
            except (Overloaded, Unavailable):
                await asyncio.sleep(_RETRY_S)
            else:
                break
        if self._lease is not None and self._warm is not None:
            with suppress(ParlanteError):  # the stream's own attempt tells what is wrong
                await self._warm(self._lease.replica)
