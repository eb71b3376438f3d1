"""Checks Kubernetes objects strictly: unknown kinds, unknown fields and wrong types are errors.

Built-in kinds are checked against the models of the `kubernetes` client, whose own parsers let
unknown fields through. Kinds of other projects have schemas in `custom_kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client
from pydantic import ValidationError

from tests.deploy.custom_kinds import CUSTOM, BuiltIn

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
        model = getattr(client, BUILT_IN[key])
        return [*_missing(item, model, where), *_model_faults(item, BUILT_IN[key], where)]
    if key in CUSTOM:
        unknown = sorted(set(item) - {"apiVersion", "kind", "metadata", "spec"})
        others = [f"{where}: unknown field {name}" for name in unknown]
        return others + list(_custom_faults(item.get("spec"), CUSTOM[key], f"{where}.spec"))
    return [f"{where}: unknown kind {key[0]} {key[1]}"]


def _missing(item: Item, model: Any, where: str) -> Iterator[str]:
    """Name what must be there and is not: the models know that much themselves."""
    try:
        model.model_validate(item)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            if fault["type"] == "missing":
                yield f"{where}: {'.'.join(map(str, fault['loc']))} is missing"


def _custom_faults(value: Any, schema: Any, where: str) -> Iterator[str]:
    """Check a value against a schema of `custom_kinds`."""
    match schema:
        case dict():
            if not isinstance(value, dict):
                yield f"{where}: must be a mapping; got {value!r}"
                return
            known = {name.rstrip("?"): name for name in schema}
            for name in value.keys() - known.keys():
                yield f"{where}: unknown field {name}"
            for name, key in known.items():
                if name in value:
                    yield from _custom_faults(value[name], schema[key], f"{where}.{name}")
                elif not key.endswith("?"):
                    yield f"{where}: {name} is missing"
        case list():
            if not isinstance(value, list) or not value:
                yield f"{where}: must be a list with something in it; got {value!r}"
                return
            for index, entry in enumerate(value):
                yield from _custom_faults(entry, schema[0], f"{where}[{index}]")
        case BuiltIn(name=name):
            yield from _model_faults(value, name, where)
        case re.Pattern():
            if not isinstance(value, str) or not schema.fullmatch(value):
                yield f"{where}: must match {schema.pattern}; got {value!r}"
        case set():
            if not isinstance(value, str) or value not in schema:
                yield f"{where}: must be one of {sorted(schema)}; got {value!r}"
        case _:
            is_number = isinstance(value, bool) and schema is not bool
            if not isinstance(value, schema) or is_number:
                yield f"{where}: must be {schema.__name__}; got {value!r}"


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
