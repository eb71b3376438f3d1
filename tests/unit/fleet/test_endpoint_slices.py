"""Discovery against an API server that compacts, cuts, hangs and goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("kubernetes")

from kubernetes.aio import client

from parlante.errors import InvalidInput
from parlante.fleet.endpoint_slices import EndpointSliceDiscovery, endpoints_of
from parlante.fleet.endpoints import Endpoint, KubernetesTarget
from tests.fakes.kubernetes_api import FakeKubernetes, endpoint_slice, serve_kubernetes
from tests.fakes.wire import eventually

TARGET = "k8s:///parlante-motion.avatars:grpc"


@pytest_asyncio.fixture
async def kubernetes() -> AsyncIterator[FakeKubernetes]:
    async with serve_kubernetes() as server:
        yield server


Discover = Callable[..., Any]


@pytest_asyncio.fixture
async def discover(kubernetes: FakeKubernetes) -> AsyncIterator[Discover]:
    """Start a discovery with short pauses."""
    started: list[EndpointSliceDiscovery] = []

    async def make(**options: Any) -> EndpointSliceDiscovery:
        configuration = client.Configuration(host=kubernetes.url)
        options = {"watch_s": 60, "min_backoff_s": 0.02, "max_backoff_s": 0.1, **options}
        discovery = EndpointSliceDiscovery(
            KubernetesTarget.parse(TARGET), configuration=configuration, **options
        )
        started.append(discovery)
        await discovery.start()
        return discovery

    yield make
    for discovery in started:
        await discovery.aclose()


def _addresses(discovery: EndpointSliceDiscovery) -> list[str]:
    return sorted(endpoint.address for endpoint in discovery.known.endpoints)


async def _until(discovery: EndpointSliceDiscovery, *hosts: str) -> None:
    wanted = [f"{host}:50052" for host in hosts]
    await eventually(lambda: _addresses(discovery) == wanted)


async def test_what_is_there_and_what_comes_and_goes(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1", "10.0.0.2", zone="a"))
    kubernetes.put(endpoint_slice("r-1", "10.0.9.9", service="parlante-renderer"))
    discovery = await discover()
    await _until(discovery, "10.0.0.1", "10.0.0.2")
    kubernetes.put(endpoint_slice("m-2", "10.0.0.3", zone="b"))
    await _until(discovery, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    kubernetes.delete("m-1")
    await _until(discovery, "10.0.0.3")
    (left,) = discovery.known.endpoints
    assert (left.zone, left.node, left.name) == ("b", "node-1", "pod-10.0.0.3")
    assert discovery.num_lists == 1


async def test_one_that_ends_is_seen_draining_before_it_goes(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1", "10.0.0.2"))
    discovery = await discover()
    await _until(discovery, "10.0.0.1", "10.0.0.2")
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1", "10.0.0.2", draining=("10.0.0.2",)))
    await eventually(lambda: sum(e.draining for e in discovery.known.endpoints) == 1)


async def test_no_ghost_is_left_of_what_was_deleted_while_the_server_was_away(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1"))
    kubernetes.put(endpoint_slice("m-2", "10.0.0.2"))
    discovery = await discover()
    await _until(discovery, "10.0.0.1", "10.0.0.2")
    await kubernetes.stop()
    kubernetes.delete("m-1")
    await asyncio.sleep(0.3)
    assert _addresses(discovery) == ["10.0.0.1:50052", "10.0.0.2:50052"]  # the last known good
    await kubernetes.start()
    await _until(discovery, "10.0.0.2")


async def test_a_version_that_is_too_old_is_listed_anew(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1"))
    discovery = await discover()
    await _until(discovery, "10.0.0.1")
    kubernetes.fail_with = 503
    kubernetes.cut_watches()
    await asyncio.sleep(0.1)
    kubernetes.put(endpoint_slice("m-1", "10.0.0.7"))
    kubernetes.compact()
    kubernetes.fail_with = 0
    await _until(discovery, "10.0.0.7")


async def test_a_watch_that_is_refused_as_too_old_begins_again(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1"))
    discovery = await discover()
    await _until(discovery, "10.0.0.1")
    kubernetes.expire_watches = True
    kubernetes.cut_watches()
    await eventually(lambda: discovery.num_lists >= 3)
    kubernetes.expire_watches = False
    kubernetes.put(endpoint_slice("m-1", "10.0.0.2"))
    await _until(discovery, "10.0.0.2")


async def test_pages_are_put_together(
    kubernetes: FakeKubernetes, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parlante.fleet.endpoint_slices.PAGE_SIZE", 2)
    for number in range(5):
        kubernetes.put(endpoint_slice(f"m-{number}", f"10.0.0.{number}"))
    discovery = await discover()
    await _until(discovery, *(f"10.0.0.{number}" for number in range(5)))
    lists = [request for request in kubernetes.requests if "watch" not in request]
    assert len(lists) == 3


async def test_watches_end_in_time_and_everything_is_listed_again(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    discovery = await discover(watch_s=1)
    await eventually(lambda: discovery.num_lists >= 2, timeout_s=4)
    kubernetes.put(endpoint_slice("m-1", "10.0.0.1"))
    await _until(discovery, "10.0.0.1")


async def test_an_absent_server_is_asked_ever_more_rarely(
    kubernetes: FakeKubernetes, discover: Discover
) -> None:
    kubernetes.fail_with = 500
    await discover(min_backoff_s=0.05, max_backoff_s=10.0)
    await asyncio.sleep(1.2)
    assert 3 <= len(kubernetes.requests) <= 9


def test_what_does_not_serve_is_no_endpoint() -> None:
    item = endpoint_slice("m-1", "10.0.0.1")
    item["endpoints"][0]["conditions"] = {"ready": False, "serving": False, "terminating": True}
    assert endpoints_of(item, "grpc") == []
    assert endpoints_of(endpoint_slice("m-1", "10.0.0.1"), "other") == []


def test_what_a_service_publishes_although_it_is_not_ready_is_an_endpoint() -> None:
    """So gateways that are cordoned are found by operators."""
    item = endpoint_slice("m-1", "10.0.0.1")
    item["endpoints"][0]["conditions"] = {"ready": True, "serving": False, "terminating": False}
    (found,) = endpoints_of(item, "grpc")
    assert not found.draining


def test_a_port_may_be_a_number_and_an_address_of_version_6() -> None:
    item = endpoint_slice("m-1", "fd00::1")
    (found,) = endpoints_of(item, "50052")
    assert found == Endpoint(address="[fd00::1]:50052", name="pod-fd00::1", node="node-1")


@pytest.mark.parametrize("target", ["k8s:///:grpc", "k8s:///a.b", "k8s://a.b:grpc", "k8s:///A.b:1"])
def test_malformed_targets_are_refused(target: str) -> None:
    with pytest.raises(InvalidInput):
        KubernetesTarget.parse(target)
