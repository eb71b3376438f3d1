"""parlantectl against served fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes.aio.config import kube_config

from parlante import __version__ as VERSION
from parlante.cli import ctl
from parlante.fleet.endpoints import Endpoint, EndpointSet
from parlante.fleet.operator import Operator, Report, removal_order
from parlante.v1 import replica_pb2
from tests.fakes.fleet import serve_fleet
from tests.fakes.kubernetes_api import endpoint_slice, serve_kubernetes


async def _ctl(*arguments: str) -> int:
    return await asyncio.to_thread(ctl.main, arguments)


async def test_status_shows_every_replica(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve_fleet(2) as (one, two):
        with one.slots.hold():
            target = f"motion={one.target},{two.target},127.0.0.1:1"
            assert await _ctl("status", "--stage", target) == 1  # one does not answer
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert sorted(line.split()[3] for line in lines[1:] if "serving" in line) == ["0", "1"]


async def test_cordon_and_uncordon(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve_fleet(1) as (one,):
        assert await _ctl("cordon", one.target) == 0
        assert one.slots.cordoned
        assert await _ctl("uncordon", one.target) == 0
        assert not one.slots.cordoned
    assert "cordoned, 0 streams go on" in capsys.readouterr().out


async def test_drain_says_when_something_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve_fleet(1) as (one,):
        with one.slots.hold():
            assert await _ctl("drain", one.target, "--timeout", "0.3") == 1
        assert await _ctl("drain", one.target) == 0
    captured = capsys.readouterr()
    assert "NOT_EMPTY" in captured.err
    assert "empty and cordoned" in captured.out


async def test_doctor_finds_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve_fleet(1) as (one,):
        one.slots.cordon(True)
        assert await _ctl("doctor", "--stage", f"motion={one.target},127.0.0.1:1") == 1
    found = capsys.readouterr().out
    for text in ("does not answer", "serves fake", "no replica takes streams", "one replica only"):
        assert text in found


async def test_stages_of_the_environment_are_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_fleet(2) as (one, two):
        monkeypatch.setenv("PARLANTECTL_STAGES", f"motion={one.target}  renderer={two.target}\n")
        assert await _ctl("status") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["motion", "renderer"]
        # What is said wins.
        assert await _ctl("status", "--stage", f"encoder={one.target}") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the commands find an API server as a person's do."""

    def write(url: str) -> None:
        named = {"name": "test"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{**named, "cluster": {"server": url}}],
            "users": [{**named, "user": {}}],
        }
        (tmp_path / "config").write_text(json.dumps(content))
        # The client reads the variable KUBECONFIG when it is imported.
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))

    return write


async def test_replicas_of_a_cluster_are_found_and_what_hinders_is_said(
    capsys: pytest.CaptureFixture[str], kubeconfig: Callable[[str], None]
) -> None:
    target = ("--stage", "motion=k8s:///parlante-motion.parlante:grpc")
    async with serve_fleet(1) as (one,), serve_kubernetes() as api:
        kubeconfig(api.url)
        port = one.server.port
        api.put(endpoint_slice("motion-1", "127.0.0.1", port=port, zone="zone-a"))
        assert await _ctl("status", *target) == 0
        (line,) = capsys.readouterr().out.splitlines()[1:]
        assert line.split()[2:] == [f"127.0.0.1:{port}", "zone-a", "0", "8", "serving", VERSION]
        api.delete("motion-1")
        assert await _ctl("status", *target) == 1
        assert "nobody is there" in capsys.readouterr().out
        api.fail_with = 403
        assert await _ctl("status", *target) == 1
        assert "API server: 403" in capsys.readouterr().out
        assert await _ctl("doctor", *target) == 1
        found = capsys.readouterr().out
    assert "the right to get, list and watch endpointslices" in found
    assert "nobody is there" not in found


async def test_wrong_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert await _ctl("status", "--stage", "mouth=a:1") == 2
    assert await _ctl("status", "--stage", "motion=nonsense") == 2
    guard = ("scale-guard", "--stage", "motion=127.0.0.1:1", "--scale-in")
    for wrong in ("renderer=parlante-renderer", "motion=", "motion=name:none", "motion"):
        assert await _ctl(*guard, wrong) == 2


def _report(name: str, held: int, *, cordoned: bool = False) -> Report:
    load = replica_pb2.ReplicaLoad(replica=name, held_count=held, cordoned=cordoned)
    return Report(endpoint=Endpoint(address=f"{name}:1", name=name), load=load)


def test_the_emptiest_goes_first_and_a_cordoned_one_before_it() -> None:
    reports = [_report("a", 3), _report("b", 1), _report("c", 5, cordoned=True)]
    reports.append(Report(endpoint=Endpoint(address="d:1", name="d"), fault="UNAVAILABLE"))
    assert removal_order(reports) == ["c", "b", "a"]


async def test_the_guard_marks_the_emptiest_pod_and_patches_on_change_only() -> None:
    client = pytest.importorskip("kubernetes.aio").client
    from parlante.fleet.leader_lease import LeaderLease
    from parlante.fleet.scale_guard import COST_ANNOTATION, ScaleGuard

    class Known:
        """Two named replicas."""

        def __init__(self, *endpoints: Endpoint) -> None:
            self.known = EndpointSet(frozenset(endpoints))

        async def start(self) -> None:
            """Nothing to begin."""

        async def aclose(self) -> None:
            """Nothing to stop."""

    async with serve_kubernetes() as kubernetes, serve_fleet(2) as (one, two):
        for name in ("pod-1", "pod-2"):
            kubernetes.put({"kind": "Pod", "metadata": {"name": name}}, "pods")
        known = Known(
            Endpoint(address=one.target, name="pod-1"), Endpoint(address=two.target, name="pod-2")
        )
        configuration = client.Configuration(host=kubernetes.url)
        async with client.ApiClient(configuration) as connection:
            guard = ScaleGuard(
                connection,
                "default",
                Operator(),
                {"motion": known},
                lease=LeaderLease(client.CoordinationV1Api(connection), "default", "a"),
                min_patch_interval_s=0.0,
            )
            with one.slots.hold():
                await guard.look()
            assert [pod for pod, _ in kubernetes.patches] == ["pod-2"]
            with two.slots.hold():
                await guard.look()
            assert [pod for pod, _ in kubernetes.patches] == ["pod-2", "pod-1", "pod-2"]
            costs = {
                name: kubernetes.item("pods", name)["metadata"]["annotations"][COST_ANNOTATION]
                for name in ("pod-1", "pod-2")
            }
            assert costs == {"pod-1": "-100", "pod-2": "0"}


async def test_one_guard_leads_until_it_is_gone() -> None:
    client = pytest.importorskip("kubernetes.aio").client
    from parlante.fleet.leader_lease import LEASE_NAME, LEASE_S, LeaderLease

    now = datetime(2030, 1, 1, tzinfo=UTC)
    async with serve_kubernetes() as kubernetes:
        configuration = client.Configuration(host=kubernetes.url)
        async with client.ApiClient(configuration) as connection:
            api = client.CoordinationV1Api(connection)
            one, two = (LeaderLease(api, "default", name, now=lambda: now) for name in "ab")
            assert [await one.take(), await two.take(), await one.take()] == [True, False, True]
            assert kubernetes.item("leases", LEASE_NAME)["spec"]["holderIdentity"] == "a"
            now += timedelta(seconds=LEASE_S + 1)
            assert sorted(await asyncio.gather(two.take(), two.take())) != [False, False]
            assert not await one.take()
            kubernetes.fail_with = 500
            assert not await two.take()
