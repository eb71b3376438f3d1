"""One replica of a stage: what it last said of itself, and leases on its slots."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from parlante.aio import cancel_and_wait
from parlante.errors import Expired, Overloaded, ParlanteError, Unavailable, Unsupported
from parlante.fleet.endpoints import Endpoint
from parlante.fleet.placement import Candidate
from parlante.rpc.calls import responses_of, translated_errors
from parlante.v1 import replica_pb2, replica_pb2_grpc

__all__ = ["Lease", "Replica"]

logger = logging.getLogger(__name__)

# One that hangs is found by keepalive sooner; one that is busy must not be asked again and again.
ACQUIRE_TIMEOUT_S: Final = 1.0
SUSPECT_S: Final = 2.0
LEASE_TTL_MS: Final = 5_000
_MIN_RETRY_S: Final = 0.1
_MAX_RETRY_S: Final = 0.5
_NO_REPORTS_RETRY_S: Final = 60.0


class Replica:
    """One replica: its channel, and what it last said of itself.

    Args:
        endpoint: Where it is.
        channel: Closed with the replica.
        now_s: Monotonic time, seconds.

    Attributes:
        endpoint: As discovered last; it may begin to drain.
        load: The last report; None before the first and while it is out of reach.
        num_asked: Slots that are being asked for now.
    """

    def __init__(
        self, endpoint: Endpoint, channel: grpc.aio.Channel, now_s: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.load: replica_pb2.ReplicaLoad | None = None
        self.num_asked = 0
        self.suspect_until_s = 0.0
        self.gives_no_reports = False
        self._now_s = now_s
        self._given_back: set[asyncio.Task[None]] = set()
        self._stub: Any = replica_pb2_grpc.ReplicaServiceStub(channel)  # type: ignore[no-untyped-call]

    @property
    def is_open(self) -> bool:
        """True when it may be asked for a slot."""
        if self.endpoint.draining:
            return False
        if self.load is None:
            return self.gives_no_reports
        return self.load.serving and not self.load.cordoned and not self.load.draining

    @property
    def is_silent(self) -> bool:
        """True while nothing is known of it: it is starting, out of reach, or just discovered."""
        return self.load is None and not self.gives_no_reports and not self.endpoint.draining

    def suspect(self) -> None:
        """Take it last for a while: it failed a stream."""
        self.suspect_until_s = self._now_s() + SUSPECT_S

    def as_candidate(self, zone: str) -> Candidate:
        """Describe it to placement."""
        load = self.load
        near = not zone or not self.endpoint.zone or self.endpoint.zone == zone
        return Candidate(
            address=self.endpoint.address,
            capacity=load.slot_count if load else 0,
            num_used=self.num_asked + (load.held_count + load.leased_count if load else 0),
            is_near=near,
            is_suspect=self._now_s() < self.suspect_until_s,
        )

    async def acquire(self) -> str:
        """Lease a slot; gives the lease's id, "" where the replica knows no leases.

        A lease whose answer does not come, or is not waited for, is given back: the replica may
        well have made it.

        Raises:
            Overloaded: It has no free slot.
            Unavailable: It is out of reach, drains, or did not answer in time.
        """
        lease_id = uuid.uuid4().hex
        request = replica_pb2.AcquireSlotRequest(lease_id=lease_id, ttl_ms=LEASE_TTL_MS)
        self.num_asked += 1
        try:
            with translated_errors():
                answer = await self._stub.AcquireSlot(request, timeout=ACQUIRE_TIMEOUT_S)
        except Unsupported:
            return ""
        except Overloaded:
            raise
        except Expired as error:
            self.give_back(lease_id)
            raise Unavailable(
                f"the replica did not answer within {ACQUIRE_TIMEOUT_S:g} s; try another one",
                reason="STAGE_TIMEOUT",
            ) from error
        except BaseException:
            self.give_back(lease_id)
            raise
        finally:
            self.num_asked -= 1
        self.load = answer.load
        return lease_id

    async def release(self, lease_id: str, *, timeout_s: float = ACQUIRE_TIMEOUT_S) -> None:
        """Give a lease back; one that cannot be given back ends by itself."""
        request = replica_pb2.ReleaseSlotRequest(lease_id=lease_id)
        try:
            with translated_errors():
                await self._stub.ReleaseSlot(request, timeout=timeout_s)
        except ParlanteError:
            pass

    def give_back(self, lease_id: str) -> None:
        """Give a lease back without waiting for it, for as long as it would last."""
        task = asyncio.create_task(
            self.release(lease_id, timeout_s=LEASE_TTL_MS / 1000), name="give-lease-back"
        )
        self._given_back.add(task)
        task.add_done_callback(self._given_back.discard)

    async def aclose(self) -> None:
        """Close the channel, and wait for nothing."""
        await cancel_and_wait(*self._given_back)
        await self.channel.close(None)

    async def watch(self) -> None:
        """Follow its load until cancelled; connects again with a growing pause."""
        retry_s = _MIN_RETRY_S
        while True:
            try:
                # Waits for the connection: failing at once would add this pause to the channel's.
                call = self._stub.WatchLoad(replica_pb2.WatchLoadRequest(), wait_for_ready=True)
                try:
                    async for response in responses_of(call):
                        self.load = response.load
                        retry_s = _MIN_RETRY_S
                finally:
                    call.cancel()
            except Unsupported:  # a replica of an older version: always worth a try
                self.gives_no_reports = True
                retry_s = _NO_REPORTS_RETRY_S
            except ParlanteError as error:
                extra = {"replica": self.endpoint.address, "reason": error.reason}
                logger.debug("replica out of reach", extra=extra)
            self.load = None
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(_MAX_RETRY_S, retry_s * 2)


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A slot at a replica, for one stream; `lease_id` is "" where the replica knows no leases."""

    replica: Replica
    lease_id: str

    async def release(self) -> None:
        """Give it back if no stream has claimed it."""
        if self.lease_id:
            await self.replica.release(self.lease_id)

    def give_back(self) -> None:
        """The same without waiting for it."""
        if self.lease_id:
            self.replica.give_back(self.lease_id)
