"""What operators ask of replicas, one by one: load, cordon, handing over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc

from parlante.errors import Expired, ParlanteError
from parlante.fleet.endpoints import Discovery, Endpoint
from parlante.rpc.calls import responses_of, translated_errors
from parlante.rpc.channel import open_channel
from parlante.rpc.tls import TlsFiles
from parlante.v1 import replica_pb2, replica_pb2_grpc

__all__ = ["Operator", "Report", "removal_order"]

TIMEOUT_S: Final = 3.0
_LOOK_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a replica says of itself, or why it says nothing.

    Attributes:
        endpoint: Where it is.
        load: Its load; None when it did not answer.
        fault: Reason of the error; "" when it answered.
    """

    endpoint: Endpoint
    load: replica_pb2.ReplicaLoad | None = None
    fault: str = ""


class Operator:
    """Speaks to replicas.

    Args:
        tls: Key files; None for plain text.
        peer_name: Name in the replicas' certificates; "" for the address.
    """

    def __init__(self, *, tls: TlsFiles | None = None, peer_name: str = "") -> None:
        self._tls = tls
        self._options = (("grpc.ssl_target_name_override", peer_name),) if peer_name else ()

    async def reports(self, discovery: Discovery, *, wait_s: float = 2.0) -> list[Report]:
        """Ask every replica that a discovery, which runs, knows within a time."""
        end_s = time.monotonic() + wait_s
        while not discovery.known.endpoints and time.monotonic() < end_s:  # noqa: ASYNC110 (soon)
            await asyncio.sleep(_LOOK_INTERVAL_S)
        endpoints = sorted(discovery.known.endpoints)
        return list(await asyncio.gather(*(self._report(endpoint) for endpoint in endpoints)))

    async def load(self, address: str) -> replica_pb2.ReplicaLoad:
        """Ask one replica for its load."""
        async with self._stub(address) as stub:
            call = stub.WatchLoad(replica_pb2.WatchLoadRequest(), timeout=TIMEOUT_S)
            responses = responses_of(call)
            try:
                response = await anext(responses)
            finally:
                call.cancel()
            load: replica_pb2.ReplicaLoad = response.load
            return load

    async def cordon(self, address: str, cordoned: bool) -> replica_pb2.ReplicaLoad:
        """Let a replica take no new streams, or take them again."""
        async with self._stub(address) as stub:
            with translated_errors():
                answer = await stub.Cordon(
                    replica_pb2.CordonRequest(cordoned=cordoned), timeout=TIMEOUT_S
                )
            load: replica_pb2.ReplicaLoad = answer.load
            return load

    async def begin_emptying(self, address: str) -> None:
        """Cordon a replica and let it hand over its streams, without waiting for it."""
        async with self._stub(address) as stub:
            with translated_errors():
                await stub.Empty(replica_pb2.EmptyRequest(), timeout=TIMEOUT_S)

    async def empty(self, address: str, *, timeout_s: float) -> None:
        """Cordon a replica and wait until it has handed all its streams over.

        Raises:
            Expired: NOT_EMPTY, streams are left that cannot be handed over.
        """
        await self.begin_emptying(address)
        end_s = time.monotonic() + timeout_s
        while (load := await self.load(address)).held_count:
            if time.monotonic() >= end_s:
                raise Expired(
                    f"{load.held_count} streams are still at {address} after {timeout_s:g} s; it "
                    "stays cordoned: wait for them, or uncordon it",
                    reason="NOT_EMPTY",
                )
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _report(self, endpoint: Endpoint) -> Report:
        try:
            return Report(endpoint=endpoint, load=await self.load(endpoint.address))
        except ParlanteError as error:
            return Report(endpoint=endpoint, fault=error.reason)

    @asynccontextmanager
    async def _stub(self, address: str) -> AsyncIterator[Any]:
        channel: grpc.aio.Channel = open_channel(address, tls=self._tls, options=self._options)
        async with channel:
            yield replica_pb2_grpc.ReplicaServiceStub(channel)  # type: ignore[no-untyped-call]


def removal_order(reports: list[Report]) -> list[str]:
    """Give the names of replicas, those first that a scale-in should take: the emptiest."""
    known = [report for report in reports if report.load is not None and report.endpoint.name]

    def order(report: Report) -> tuple[bool, int, str]:
        assert report.load is not None
        num_used = report.load.held_count + report.load.leased_count
        return (not report.load.cordoned, num_used, report.endpoint.name)

    return [report.endpoint.name for report in sorted(known, key=order)]
