"""A real S3 server of its own process: moto's, from an environment of its own (``make s3``).

It is not in the tests' own environment: boto needs an older python-dateutil than all else.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 60.0
BUCKET = "avatars"
# The server believes any.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret"}


def find_server() -> Path | None:
    """Find the server's program; None where it is not installed."""
    program = ROOT / ".venv-s3" / "bin" / "moto_server"
    return program if program.exists() else None


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server with an empty bucket; gives its endpoint, skips where there is none."""
    program = find_server()
    if program is None:
        pytest.skip("there is no S3 server: run `make s3`")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "PYTHONPATH": ""}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _make_bucket(endpoint, process)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def put_object(endpoint: str, path: str, content: bytes) -> None:
    """Write an object past the store."""
    obstore.put(_bucket(endpoint), path, content)


def get_object(endpoint: str, path: str) -> bytes | None:
    """Read an object past the store; None when there is none."""
    try:
        return bytes(obstore.get(_bucket(endpoint), path).bytes())
    except FileNotFoundError:
        return None


def _bucket(endpoint: str) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )


def _make_bucket(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            request = urllib.request.Request(f"{endpoint}/{BUCKET}", data=b"", method="PUT")
            with urllib.request.urlopen(request, timeout=10.0):
                return
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
