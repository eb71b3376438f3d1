"""Every overlay and component renders, fits its schemas, and keeps to the rules of the fleet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("kubernetes")

from gateway.config import GatewayConfig
from parlante.settings import load
from services.renderer.config import RendererServiceConfig
from tests.deploy.checks import CONFIGS, arguments_of, check
from tests.deploy.network import Edge, edges
from tests.deploy.rendered import COMPONENTS, OVERLAYS, combinations, combined, overlay, pods
from tests.deploy.schema import faults

# All of them are rendered by tests/deploy/every_combination.py.
SOME = [*combinations(range(3)), *combinations(range(len(COMPONENTS) - 2, len(COMPONENTS)))]
EDGES: set[Edge] = {
    ("gateway", "encoder", 50_051),
    ("gateway", "motion", 50_052),
    ("gateway", "renderer", 50_053),
    ("renderer", "encoder", 50_051),
    ("renderer", "valkey", 6379),
    # The guard, and parlantectl in its pods.
    ("scale-guard", "gateway", 50_059),
    ("scale-guard", "encoder", 50_051),
    ("scale-guard", "motion", 50_052),
    ("scale-guard", "renderer", 50_053),
    *((stage, "collector", 4317) for stage in CONFIGS),
}


@pytest.mark.parametrize("combination", SOME, ids="+".join)
def test_any_combination_of_components_holds_the_rules(
    combination: tuple[str, ...], tmp_path: Path
) -> None:
    check(combined(combination, tmp_path), frozenset(combination))


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_holds_the_rules(name: str) -> None:
    items = overlay(name)
    check(items)
    names = [(item["kind"], item["metadata"]["name"]) for item in items]
    assert len(names) == len(set(names))
    namespace = next(item for item in items if item["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_guard_may_lower_what_it_is_told_to_and_nothing_else() -> None:
    items = overlay("prod")
    least = {
        item["metadata"]["name"]: item["spec"]["minReplicaCount"]
        for item in items
        if item["kind"] == "ScaledObject"
    }
    guarded = ("parlante-motion", "parlante-renderer")
    args = arguments_of(pods(items)["parlante-scale-guard"]["spec"]["containers"][0])
    told = dict(arg.partition("=")[2].split(":") for arg in args.scale_in)
    assert {name: int(number) for name, number in told.items()} == {n: least[n] for n in guarded}
    role = next(
        item
        for item in items
        if item["kind"] == "Role" and item["metadata"]["name"] == "parlante-scale-guard"
    )
    (rule,) = [rule for rule in role["rules"] if "deployments/scale" in rule["resources"]]
    assert sorted(rule["resourceNames"]) == sorted(told)
    assert sorted(rule["verbs"]) == ["get", "update"]


def test_the_checker_finds_what_the_client_lets_through() -> None:
    item = next(item for item in overlay("dev") if item["kind"] == "Deployment")
    broken = json.loads(json.dumps(item))
    container = broken["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    broken["spec"]["replicas"] = "2"
    assert len(faults(broken)) == 2
    del broken["spec"]["selector"]
    assert any("selector is missing" in fault for fault in faults(broken))
    old = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler"}
    assert "unknown kind" in faults({**old, "metadata": {"name": "x"}})[0]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("minReplica",), 1, "unknown field minReplica"),
        (("triggers",), [], "something in it"),
        (("triggers", 0, "type"), "promtheus", "must be one of"),
        (("triggers", 0, "metadata", "threshold"), 5, "must match"),
        (("pollingInterval",), True, "must be int"),
        (("fallback", "replicas"), "2", "must be int"),
        (("scaleTargetRef",), {}, "name is missing"),
        (
            ("advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDwn"),
            {},
            "unknown field scaleDwn",
        ),
    ],
)
def test_the_checker_looks_into_the_kinds_of_others(
    path: tuple[str | int, ...], value: object, fault: str
) -> None:
    item = next(item for item in overlay("prod") if item["kind"] == "ScaledObject")
    broken = json.loads(json.dumps(item))
    assert faults(broken) == []
    inner = broken["spec"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert len(faults(broken)) == 1
    assert fault in faults(broken)[0]


def test_network_policies_allow_the_edges_and_nothing_else() -> None:
    items = overlay("prod")
    policies = [item for item in items if item["kind"] == "NetworkPolicy"]
    deny = next(item for item in policies if item["metadata"]["name"] == "parlante-deny-all")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # Both ends must allow an edge, or nothing flows; what one end allows alone is a mistake.
    assert edges(items, "Ingress") == edges(items, "Egress") == EDGES


def test_rights_are_few() -> None:
    for role in (item for item in overlay("prod") if item["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in json.dumps(rule)
            assert not {"secrets", "deployments", "replicasets"} & set(rule["resources"])
    accounts = [item for item in overlay("prod") if item["kind"] == "ServiceAccount"]
    assert accounts
    assert all(item["automountServiceAccountToken"] is False for item in accounts)
    mounting = {
        name
        for name, template in pods(overlay("prod")).items()
        if template["spec"]["automountServiceAccountToken"]
    }
    assert mounting == {"parlante-gateway", "parlante-renderer", "parlante-scale-guard"}


def test_a_gpu_belongs_to_the_container_that_decodes(tmp_path: Path) -> None:
    spec = pods(combined(("gpu",), tmp_path))["parlante-renderer"]["spec"]
    limits = {
        container["name"]: container["resources"]["limits"]
        for container in (*spec["initContainers"], *spec["containers"])
    }
    assert limits["triton"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["stage"]


def test_a_gateway_has_no_more_sessions_than_its_core_carries() -> None:
    """64 of them would need three, and a Python process has one."""
    (stage,) = pods(overlay("prod"))["parlante-gateway"]["spec"]["containers"]
    num_sessions = load(GatewayConfig, stage["args"], env={}).max_sessions
    cores = min(1.0, float(stage["resources"]["requests"]["cpu"]))
    assert 0.05 * num_sessions <= cores  # docs/sizing.md


def test_operators_see_gateways_that_are_cordoned() -> None:
    """Those are not ready, and no endpoints of the Service that clients use."""
    items = overlay("prod")
    services = {
        item["metadata"]["name"]: item["spec"] for item in items if item["kind"] == "Service"
    }
    assert services["parlante-gateway-admin"]["publishNotReadyAddresses"]
    assert "publishNotReadyAddresses" not in services["parlante-gateway"]
    (guard,) = pods(items)["parlante-scale-guard"]["spec"]["containers"]
    stages = next(item["value"] for item in guard["env"] if item["name"] == "PARLANTECTL_STAGES")
    assert "gateway=k8s:///parlante-gateway-admin:admin" in stages.split()


@pytest.mark.parametrize("autoscaler", ["hpa", "keda"])
def test_a_renderer_with_a_gpu_is_told_what_the_card_can_do(
    tmp_path: Path, autoscaler: str
) -> None:
    """It kept the batches and the slots of a CPU."""
    items = combined((autoscaler, "gpu"), tmp_path)
    check(items, frozenset({autoscaler, "gpu"}))  # the autoscaler's aim, too
    spec = pods(items)["parlante-renderer"]["spec"]
    (stage,), (server,) = spec["containers"], spec["initContainers"]
    config = load(RendererServiceConfig, stage["args"], env={})
    env = {item["name"]: item["value"] for item in server["env"]}
    assert (env["PARLANTE_DECODER_FUSE"], env["PARLANTE_DECODER_MAX_BATCH"]) == ("1", "32")
    # As measured, a decoder process is for 16 sessions at most, of 0.1 cores each.
    assert config.max_streams <= 16 * int(env["PARLANTE_DECODER_PROCESSES"])
    assert float(server["resources"]["requests"]["cpu"]) >= 0.1 * config.max_streams
