"""The motion port over a fleet: a stream survives the replica that serves it.

Every block brings a checkpoint. The log keeps the last one and the audio since, so that the next
replica goes on as if nothing had happened: the same frames, to the bit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Self

from parlante.errors import Unavailable
from parlante.fleet.motion_log import MotionLog
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.relay import Patience, Relay
from parlante.fleet.replica import Lease, Replica
from parlante.rpc.remote import RemoteMotion, known_delay_ms
from parlante.types import (
    MotionBlock,
    MotionConfig,
    MotionInput,
    MotionTraits,
)

__all__ = ["FleetMotion"]

_START_TIMEOUT_S = 2.0


class FleetMotion:
    """Implements `parlante.ports.Motion` over a pool.

    Args:
        pool: The motion replicas.
        lease: Slot that the first stream takes; None acquires one.
        patience: How long a stream waits for a replica.
    """

    def __init__(
        self,
        pool: ReplicaPool,
        *,
        lease: Lease | None = None,
        patience: Patience | None = None,
        delays_ms: dict[int, int] | None = None,
    ) -> None:
        self._pool = pool
        self._lease = lease
        self._patience = patience
        self._delays_ms: dict[int, int] = {} if delays_ms is None else delays_ms

    def with_lease(self, lease: Lease) -> Self:
        """Make the port of a session whose slot is leased."""
        return type(self)(
            self._pool, lease=lease, patience=self._patience, delays_ms=self._delays_ms
        )

    async def traits(self) -> MotionTraits:
        """Ask a replica what the stage is; see `RemoteMotion.traits`.

        Raises:
            Overloaded: It has no free slot, which the question takes for a moment.
            Unavailable: No replica answers.
        """
        await self._pool.wait_until_open()
        for replica in self._pool.ordered("")[:1]:
            return await self._remote(replica, "").traits()
        raise Unavailable("no replica of the motion stage takes streams yet")

    def delay_ms(self, config: MotionConfig) -> int:
        """Tell the delay of a stream; see `RemoteMotion.delay_ms`."""
        return known_delay_ms(self._delays_ms, config)

    async def stream(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        """Generate motion somewhere; see `parlante.ports.Motion.stream`."""
        log = MotionLog(config, delay_ms=self.delay_ms(config))

        def open_stream(
            replica: Replica,
            lease_id: str,
            items: AsyncIterator[MotionInput],
            on_notice: Callable[[], None],
        ) -> AsyncIterator[MotionBlock]:
            return self._remote(replica, lease_id, on_notice).stream(log.config, items)

        relay: Relay[MotionInput, MotionBlock] = Relay(
            self._pool, log, open_stream, lease=self._lease, patience=self._patience
        )
        self._lease = None  # of one stream only
        async for block in relay.run(inputs):
            yield block

    def _remote(
        self, replica: Replica, lease_id: str, on_notice: Callable[[], None] | None = None
    ) -> RemoteMotion:
        return RemoteMotion(
            replica.channel,
            start_timeout_s=_START_TIMEOUT_S,
            lease_id=lease_id,
            delays_ms=self._delays_ms,
            on_notice=on_notice,
        )
