"""Every overlay and component renders, fits its schemas, and keeps to the rules of the fleet."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kubernetes")

from gateway.config import GatewayConfig
from parlante import telemetry
from parlante.rpc.server import ServerConfig
from parlante.settings import load
from services.encoder.config import EncoderServiceConfig
from services.motion.config import MotionServiceConfig
from services.renderer.config import RendererServiceConfig
from tests.deploy.schema import faults

Item = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OBSERVABILITY = KUBERNETES / "components/observability"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
CONFIGS: dict[str, type[ServerConfig]] = {
    "encoder": EncoderServiceConfig,
    "motion": MotionServiceConfig,
    "renderer": RendererServiceConfig,
    "gateway": GatewayConfig,
}
EDGES = {
    ("gateway", "encoder"),
    ("gateway", "motion"),
    ("gateway", "renderer"),
    ("renderer", "encoder"),
}
EXCLUSIVE = {"hpa", "keda"}
COMBINATIONS = [
    combination
    for size in range(1, len(COMPONENTS) + 1)
    for combination in itertools.combinations(COMPONENTS, size)
    if size in (1, 2, len(COMPONENTS) - 1) and not set(combination) >= EXCLUSIVE
]


def _build(folder: Path) -> list[Item]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl, whose kustomize renders the manifests")
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@cache
def _overlay(name: str) -> list[Item]:
    return _build(KUBERNETES / "overlays" / name)


def _pods(items: list[Item]) -> dict[str, Item]:
    kinds = ("Deployment", "StatefulSet")
    found = [item for item in items if item["kind"] in kinds]
    return {item["metadata"]["name"]: item["spec"]["template"] for item in found}


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_fits_the_schemas(name: str) -> None:
    items = _overlay(name)
    assert [fault for item in items for fault in faults(item)] == []
    names = [(item["kind"], item["metadata"]["name"]) for item in items]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("combination", COMBINATIONS, ids="+".join)
def test_any_combination_of_components_renders(
    combination: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "combined"
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    folder.mkdir()
    components = [f"../kubernetes/components/{name}" for name in combination]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../kubernetes/base"],
        "components": components,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    items = _build(folder)
    assert [fault for item in items for fault in faults(item)] == []
    _check_pod_security(items)
    _check_arguments(items)
    _check_policies(items, is_closed="network-policies" in combination)
    _check_scale_down(items, is_guarded="scale-guard" in combination)
    _check_store(items, in_bucket="object-store" in combination)


def _check_policies(items: list[Item], *, is_closed: bool) -> None:
    """A policy that selects a pod shuts everything else off from it: only where that is meant."""
    policies = [item for item in items if item["kind"] == "NetworkPolicy"]
    if is_closed:
        return
    for policy in policies:
        assert _labels(policy) not in {"", *CONFIGS}, policy["metadata"]["name"]


def _check_scale_down(items: list[Item], *, is_guarded: bool) -> None:
    """Where the guard lowers a number, the autoscaler must not; else it must."""
    for item in items:
        if item["kind"] == "HorizontalPodAutoscaler":
            behavior = item["spec"]["behavior"]
        elif item["kind"] == "ScaledObject":
            behavior = item["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        else:
            continue
        is_lowered = item["metadata"]["name"] in ("parlante-motion", "parlante-renderer")
        is_disabled = behavior["scaleDown"].get("selectPolicy") == "Disabled"
        assert is_disabled is (is_guarded and is_lowered), item["metadata"]["name"]
        assert behavior["scaleUp"]["policies"]


def _check_store(items: list[Item], *, in_bucket: bool) -> None:
    """The encoders' truth is a bucket or a volume that all share, and not both."""
    template = _pods(items)["parlante-encoder"]
    (container,) = template["spec"]["containers"]
    names = {item["name"] for item in container["env"]}
    config = load(EncoderServiceConfig, container["args"], env={})
    claims = [item for item in items if item["kind"] == "PersistentVolumeClaim"]
    is_shared = any(claim["spec"]["accessModes"] == ["ReadWriteMany"] for claim in claims)
    assert is_shared is (config.store_dir is not None) is not in_bucket
    assert ("PARLANTE_STORE_URL" in names) is in_bucket
    for item in container["env"]:
        if item["name"].startswith("AWS_"):
            assert "secretKeyRef" in item["valueFrom"]


def test_the_guard_may_lower_what_it_is_told_to_and_nothing_else() -> None:
    items = _overlay("prod")
    args = _pods(items)["parlante-scale-guard"]["spec"]["containers"][0]["args"]
    least = {
        item["metadata"]["name"]: item["spec"]["minReplicaCount"]
        for item in items
        if item["kind"] == "ScaledObject"
    }
    told = dict(
        arg.removeprefix("--scale-in=").partition("=")[2].split(":")
        for arg in args
        if arg.startswith("--scale-in=")
    )
    assert {name: int(number) for name, number in told.items()} == {
        name: least[name] for name in ("parlante-motion", "parlante-renderer")
    }
    role = next(
        item
        for item in items
        if item["kind"] == "Role" and item["metadata"]["name"] == "parlante-scale-guard"
    )
    (rule,) = [rule for rule in role["rules"] if "deployments/scale" in rule["resources"]]
    assert sorted(rule["resourceNames"]) == sorted(told)
    assert sorted(rule["verbs"]) == ["get", "update"]


def test_the_checker_finds_what_the_client_lets_through() -> None:
    item = next(item for item in _overlay("dev") if item["kind"] == "Deployment")
    broken = json.loads(json.dumps(item))
    container = broken["spec"]["template"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    broken["spec"]["replicas"] = "2"
    assert len(faults(broken)) == 2
    old = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler"}
    assert "unknown kind" in faults({**old, "metadata": {"name": "x"}})[0]
    kind = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"}}
    assert len(faults({**kind, "spec": {"minReplica": 1, "triggers": []}})) == 2


def _check_pod_security(items: list[Item]) -> None:
    """The rules of Pod Security "restricted", and a root file system that is read only."""
    for name, template in _pods(items).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"]["drop"] == ["ALL"], name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert not any("hostPort" in port for port in container.get("ports", [])), name
            assert ":" in container["image"], name
            assert not container["image"].endswith(":latest"), name


def _check_arguments(items: list[Item]) -> None:
    """Flags and ports must be those of the programs."""
    for stage, config_class in CONFIGS.items():
        container = _pods(items)[f"parlante-{stage}"]["spec"]["containers"][0]
        config = load(config_class, container["args"], env={})
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["grpc"] == config.port
        assert ports["health"] == config.health_port
        if stage == "gateway":
            assert ports["admin"] == config.admin_port  # type: ignore[attr-defined]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == config.health_port
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {
            volume["name"] for volume in _pods(items)[f"parlante-{stage}"]["spec"]["volumes"]
        }


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_are_restricted_and_start_programs_that_exist(name: str) -> None:
    items = _overlay(name)
    _check_pod_security(items)
    _check_arguments(items)
    namespace = next(item for item in items if item["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_stage_can_be_replaced_without_a_gap(name: str) -> None:
    items = _overlay(name)
    budgets = {
        item["metadata"]["name"]: item["spec"]
        for item in items
        if item["kind"] == "PodDisruptionBudget"
    }
    for stage, config_class in CONFIGS.items():
        deployment = next(
            item
            for item in items
            if item["kind"] == "Deployment" and item["metadata"]["name"] == f"parlante-{stage}"
        )
        assert budgets[f"parlante-{stage}"]["maxUnavailable"] == 1
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (1, 0)
        spec = deployment["spec"]["template"]["spec"]
        pause_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace_s = load(config_class, spec["containers"][0]["args"], env={}).drain_grace_s
        assert pause_s + grace_s < spec["terminationGracePeriodSeconds"]


def _labels(policy: Item) -> str:
    return str(
        policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component", "")
    )


def test_network_policies_allow_the_edges_and_nothing_else() -> None:
    policies = [item for item in _overlay("prod") if item["kind"] == "NetworkPolicy"]
    deny = next(item for item in policies if item["metadata"]["name"] == "parlante-deny-all")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found: dict[str, set[tuple[str, str]]] = {"Ingress": set(), "Egress": set()}
    for policy in policies:
        for direction, key, peers in (("Ingress", "ingress", "from"), ("Egress", "egress", "to")):
            for rule in policy["spec"].get(key) or ():
                for peer in rule.get(peers) or ():
                    selector = peer.get("podSelector", {}).get("matchLabels", {})
                    other = selector.get("app.kubernetes.io/component", "")
                    mine = _labels(policy)
                    edge = (other, mine) if direction == "Ingress" else (mine, other)
                    if set(edge) <= CONFIGS.keys():
                        found[direction].add(edge)
    assert found == {"Ingress": EDGES, "Egress": EDGES}


def test_rights_are_few() -> None:
    for role in (item for item in _overlay("prod") if item["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in json.dumps(rule)
            assert not {"secrets", "deployments", "replicasets"} & set(rule["resources"])
    accounts = [item for item in _overlay("prod") if item["kind"] == "ServiceAccount"]
    assert accounts
    assert all(item["automountServiceAccountToken"] is False for item in accounts)
    mounting = {
        name
        for name, template in _pods(_overlay("prod")).items()
        if template["spec"]["automountServiceAccountToken"]
    }
    assert mounting == {"parlante-gateway", "parlante-renderer", "parlante-scale-guard"}


def test_autoscalers_aim_below_the_slots_of_a_replica() -> None:
    for item in (i for i in _overlay("prod") if i["kind"] == "ScaledObject"):
        stage = item["metadata"]["name"].removeprefix("parlante-")
        args = _pods(_overlay("prod"))[f"parlante-{stage}"]["spec"]["containers"][0]["args"]
        config = load(CONFIGS[stage], args, env={})
        names = {"gateway": "max_sessions", "encoder": "max_uploads"}
        slots = getattr(config, names.get(stage, "max_streams"))
        share = float(item["spec"]["triggers"][0]["metadata"]["threshold"]) / slots
        assert 0.5 <= share <= 0.75, stage


# --- observability -----------------------------------------------------------------------------


def _promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool; on Debian: apt-get install -y prometheus")
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=OBSERVABILITY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid_and_raise_the_alerts_they_should() -> None:
    _promtool("check", "rules", "rules.yaml")
    _promtool("test", "rules", "rules_test.yaml")


def _groups() -> list[Item]:
    groups: list[Item] = yaml.safe_load((OBSERVABILITY / "rules.yaml").read_text())["groups"]
    return groups


def test_the_clusters_rules_are_those_that_are_tested() -> None:
    rule = next(item for item in _overlay("prod") if item["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"] == _groups()


def test_every_alert_has_a_page_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    alerts = {rule["alert"] for group in _groups() for rule in group["rules"] if "alert" in rule}
    assert set(headings) == alerts


def test_rules_and_panels_name_metrics_that_exist() -> None:
    class Meter:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def _note(self, name: str, *args: Any, **options: Any) -> object:
            base = name.replace(".", "_")
            unit = options.get("unit") or (args[0] if args else "")
            if unit == "s" and not base.endswith("dropped"):
                base += "_seconds"
            self.names |= {base, f"{base}_total", f"{base}_bucket", f"{base}_count", f"{base}_sum"}
            return object()

        create_histogram = create_up_down_counter = create_counter = _note

    meter = Meter()
    telemetry.make_metrics(meter)  # type: ignore[arg-type]
    text = (OBSERVABILITY / "rules.yaml").read_text() + (
        OBSERVABILITY / "dashboard.json"
    ).read_text()
    used = set(re.findall(r"\bparlante_[a-z0-9_]+", text))
    labels = {"parlante_stage", "parlante_reason", "parlante_favourite"}
    assert used - labels - {"parlante_slots_wanted"} <= meter.names


def test_the_collectors_pipelines_name_parts_that_exist() -> None:
    config = yaml.safe_load((OBSERVABILITY / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= config[kind].keys()
    assert set(config["service"]["extensions"]) <= config["extensions"].keys()


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) >= 10
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])
