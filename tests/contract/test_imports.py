"""Who may import whom, and what the gateway does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Judges the motion engine exactly as it is served; nothing that runs in a service imports it.
MAY_IMPORT_SERVICES = ("parlante/training/evaluate.py",)
LOOK_AT_VIDEOS = (
    "parlante/training/",
    "parlante/cli/",
    "parlante/evaluation/",
    "parlante/driving/",
)
NETWORK = (
    *("grpc", "parlante.rpc", "parlante.v1", "parlante.convert"),
    *("tritonclient", "parlante.triton.client", "parlante.triton.server"),
)
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


def _violations(paths: Iterable[str], *prefixes: str) -> dict[str, list[str]]:
    return {path: hits for path in paths if (hits := _hits(path, *prefixes))}


def test_library_imports_no_service_and_no_gateway() -> None:
    library = [path for path in _modules("parlante") if path not in MAY_IMPORT_SERVICES]
    assert _violations(library, "services") == {}
    # The command line may run the gateway in its own process; nothing else knows it.
    rest = [path for path in library if not path.startswith("parlante/cli/")]
    assert _violations(rest, "gateway") == {}


def test_models_know_no_network() -> None:
    paths = _modules("parlante/models", "parlante/diffusion")
    assert _violations(paths, *NETWORK) == {}


def test_driving_knows_no_network() -> None:
    assert _violations(_modules("parlante/driving"), *NETWORK) == {}


def test_nothing_knows_driving_but_the_command_line_and_its_judge() -> None:
    rest = [
        path
        for path in _modules("parlante", "services", "gateway")
        if not path.startswith(
            ("parlante/driving/", "parlante/cli/", "parlante/evaluation/encoders/")
        )
    ]
    assert _violations(rest, "parlante.driving") == {}


def test_network_code_knows_no_models() -> None:
    paths = [*_modules("parlante/rpc", "parlante/fleet"), "parlante/convert.py"]
    models = ("parlante.models", "parlante.diffusion", "parlante.training")
    assert _violations(paths, *models, *HEAVY) == {}


def test_only_clients_know_tritonclient() -> None:
    paths = [
        path
        for path in _modules("parlante", "services", "gateway")
        if path
        not in (
            "parlante/triton/client.py",
            "parlante/triton/frame_call.py",
            "parlante/triton/motion_client.py",
            "parlante/triton/repository.py",
            "parlante/cli/doctor.py",
        )
    ]
    assert _violations(paths, "tritonclient") == {}


def test_callers_of_triton_know_no_models() -> None:
    models = ("parlante.models", "parlante.diffusion", "parlante.training", "torch", "cv2")
    assert _violations(_modules("parlante/triton"), *models) == {}


def test_models_of_the_server_know_no_service_and_no_network() -> None:
    paths = sorted((ROOT / "deploy/triton").rglob("*.py"))
    names = [str(path.relative_to(ROOT)) for path in paths]
    assert len(names) == 3
    assert _violations(names, *NETWORK, "services", "gateway", "parlante.training") == {}


def test_contract_between_the_stages_stands_alone() -> None:
    allowed = ("parlante.types", "parlante.errors")
    paths = [*_modules("parlante/types"), "parlante/ports.py", "parlante/errors.py"]
    names = {name for path in paths for name in _hits(path, "parlante")}
    assert {name for name in names if not name.startswith(allowed)} == set()


@pytest.mark.parametrize("stage", ["encoder", "motion", "renderer"])
def test_stage_imports_no_other_stage(stage: str) -> None:
    others = [f"services.{other}" for other in ("encoder", "motion", "renderer") if other != stage]
    assert _violations(_modules(f"services/{stage}"), *others, "gateway") == {}


def test_engines_know_no_network() -> None:
    engines = [
        path
        for path in _modules("services")
        if Path(path).name not in ("servicer.py", "__main__.py", "config.py")
    ]
    assert _violations(engines, *NETWORK) == {}


def test_only_the_wiring_imports_services() -> None:
    paths = [path for path in _modules("gateway") if path != "gateway/wiring.py"]
    assert _violations(paths, "services") == {}


def test_nothing_below_the_fleet_knows_it() -> None:
    below = _modules("parlante/rpc", "parlante/models", "parlante/media", "parlante/client")
    assert _violations(below, "parlante.fleet") == {}


def test_served_code_imports_no_training() -> None:
    # The command line makes its sample voice with the same synthesiser that training uses; the
    # evaluation spells words and makes its sync model with it; driving measures videos as training
    # on videos does.
    served = [
        path
        for path in _modules("parlante", "services", "gateway")
        if not path.startswith(LOOK_AT_VIDEOS)
    ]
    assert _violations(served, "parlante.training") == {}


def test_nothing_knows_the_evaluation_but_the_command_line() -> None:
    rest = [
        path
        for path in _modules("parlante", "services", "gateway")
        if not path.startswith(("parlante/evaluation/", "parlante/cli/"))
    ]
    assert _violations(rest, "parlante.evaluation") == {}


def test_synthetic_heads_know_no_network_and_are_not_served() -> None:
    assert _violations(_modules("parlante/synth"), *NETWORK, "torch", "parlante.training") == {}
    served = [
        path
        for path in _modules("parlante", "services", "gateway")
        if not path.startswith(("parlante/synth/", "parlante/cli/", "parlante/training/"))
    ]
    assert _violations(served, "parlante.synth", "moderngl") == {}


def test_the_judge_knows_nothing_of_the_generator() -> None:
    """Only the fit on synthetic speech does: it is named after what it leans on.

    The judge of drawn faces knows the decoder, which it judges, but no motion model either.
    """
    paths = [path for path in _modules("parlante/evaluation") if "sync_fit" not in path]
    models = ("motion_dit", "motion_space", "motion_weights", "audio_features")
    generator = [f"parlante.models.{name}" for name in models]
    assert _violations(paths, *generator, "parlante.diffusion") == {}
    of_videos = [path for path in paths if not path.startswith("parlante/evaluation/face/")]
    assert _violations(of_videos, "torch") == {}


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
    # Nor what only a fleet on Kubernetes or with a shared cache has.
    assert _import_without((*HEAVY, "kubernetes", "redis", "aiohttp"), *modules) == "[]"


def test_the_block_holds_against_a_module_that_needs_torch() -> None:
    with pytest.raises(AssertionError, match="torch is blocked"):
        _import_without(("torch",), "services.motion.engine")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        # Decoders of a model server and renderers of JPEGs on a machine without FFmpeg.
        ("services.renderer.__main__,parlante.models.frame_batch", "av,ai_edge_litert,soxr"),
        # An encoder that only serves what is in its store.
        ("services.encoder.__main__", "av,ai_edge_litert,torch,soxr"),
    ],
)
def test_services_start_without_what_they_may_not_need(modules: str, absent: str) -> None:
    hide = f"import sys; sys.modules.update(dict.fromkeys({absent.split(',')}))"
    code = f"{hide}; import {modules}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
