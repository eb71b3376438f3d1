"""What every process of a fleet serves beside its stage: load, leases, cordon, handing over."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import parlante
from parlante.aio import cancel_and_wait
from parlante.errors import InvalidInput
from parlante.rpc.lifecycle import OVERLAP_S, Lifecycle
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.v1 import common_pb2, replica_pb2, replica_pb2_grpc

__all__ = ["LEASE_METADATA", "ReplicaServicer", "handover_notice", "lease_of", "replica_name"]

SERVICE_NAME: Final = replica_pb2.DESCRIPTOR.services_by_name["ReplicaService"].full_name
LEASE_METADATA: Final = "parlante-lease-id"
MAX_LEASE_ID_CHARS: Final = 63
DEFAULT_LEASE_TTL_MS: Final = 5_000
MAX_LEASE_TTL_MS: Final = 30_000
_MIN_REPORT_INTERVAL_S: Final = 0.05
_MAX_REPORT_INTERVAL_S: Final = 1.0


def replica_name() -> str:
    """Give this process's name in the fleet: its pod's, or else the host's and the process id."""
    return os.environ.get("PARLANTE_REPLICA_NAME") or f"{socket.gethostname()}-{os.getpid()}"


def lease_of(context: Any) -> str:
    """Give the lease that a call claims; "" when it names none."""
    for key, value in context.invocation_metadata() or ():
        if key == LEASE_METADATA:
            return str(value)
    return ""


def handover_notice(
    context: Any, make_response: Callable[..., Any]
) -> Callable[[str], Awaitable[None]]:
    """Give what tells the caller of a stream that it will be given away.

    Args:
        context: Of the stream.
        make_response: Makes a response of the stream with `handover` set.
    """

    async def give(reason: str) -> None:
        handover = common_pb2.Handover(reason=reason, notice=True, overlap_ms=int(OVERLAP_S * 1000))
        await context.write(make_response(handover=handover))

    return give


class ReplicaServicer(replica_pb2_grpc.ReplicaServiceServicer):
    """Serves `parlante.v1.ReplicaService`.

    Args:
        stage: Name of the stage.
        slots: Those of its streams.
        lifecycle: That of its server.
    """

    def __init__(self, stage: str, *, slots: Slots, lifecycle: Lifecycle) -> None:
        self._stage = stage
        self._name = replica_name()
        self._slots = slots
        self._lifecycle = lifecycle

    @property
    def service(self) -> Service:
        """What `RpcServer` serves."""
        add: Any = replica_pb2_grpc.add_ReplicaServiceServicer_to_server
        return Service(SERVICE_NAME, lambda server: add(self, server))

    async def WatchLoad(  # noqa: N802 (name of the rpc)
        self, request: replica_pb2.WatchLoadRequest, context: Any
    ) -> None:
        """Send the load at every change and once a second; ends when the process drains."""
        draining = self._lifecycle.draining
        while True:
            changed = self._slots.changed  # before the load is read: no change may be missed
            await context.write(replica_pb2.WatchLoadResponse(load=self._load()))
            if draining.is_set():
                return
            await asyncio.sleep(_MIN_REPORT_INTERVAL_S)
            if self._lifecycle.serving:
                await _first_of(changed, draining, timeout_s=_MAX_REPORT_INTERVAL_S)

    async def AcquireSlot(  # noqa: N802 (name of the rpc)
        self, request: replica_pb2.AcquireSlotRequest, context: Any
    ) -> replica_pb2.AcquireSlotResponse:
        """Lease a slot."""
        _check_lease_id(request.lease_id)
        if not 0 <= request.ttl_ms <= MAX_LEASE_TTL_MS:
            raise InvalidInput(
                f"ttl_ms must be in [0, {MAX_LEASE_TTL_MS}]; got {request.ttl_ms}",
                reason="BAD_LEASE",
                field="ttl_ms",
            )
        self._slots.lease(request.lease_id, (request.ttl_ms or DEFAULT_LEASE_TTL_MS) / 1000)
        return replica_pb2.AcquireSlotResponse(load=self._load())

    async def ReleaseSlot(  # noqa: N802 (name of the rpc)
        self, request: replica_pb2.ReleaseSlotRequest, context: Any
    ) -> replica_pb2.ReleaseSlotResponse:
        """Give a lease back."""
        _check_lease_id(request.lease_id)
        self._slots.release(request.lease_id)
        return replica_pb2.ReleaseSlotResponse(load=self._load())

    async def Cordon(  # noqa: N802 (name of the rpc)
        self, request: replica_pb2.CordonRequest, context: Any
    ) -> replica_pb2.CordonResponse:
        """Take no new streams, or take them again."""
        self._slots.cordon(request.cordoned)
        return replica_pb2.CordonResponse(load=self._load())

    async def Empty(  # noqa: N802 (name of the rpc)
        self, request: replica_pb2.EmptyRequest, context: Any
    ) -> replica_pb2.EmptyResponse:
        """Cordon and hand all streams over."""
        self._slots.cordon(True)
        load = self._load()
        self._lifecycle.empty()
        return replica_pb2.EmptyResponse(load=load)

    def _load(self) -> replica_pb2.ReplicaLoad:
        counts = self._slots.counts
        return replica_pb2.ReplicaLoad(
            replica=self._name,
            stage=self._stage,
            slot_count=counts.capacity,
            held_count=counts.num_held,
            leased_count=counts.num_leased,
            refused_count=counts.num_refused,
            cordoned=counts.cordoned,
            draining=self._lifecycle.draining.is_set(),
            serving=self._lifecycle.serving,
            version=parlante.__version__,
        )


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Wait for one of some events, at most a time."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*waits)


def _check_lease_id(lease_id: str) -> None:
    if not 1 <= len(lease_id) <= MAX_LEASE_ID_CHARS:
        raise InvalidInput(
            f"a lease_id has 1 to {MAX_LEASE_ID_CHARS} characters; got {len(lease_id)}",
            reason="BAD_LEASE",
            field="lease_id",
        )
