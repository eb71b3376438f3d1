"""Where the bundled Triton server is: its binary, and the Python that its models run in.

The server of the ``nvidia-pytriton`` wheel needs numpy 1 in the interpreter of the models, the rest
of the suite runs with numpy 2: so the models have an environment of their own, which
``make triton`` makes beside the one of the suite.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parlante.errors import FailedPrecondition

__all__ = ["Installation", "find_installation", "model_python", "repository_dir"]

ENVIRONMENT: Final = ".venv-triton"
_MAKE_IT: Final = "run: make triton"
# Locating is enough: importing pytriton is slow, and the server never does it.
_LOOK: Final = """
import importlib.util, json, sys, sysconfig
spec = importlib.util.find_spec("pytriton")
import numpy
# Not av: models make JPEGs or pixels, H.264 is encoded by the renderer.
wanted = ("parlante", "cv2", "numba", "scipy", "safetensors")
print(json.dumps({
    "pytriton": spec and spec.origin,
    "numpy": numpy.__version__,
    "missing": [name for name in wanted if importlib.util.find_spec(name) is None],
    "version": "%d.%d" % sys.version_info[:2],
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "bin": sys.prefix + "/bin",
}))
"""
_LOOK_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A server that can be started.

    Attributes:
        binary: The server.
        libraries: Shared libraries that came with it.
        backend_dir: Its Python backend, without the stub.
        stub: The process in which a model runs, for the models' version of Python.
        python_lib_dir: Where that version's libpython is.
        python_bin_dir: Where the models' interpreter is.
        repository: The models.
    """

    binary: Path
    libraries: Path
    backend_dir: Path
    stub: Path
    python_lib_dir: Path
    python_bin_dir: Path
    repository: Path


def repository_dir() -> Path:
    """Give the folder of the models: ``PARLANTE_TRITON_REPOSITORY``, or the checkout's."""
    configured = os.environ.get("PARLANTE_TRITON_REPOSITORY")
    checkout = Path(__file__).resolve().parents[2]
    return Path(configured) if configured else checkout / "deploy" / "triton" / "model_repository"


def model_python() -> Path:
    """Give the interpreter of the models: ``PARLANTE_TRITON_PYTHON``, or beside our environment."""
    configured = os.environ.get("PARLANTE_TRITON_PYTHON")
    return Path(configured or Path(sys.prefix).parent / ENVIRONMENT / "bin" / "python")


def find_installation() -> Installation:
    """Find the server and check that its models could run.

    Raises:
        FailedPrecondition: TRITON_NOT_INSTALLED; the message says what is missing.
    """
    repository = repository_dir()
    if not (repository / "decoder" / "config.pbtxt").is_file():
        raise _missing(f"a model repository, got none at {repository}; work in a checkout or set "
                       "PARLANTE_TRITON_REPOSITORY")  # fmt: skip
    python = model_python()
    if not python.is_file():
        raise _missing(f"an environment for its models, got none at {python}; {_MAKE_IT}")
    found = _look(python)
    if not found["pytriton"]:
        raise _missing(f"the package nvidia-pytriton, got none in {python.parent}; {_MAKE_IT}")
    if found["numpy"].partition(".")[0] != "1":
        raise _missing(f"numpy 1 for its models, got {found['numpy']}; {_MAKE_IT}")
    if found["missing"]:
        names = ", ".join(found["missing"])
        raise _missing(f"the decoder's packages in {python.parent}, got no {names}; {_MAKE_IT}")
    root = Path(found["pytriton"]).parent / "tritonserver"
    installation = Installation(
        binary=root / "bin" / "tritonserver",
        libraries=root.parent.parent / "nvidia_pytriton.libs",
        backend_dir=root / "backends" / "python",
        stub=root / "python_backend_stubs" / found["version"] / "triton_python_backend_stub",
        python_lib_dir=Path(found["libdir"]),
        python_bin_dir=Path(found["bin"]),
        repository=repository,
    )
    if not installation.stub.is_file():
        raise _missing(f"a Python that it has a stub for (3.8 to 3.12), got {found['version']}; "
                       "run: make triton PYTHON=python3.11")  # fmt: skip
    return installation


def _look(python: Path) -> dict[str, Any]:
    command = [str(python), "-c", _LOOK]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_LOOK_TIMEOUT_S, check=False, cwd="/"
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise _missing(f"a sound environment, got an error in {python}: {last[0]}; {_MAKE_IT}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _missing(what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the bundled Triton server needs {what}", reason="TRITON_NOT_INSTALLED"
    )
