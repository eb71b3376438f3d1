"""Rules that hold for whatever overlays and components are put together."""

from __future__ import annotations

import argparse
import json
import re
from typing import Final

from gateway.config import GatewayConfig
from gateway.servicer import SERVICE_NAME as GATEWAY_SERVICE
from parlante.cli import ctl
from parlante.rpc.server import ServerConfig
from parlante.settings import load
from services.encoder.config import EncoderServiceConfig
from services.motion.config import MotionServiceConfig
from services.renderer.config import RendererServiceConfig
from tests.deploy.network import edges
from tests.deploy.rendered import ROOT, Item, containers, pods
from tests.deploy.schema import faults

__all__ = ["CONFIGS", "arguments_of", "check"]

CONFIGS: Final[dict[str, type[ServerConfig]]] = {
    "encoder": EncoderServiceConfig,
    "motion": MotionServiceConfig,
    "renderer": RendererServiceConfig,
    "gateway": GatewayConfig,
}
_SLOTS: Final = {"gateway": "max_sessions", "encoder": "max_uploads"}
# Secrets that people make, as docs/kubernetes.md tells.
_OWN_SECRETS: Final = frozenset(
    {
        "parlante-resume-key",
        "parlante-latent-cache",
        "parlante-valkey-config",
        "parlante-object-store",
        "parlante-edge-tls",
    }
)


def check(items: list[Item], components: frozenset[str] | None = None) -> None:
    """Check all rules.

    Args:
        items: Rendered objects.
        components: What was put together, as far as rules depend on it; None for an overlay, whose
            own list is not known here.
    """
    assert [fault for item in items for fault in faults(item)] == []
    _check_namespace(items)
    _check_pod_security(items)
    _check_arguments(items)
    _check_replacement(items)
    _check_references(items)
    _check_autoscalers(items)
    _check_policies(items)
    if components is not None:
        _check_store(items, in_bucket="object-store" in components)
        _check_tls(items, is_on="mtls" in components)
        names = {item["metadata"]["name"] for item in items if item["kind"] == "NetworkPolicy"}
        assert ("parlante-deny-all" in names) is ("network-policies" in components)


def arguments_of(container: Item) -> argparse.Namespace:
    """Read the arguments of a container that runs parlantectl."""
    assert container["command"] == ["parlantectl"]
    return ctl._parser().parse_args(container["args"])


def _named(items: list[Item], kind: str) -> dict[str, Item]:
    return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}


def _check_namespace(items: list[Item]) -> None:
    """All is in one namespace, whatever the namespace of whoever applies it is."""
    for item in items:
        namespace = item["metadata"].get("namespace")
        expected = None if item["kind"] in ("Namespace", "PriorityClass") else "parlante"
        assert namespace == expected, (item["kind"], item["metadata"]["name"], namespace)
    for item in (one for one in items if one["kind"] == "RoleBinding"):
        assert {subject["namespace"] for subject in item["subjects"]} == {"parlante"}


def _check_pod_security(items: list[Item]) -> None:
    """The rules of Pod Security "restricted", and a root file system that is read only."""
    for name, template in pods(items).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        for container in containers(template):
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
    """Flags, ports and volumes must be those of the programs."""
    templates = pods(items)
    for stage, config_class in CONFIGS.items():
        container = templates[f"parlante-{stage}"]["spec"]["containers"][0]
        config = load(config_class, container["args"], env={})
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["grpc"] == config.port
        assert ports["health"] == config.health_port
        if isinstance(config, GatewayConfig):
            assert ports["admin"] == config.admin_port
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == config.health_port
            # A cordon must not end a gateway, nor have a stage's callers leave it.
            is_gate = (stage, probe) == ("gateway", "readinessProbe")
            service = GATEWAY_SERVICE if is_gate else ""
            assert container[probe]["grpc"].get("service", "") == service, (stage, probe)
    for name, template in templates.items():
        volumes = {volume["name"] for volume in template["spec"].get("volumes", ())}
        mounts = [m for one in containers(template) for m in one.get("volumeMounts", ())]
        assert {mount["name"] for mount in mounts} == volumes, name
        for container in containers(template):
            known: set[str] = set()
            for variable in container.get("env", ()):
                # Only what stands before is put in; anything else stays as it is written.
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known, name
                known.add(variable["name"])
            if container.get("command") == ["parlantectl"]:
                arguments_of(container)
            if container["name"] == "triton":
                _check_triton(template, container)


def _check_triton(template: Item, server: Item) -> None:
    """It runs as the container does, at addresses that only its pod can reach."""
    dockerfile = (ROOT / "deploy/docker/Dockerfile.triton").read_text()
    assert f"CMD {json.dumps(server['command'])}" in dockerfile
    own = {"--http-address", "--grpc-address", "--exit-timeout-secs"}
    assert {flag.partition("=")[0] for flag in server["args"]} == own
    assert {"--http-address=127.0.0.1", "--grpc-address=127.0.0.1"} <= set(server["args"])
    (stage,) = template["spec"]["containers"]
    config = load(RendererServiceConfig, stage["args"], env={})
    assert (config.renderer, config.triton_url) == ("triton", "127.0.0.1:8001")
    shared = [
        {m["name"] for m in one["volumeMounts"] if m["mountPath"] == "/dev/shm"}
        for one in (server, stage)
    ]
    assert shared == [{"shm"}, {"shm"}]


def _check_replacement(items: list[Item]) -> None:
    """A rollout surges first, an eviction takes one at a time, and drains fit into the grace."""
    budgets, deployments = _named(items, "PodDisruptionBudget"), _named(items, "Deployment")
    for stage, config_class in CONFIGS.items():
        deployment = deployments[f"parlante-{stage}"]
        assert budgets[f"parlante-{stage}"]["spec"]["maxUnavailable"] == 1
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (1, 0)
        spec = deployment["spec"]["template"]["spec"]
        pause_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace_s = load(config_class, spec["containers"][0]["args"], env={}).drain_grace_s
        assert pause_s + grace_s < spec["terminationGracePeriodSeconds"]


def _check_references(items: list[Item]) -> None:
    """What pods name is there: accounts, priorities, claims, configuration, certificates."""
    there = {kind: _named(items, kind) for kind in {item["kind"] for item in items}}
    issued = {item["spec"]["secretName"] for item in there.get("Certificate", {}).values()}
    for name, template in pods(items).items():
        spec = template["spec"]
        assert spec["serviceAccountName"] in there["ServiceAccount"], name
        priority = spec.get("priorityClassName")
        assert priority is None or priority in there["PriorityClass"], name
        for volume in spec.get("volumes", ()):
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in there["PersistentVolumeClaim"], name
            if config := volume.get("configMap"):
                assert config["name"] in there["ConfigMap"], name
            if secret := volume.get("secret"):
                assert secret["secretName"] in issued | _OWN_SECRETS, name
    text = (ROOT / "docs/kubernetes.md").read_text()
    assert all(secret in text for secret in _OWN_SECRETS)
    services = there["Service"]
    for route in there.get("GRPCRoute", {}).values():
        for backend in (one for rule in route["spec"]["rules"] for one in rule["backendRefs"]):
            ports = services[backend["name"]]["spec"]["ports"]
            assert backend["port"] in {port["port"] for port in ports}
    for policy in there.get("BackendTLSPolicy", {}).values():
        for target in policy["spec"]["targetRefs"]:
            ports = services[target["name"]]["spec"]["ports"]
            assert target["sectionName"] in {port["name"] for port in ports}
        for authority in policy["spec"]["validation"]["caCertificateRefs"]:
            assert authority["name"] in issued


def _check_autoscalers(items: list[Item]) -> None:
    """Who owns a number, and what it is aimed at."""
    deployments = _named(items, "Deployment")
    is_guarded = "parlante-scale-guard" in deployments
    scalers = [i for i in items if i["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    scaled = {item["metadata"]["name"] for item in scalers}
    assert scaled in (set(), {f"parlante-{stage}" for stage in CONFIGS})
    for stage in CONFIGS:
        # One in the manifests would take an autoscaled fleet back to it with every apply.
        has_number = "replicas" in deployments[f"parlante-{stage}"]["spec"]
        assert has_number is not bool(scaled), stage
    for item in scalers:
        name = item["metadata"]["name"]
        stage = name.removeprefix("parlante-")
        if item["kind"] == "ScaledObject":
            behavior = item["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
            target = item["spec"]["triggers"][0]["metadata"]["threshold"]
        else:
            behavior = item["spec"]["behavior"]
            target = item["spec"]["metrics"][0]["external"]["target"]["averageValue"]
        # Where the guard lowers a number, the autoscaler must not; else it must.
        is_disabled = behavior["scaleDown"].get("selectPolicy") == "Disabled"
        assert is_disabled is (is_guarded and stage in ("motion", "renderer")), name
        assert behavior["scaleUp"]["policies"]
        args = pods(items)[name]["spec"]["containers"][0]["args"]
        slots = getattr(load(CONFIGS[stage], args, env={}), _SLOTS.get(stage, "max_streams"))
        number, unit = re.fullmatch(r"([\d.]+)(m?)", target).groups()  # type: ignore[union-attr]
        assert 0.5 <= float(number) / (1000 if unit else 1) / slots <= 0.75, stage


def _check_policies(items: list[Item]) -> None:
    """A policy that selects a stage shuts everything else off from it: only where that is meant."""
    policies = _named(items, "NetworkPolicy")
    if "parlante-deny-all" in policies:
        # What one end allows the other must allow as well.
        assert edges(items, "Ingress") == edges(items, "Egress")
        return
    for name, policy in policies.items():
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        assert labels.get("app.kubernetes.io/component", "") not in {"", *CONFIGS}, name


def _check_store(items: list[Item], *, in_bucket: bool) -> None:
    """The encoders' truth is a bucket or a volume that all share, and not both."""
    (container,) = pods(items)["parlante-encoder"]["spec"]["containers"]
    names = {item["name"] for item in container["env"]}
    config = load(EncoderServiceConfig, container["args"], env={})
    claim = _named(items, "PersistentVolumeClaim").get("parlante-avatars")
    assert claim is None or claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert (claim is not None) is (config.store_dir is not None) is not in_bucket
    assert ("PARLANTE_STORE_URL" in names) is in_bucket
    for item in container["env"]:
        if item["name"].startswith("AWS_"):
            assert "secretKeyRef" in item["valueFrom"]


def _check_tls(items: list[Item], *, is_on: bool) -> None:
    """With certificates nobody is left who speaks without, and nobody is told so."""
    templates = pods(items)
    for stage, config_class in CONFIGS.items():
        args = templates[f"parlante-{stage}"]["spec"]["containers"][0]["args"]
        config = load(config_class, args, env={})
        assert (config.tls is not None) is is_on, stage
        # Clients of gateways need no certificate; the stages know all of theirs.
        assert (config.tls_client_ca is not None) is (is_on and stage != "gateway"), stage
        calls = {"gateway": "stages_tls_files", "renderer": "encoder_tls_files"}.get(stage)
        assert calls is None or (getattr(config, calls) is not None) is is_on, stage
        port = _named(items, "Service")[f"parlante-{stage}"]["spec"]["ports"][0]
        assert ("appProtocol" in port) is not is_on, stage
    guard = templates.get("parlante-scale-guard")
    if guard is not None:
        names = {item["name"] for item in guard["spec"]["containers"][0]["env"]}
        assert ({f"PARLANTECTL_TLS_{name}" for name in ("CA", "CERT", "KEY")} <= names) is is_on
