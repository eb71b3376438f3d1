"""Checks Kubernetes objects strictly: unknown kinds, unknown fields and wrong types are errors.

Built-in kinds are checked against the models of the `kubernetes` client, whose own parsers let
unknown fields through. Kinds of other projects have small schemas here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client

Item = dict[str, Any]

BUILT_IN = {
    ("v1", "Namespace"): "V1Namespace",
    ("v1", "Service"): "V1Service",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Secret"): "V1Secret",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("apps/v1", "StatefulSet"): "V1StatefulSet",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "V2HorizontalPodAutoscaler",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
    ("scheduling.k8s.io/v1", "PriorityClass"): "V1PriorityClass",
}
# (apiVersion, kind): fields of spec that must be there, and those that may.
CUSTOM: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): (
        {"scaleTargetRef", "triggers"},
        {"pollingInterval", "minReplicaCount", "maxReplicaCount", "fallback", "advanced"},
    ),
    ("cert-manager.io/v1", "Issuer"): (set(), {"selfSigned", "ca"}),
    ("cert-manager.io/v1", "Certificate"): (
        {"secretName", "issuerRef"},
        {"isCA", "commonName", "privateKey", "duration", "renewBefore", "usages", "dnsNames"},
    ),
    ("gateway.networking.k8s.io/v1", "Gateway"): ({"gatewayClassName", "listeners"}, set()),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): ({"parentRefs", "rules"}, {"hostnames"}),
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"): (
        {"targetRefs"},
        {"loadBalancer", "timeout", "circuitBreaker"},
    ),
    ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"): (
        {"targetRefs"},
        {"timeout", "http2"},
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): ({"selector", "podMetricsEndpoints"}, set()),
    ("monitoring.coreos.com/v1", "PrometheusRule"): ({"groups"}, set()),
}
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "object": (object,),
    "datetime": (str,),
    "IntOrString": (int, str),
}


def faults(item: Item) -> list[str]:
    """Give what is wrong with an object; nothing if it is fine."""
    key = (str(item.get("apiVersion")), str(item.get("kind")))
    if not (item.get("metadata") or {}).get("name"):
        return [f"{key}: no name"]
    where = f"{key[1]}/{item['metadata']['name']}"
    if key in BUILT_IN:
        return list(_model_faults(item, BUILT_IN[key], where))
    if key in CUSTOM:
        needed, allowed = CUSTOM[key]
        fields = set(item.get("spec") or {})
        missing = [f"{where}.spec: {name} is missing" for name in sorted(needed - fields)]
        unknown = sorted(fields - needed - allowed) + sorted(
            set(item) - {"apiVersion", "kind", "metadata", "spec"}
        )
        return missing + [f"{where}: unknown field {name}" for name in unknown]
    return [f"{where}: unknown kind {key[0]} {key[1]}"]


def _model_faults(value: Any, type_name: str, where: str) -> Iterator[str]:
    if value is None:
        return
    listed = re.fullmatch(r"(?:list|List)\[(.+)\]", type_name)
    mapped = re.fullmatch(r"(?:dict|Dict)[\[(]str, ?(.+)[\])]", type_name)
    model = getattr(client, type_name, None)
    if listed:
        if not isinstance(value, list):
            yield f"{where}: must be a list"
            return
        for index, entry in enumerate(value):
            yield from _model_faults(entry, listed[1], f"{where}[{index}]")
    elif mapped:
        if not isinstance(value, dict):
            yield f"{where}: must be a mapping"
            return
        for name, entry in value.items():
            yield from _model_faults(entry, mapped[1], f"{where}.{name}")
    elif model is not None and hasattr(model, "openapi_types"):
        yield from _object_faults(value, model, where)
    else:
        wanted = _SCALARS.get(type_name, (object,))
        if not isinstance(value, wanted) or (type_name == "int" and isinstance(value, bool)):
            yield f"{where}: must be {type_name}; got {value!r}"


def _object_faults(value: Any, model: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: must be a mapping"
        return
    python_names = {outer: inner for inner, outer in model.attribute_map.items()}
    for name, entry in value.items():
        if name not in python_names:
            yield f"{where}: unknown field {name}"
        else:
            type_name = model.openapi_types[python_names[name]]
            yield from _model_faults(entry, type_name, f"{where}.{name}")
