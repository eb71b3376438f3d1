"""Starts the bundled Triton server on a model repository, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parlante.errors import Unavailable
from parlante.triton.installation import Installation
from parlante.triton.tuning import DecoderTuning, tuned_models

__all__ = ["MODEL_FLAGS", "TritonPorts", "TritonServer", "free_ports"]

LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 120.0
_STOP_GRACE_S: Final = 15.0
_POLL_S: Final = 0.05
_SHARED_MEMORY: Final = Path("/dev/shm")
_PR_SET_PDEATHSIG: Final = 1
_LOG_TAIL_CHARS: Final = 3000
# How models are loaded, wherever the server runs.
MODEL_FLAGS: Final = (
    # Explicit: only so can a model whose process has died be loaded again.
    "--model-control-mode=explicit",
    # Not all: the motion model is loaded by who wants it.
    "--load-model=avatar_store",
    "--load-model=decoder",
    # Auto-completion would start every model twice.
    "--disable-auto-complete-config",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonPorts:
    """Where a server listens; the metrics and HTTP ports are for probes and scrapers."""

    grpc: int
    http: int
    metrics: int


def free_ports() -> TritonPorts:
    """Find three free ports of the loopback interface."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        grpc, http, metrics = (int(probe.getsockname()[1]) for probe in probes)
    return TritonPorts(grpc=grpc, http=http, metrics=metrics)


class TritonServer:
    """One server process with its models; also a context manager over `start` and `stop`.

    Args:
        installation: What to run.
        ports: Where to listen; None takes free ones.
        host: Address to listen on.
        options: Further flags of the server.
        limit: Called in the server's process before it starts, e.g. to bound what it may use.
        environment: Variables beside those of this process.
        tuning: Settings of the decoder; None changes none.

    Attributes:
        ports: Where it listens.
        log: File with what it prints.
        start_s: Time from the start to ready, seconds.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        ports: TritonPorts | None = None,
        host: str = LOOPBACK,
        options: Sequence[str] = (),
        limit: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        tuning: DecoderTuning | None = None,
    ) -> None:
        self._tuning = tuning or DecoderTuning()
        self._installation = installation
        self._host = host
        self._options = tuple(options)
        self._limit = limit
        self._environment = dict(environment or {})
        self.ports = ports or free_ports()
        self._dir = Path(tempfile.mkdtemp(prefix="parlante-triton-"))
        # Models' shared memory: a prefix of our own, so that it can be removed after a crash.
        self._prefix = f"parlante{uuid.uuid4().hex[:10]}"
        self.log = self._dir / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start_s = 0.0

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """Where to call it."""
        return f"{self._host}:{self.ports.grpc}"

    @property
    def pid(self) -> int:
        """Process id of the server, which leads its process group."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True while the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start and return once the models are ready.

        Raises:
            Unavailable: It ended or was not ready in time; the message shows the end of its log.
        """
        start_s = time.monotonic()
        try:
            self.launch()
            while not self.is_ready():
                if not self.is_running:
                    raise self._failed("ended by itself")
                if time.monotonic() - start_s > timeout_s:
                    raise self._failed(f"was not ready within {timeout_s:g} s")
                time.sleep(_POLL_S)
        except BaseException:
            self.stop(grace_s=0.0)
            raise
        self.start_s = time.monotonic() - start_s

    def launch(self) -> None:
        """Start the process and return at once."""
        self._dir.mkdir(exist_ok=True)
        backends = self._dir / "backends"
        if not backends.exists():
            self._make_backend_dir(backends / "python")
        models = tuned_models(self._installation.repository, self._dir / "models", self._tuning)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(backends, models),
                env=self._variables(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # A group of its own: the models' processes share it, and are ended with it.
                start_new_session=True,
                preexec_fn=self._in_child,
            )

    def is_ready(self) -> bool:
        """Tell whether server and models answer that they are ready."""
        # The metrics port comes last: if it is taken, the server ends after saying it is ready.
        urls = (
            f"http://{self._host}:{self.ports.http}/v2/health/ready",
            f"http://{self._host}:{self.ports.metrics}/metrics",
        )
        return all(_answers(url, timeout_s=2.0) for url in urls)

    def is_live(self, *, timeout_s: float) -> bool:
        """Tell whether the server answers at all within a time."""
        url = f"http://{self._host}:{self.ports.http}/v2/health/live"
        return _answers(url, timeout_s=timeout_s)

    def stop(self, *, grace_s: float = _STOP_GRACE_S) -> int | None:
        """End the server and its models and remove all they left; more than once is fine.

        Args:
            grace_s: Time to end by itself; 0 kills at once, which is safe here.

        Returns:
            The server's exit status, None if it never ran.
        """
        status = None
        if self._process is not None:
            self._end(self._process, grace_s)
            status = self._process.wait()
        for left in _SHARED_MEMORY.glob(f"{self._prefix}*"):
            with contextlib.suppress(OSError):
                left.unlink()
        shutil.rmtree(self._dir, ignore_errors=True)
        return status

    def log_tail(self) -> str:
        """Give the end of the log."""
        if not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-_LOG_TAIL_CHARS:]

    def _end(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        if grace_s > 0 and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def _command(self, backends: Path, models: Path) -> list[str]:
        ports = self.ports
        return [
            str(self._installation.binary),
            f"--model-repository={models}",
            f"--backend-directory={backends}",
            *MODEL_FLAGS,
            *(f"--{name}-address={self._host}" for name in ("grpc", "http", "metrics")),
            f"--grpc-port={ports.grpc}",
            f"--http-port={ports.http}",
            f"--metrics-port={ports.metrics}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--exit-timeout-secs={int(_STOP_GRACE_S / 2)}",
            *self._options,
        ]

    def _variables(self) -> dict[str, str]:
        found = self._installation
        variables = os.environ | {
            # The stub finds its environment by the python3 on PATH, and must be given the libpython
            # of that Python: Debian's own with another's standard library half-works.
            "PATH": f"{found.python_bin_dir}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join(
                filter(
                    None,
                    (
                        str(found.libraries),
                        str(found.python_lib_dir),
                        os.environ.get("LD_LIBRARY_PATH", ""),
                    ),
                )
            ),
            # Machine code made beside numpy 2 is not to be met by numpy 1.
            "NUMBA_CACHE_DIR": str(found.python_bin_dir.parent / "numba-cache"),
            # Frames are large arrays: without these each would be mapped from the system and given
            # back to it again, some 2 ms of page faults.
            "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
            "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        return variables | self._environment

    def _make_backend_dir(self, target: Path) -> None:
        """Link the backend and the stub into one folder, so that site-packages stays as it is."""
        target.mkdir(parents=True)
        for file in self._installation.backend_dir.iterdir():
            if file.is_file():
                (target / file.name).symlink_to(file)
        (target / self._installation.stub.name).symlink_to(self._installation.stub)

    def _in_child(self) -> None:
        # The server goes when we go, even by SIGKILL.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if self._limit is not None:
            self._limit()

    def _failed(self, what: str) -> Unavailable:
        return Unavailable(
            f"the Triton server {what}; the end of its log: {self.log_tail()}",
            reason="TRITON_NOT_STARTED",
        )


def _answers(url: str, *, timeout_s: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
