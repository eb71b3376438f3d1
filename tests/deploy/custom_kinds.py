"""Schemas of the kinds of other projects, as far as the manifests use them.

A mapping names its fields, those that may be absent with a "?"; other fields are errors. A list has
one entry, the schema of all of its items, and at least one item. A type, a pattern of a string, a
set of what is allowed, and `BuiltIn` for a model of the `kubernetes` client stand for themselves.
Written after the projects' references (KEDA 2.17, cert-manager 1.18, Gateway API 1.4, Envoy Gateway
1.5, Prometheus operator 0.85): a field that is missing here may well exist, add it with its type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CUSTOM", "BuiltIn"]


@dataclass(frozen=True)
class BuiltIn:
    """A type of the `kubernetes` client."""

    name: str


_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_HOUR: Final = re.compile(r"\d+h")
_DURATION: Final = re.compile(r"(\d{1,5}(h|m|s|ms)){1,4}")
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_ANY_MAP: Final = dict

_TARGET_REF: Final = {"group": str, "kind": str, "name": _NAME, "sectionName?": _NAME}
_SECRET_REF: Final = {"name": _NAME, "kind?": {"Secret"}, "group?": {""}}

CUSTOM: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): {
        "scaleTargetRef": {"name": _NAME, "kind?": str, "apiVersion?": str},
        "pollingInterval?": int,
        "cooldownPeriod?": int,
        "minReplicaCount?": int,
        "maxReplicaCount?": int,
        "fallback?": {
            "failureThreshold": int,
            "replicas": int,
            "behavior?": {
                "static",
                "currentReplicas",
                "currentReplicasIfHigher",
                "currentReplicasIfLower",
            },
        },
        "triggers": [
            {
                "type": {"prometheus"},
                "metricType?": {"AverageValue", "Value"},
                "metadata": {
                    "serverAddress": re.compile(r"https?://[a-z0-9.-]+(:\d+)?(/.*)?"),
                    "query": str,
                    # KEDA's metadata are strings, whatever is in them.
                    "threshold": _NUMBER,
                    "activationThreshold?": _NUMBER,
                },
            }
        ],
        "advanced?": {
            "restoreToOriginalReplicaCount?": bool,
            "horizontalPodAutoscalerConfig?": {
                "name?": _NAME,
                "behavior?": BuiltIn("V2HorizontalPodAutoscalerBehavior"),
            },
        },
    },
    ("cert-manager.io/v1", "Issuer"): {"selfSigned?": {}, "ca?": {"secretName": _NAME}},
    ("cert-manager.io/v1", "Certificate"): {
        "secretName": _NAME,
        "issuerRef": {"name": _NAME, "kind?": {"Issuer", "ClusterIssuer"}, "group?": str},
        "isCA?": bool,
        "commonName?": str,
        "duration?": _HOUR,
        "renewBefore?": _HOUR,
        "privateKey?": {
            "algorithm?": {"RSA", "ECDSA", "Ed25519"},
            "size?": int,
            "rotationPolicy?": {"Never", "Always"},
        },
        "usages?": [{"server auth", "client auth", "digital signature", "key encipherment"}],
        "dnsNames?": [_NAME],
    },
    ("gateway.networking.k8s.io/v1", "Gateway"): {
        "gatewayClassName": _NAME,
        "listeners": [
            {
                "name": _NAME,
                "port": int,
                "protocol": {"HTTP", "HTTPS", "TLS", "TCP"},
                "hostname?": _HOST,
                "tls?": {"mode?": {"Terminate", "Passthrough"}, "certificateRefs?": [_SECRET_REF]},
            }
        ],
    },
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): {
        "parentRefs": [{"name": _NAME, "sectionName?": _NAME, "namespace?": _NAME}],
        "hostnames?": [_HOST],
        "rules": [
            {
                "matches?": [{"method": {"service?": str, "method?": str}}],
                "backendRefs": [{"name": _NAME, "port": int, "weight?": int}],
            }
        ],
    },
    ("gateway.networking.k8s.io/v1", "BackendTLSPolicy"): {
        "targetRefs": [_TARGET_REF],
        "validation": {
            "caCertificateRefs?": [{"group": {""}, "kind": {"ConfigMap", "Secret"}, "name": _NAME}],
            "wellKnownCACertificates?": {"System"},
            "hostname": _HOST,
        },
    },
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"): {
        "targetRefs": [_TARGET_REF],
        "loadBalancer?": {"type": {"ConsistentHash", "LeastRequest", "Random", "RoundRobin"}},
        "timeout?": {
            "http?": {
                "requestTimeout?": _DURATION,
                "connectionIdleTimeout?": _DURATION,
                "maxConnectionDuration?": _DURATION,
            },
            "tcp?": {"connectTimeout?": _DURATION},
        },
        "circuitBreaker?": {
            "maxConnections?": int,
            "maxParallelRequests?": int,
            "maxPendingRequests?": int,
        },
    },
    ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"): {
        "targetRefs": [_TARGET_REF],
        "timeout?": {
            "http?": {"requestReceivedTimeout?": _DURATION, "idleTimeout?": _DURATION},
            "tcp?": {"idleTimeout?": _DURATION},
        },
        "http2?": {"maxConcurrentStreams?": int},
    },
    ("monitoring.coreos.com/v1", "PodMonitor"): {
        "selector": BuiltIn("V1LabelSelector"),
        "podMetricsEndpoints": [
            {
                "port": _NAME,
                "path?": str,
                "interval?": _DURATION,
                "honorLabels?": bool,
            }
        ],
    },
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [
            {
                "name": str,
                "interval?": _DURATION,
                "rules": [
                    {
                        "record?": re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*"),
                        "alert?": re.compile(r"[A-Za-z]+"),
                        "expr": str,
                        "for?": _DURATION,
                        "labels?": _ANY_MAP,
                        "annotations?": _ANY_MAP,
                    }
                ],
            }
        ],
    },
}
