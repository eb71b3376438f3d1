"""The replicas of one stage: which there are, and where a stream gets its slot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from parlante import telemetry
from parlante.aio import cancel_and_wait
from parlante.errors import Overloaded, Unavailable
from parlante.fleet.endpoints import Discovery, Endpoint
from parlante.fleet.placement import NUM_FAVOURITES, favourites, in_order, no_slot
from parlante.fleet.replica import Lease, Replica
from parlante.rpc.channel import open_channel
from parlante.rpc.tls import TlsFiles

__all__ = ["ReplicaPool"]

logger = logging.getLogger(__name__)

# Measured with grpcio 1.85: a stopped process is found after 0.4 to 1.3 s, as the core sends one
# ping a second at most, whatever is asked for (tests/perf/hung_replica.py, `parlante.rpc.channel`).
# Streams do not wait for that: they miss what they are owed after half a second (`Patience`).
KEEPALIVE_TIME_MS: Final = 500
KEEPALIVE_TIMEOUT_MS: Final = 400
PATIENCE_S: Final = 1.0
MAX_ATTEMPTS: Final = 3
# One that comes back at the same address is to be used at once; one that does not is forgotten by
# discovery soon.
_RECONNECT: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_RETRY_AFTER_MS: Final = 1000
_LEAVING_S: Final = 30.0
_LOOK_INTERVAL_S: Final = 0.01
# Why streams move, mostly.
_COMMON_REASONS: Final = ("HANDED_OVER", "UNAVAILABLE", "LATE", "STAGE_TIMEOUT", "INTERNAL")


@dataclass(slots=True, kw_only=True)
class _Asked:
    """Who was asked for a slot, and what came of it."""

    done: list[Replica]  # not to be asked (again)
    failed: list[Replica] = field(default_factory=list)  # did not answer once
    refusals: list[Overloaded] = field(default_factory=list)
    num_attempts: int = 0


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
        self._begin_series()
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
            await replica.aclose()
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

    @property
    def is_complete(self) -> bool:
        """True when something is known of every replica."""
        return not any(replica.is_silent for replica in self._replicas.values())

    async def wait_until_open(self, patience_s: float = PATIENCE_S) -> None:
        """Give a stage that is just coming up a moment."""
        deadline_s = self._now_s() + patience_s
        while not self.is_open and self._now_s() < deadline_s:  # noqa: ASYNC110 (many sources)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def acquire(
        self, key: str = "", exclude: Iterable[Replica] = (), *, patience_s: float = PATIENCE_S
    ) -> Lease:
        """Lease a slot where a key is best served.

        Args:
            key: The avatar's key; "" takes the least loaded replica.
            exclude: Replicas not to ask.
            patience_s: Time for replicas that are not heard of yet, or did not answer: nobody is
                refused while there are some, for they may have room; and before that, as long again
                for one that takes streams. 0, which waits for neither, for callers that ask again.

        Raises:
            Overloaded: NO_FREE_SLOT, those that were asked are full; carries a hint.
            Unavailable: STAGE_UNAVAILABLE, there is no replica, or none that answers.
        """
        await self.wait_until_open(patience_s)
        asked = _Asked(done=list(exclude))
        deadline_s = self._now_s() + patience_s
        while True:
            lease = await self._ask(key, asked)
            if lease is not None:
                return lease
            if not patience_s or not await self._is_there_another(asked, deadline_s):
                raise self._no_lease(asked)

    async def _ask(self, key: str, asked: _Asked) -> Lease | None:
        """Ask the best replicas for a slot, one after the other."""
        for replica in self.ordered(key, asked.done)[:MAX_ATTEMPTS]:
            asked.num_attempts += 1
            try:
                lease = Lease(replica, await replica.acquire())
            except Overloaded as error:
                asked.refusals.append(error)
                asked.done.append(replica)
            except Unavailable:
                replica.suspect()
                # Once more, but not for ever.
                (asked.done if replica in asked.failed else asked.failed).append(replica)
            else:
                self._count(key, replica, asked.num_attempts)
                return lease
        return None

    async def _is_there_another(self, asked: _Asked, deadline_s: float) -> bool:
        """Wait for a replica to ask; False when there is none or time is over."""
        while len(asked.refusals) < MAX_ATTEMPTS:
            others = [replica for replica in self.replicas if replica not in asked.done]
            if not any(replica.is_open or replica.is_silent for replica in others):
                return False
            await asyncio.sleep(_LOOK_INTERVAL_S)
            if any(replica.is_open for replica in others):
                return True
            if self._now_s() >= deadline_s:
                return False
        return False

    def _no_lease(self, asked: _Asked) -> Overloaded | Unavailable:
        if asked.refusals:
            return no_slot(self.stage, asked.refusals)
        num_open = sum(replica.is_open for replica in self.replicas)
        return Unavailable(
            f"the {self.stage} stage is out of reach: {num_open} of {len(self._replicas)} known "
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
        connect = partial(
            open_channel,
            endpoint.address,
            tls=self._tls,
            keepalive_time_ms=KEEPALIVE_TIME_MS,
            keepalive_timeout_ms=KEEPALIVE_TIMEOUT_MS,
            options=(*_RECONNECT, *self._peer_options),
        )
        replica = Replica(endpoint, connect, self._now_s, tls=self._tls)
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
        closing = asyncio.create_task(_close_later(replica), name=f"close-{address}")
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)

    def _begin_series(self) -> None:
        """Let series begin at 0: alerts are about their increase, and about there being none."""
        attributes = {telemetry.ATTRIBUTE_STAGE: self.stage}
        telemetry.metrics().replicas_known.add(0, attributes)
        for reason in _COMMON_REASONS:
            telemetry.metrics().failovers.add(0, {**attributes, telemetry.ATTRIBUTE_REASON: reason})

    def _count(self, key: str, replica: Replica, attempt: int) -> None:
        addresses = [one.endpoint.address for one in self._replicas.values()]
        is_favourite = bool(key) and replica.endpoint.address in favourites(key, addresses, 2)
        attributes: dict[str, Any] = {
            telemetry.ATTRIBUTE_STAGE: self.stage,
            "parlante.favourite": is_favourite,
            "parlante.attempt": attempt,
        }
        telemetry.metrics().placements.add(1, attributes)


async def _close_later(replica: Replica) -> None:
    try:
        await asyncio.sleep(_LEAVING_S)
    finally:
        await replica.aclose()
