"""Leases, load reports, and who is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import numpy as np
import pytest

from parlante.errors import Overloaded, Unavailable
from parlante.fleet.endpoints import Endpoint, EndpointSet
from parlante.fleet.motion import FleetMotion
from parlante.fleet.placement import favourites
from parlante.fleet.pool import ReplicaPool
from parlante.rpc.slots import Slots
from parlante.types import AudioChunk, MotionConfig, MotionInput
from parlante.v1 import replica_pb2, replica_pb2_grpc
from tests.fakes.fleet import fake_pool, serve_fleet
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually, forever


class ChangingDiscovery:
    """Endpoints that a test sets."""

    def __init__(self, *addresses: str) -> None:
        self.known = EndpointSet()
        self.put(*addresses)

    def put(self, *addresses: str, draining: tuple[str, ...] = ()) -> None:
        """Replace what is known."""
        found = (Endpoint(address=a, draining=a in draining) for a in addresses)
        self.known.put(frozenset(found))

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        """Nothing to stop."""


def _two_slots() -> FakeStages:
    return FakeStages(slots=Slots(2, what="test"))


async def test_leases_go_to_the_favourite_and_then_to_the_rest_until_all_is_full() -> None:
    async with serve_fleet(3, _two_slots) as replicas, fake_pool("renderer", *replicas) as pool:
        await eventually(lambda: all(replica.is_open for replica in pool.replicas))
        order = favourites("anna", [replica.target for replica in replicas], 3)
        got = [(await pool.acquire("anna")).replica.endpoint.address for _ in range(6)]
        assert sorted(got) == sorted(order * 2)
        assert set(got[:4]) == set(order[:2])
        with pytest.raises(Overloaded) as refused:
            await pool.acquire("anna")
        assert refused.value.reason == "NO_FREE_SLOT"
        assert refused.value.retry_after_ms


async def test_many_at_once_never_get_more_than_there_is() -> None:
    async with serve_fleet(3, _two_slots) as replicas, fake_pool("motion", *replicas) as pool:
        await eventually(lambda: all(replica.is_open for replica in pool.replicas))
        results = await asyncio.gather(*(pool.acquire() for _ in range(20)), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        assert {type(error) for error in errors} == {Overloaded}
        assert sum(replica.slots.counts.num_leased for replica in replicas) == 20 - len(errors) == 6


async def test_a_released_lease_is_free_again() -> None:
    async with serve_fleet(1, _two_slots) as (replica,), fake_pool("motion", replica) as pool:
        lease = await pool.acquire()
        assert replica.slots.counts.num_leased == 1
        await lease.release()
        assert replica.slots.counts.num_leased == 0


async def test_a_stream_claims_its_lease() -> None:
    async with serve_fleet(1, _two_slots) as (replica,), fake_pool("motion", replica) as pool:
        lease = await pool.acquire()
        silence = AudioChunk(start_sample=0, samples=np.zeros(640, np.int16))
        inputs: AsyncIterator[MotionInput] = forever([silence])
        blocks = FleetMotion(pool).with_lease(lease).stream(MotionConfig(), inputs)
        await anext(blocks)
        counts = replica.slots.counts
        assert (counts.num_held, counts.num_leased) == (1, 0)
        await blocks.aclose()  # type: ignore[attr-defined]


async def test_new_replicas_are_used_and_draining_ones_are_not() -> None:
    async with serve_fleet(2, _two_slots) as (first, second):
        discovery = ChangingDiscovery(first.target)
        async with ReplicaPool("motion", discovery) as pool:
            assert (await pool.acquire()).replica.endpoint.address == first.target
            discovery.put(first.target, second.target, draining=(first.target,))
            await eventually(lambda: any(r.is_open for r in pool.replicas))
            await eventually(lambda: not pool.replicas[0].is_open)
            assert (await pool.acquire()).replica.endpoint.address == second.target
            discovery.put(second.target)
            await eventually(lambda: len(pool.replicas) == 1)


async def test_a_cordoned_replica_is_left_alone_and_says_so() -> None:
    async with serve_fleet(2, _two_slots) as (first, second), AsyncExitStack() as stack:
        pool = await stack.enter_async_context(fake_pool("motion", first, second))
        stub = replica_pb2_grpc.ReplicaServiceStub(first.channel)  # type: ignore[no-untyped-call]
        answer = await stub.Cordon(replica_pb2.CordonRequest(cordoned=True))
        assert answer.load.cordoned
        await eventually(lambda: all(replica.load for replica in pool.replicas))
        await eventually(lambda: sum(replica.is_open for replica in pool.replicas) == 1)
        for _ in range(2):
            assert (await pool.acquire()).replica.endpoint.address == second.target
        with pytest.raises(Overloaded):
            await pool.acquire()
        await stub.Cordon(replica_pb2.CordonRequest(cordoned=False))
        await eventually(lambda: sum(replica.is_open for replica in pool.replicas) == 2)
        assert (await pool.acquire()).replica.endpoint.address == first.target


async def test_load_reports_follow_the_slots_at_once() -> None:
    async with serve_fleet(1, _two_slots) as (replica,), fake_pool("motion", replica) as pool:
        (known,) = pool.replicas
        await eventually(lambda: known.load is not None)
        with replica.slots.hold():
            await eventually(lambda: known.load is not None and known.load.held_count == 1)
        await eventually(lambda: known.load is not None and known.load.held_count == 0)


async def test_nobody_there_is_unavailable_and_says_which_stage() -> None:
    async with ReplicaPool("motion", ChangingDiscovery("127.0.0.1:1")) as pool:
        with pytest.raises(Unavailable) as failed:
            await pool.acquire()
    assert (failed.value.reason, failed.value.metadata["stage"]) == ("STAGE_UNAVAILABLE", "motion")
