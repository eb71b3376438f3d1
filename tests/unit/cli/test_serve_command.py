"""`parlante serve`: what it runs, and that its processes live and end together."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from parlante.cli import serve
from parlante.cli.supervisor import Process, Supervisor
from parlante.errors import FailedPrecondition, InvalidInput, Unavailable
from parlante.triton.installation import Installation
from tests.fakes.wire import eventually

# A process with nothing but a health service.
SERVER = """
import asyncio, sys
from parlante.rpc.server import RpcServer, ServerConfig

async def main():
    async with RpcServer([], ServerConfig(host="127.0.0.1", port=int(sys.argv[1]))) as server:
        server.set_serving()
        await server.serve_until_signal()

asyncio.run(main())
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def process(name: str) -> Process:
    port = free_port()
    return Process(name=name, arguments=("-c", SERVER, str(port)), host="127.0.0.1", port=port)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    return parser.parse_args(arguments)


def test_plan_runs_all_in_one_process_by_default() -> None:
    (only,) = serve.plan(options("--port", "0"))
    assert only.arguments[:2] == ("-m", "gateway")
    assert only.arguments[-2:] == ("--wiring", "embedded")


def test_plan_runs_a_process_per_stage_with_the_gateway_last() -> None:
    processes = serve.plan(options("--wiring", "grpc", "--port", "0"))
    assert [item.name for item in processes] == ["encoder", "motion", "renderer", "gateway"]
    assert len({item.port for item in processes}) == 4
    gateway = processes[-1].arguments
    assert f"--motion-address=127.0.0.1:{processes[1].port}" in gateway
    assert gateway[gateway.index("--wiring") + 1] == "remote"


def test_plan_passes_flags_on_to_one_stage() -> None:
    (only,) = serve.plan(options("--stage", "motion", "--port", "0", "--", "--max-streams", "4"))
    assert only.arguments[-2:] == ("--max-streams", "4")


def test_plan_uses_triton_servers_that_run() -> None:
    (only,) = serve.plan(options("--renderer", "triton", "--triton-url", "gpu:8001", "--port", "0"))
    assert only.arguments[-4:] == ("--renderer", "triton", "--triton-url", "gpu:8001")


@pytest.mark.parametrize("wiring", ["embedded", "grpc"])
def test_plan_starts_the_triton_server_first_and_tells_the_renderer(
    wiring: str, triton_installation: Installation
) -> None:
    first, *rest = serve.plan(options("--renderer", "triton", "--wiring", wiring, "--port", "0"))
    assert (first.name, first.arguments[:2]) == ("triton", ("-m", "parlante.triton"))
    caller = next(item for item in rest if item.name in ("gateway", "renderer"))
    told = caller.arguments.index("--triton-url")
    assert caller.arguments[told + 1] == f"127.0.0.1:{first.port}"


def test_plan_says_how_to_get_the_triton_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLANTE_TRITON_PYTHON", "/nowhere/python")
    with pytest.raises(FailedPrecondition, match="make triton"):
        serve.plan(options("--renderer", "triton", "--port", "0"))


@pytest.mark.parametrize(
    "wrong", [("--triton-url", "a:1"), ("--stage", "motion", "--renderer", "triton")]
)
def test_plan_refuses_triton_where_it_has_no_place(wrong: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        serve.plan(options(*wrong, "--port", "0"))
    assert caught.value.reason == "BAD_OPTION"


def test_plan_refuses_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(InvalidInput) as caught:
            serve.plan(options("--port", port))
    assert caught.value.reason == "PORT_UNUSABLE"


def test_serve_complains_in_one_line(parlante: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = parlante("serve", "--port", "99999")
    assert (code, err.count("\n")) == (2, 1)
    assert "PORT_UNUSABLE" in err


async def test_supervisor_stops_all_when_one_ends() -> None:
    async with Supervisor([process("steady"), process("frail")]) as supervisor:
        with pytest.raises(Unavailable, match="frail ended by itself with code -9"):
            await asyncio.wait_for(
                supervisor.run(lambda: os.kill(supervisor.pid_of("frail"), signal.SIGKILL)),
                timeout=20,
            )
        steady = supervisor.pid_of("steady")
    with pytest.raises(ProcessLookupError):
        os.kill(steady, 0)


async def test_supervisor_ends_on_sigterm() -> None:
    loop = asyncio.get_running_loop()
    async with Supervisor([process("one"), process("two")]) as supervisor:
        await asyncio.wait_for(
            supervisor.run(lambda: loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)),
            timeout=20,
        )
        pids = [supervisor.pid_of(name) for name in ("one", "two")]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_supervisor_says_which_process_did_not_start() -> None:
    broken = Process(name="broken", arguments=("-c", "raise SystemExit(3)"), host="::", port=9)
    async with Supervisor([broken]) as supervisor:
        with pytest.raises(Unavailable, match="broken ended by itself with code 3"):
            await asyncio.wait_for(supervisor.run(lambda: None), timeout=20)


async def test_supervisor_gives_up_on_a_process_that_is_never_ready() -> None:
    deaf = Process(
        name="deaf", arguments=("-c", "import time; time.sleep(60)"), host="127.0.0.1", port=9
    )
    async with Supervisor([deaf], ready_timeout_s=0.3) as supervisor:
        with pytest.raises(Unavailable, match="deaf was not ready within"):
            await supervisor.run(lambda: None)


# --- nobody outlives it ------------------------------------------------------------------------

# A process with a health service that ends at its N-th SIGTERM, and says when one came.
STUBBORN = """
import asyncio, pathlib, signal, sys
from parlante.rpc.server import RpcServer, ServerConfig

async def main(port, num_signals, said):
    came = asyncio.Semaphore(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, came.release)
    async with RpcServer([], ServerConfig(host="127.0.0.1", port=int(port))) as server:
        server.set_serving()
        for number in range(int(num_signals)):
            await came.acquire()
            pathlib.Path(f"{said}.{number + 1}").touch()

asyncio.run(main(*sys.argv[1:]))
"""

# Whoever runs the tests in the background has these ignored, and what is ignored stays so.
SUPERVISOR = """
import asyncio, signal, sys
from parlante.cli.supervisor import Process, Supervisor

for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)

def process(item):
    port, *arguments = item.split(" ")
    return Process(
        name=port, arguments=("-c", sys.argv[1], port, *arguments), host="127.0.0.1", port=int(port)
    )

async def main():
    async with Supervisor([process(item) for item in sys.argv[2:]], stop_timeout_s=60) as all:
        await all.run(lambda: print("ready", flush=True))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Supervised:
    """A supervisor in a process of its own, over two processes that `said` when signals came."""

    process: asyncio.subprocess.Process
    said: Path

    async def until_said(self, what: str) -> None:
        """Wait until one of the processes had a signal, e.g. ``"second.1"``."""
        await eventually(lambda: (self.said / what).exists(), timeout_s=20)

    async def all_gone(self) -> None:
        """Wait until nobody is left: everybody holds the end of this pipe."""
        assert self.process.stdout is not None
        assert await asyncio.wait_for(self.process.stdout.read(), 20) == b""


@asynccontextmanager
async def supervised(folder: Path, *, num_signals: int) -> AsyncIterator[Supervised]:
    """Run a supervisor whose processes end at their `num_signals`-th signal."""
    items = [f"{free_port()} {num_signals} {folder / name}" for name in ("first", "second")]
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISOR, STUBBORN, *items), stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        assert await asyncio.wait_for(running.stdout.readline(), 40) == b"ready\n"
        yield Supervised(running, folder)
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def test_supervisor_passes_a_second_signal_on(tmp_path: Path) -> None:
    """It ended at once, and its processes went on for ever."""
    async with supervised(tmp_path, num_signals=2) as one:
        one.process.send_signal(signal.SIGINT)
        await one.until_said("second.1")
        assert not (tmp_path / "first.1").exists()  # the one in front drains first
        one.process.send_signal(signal.SIGINT)
        await one.all_gone()
        assert await one.process.wait() == 0
    assert (tmp_path / "first.2").exists()


async def test_supervisor_kills_at_a_third_signal(tmp_path: Path) -> None:
    async with supervised(tmp_path, num_signals=9) as one:
        one.process.send_signal(signal.SIGINT)
        await one.until_said("second.1")
        one.process.send_signal(signal.SIGINT)
        await one.until_said("second.2")
        one.process.send_signal(signal.SIGINT)
        await one.all_gone()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_supervisor_stops_all_at_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    async with supervised(tmp_path, num_signals=1) as one:
        one.process.send_signal(number)
        await one.all_gone()
        assert await one.process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's doing")
async def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    async with supervised(tmp_path, num_signals=9) as one:
        one.process.kill()
        await one.all_gone()


async def test_supervisor_kills_what_is_left_when_it_is_cancelled(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("-c", STUBBORN, str(port), "9", str(tmp_path / "only"))
    only = Process(name="only", arguments=arguments, host="127.0.0.1", port=port)
    supervisor = Supervisor([only], stop_timeout_s=60)

    async def supervise() -> None:
        async with supervisor:
            await supervisor.run(lambda: os.kill(os.getpid(), signal.SIGTERM))

    task = asyncio.create_task(supervise())
    await eventually((tmp_path / "only.1").exists, timeout_s=40)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    with pytest.raises(ProcessLookupError):
        os.kill(supervisor.pid_of("only"), 0)
