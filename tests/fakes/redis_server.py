"""A real Redis server of a test's own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

__all__ = ["PASSWORD", "RedisServer", "has_redis"]

PASSWORD = "s3cret"
_START_TIMEOUT_S = 30.0


def has_redis() -> bool:
    """Tell whether there is one to start; on Debian: apt-get install -y redis-server."""
    return shutil.which("redis-server") is not None


class RedisServer:
    """A server with a password, on a free port.

    Args:
        folder: Its working folder.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, password=PASSWORD)

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--requirepass", PASSWORD, "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            try:
                self.client.ping()
            except redis.exceptions.RedisError:
                assert self._process.poll() is None
                time.sleep(0.05)
            else:
                return
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def names(self) -> list[str]:
        """Give the names of all values."""
        return sorted(name.decode() for name in self.client.scan_iter())
