"""The replicas of one stage: a channel and a stream of load reports each, and leases on slots."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc

from parlante import telemetry
from parlante.aio import cancel_and_wait
from parlante.errors import Overloaded, ParlanteError, Unavailable, Unsupported
from parlante.fleet.endpoints import Discovery, Endpoint
from parlante.fleet.placement import NUM_FAVOURITES, Candidate, favourites, in_order, no_slot
from parlante.rpc.calls import responses_of, translated_errors
from parlante.rpc.channel import open_channel
from parlante.rpc.tls import TlsFiles
from parlante.v1 import replica_pb2, replica_pb2_grpc

__all__ = ["Lease", "Replica", "ReplicaPool"]

logger = logging.getLogger(__name__)

# Measured with grpcio 1.85: finds a stopped process in 0.8 s; see `parlante.rpc.channel`.
KEEPALIVE_TIME_MS: Final = 500
KEEPALIVE_TIMEOUT_MS: Final = 400
ACQUIRE_TIMEOUT_S: Final = 0.5
PATIENCE_S: Final = 1.0
MAX_ATTEMPTS: Final = 3
SUSPECT_S: Final = 2.0
_LEASE_TTL_MS: Final = 5_000
_MIN_RETRY_S: Final = 0.1
_MAX_RETRY_S: Final = 0.5
# One that comes back at the same address is to be used at once; one that does not is forgotten by
# discovery soon.
_RECONNECT: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_NO_REPORTS_RETRY_S: Final = 60.0
_RETRY_AFTER_MS: Final = 1000
_LEAVING_S: Final = 30.0
_LOOK_INTERVAL_S: Final = 0.01


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
        self._stub: Any = replica_pb2_grpc.ReplicaServiceStub(channel)  # type: ignore[no-untyped-call]

    @property
    def is_open(self) -> bool:
        """True when it may be asked for a slot."""
        if self.endpoint.draining:
            return False
        if self.load is None:
            return self.gives_no_reports
        return self.load.serving and not self.load.cordoned and not self.load.draining

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

        Raises:
            Overloaded: It has no free slot.
            Unavailable: It is out of reach, drains, or did not answer in time.
        """
        lease_id = uuid.uuid4().hex
        request = replica_pb2.AcquireSlotRequest(lease_id=lease_id, ttl_ms=_LEASE_TTL_MS)
        self.num_asked += 1
        try:
            with translated_errors():
                answer = await self._stub.AcquireSlot(request, timeout=ACQUIRE_TIMEOUT_S)
            self.load = answer.load
        except Unsupported:
            return ""
        finally:
            self.num_asked -= 1
        return lease_id

    async def release(self, lease_id: str) -> None:
        """Give a lease back; one that cannot be given back ends by itself."""
        request = replica_pb2.ReleaseSlotRequest(lease_id=lease_id)
        try:
            with translated_errors():
                await self._stub.ReleaseSlot(request, timeout=ACQUIRE_TIMEOUT_S)
        except ParlanteError:
            pass

    async def watch(self) -> None:
        """Follow its load until cancelled; connects again with a growing pause."""
        retry_s = _MIN_RETRY_S
        while True:
            try:
                call = self._stub.WatchLoad(replica_pb2.WatchLoadRequest())
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


class ReplicaPool:
    """The replicas of one stage, as discovery tells; an async context manager.

    Args:
        stage: Name of the stage, for messages and metrics.
        discovery: Who is there; started and closed with the pool.
        tls: Key files of the channels.
        peer_name: Name that the replicas' certificates bear, as addresses are not in them; "" for
            the address itself.
        zone: The caller's own zone; "" if it does not matter.
        now_s: Monotonic time, seconds.
    """

    def __init__(
        self,
        stage: str,
        discovery: Discovery,
        *,
        tls: TlsFiles | None = None,
        peer_name: str = "",
        zone: str = "",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peer_options = (
            (("grpc.ssl_target_name_override", peer_name),) if tls and peer_name else ()
        )
        self.stage = stage
        self._discovery = discovery
        self._tls = tls
        self._zone = zone
        self._now_s = now_s
        self._replicas: dict[str, Replica] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._follower: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._discovery.start()
        self._update(self._discovery.known.endpoints)
        self._follower = asyncio.create_task(self._follow(), name=f"{self.stage}-endpoints")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._follower is not None:
            await cancel_and_wait(self._follower)
        await self._discovery.aclose()
        await cancel_and_wait(*self._watches.values(), *self._leaving)
        for replica in self._replicas.values():
            await replica.channel.close(None)
        self._replicas.clear()
        self._watches.clear()

    @property
    def replicas(self) -> list[Replica]:
        """All that are known."""
        return list(self._replicas.values())

    def ordered(self, key: str, exclude: Iterable[Replica] = ()) -> list[Replica]:
        """Give the replicas that take streams, in the order they are to be tried for a key."""
        left_out = {replica.endpoint.address for replica in exclude}
        candidates = [
            replica.as_candidate(self._zone)
            for address, replica in self._replicas.items()
            if replica.is_open and address not in left_out
        ]
        return [self._replicas[item.address] for item in in_order(key, candidates)]

    @property
    def is_open(self) -> bool:
        """True when a replica takes streams."""
        return any(replica.is_open for replica in self._replicas.values())

    async def wait_until_open(self) -> None:
        """Give a stage that is just coming up a moment."""
        deadline_s = self._now_s() + PATIENCE_S
        while not self.is_open and self._now_s() < deadline_s:  # noqa: ASYNC110 (many sources)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def acquire(self, key: str = "", exclude: Iterable[Replica] = ()) -> Lease:
        """Lease a slot where a key is best served.

        Args:
            key: The avatar's key; "" takes the least loaded replica.
            exclude: Replicas not to ask.

        Raises:
            Overloaded: NO_FREE_SLOT, those that were asked are full; carries a hint.
            Unavailable: STAGE_UNAVAILABLE, there is no replica, or none that answers.
        """
        refusals: list[Overloaded] = []
        await self.wait_until_open()
        order = self.ordered(key, exclude)
        for attempt, replica in enumerate(order[:MAX_ATTEMPTS]):
            try:
                lease = Lease(replica, await replica.acquire())
            except Overloaded as error:
                refusals.append(error)
            except Unavailable:
                replica.suspect()
            else:
                self._count(key, replica, attempt)
                return lease
        if refusals:
            raise no_slot(self.stage, refusals)
        raise Unavailable(
            f"the {self.stage} stage is out of reach: {len(order)} of {len(self._replicas)} known "
            "replicas take streams and none answered; try again in a second",
            reason="STAGE_UNAVAILABLE",
            metadata={"stage": self.stage},
            retry_after_ms=_RETRY_AFTER_MS,
        )

    def standbys(self, key: str, serving: Replica) -> list[Replica]:
        """Give the replicas where a key's stream would go when it loses the one that serves it.

        They are the one where it would go now, and the other favourite, which may have room by
        then.
        """
        following = self.ordered(key, exclude=(serving,))[:1]
        addresses = [replica.endpoint.address for replica in self._replicas.values()]
        for address in favourites(key, addresses, NUM_FAVOURITES):
            replica = self._replicas[address]
            if replica is not serving and replica not in following and replica.is_open:
                following.append(replica)
        return following

    # --- who is there --------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            changed = self._discovery.known.changed
            self._update(self._discovery.known.endpoints)
            await changed.wait()

    def _update(self, endpoints: frozenset[Endpoint]) -> None:
        by_address = {endpoint.address: endpoint for endpoint in endpoints}
        for address in self._replicas.keys() - by_address.keys():
            self._forget(address)
        for address, endpoint in by_address.items():
            known = self._replicas.get(address)
            if known is not None:
                known.endpoint = endpoint
            else:
                self._add(endpoint)

    def _add(self, endpoint: Endpoint) -> None:
        channel = open_channel(
            endpoint.address,
            tls=self._tls,
            keepalive_time_ms=KEEPALIVE_TIME_MS,
            keepalive_timeout_ms=KEEPALIVE_TIMEOUT_MS,
            options=(*_RECONNECT, *self._peer_options),
        )
        replica = Replica(endpoint, channel, self._now_s)
        self._replicas[endpoint.address] = replica
        self._watches[endpoint.address] = asyncio.create_task(
            replica.watch(), name=f"watch-{endpoint.address}"
        )
        telemetry.metrics().replicas_known.add(1, {telemetry.ATTRIBUTE_STAGE: self.stage})
        extra = {"stage": self.stage, "replica": endpoint.address, "zone": endpoint.zone}
        logger.info("replica found", extra=extra)

    def _forget(self, address: str) -> None:
        """Let go of a replica; streams that still run there keep its channel until they end."""
        replica = self._replicas.pop(address)
        self._watches.pop(address).cancel()
        telemetry.metrics().replicas_known.add(-1, {telemetry.ATTRIBUTE_STAGE: self.stage})
        logger.info("replica gone", extra={"stage": self.stage, "replica": address})
        # Gone from discovery is not yet gone: what it serves is handed over or breaks by itself.
        closing = asyncio.create_task(_close_later(replica.channel), name=f"close-{address}")
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)

    def _count(self, key: str, replica: Replica, attempt: int) -> None:
        addresses = [one.endpoint.address for one in self._replicas.values()]
        is_favourite = bool(key) and replica.endpoint.address in favourites(key, addresses, 2)
        attributes: dict[str, Any] = {
            telemetry.ATTRIBUTE_STAGE: self.stage,
            "parlante.favourite": is_favourite,
            "parlante.attempt": attempt + 1,
        }
        telemetry.metrics().placements.add(1, attributes)


async def _close_later(channel: grpc.aio.Channel) -> None:
    try:
        await asyncio.sleep(_LEAVING_S)
    finally:
        await channel.close(None)
