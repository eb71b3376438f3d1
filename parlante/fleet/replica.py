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
from parlante.errors import (
    Expired,
    InvalidInput,
    Overloaded,
    ParlanteError,
    Unavailable,
    Unsupported,
)
from parlante.fleet.endpoints import Endpoint
from parlante.fleet.placement import Candidate
from parlante.rpc.calls import responses_of, translated_errors
from parlante.rpc.tls import TlsFiles
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
_CONNECT_S: Final = 5.0


class Replica:
    """One replica: its channel, and what it last said of itself.

    Args:
        endpoint: Where it is.
        open_channel: Opens a channel to it; again when certificates have been renewed.
        now_s: Monotonic time, seconds.
        tls: Key files of the channel; None for plain text.

    Attributes:
        endpoint: As discovered last; it may begin to drain.
        channel: For new streams.
        load: The last report; None before the first and while it is out of reach.
        num_asked: Slots that are being asked for now.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        open_channel: Callable[[], grpc.aio.Channel],
        now_s: Callable[[], float],
        *,
        tls: TlsFiles | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._open_channel = open_channel
        self._tls = tls
        self._spent: list[grpc.aio.Channel] = []
        self._connect()
        self.load: replica_pb2.ReplicaLoad | None = None
        self.num_asked = 0
        self.suspect_until_s = 0.0
        self.gives_no_reports = False
        self._now_s = now_s
        self._given_back: set[asyncio.Task[None]] = set()
        self._retry_s = _MIN_RETRY_S

    def _connect(self) -> None:
        self._tls_stamp = self._tls.stamp() if self._tls else None  # before the files are read
        self.channel = self._open_channel()
        self._stub: Any = replica_pb2_grpc.ReplicaServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def _renew_channel(self) -> None:
        """Take a channel with the key files of now, if they have changed since the last one.

        For one that is out of reach: a channel knows the files of when it was opened, and would
        show an expired certificate for ever. An open connection is not looked at again.
        """
        if self._tls is None or self._tls.stamp() == self._tls_stamp:
            return
        spent = self.channel
        try:
            self._connect()
        except InvalidInput as error:  # in the middle of a renewal
            extra = {"replica": self.endpoint.address, "detail": error.message}
            logger.warning("TLS files not read again", extra=extra)
            return
        # Not closed yet: if it was the replica's fault, streams may still be on it.
        self._spent.append(spent)
        logger.info("TLS files read again", extra={"replica": self.endpoint.address})

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
        """Close its channels, and wait for nothing."""
        await cancel_and_wait(*self._given_back)
        for channel in (*self._spent, self.channel):
            await channel.close(None)

    async def watch(self) -> None:
        """Follow its load until cancelled; connects again with a growing pause."""
        self._retry_s = _MIN_RETRY_S
        while True:
            try:
                await self._follow()
            except Unsupported:  # a replica of an older version: always worth a try
                self.gives_no_reports = True
                self._retry_s = _NO_REPORTS_RETRY_S
            except (ParlanteError, TimeoutError) as error:
                reason = error.reason if isinstance(error, ParlanteError) else "NO_CONNECTION"
                extra = {"replica": self.endpoint.address, "reason": reason}
                logger.debug("replica out of reach", extra=extra)
                self._renew_channel()
            self.load = None
            await asyncio.sleep(self._retry_s * random.uniform(0.5, 1.0))
            self._retry_s = min(_MAX_RETRY_S, self._retry_s * 2)

    async def _follow(self) -> None:
        """Follow its load until that ends."""
        # Waits for the connection: failing at once would add a pause to the channel's own. Not for
        # ever where that may be for want of a certificate that has been renewed.
        patience_s = _CONNECT_S if self._tls else None
        call = self._stub.WatchLoad(replica_pb2.WatchLoadRequest(), wait_for_ready=True)
        responses = responses_of(call)
        try:
            async with asyncio.timeout(patience_s):
                response = await anext(responses, None)
            while response is not None:
                self.load = response.load
                self._retry_s = _MIN_RETRY_S
                response = await anext(responses, None)
        finally:
            call.cancel()


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
