"""Scale-in against an API server: noted, cordoned, emptied, and only then lowered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kubernetes")

from kubernetes.aio import client

from parlante.aio import cancel_and_wait, closing
from parlante.fleet.endpoint_slices import EndpointSliceDiscovery
from parlante.fleet.endpoints import Endpoint, KubernetesTarget
from parlante.fleet.leader_lease import LeaderLease
from parlante.fleet.motion import FleetMotion
from parlante.fleet.operator import Operator, Report
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.scale_guard import COST_ANNOTATION, LEAVES_NOW, ScaleGuard
from parlante.fleet.scale_in import Policy, fits_without
from parlante.types import AudioChunk, MotionConfig, MotionInput
from parlante.v1 import replica_pb2
from tests.fakes.fleet import serve_fleet, until_open
from tests.fakes.kubernetes_api import (
    FakeKubernetes,
    ReplicaSetController,
    endpoint_slice,
    serve_kubernetes,
)
from tests.fakes.motion import FakeMotion
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually

DEPLOYMENT = "parlante-motion"
TARGET = KubernetesTarget(service=DEPLOYMENT, namespace="default", port="grpc")
POLICY = Policy(deployment=DEPLOYMENT, quiet_s=0.0)


@dataclass
class Cluster:
    """Some replicas, each a pod with a server of its own, and what watches over them."""

    kubernetes: FakeKubernetes
    replicas: dict[str, FakeStages]
    connection: Any
    discovery: EndpointSliceDiscovery
    deleted: list[tuple[str, int]] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Replicas that are wanted."""
        number: int = self.kubernetes.item("deployments", DEPLOYMENT)["spec"]["replicas"]
        return number

    @number.setter
    def number(self, number: int) -> None:
        self.kubernetes.put(_deployment(number), "deployments")

    def guard(self, policy: Policy = POLICY, *, name: str = "guard-1") -> tuple[Any, LeaderLease]:
        """Make a guard and its lease."""
        lease = LeaderLease(client.CoordinationV1Api(self.connection), "default", name)
        guard = ScaleGuard(
            self.connection,
            "default",
            Operator(),
            {"motion": self.discovery},
            lease=lease,
            policies={"motion": policy},
        )
        return guard, lease

    def discover(self) -> EndpointSliceDiscovery:
        """Make one more watch on the replicas."""
        configuration = client.Configuration(host=self.kubernetes.url)
        return EndpointSliceDiscovery(TARGET, configuration=configuration)

    async def delete(self, pod: str) -> None:
        """Do what the kubelet and the slices' controller do with a pod that is deleted."""
        replica = self.replicas[pod]
        self.deleted.append((pod, replica.slots.num_held))
        await replica.server.drain(grace_s=2.0)
        self.kubernetes.delete(f"slice-{pod}")


def _deployment(number: int) -> dict[str, Any]:
    metadata = {"name": DEPLOYMENT, "namespace": "default"}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": number}}


@asynccontextmanager
async def _cluster(num_replicas: int = 3) -> AsyncIterator[Cluster]:
    async with (
        serve_kubernetes() as kubernetes,
        serve_fleet(num_replicas, lambda: FakeStages(motion=FakeMotion(block_frames=2))) as served,
    ):
        kubernetes.put(_deployment(num_replicas), "deployments")
        replicas: dict[str, FakeStages] = {}
        for index, replica in enumerate(served):
            pod = f"pod-{index}"
            replicas[pod] = replica
            kubernetes.put({"kind": "Pod", "metadata": {"name": pod}}, "pods")
            item = endpoint_slice(f"slice-{pod}", "127.0.0.1", port=replica.server.port)
            item["endpoints"][0]["targetRef"]["name"] = pod
            kubernetes.put(item)
        configuration = client.Configuration(host=kubernetes.url)
        discovery = EndpointSliceDiscovery(TARGET, configuration=configuration)
        async with client.ApiClient(configuration) as connection:
            await discovery.start()
            try:
                await eventually(lambda: len(discovery.known.endpoints) == num_replicas)
                yield Cluster(kubernetes, replicas, connection, discovery)
            finally:
                await discovery.aclose()


async def _look(guard: Any, lease: LeaderLease) -> None:
    assert await lease.take()
    await guard.look()


async def _speech(num_frames: int) -> AsyncIterator[MotionInput]:
    for frame in range(num_frames):
        yield AudioChunk(start_sample=frame * 640, samples=np.full(640, frame, np.int16))
        await asyncio.sleep(0.01)


async def _frames(pool: ReplicaPool, num_frames: int) -> list[int]:
    frames: list[int] = []
    async with closing(FleetMotion(pool).stream(MotionConfig(), _speech(num_frames))) as blocks:
        async for block in blocks:
            frames += range(block.start_frame, block.start_frame + len(block.values))
    return frames


async def test_a_replica_too_many_is_emptied_and_then_goes() -> None:
    async with _cluster() as cluster, ReplicaPool("motion", cluster.discover()) as pool:
        await until_open(pool, 3)
        controller = ReplicaSetController(
            cluster.kubernetes, DEPLOYMENT, list(cluster.replicas), cluster.delete
        )
        following = asyncio.create_task(controller.run())
        streams = [asyncio.create_task(_frames(pool, 200)) for _ in range(3)]
        try:
            held = {pod: replica.slots for pod, replica in cluster.replicas.items()}
            await eventually(lambda: all(slots.num_held == 1 for slots in held.values()))
            guard, lease = cluster.guard()
            async with asyncio.timeout(20.0):
                while cluster.number == 3:
                    await _look(guard, lease)
                    await asyncio.sleep(0.02)
                while lease.notes:
                    await _look(guard, lease)
                    await asyncio.sleep(0.02)
            seen = await asyncio.gather(*streams)
        finally:
            await cancel_and_wait(following, *streams)
    assert seen == [list(range(200))] * 3
    ((gone, num_held),) = cluster.deleted
    assert num_held == 0
    assert cluster.number == 2
    rest = [replica for pod, replica in cluster.replicas.items() if pod != gone]
    assert not any(replica.slots.cordoned for replica in rest)


async def test_nothing_is_taken_below_the_least_number_or_above_the_share() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard(Policy(deployment=DEPLOYMENT, min_replicas=3, quiet_s=0.0))
        await _look(guard, lease)
        assert not lease.notes
        guard, lease = cluster.guard()
        slots = cluster.replicas["pod-0"].slots
        leases = [f"lease-{number}" for number in range(8)]
        for name in leases:
            slots.lease(name, 60.0)
        cluster.replicas["pod-1"].slots.lease("one too many", 60.0)  # 9 of 2 x 8 x 0.5 = 8
        await _look(guard, lease)
        assert not lease.notes
        cluster.replicas["pod-1"].slots.release("one too many")
        await _look(guard, lease)
        assert lease.notes["motion"] in ("pod-1", "pod-2")


async def test_it_must_be_too_many_for_a_while() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard(Policy(deployment=DEPLOYMENT, quiet_s=0.3))
        await _look(guard, lease)
        assert not lease.notes
        await asyncio.sleep(0.35)
        await _look(guard, lease)
        assert lease.notes


async def test_a_rollout_and_replicas_that_do_not_answer_hold_everything_up() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        cluster.number = 4  # one is still to come
        await _look(guard, lease)
        assert not lease.notes
        cluster.number = 3
        cluster.replicas["pod-2"].lifecycle.serving = False
        await _look(guard, lease)
        assert not lease.notes


async def test_an_operators_cordon_is_left_alone() -> None:
    async with _cluster() as cluster:
        cluster.replicas["pod-0"].slots.cordon(True)
        guard, lease = cluster.guard()
        await _look(guard, lease)
        assert lease.notes["motion"] != "pod-0"
        await _look(guard, lease)
        assert cluster.number == 2
        assert cluster.replicas["pod-0"].slots.cordoned


async def test_a_replica_that_is_needed_again_is_used_again() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        for pod in ("pod-0", "pod-1", "pod-2"):
            cluster.replicas[pod].slots.lease("a", 60.0)
        await _look(guard, lease)
        leaving = cluster.replicas[lease.notes["motion"]]
        assert leaving.slots.cordoned
        rest = [one for one in cluster.replicas.values() if one is not leaving]
        for number in range(7):
            rest[0].slots.lease(f"more-{number}", 60.0)
        await _look(guard, lease)
        assert not lease.notes
        assert not leaving.slots.cordoned
        assert cluster.number == 3


async def test_a_replica_that_does_not_get_empty_is_used_again() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        for replica in cluster.replicas.values():
            replica.slots.lease("stays", 60.0)
        for _ in range(3):
            await _look(guard, lease)
        pod = lease.notes["motion"]
        assert cluster.replicas[pod].slots.cordoned
        hasty, lease = cluster.guard(Policy(deployment=DEPLOYMENT, quiet_s=9.0, give_up_s=0.0))
        for _ in range(2):
            await _look(hasty, lease)
        assert not cluster.replicas[pod].slots.cordoned
        assert (lease.notes, cluster.number) == ({}, 3)


async def test_the_next_leader_goes_on_where_the_last_one_was() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        await _look(guard, lease)
        pod = lease.notes["motion"]
        cluster.kubernetes.item("leases", "parlante-scale-guard")["spec"]["holderIdentity"] = ""
        other, others = cluster.guard(name="guard-2")
        await _look(other, others)
        assert cluster.number == 2
        costs = cluster.kubernetes.item("pods", pod)["metadata"]["annotations"]
        assert costs[COST_ANNOTATION] == LEAVES_NOW
        # Whoever no longer leads cannot say what the leader knows.
        assert not await lease.take()
        assert not await lease.note("motion", "")
        assert others.notes == {"motion": pod}


async def test_a_number_that_someone_changes_meanwhile_is_not_lowered() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        await _look(guard, lease)
        api = guard._scale_ins["motion"]._api
        read = api.read_namespaced_deployment_scale

        async def read_and_raise(*names: str) -> Any:
            scale = await read(*names)
            cluster.number = 4  # an autoscaler, in between
            return scale

        api.read_namespaced_deployment_scale = read_and_raise
        await _look(guard, lease)
        assert cluster.number == 4


async def test_an_api_server_that_is_away_holds_it_up_and_no_more() -> None:
    async with _cluster() as cluster:
        guard, lease = cluster.guard()
        await _look(guard, lease)
        cluster.kubernetes.fail_with = 500
        await guard.look()
        assert not await lease.take()
        cluster.kubernetes.fail_with = 0
        await _look(guard, lease)
        assert cluster.number == 2


def _report(name: str, held: int, *, slots: int = 8, **load: bool) -> Report:
    fields: dict[str, Any] = {"serving": True, **load}
    answer = replica_pb2.ReplicaLoad(replica=name, held_count=held, slot_count=slots, **fields)
    return Report(endpoint=Endpoint(address=f"{name}:1", name=name), load=answer)


@pytest.mark.parametrize(
    ("held", "fits"), [((0, 4, 4), True), ((1, 4, 4), False), ((8, 0, 0), True), ((0, 8, 1), False)]
)
def test_what_is_used_must_fit_into_the_rest(held: tuple[int, ...], fits: bool) -> None:
    reports = [_report(f"r{index}", number) for index, number in enumerate(held)]
    assert fits_without(reports[0], reports, 0.5) is fits


def test_the_slots_of_cordoned_replicas_do_not_count_and_silent_ones_stop_it() -> None:
    out, rest = _report("a", 0), _report("b", 4)
    assert fits_without(out, [out, rest], 0.5)
    cordoned = _report("c", 1, cordoned=True)
    assert not fits_without(out, [out, rest, cordoned], 0.5)
    silent = Report(endpoint=Endpoint(address="d:1", name="d"), fault="UNAVAILABLE")
    assert not fits_without(out, [out, rest, silent], 0.5)
    assert not fits_without(out, [out], 0.5)
