"""`parlante serve`: what it runs, and that its processes live and end together."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from collections.abc import Callable

import pytest

from parlante.cli import serve
from parlante.cli.supervisor import Process, Supervisor
from parlante.errors import FailedPrecondition, InvalidInput, Unavailable
from parlante.triton.installation import Installation

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
