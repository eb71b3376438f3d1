"""Who may import whom, and what the gateway does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Judges the motion engine exactly as it is served; nothing that runs in a service imports it.
MAY_IMPORT_SERVICES = ("parlante/training/evaluate.py",)
HEAVY = ("torch", "cv2", "numba", "av", "tritonclient", "ai_edge_litert", "scipy", "PIL", "soxr")


def _modules(*packages: str) -> list[str]:
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [str(path.relative_to(ROOT)) for path in paths if "parlante/v1/" not in str(path)]


def _imported(path: str) -> Iterator[str]:
    """Give the absolute names that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _hits(path: str, *prefixes: str) -> list[str]:
    return [
        name
        for name in _imported(path)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    ]


@pytest.mark.parametrize("path", _modules("parlante"))
def test_library_imports_no_service_and_no_gateway(path: str) -> None:
    if path in MAY_IMPORT_SERVICES:
        return
    forbidden = ["services"] if path.startswith("parlante/cli/") else ["services", "gateway"]
    assert _hits(path, *forbidden) == []


@pytest.mark.parametrize("path", _modules("parlante/models", "parlante/diffusion"))
def test_models_know_no_network(path: str) -> None:
    assert _hits(path, "grpc", "parlante.rpc", "parlante.v1", "parlante.convert") == []


@pytest.mark.parametrize("path", [*_modules("parlante/rpc"), "parlante/convert.py"])
def test_network_code_knows_no_models(path: str) -> None:
    assert _hits(path, "parlante.models", "parlante.diffusion", "parlante.training", *HEAVY) == []


@pytest.mark.parametrize("path", ["parlante/types.py", "parlante/ports.py", "parlante/errors.py"])
def test_contract_between_the_stages_stands_alone(path: str) -> None:
    allowed = ("parlante.types", "parlante.errors")
    assert [name for name in _hits(path, "parlante") if not name.startswith(allowed)] == []


@pytest.mark.parametrize("path", _modules("services"))
def test_stage_imports_no_other_stage(path: str) -> None:
    own = "services." + Path(path).parts[1]
    others = [name for name in _hits(path, "services") if not name.startswith(own)]
    assert others + _hits(path, "gateway") == []


@pytest.mark.parametrize("path", _modules("services"))
def test_engines_know_no_network(path: str) -> None:
    if Path(path).name in ("servicer.py", "__main__.py", "config.py"):
        return
    assert _hits(path, "grpc", "parlante.rpc", "parlante.v1", "parlante.convert") == []


@pytest.mark.parametrize("path", _modules("gateway"))
def test_only_the_wiring_imports_services(path: str) -> None:
    if path == "gateway/wiring.py":
        return
    assert _hits(path, "services") == []


@pytest.mark.parametrize("path", _modules("parlante", "services", "gateway"))
def test_served_code_imports_no_training(path: str) -> None:
    # The command line makes its sample voice with the same synthesiser that training uses.
    if path.startswith(("parlante/training/", "parlante/cli/")):
        return
    assert _hits(path, "parlante.training") == []


_BLOCKED_IMPORT = """
import importlib, sys
blocked = set(sys.argv[1].split(","))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
for name in sys.argv[2:]:
    importlib.import_module(name)
print(sorted(blocked & {name.partition(".")[0] for name in sys.modules}))
"""


def _import_without(blocked: tuple[str, ...], *modules: str) -> str:
    command = [sys.executable, "-c", _BLOCKED_IMPORT, ",".join(blocked), *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_gateway_and_client_import_without_any_stages_libraries() -> None:
    modules = ("gateway.__main__", "gateway.wiring", "parlante.client", "parlante.rpc.remote")
    assert _import_without(HEAVY, *modules) == "[]"


def test_the_block_holds_against_a_module_that_needs_torch() -> None:
    with pytest.raises(AssertionError, match="torch is blocked"):
        _import_without(("torch",), "services.motion.engine")
