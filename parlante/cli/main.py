"""Entry point of ``parlante``: finds the command, runs it, turns errors into one line.

Exit codes: 0 success, 1 the server or this machine failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

from parlante.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ParlanteError,
)

__all__ = ["main"]

# The modules are imported on demand: `avatars` needs the base packages only, `talk` all of them.
_COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "talk": "make a talking-face video of a portrait and a recording",
        "drive": "put the motion of a face in a video onto portraits",
        "serve": "run the services",
        "avatars": "add, list, show and remove avatars",
        "doctor": "say what works on this machine and what is missing",
        "bench": "measure speed, delay and memory on this machine",
        "load": "find out how many live sessions a machine or a server can hold",
        "eval": "judge the motion of talking faces in finished videos",
        "synth": "make a data set of synthetic talking heads with exact labels",
        "train": "train the motion model, on synthetic speech or on your own videos",
        "demo": "make the demonstration video, with a portrait and a voice of our own",
    }
)
_WRONG_INPUT: Final = (InvalidInput, NotFound, AlreadyExists, FailedPrecondition)
_EXTRAS: Final = "parlante[embedded,demo,eval]"
_COMMAND_EXTRAS: Final[Mapping[str, str]] = MappingProxyType(
    {"train": "parlante[embedded,train]", "synth": "parlante[cli,synth]"}
)
# "-10,5" looks like an option to argparse.
_SIGNED_OPTIONS: Final = ("--gaze", "--head-pose")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    # Before grpc is imported: its core would tell the terminal of every closed connection.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    arguments = _join_signed(list(sys.argv[1:] if argv is None else argv))
    try:
        return _dispatch(arguments)
    except ParlanteError as error:
        _complain(f"{error.message} [{error.reason}]")
        return 2 if isinstance(error, _WRONG_INPUT) else 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("parlante", "services", "gateway"):
            raise
        extras = _COMMAND_EXTRAS.get(arguments[0], _EXTRAS)
        _complain(f"the package {package!r} is missing; run: pip install '{extras}'")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name not in _COMMANDS:
        _top_parser().parse_args(arguments or ["--help"])
        return 0
    module = importlib.import_module(f"parlante.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"parlante {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    return int(module.run(parser.parse_args(arguments[1:])))


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(name) for name in _COMMANDS) + 2
    lines = [f"  {name:<{width}}{text}" for name, text in _COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="parlante",
        description="One portrait and a live voice become a live talking face.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`parlante COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"parlante {version('parlante')}")
    parser.add_argument("command", choices=tuple(_COMMANDS), metavar="COMMAND")
    return parser


def _join_signed(arguments: list[str]) -> list[str]:
    """Write ``--gaze -10,5`` as ``--gaze=-10,5``."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in _SIGNED_OPTIONS and argument[:1] == "-":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _complain(text: str) -> None:
    print(f"parlante: error: {' '.join(text.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
