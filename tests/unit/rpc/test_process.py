"""The life of a service process, from its settings to its exit status."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

_SERVICE = """
import asyncio, sys
from parlante.rpc.process import run_process, serve_engine
from parlante.rpc.server import ServerConfig
from parlante.rpc.slots import Slots
from parlante.types import MotionTraits
from services.motion.servicer import MotionServicer, motion_service
from tests.fakes.motion import FakeMotion

class Slow(FakeMotion):
    async def warm_up(self):
        await asyncio.sleep({warm_up_s})
    async def aclose(self):
        print("engine closed", flush=True)

async def serve(config):
    engine = Slow()
    traits = MotionTraits(algorithmic_delay_ms=40, bundle_digest="")
    servicer = MotionServicer(engine, traits=traits, slots=Slots(2, what="test"))
    await serve_engine(engine, [motion_service(servicer)], config)

sys.exit(run_process("fake", ServerConfig, serve))
"""


@contextmanager
def _process(*flags: str, warm_up_s: float = 0.0, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _SERVICE.format(warm_up_s=warm_up_s), *flags]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PARLANTE_LISTEN_HOST": "127.0.0.1", "GRPC_VERBOSITY": "NONE", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], message: str) -> dict[str, object]:
    assert process.stderr is not None
    for line in process.stderr:
        entry: dict[str, object] = json.loads(line)  # every line of the log is JSON
        if entry["message"] == message:
            return entry
    raise AssertionError(f"the log ended before {message!r}")


def test_process_serves_and_drains_at_a_signal() -> None:
    with _process() as process:
        settings = _read_until(process, "starting")["settings"]
        assert isinstance(settings, dict)
        assert settings["drain_grace_s"] == 20.0
        _read_until(process, "serving")
        process.send_signal(signal.SIGTERM)
        _read_until(process, "stopped")
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "engine closed\n"


def test_signal_during_the_warm_up_ends_in_order() -> None:
    with _process(warm_up_s=60) as process:
        _read_until(process, "listening")
        process.send_signal(signal.SIGTERM)
        _read_until(process, "stopped before serving")
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "engine closed\n"


def test_port_in_use_is_one_line_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _process("--port", str(port)) as process:
            entry = _read_until(process, "cannot serve")
            assert "cannot listen" in str(entry["detail"])
            assert process.wait(10) == 1


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        (["--drain-grace-s", "-1"], {}),
        ([], {"PARLANTE_LISTEN_PORT": "tcp://10.0.0.1:1"}),
        ([], {"PARLANTE_LOG_LEVEL": "loud"}),
        ([], {"OTEL_TRACES_EXPORTER": "zipkin"}),
    ],
)
def test_bad_settings_are_one_line_and_status_2(flags: list[str], env: dict[str, str]) -> None:
    with _process(*flags, **env) as process:
        assert process.wait(20) == 2
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("parlante-fake: ")
