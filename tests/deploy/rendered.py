"""Manifests as kubectl renders them, and which combinations of components make sense."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

__all__ = [
    "COMPONENTS",
    "KUBERNETES",
    "OVERLAYS",
    "ROOT",
    "Item",
    "combinations",
    "combined",
    "containers",
    "makes_sense",
    "overlay",
    "pods",
]

Item = dict[str, Any]
ROOT: Final = Path(__file__).resolve().parents[2]
KUBERNETES: Final = ROOT / "deploy/kubernetes"
OVERLAYS: Final = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
# Those that change what others bring come after them, as docs/kubernetes.md says.
_LATE: Final = ["gpu", "scale-guard", "mtls", "gateway-api-tls"]
_FOUND: Final = sorted(path.name for path in (KUBERNETES / "components").iterdir())
COMPONENTS: Final = [*(name for name in _FOUND if name not in _LATE), *_LATE]
_EXCLUSIVE: Final = ({"hpa", "keda"}, {"gpu", "triton"})


def makes_sense(combination: tuple[str, ...]) -> bool:
    """Tell whether components may be listed together: what docs/kubernetes.md says of them."""
    chosen = set(combination)
    if any(chosen >= pair for pair in _EXCLUSIVE):
        return False
    return ("gateway-api-tls" in chosen) is (chosen >= {"gateway-api", "mtls"})


def combinations(sizes: Iterator[int] | range | None = None) -> Iterator[tuple[str, ...]]:
    """Give every combination that makes sense, in the order of listing, of some sizes or all."""
    for size in sizes or range(len(COMPONENTS) + 1):
        yield from filter(makes_sense, itertools.combinations(COMPONENTS, size))


def _build(folder: Path) -> list[Item]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl, whose kustomize renders the manifests")
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [item for item in yaml.load_all(done.stdout, Loader=loader) if item]


@cache
def overlay(name: str) -> list[Item]:
    """Render an overlay."""
    return _build(KUBERNETES / "overlays" / name)


def combined(combination: tuple[str, ...], folder: Path) -> list[Item]:
    """Render the base with components; `folder` is empty or was used for this before."""
    copy = folder / "kubernetes"
    if not copy.exists():
        shutil.copytree(KUBERNETES, copy)
    kustomization: Item = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../kubernetes/base"],
        "components": [f"../kubernetes/components/{name}" for name in combination],
    }
    (folder / "combined").mkdir(exist_ok=True)
    if "model-cache" in combination:  # the list is the overlay's
        (folder / "combined/models.txt").write_text("# nothing\n")
        generator = {"name": "parlante-models", "namespace": "parlante", "files": ["models.txt"]}
        kustomization["configMapGenerator"] = [generator]
    (folder / "combined/kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return _build(folder / "combined")


def pods(items: list[Item]) -> dict[str, Item]:
    """Give the pod templates, by the name of what makes the pods."""
    kinds = ("Deployment", "StatefulSet")
    found = [item for item in items if item["kind"] in kinds]
    return {item["metadata"]["name"]: item["spec"]["template"] for item in found}


def containers(template: Item) -> list[Item]:
    """Give all containers of a pod, those that come first as well."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
