"""Leases, load reports, and who is asked."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import numpy as np
import pytest

from gateway import wiring
from gateway.config import GatewayConfig
from parlante.aio import cancel_and_wait
from parlante.errors import InvalidInput, Overloaded, Unavailable
from parlante.fleet.endpoints import Endpoint, EndpointSet
from parlante.fleet.motion import FleetMotion
from parlante.fleet.motion_log import MotionLog
from parlante.fleet.placement import favourites
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.relay import Relay
from parlante.rpc.replica import ReplicaServicer
from parlante.rpc.server import ServerConfig
from parlante.rpc.slots import Slots
from parlante.telemetry import ATTRIBUTE_REASON, ATTRIBUTE_STAGE
from parlante.types import AudioChunk, MotionBlock, MotionConfig, MotionInput
from parlante.v1 import replica_pb2, replica_pb2_grpc
from tests.fakes.fleet import fake_pool, serve_fleet, until_open
from tests.fakes.metrics import counts, read_metrics
from tests.fakes.stages import FakeStages, serve_fakes
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


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _two_slots() -> FakeStages:
    return FakeStages(slots=Slots(2, what="test"))


async def test_leases_go_to_the_favourite_and_then_to_the_rest_until_all_is_full() -> None:
    async with serve_fleet(3, _two_slots) as replicas, fake_pool("renderer", *replicas) as pool:
        await until_open(pool, 3)
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
        await until_open(pool, 3)
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
        await until_open(pool, 1)
        for _ in range(2):
            assert (await pool.acquire()).replica.endpoint.address == second.target
        with pytest.raises(Overloaded):
            await pool.acquire()
        await stub.Cordon(replica_pb2.CordonRequest(cordoned=False))
        await until_open(pool, 2)
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


async def test_a_caller_that_asks_again_does_not_wait_for_anybody() -> None:
    """Each request of a stream that had lost the last replica took a second."""
    async with ReplicaPool("motion", ChangingDiscovery("127.0.0.1:1"), now_s=lambda: 0.0) as pool:
        async with asyncio.timeout(5.0):  # whoever waits does so for ever, as time stands still
            with pytest.raises(Unavailable) as failed:
                await pool.acquire(patience_s=0.0)
    assert failed.value.reason == "STAGE_UNAVAILABLE"


# --- who is not heard of yet, and who does not answer ------------------------------------------


async def test_nobody_is_refused_because_a_replica_has_not_been_heard_of_yet() -> None:
    """A gateway that had just come up refused sessions while the second replica had all its slots.

    It knew the replica's address, but its connection was not there yet, and so it never asked.
    """
    async with serve_fleet(1, _two_slots) as (first,):
        late = FakeStages(slots=Slots(2, what="test"))
        port = _free_port()
        discovery = ChangingDiscovery(first.target, f"127.0.0.1:{port}")
        async with ReplicaPool("motion", discovery) as pool, AsyncExitStack() as stack:
            await eventually(lambda: pool.is_open)
            for _ in range(2):
                assert (await pool.acquire()).replica.endpoint.address == first.target
            asking = asyncio.create_task(pool.acquire(patience_s=5.0))
            await eventually(lambda: first.slots.counts.num_refused == 1)
            assert not asking.done()
            config = ServerConfig(host="127.0.0.1", port=port)
            await stack.enter_async_context(serve_fakes(late, config=config))
            assert (await asking).replica.endpoint.address == late.target
            assert pool.is_complete


async def test_a_refusal_waits_for_a_silent_replica_only_so_long() -> None:
    async with serve_fleet(1, _two_slots) as (only,):
        discovery = ChangingDiscovery(only.target, "127.0.0.1:1")
        async with ReplicaPool("motion", discovery) as pool:
            await eventually(lambda: pool.is_open)
            for _ in range(2):
                await pool.acquire()
            with pytest.raises(Overloaded):
                await pool.acquire(patience_s=0.1)
            assert not pool.is_complete


class Muting:
    """Lets replicas serve requests for a slot without answering them.

    Attributes:
        slots: Those of the replicas that do not answer.
        num_left: So many requests more are not answered.
        served: Leases of those requests.
    """

    def __init__(self) -> None:
        self.slots: set[Slots] = set()
        self.num_left = 1_000
        self.served: list[str] = []


@pytest.fixture
def muting(monkeypatch: pytest.MonkeyPatch) -> Muting:
    muting, acquire = Muting(), ReplicaServicer.AcquireSlot

    async def acquire_slot(
        self: ReplicaServicer, request: replica_pb2.AcquireSlotRequest, context: object
    ) -> replica_pb2.AcquireSlotResponse:
        answer = await acquire(self, request, context)
        if self._slots in muting.slots and muting.num_left > 0:
            muting.num_left -= 1
            muting.served.append(request.lease_id)
            await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(ReplicaServicer, "AcquireSlot", acquire_slot)
    return muting


async def test_a_lease_whose_answer_does_not_come_is_taken_elsewhere_and_given_back(
    muting: Muting,
) -> None:
    """The caller's session failed with DEADLINE_EXCEEDED, and the slot was lost for 5 s."""
    async with serve_fleet(2, _two_slots) as replicas, fake_pool("motion", *replicas) as pool:
        await eventually(lambda: pool.is_complete)
        asked_first = pool.ordered("")[0].endpoint.address
        mute, other = sorted(replicas, key=lambda one: one.target != asked_first)
        muting.slots.add(mute.slots)
        assert (await pool.acquire()).replica.endpoint.address == other.target
        assert len(muting.served) == 1
        await eventually(lambda: mute.slots.counts.num_leased == 0)
        assert sum(replica.num_asked for replica in pool.replicas) == 0


async def test_a_replica_that_did_not_answer_is_asked_once_more_before_a_refusal(
    muting: Muting,
) -> None:
    async with serve_fleet(1, _two_slots) as (only,), fake_pool("motion", only) as pool:
        await eventually(lambda: pool.is_complete)
        muting.slots.add(only.slots)
        muting.num_left = 1
        lease = await pool.acquire()
        assert lease.lease_id not in muting.served
        await eventually(lambda: only.slots.counts.num_leased == 1)


async def test_a_caller_that_does_not_wait_for_its_lease_loses_no_slot(muting: Muting) -> None:
    async with serve_fleet(1, _two_slots) as (only,), fake_pool("motion", only) as pool:
        await eventually(lambda: pool.is_complete)
        muting.slots.add(only.slots)
        asking = asyncio.create_task(pool.acquire())
        await eventually(lambda: only.slots.counts.num_leased == 1)
        await cancel_and_wait(asking)
        await eventually(lambda: only.slots.counts.num_leased == 0)


async def test_a_lease_that_no_stream_came_of_is_given_back() -> None:
    async with serve_fleet(1, _two_slots) as (only,), fake_pool("motion", only) as pool:
        await eventually(lambda: pool.is_complete)
        lease = await pool.acquire()

        async def fail(*_: object) -> AsyncIterator[MotionBlock]:
            raise InvalidInput("not so", reason="TEST")
            yield

        relay: Relay[MotionInput, MotionBlock] = Relay(
            pool, MotionLog(MotionConfig()), fail, lease=lease
        )
        with pytest.raises(InvalidInput):
            await anext(relay.run(forever()))
        await eventually(lambda: only.slots.counts.num_leased == 0)


async def test_a_stage_is_asked_what_it_is_though_one_slot_only_is_free() -> None:
    """A gateway leased a slot for its question and took another one to ask it."""
    async with serve_fleet(1, _two_slots) as (only,), fake_pool("motion", only) as pool:
        with only.slots.hold():
            assert (await FleetMotion(pool).traits()).bundle_digest == only.motion.bundle_digest


async def test_a_gateway_comes_up_though_the_fleet_is_full() -> None:
    """One that took another's place in a full fleet waited for a slot, and so did its sessions."""
    async with serve_fleet(1, _two_slots) as (only,):
        target = only.target
        config = GatewayConfig(
            encoder_address=target, motion_address=target, renderer_address=target
        )
        with only.slots.hold(), only.slots.hold():
            async with asyncio.timeout(5.0), wiring.remote(config) as stages:
                await stages.warm_up()
                with pytest.raises(Overloaded):
                    async with stages.admitted("anna", frames=True):
                        pass


async def test_a_gateway_says_which_stage_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `parlante serve`, which shows warnings only, it waited for ever without a word."""
    monkeypatch.setattr(wiring, "_SILENT_S", 0.1)
    nobody = "127.0.0.1:9"
    config = GatewayConfig(encoder_address=nobody, motion_address=nobody, renderer_address=nobody)
    async with wiring.remote(config) as stages:
        with caplog.at_level(logging.WARNING), suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await stages.warm_up()
    told = [record.stage for record in caplog.records if "no replica" in record.message]
    assert told == ["encoder"]


async def test_a_stage_without_replicas_is_a_series_of_noughts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alerts are about there being none, and about moves that come all at once."""
    reader = read_metrics(monkeypatch)
    async with fake_pool("motion"):
        assert counts(reader, "parlante.replicas.known", ATTRIBUTE_STAGE) == {"motion": 0}
        moves = counts(reader, "parlante.failovers", ATTRIBUTE_REASON)
        assert moves["UNAVAILABLE"] == moves["HANDED_OVER"] == 0
