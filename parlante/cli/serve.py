"""Run the services of Parlante until SIGTERM, SIGINT or SIGHUP.

  --stage all      everything in one process (--wiring embedded), or one process per stage on free
                   local ports with the gateway in front (--wiring grpc)
  --renderer triton
                   frames are decoded by the bundled Triton server, which is started and stopped
                   with the rest (make triton installs it), or by those of --triton-url
  --stage NAME     one stage alone, with the flags (after --) and variables of `parlante-NAME`, but
                   for PARLANTE_LISTEN_HOST and PARLANTE_LISTEN_PORT: --host and --port say where
                   it listens, on loopback unless told otherwise

Flags after -- go to the service, for example: parlante serve --stage motion -- --max-streams 4
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from parlante.cli.embedded import DEFAULT_PORT
from parlante.cli.supervisor import Process, Supervisor
from parlante.errors import InvalidInput
from parlante.renderers import IN_PROCESS, TRITON
from parlante.triton.installation import find_installation

__all__ = ["configure", "plan", "run"]

_STAGES: Final = ("encoder", "motion", "renderer")
_MODULES: Final = {
    "gateway": "gateway",
    "encoder": "services.encoder",
    "motion": "services.motion",
    "renderer": "services.renderer",
}
_DEFAULT_PORTS: Final = {
    "all": DEFAULT_PORT,
    "gateway": DEFAULT_PORT,
    "encoder": 50051,
    "motion": 50052,
    "renderer": 50053,
}
_LOCAL: Final = "127.0.0.1"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--stage", choices=("all", *_MODULES), default="all", help="what to run (default: all)"
    )
    parser.add_argument(
        "--wiring",
        choices=("embedded", "grpc"),
        default="embedded",
        help="of --stage all: one process, or one per stage (default: embedded)",
    )
    parser.add_argument("--host", default=_LOCAL, help=f"address to listen on (default: {_LOCAL})")
    parser.add_argument(
        "--port",
        type=int,
        help=f"port to listen on; 0 takes a free one (default: {DEFAULT_PORT}, stages 50051-50053)",
    )
    parser.add_argument(
        "--renderer",
        choices=(IN_PROCESS, TRITON),
        default=IN_PROCESS,
        help=f"where frames are decoded (default: {IN_PROCESS})",
    )
    parser.add_argument(
        "--triton-url",
        metavar="HOST:PORT[,...]",
        help="running Triton servers, by their gRPC ports; without it one is started here",
    )
    parser.add_argument(
        "--triton-metrics-port",
        type=int,
        default=0,
        metavar="PORT",
        help="where the server that is started here gives its metrics; 0 takes a free one",
    )
    parser.add_argument("extra", nargs="*", metavar="-- FLAGS", help="flags of the one service")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    processes = plan(args)
    # One line when all is ready, warnings after that; the variable brings the rest back.
    os.environ.setdefault("PARLANTE_LOG_LEVEL", "warning")
    front = processes[-1]
    names = ", ".join(process.name for process in processes)

    def say_ready() -> None:
        print(f"parlante: ready at {args.host}:{front.port} ({names})", flush=True)

    asyncio.run(_run(processes, say_ready))
    return 0


async def _run(processes: list[Process], say_ready: Callable[[], None]) -> None:
    async with Supervisor(processes) as supervisor:
        await supervisor.run(say_ready)


def plan(args: argparse.Namespace) -> list[Process]:
    """List the processes of the options, in the order they start; the last one is in front.

    Raises:
        InvalidInput: The options do not fit together, or the port is taken.
    """
    if args.extra and args.stage == "all" and args.wiring == "grpc":
        raise InvalidInput(
            "flags after -- go to one service; got them for several; start the stages one by one",
            reason="BAD_OPTION",
            field="extra",
        )
    port = _port(args)
    servers, backend = _backend(args)
    if args.stage != "all":
        return [*servers, _process(args.stage, args.host, port, *backend, *args.extra)]
    if args.wiring == "embedded":
        flags = ("--wiring", "embedded", *backend, *args.extra)
        return [*servers, _process("gateway", args.host, port, *flags)]
    ports = {stage: _free_port() for stage in _STAGES}
    addresses = {stage: f"{_LOCAL}:{stage_port}" for stage, stage_port in ports.items()}
    gateway = [f"--{stage}-address={address}" for stage, address in addresses.items()]
    renderer = ("--encoder", addresses["encoder"], *backend)
    return [
        *servers,
        _process("encoder", _LOCAL, ports["encoder"]),
        _process("motion", _LOCAL, ports["motion"]),
        _process("renderer", _LOCAL, ports["renderer"], *renderer),
        _process("gateway", args.host, port, "--wiring", "remote", *gateway),
    ]


def _backend(args: argparse.Namespace) -> tuple[list[Process], tuple[str, ...]]:
    """Give the Triton server to start, if one is, and the flags of the one who calls it."""
    if args.renderer == IN_PROCESS:
        if args.triton_url is not None:
            raise InvalidInput(
                "--triton-url is of --renderer triton; give both or none",
                reason="BAD_OPTION",
                field="triton_url",
            )
        return [], ()
    if args.stage not in ("all", "renderer"):
        raise InvalidInput(
            f"--renderer triton is of the renderer; got --stage {args.stage}; use it with --stage "
            "all or renderer",
            reason="BAD_OPTION",
            field="renderer",
        )
    if args.triton_url is not None:
        return [], ("--renderer", TRITON, "--triton-url", args.triton_url)
    find_installation()  # what is missing is better found before anything is started
    port = _free_port()
    server = Process(
        name="triton",
        arguments=(
            *("-m", "parlante.triton", "--port", str(port)),
            *("--metrics-port", str(args.triton_metrics_port)),
        ),
        host=_LOCAL,
        port=port,
    )
    return [server], ("--renderer", TRITON, "--triton-url", f"{_LOCAL}:{port}")


def _process(name: str, host: str, port: int, *flags: str) -> Process:
    module = _MODULES[name]
    if find_spec(module) is None:
        raise InvalidInput(
            f"this installation has no {name}; install parlante with its services",
            reason="STAGE_NOT_INSTALLED",
            field="stage",
        )
    arguments = ("-m", module, "--host", host, "--port", str(port), *flags)
    return Process(name=name, arguments=arguments, host=host, port=port)


def _port(args: argparse.Namespace) -> int:
    """Give the port in front; one that is taken is better found before the models are loaded."""
    port: int = _DEFAULT_PORTS[args.stage] if args.port is None else args.port
    if port == 0:
        return _free_port()
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((args.host, port))
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"cannot listen on {args.host}:{port} ({error}); choose another --port, 0 takes a free "
            "one",
            reason="PORT_UNUSABLE",
            field="port",
        ) from error
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOCAL, 0))
        return int(probe.getsockname()[1])
