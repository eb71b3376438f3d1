"""Say what works on this machine and what is missing, and how to get it.

Exit code 1 only when talking is impossible.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import SubprocessError
from typing import Final

from parlante.cli.embedded import DEFAULT_PORT, store_dir
from parlante.errors import FailedPrecondition, ParlanteError

__all__ = ["Check", "configure", "run"]

# Distribution -> module, and whether talking needs it.
_PACKAGES: Final = (
    ("grpcio", "grpc", True),
    ("protobuf", "google.protobuf", True),
    ("numpy", "numpy", True),
    ("torch", "torch", True),
    ("ai-edge-litert", "ai_edge_litert", True),
    ("opencv-python-headless", "cv2", True),
    ("numba", "numba", True),
    ("scipy", "scipy", True),
    ("pillow", "PIL", True),
    ("av", "av", True),
    ("soundfile", "soundfile", True),
    ("soxr", "soxr", True),
    ("tritonclient", "tritonclient", False),
    ("scikit-image", "skimage", False),
    ("opentelemetry-exporter-otlp-proto-grpc", "opentelemetry", False),
)
_INSTALL: Final = "pip install -c constraints.txt -e '.[embedded]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        ok: True when it is there and works.
        needed: True when talking is impossible without it.
        detail: What was found.
        fix: Command that puts it right; "" when nothing is wrong or nothing helps.
    """

    name: str
    ok: bool
    needed: bool
    detail: str
    fix: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--triton-url",
        metavar="HOST:PORT[,...]",
        help="have these Triton servers make a frame, in place of the bundled one",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one check a line")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    checks = examine(triton_url=args.triton_url)
    for check in checks:
        print(json.dumps(asdict(check)) if args.json else _line(check))
    broken = [check.name for check in checks if check.needed and not check.ok]
    if not args.json:
        print(f"\ncannot talk: {', '.join(broken)}" if broken else "\nready to talk")
    return 1 if broken else 0


def examine(*, triton_url: str | None = None) -> list[Check]:
    """Look at everything; a check that fails in an unforeseen way is a finding, not an end."""
    checks = [_python()]
    checks += [_package(*package) for package in _PACKAGES]
    checks += [
        _guarded("face tracker", True, _tracker),
        _guarded("models", True, _models),
        _guarded("H.264 encoder", True, _h264),
        _guarded("voice (espeak-ng)", False, _espeak),
        _guarded("store", True, _store),
        _guarded("CPU", False, _cpu),
        _guarded("GPU", False, _gpu),
        _guarded("port", False, _port),
    ]
    if triton_url is not None:
        return checks + _triton_at(triton_url)
    return [*checks, _guarded("Triton server", False, _triton)]


def _line(check: Check) -> str:
    mark = "ok     " if check.ok else ("MISSING" if check.needed else "without")
    fix = f"\n{'':11}-> {check.fix}" if check.fix else ""
    return f"{mark}  {check.name}: {check.detail}{fix}"


def _guarded(name: str, needed: bool, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except ModuleNotFoundError as error:
        return Check(name=name, ok=False, needed=needed, detail=str(error), fix=_INSTALL)
    except (ParlanteError, OSError, RuntimeError, ValueError, SubprocessError) as error:
        return Check(name=name, ok=False, needed=needed, detail=str(error))


def _python() -> Check:
    number = ".".join(str(part) for part in sys.version_info[:3])
    return Check(
        name="Python", ok=sys.version_info >= (3, 11), needed=True, detail=f"{number} (>= 3.11)"
    )


def _package(distribution: str, module: str, needed: bool) -> Check:
    try:
        found = version(distribution)
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise PackageNotFoundError(distribution)
    except PackageNotFoundError:
        return Check(
            name=distribution, ok=False, needed=needed, detail="not installed", fix=_INSTALL
        )
    return Check(name=distribution, ok=True, needed=needed, detail=found)


def _tracker() -> Check:
    from parlante.models.tracker_files import find_missing_files, tracker_dir

    missing = find_missing_files(tracker_dir())
    return Check(
        name="face tracker",
        ok=not missing,
        needed=True,
        detail=f"missing in {tracker_dir()}: {', '.join(missing)}" if missing else "files intact",
        fix="python scripts/fetch_tracker.py" if missing else "",
    )


def _models() -> Check:
    folder = Path(__file__).parent.parent / "models"
    weights = sorted(folder.rglob("*.safetensors"))
    return Check(
        name="models",
        ok=bool(weights),
        needed=True,
        detail=", ".join(f"{path.stem} {path.stat().st_size / 1e6:.1f} MB" for path in weights)
        or f"no weights below {folder}",
        fix="" if weights else "git checkout -- parlante/models",
    )


def _h264() -> Check:
    import av

    name = next((name for name in ("libx264", "h264_nvenc") if name in av.codecs_available), "")
    detail = f"{name} in PyAV {av.__version__} (x264 is GPL)" if name else "PyAV has none"
    return Check(name="H.264 encoder", ok=bool(name), needed=True, detail=detail)


def _espeak() -> Check:
    from parlante.training.espeak import Espeak

    return Check(
        name="voice (espeak-ng)",
        ok=True,
        needed=False,
        detail=f"{Espeak().sample_rate_hz} Hz, for the demo and the benchmark",
    )


def _store() -> Check:
    folder = store_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        free_gb = shutil.disk_usage(folder).free / 1e9
    return Check(
        name="store", ok=True, needed=True, detail=f"{folder} is writable, {free_gb:.0f} GB free"
    )


def _cpu() -> Check:
    import psutil

    memory_gb = psutil.virtual_memory().total / 1e9
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check(
        name="CPU", ok=True, needed=False, detail=f"{threads} threads, {memory_gb:.0f} GB memory"
    )


def _gpu() -> Check:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check(
            name="GPU", ok=False, needed=False, detail="no NVIDIA driver; the CPU does it all"
        )
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return Check(
        name="GPU",
        ok=answer.returncode == 0,
        needed=False,
        detail=(answer.stdout or answer.stderr).strip().replace("\n", "; "),
    )


def _triton() -> Check:
    """Start the bundled server and have it make a frame; nothing less says that it works."""
    from parlante.triton.check import make_a_frame
    from parlante.triton.installation import find_installation
    from parlante.triton.server import TritonServer

    try:
        installation = find_installation()
    except FailedPrecondition as error:
        detail = f"{error.message}; frames are decoded in process"
        return Check(name="Triton server", ok=False, needed=False, detail=detail, fix="make triton")
    with TritonServer(installation) as server:
        frame_ms = make_a_frame(server.grpc_address)
        detail = f"ready in {server.start_s:.1f} s, makes a frame in {frame_ms:.0f} ms"
    return Check(name="Triton server", ok=True, needed=False, detail=detail)


def _triton_at(addresses: str) -> list[Check]:
    """Have running servers make a frame each."""
    from parlante.triton.check import make_a_frame

    def look(address: str) -> Check:
        frame_ms = make_a_frame(address)
        return Check(name=name, ok=True, needed=True, detail=f"makes a frame in {frame_ms:.0f} ms")

    checks = []
    for address in addresses.split(","):
        name = f"Triton server at {address.strip()}"
        checks.append(_guarded(name, True, partial(look, address.strip())))
    return checks


def _port() -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            return Check(
                name="port",
                ok=False,
                needed=False,
                detail=f"{DEFAULT_PORT} is taken",
                fix="parlante serve --port 0",
            )
    return Check(name="port", ok=True, needed=False, detail=f"{DEFAULT_PORT} is free")
