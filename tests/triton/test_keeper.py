"""`python -m parlante.triton`, as `parlante serve` runs it: what dies is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parlante.errors import Unavailable
from parlante.triton.check import make_a_frame
from parlante.triton.installation import Installation
from parlante.triton.server import free_ports

pytestmark = [pytest.mark.triton, pytest.mark.slow]
PATIENCE_S = 90.0


@pytest.fixture
def keeper(triton_installation: Installation) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the command; gives its process and the server's address."""
    port = free_ports().grpc
    process = subprocess.Popen([sys.executable, "-m", "parlante.triton", "--port", str(port)])
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until_it_makes_a_frame(address: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            make_a_frame(address)
            return
        except Unavailable:
            assert time.monotonic() < until_s, "no frame"
            time.sleep(0.2)


def server_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    (server,) = psutil.Process(process.pid).children()
    return server


def test_a_server_that_was_killed_is_started_again_and_stops_cleanly(
    keeper: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, address = keeper
    until_it_makes_a_frame(address)
    first = server_of(process)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=30)
    until_it_makes_a_frame(address)
    second = server_of(process)
    family = [second, *second.children(recursive=True)]
    prefix = _prefix(second)
    assert second.pid != first.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert list(Path("/dev/shm").glob(f"{prefix}*")) == []


def _prefix(server: psutil.Process) -> str:
    """The beginning of the names of its models' shared memory."""
    option = "--backend-config=python,shm-region-prefix-name="
    (found,) = [word for word in server.cmdline() if word.startswith(option)]
    return found.removeprefix(option)
