"""Settings as frozen dataclasses, read from the environment and from flags.

A field `listen_port` is the variable ``PARLANTE_LISTEN_PORT`` and the flag ``--listen-port``;
flags win. A field's metadata may hold ``help``, ``flag`` and ``env``. Kubernetes puts variables
like ``<SERVICE>_PORT=tcp://10.0.0.1:50051`` into every pod, so a field called `port` must take
another name there.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from parlante.errors import InvalidInput

S = TypeVar("S")

PREFIX: Final = "PARLANTE_"
_TRUE: Final = {"1", "true", "yes", "on"}
_FALSE: Final = {"0", "false", "no", "off"}

__all__ = ["about", "default_store_dir", "load", "shown"]


def default_store_dir() -> Path:
    """Give the directory for avatars of this user, after the XDG convention."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "parlante" / "avatars"


def about(help_text: str, *, flag: str = "", env: str = "") -> dict[str, str]:
    """Make the metadata of a settings field: its help and, if they differ, its outer names."""
    return {"help": help_text, "flag": flag, "env": env}


def load(
    cls: type[S],
    argv: Sequence[str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
) -> S:
    """Build settings from their defaults, then the environment, then flags.

    Args:
        cls: A dataclass whose fields are str, int, float, bool or Path, or None beside those.
        argv: Flags without the program's name; None takes those of the process.
        env: Variables; None takes those of the process.
        prog: Name for the usage text.

    Raises:
        InvalidInput: A variable cannot be read or the values do not fit together.
    """
    env = os.environ if env is None else env
    hints = typing.get_type_hints(cls)
    parser = argparse.ArgumentParser(
        prog=prog,
        description=(cls.__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        read = _reader(hints[field.name])
        variable = field.metadata.get("env") or PREFIX + field.name.upper()
        default = field.default
        if env.get(variable, "") != "":
            default = _read(read, env[variable], variable)
            values[field.name] = default
        flag = field.metadata.get("flag") or "--" + field.name.replace("_", "-")
        text = f"{field.metadata.get('help', '')} [{variable}]"
        kind: dict[str, Any] = {"type": _argument(read)}
        if hints[field.name] is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(flag, dest=field.name, default=default, help=text, **kind)
    values.update(vars(parser.parse_args(argv)))
    return cls(**values)


def shown(settings: Any) -> dict[str, Any]:
    """Give the settings as plain values, for the one log line at start."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(settings).items()
    }


def _reader(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        (hint,) = (arm for arm in hint.__args__ if arm is not type(None))
    return _read_bool if hint is bool else hint


def _read_bool(text: str) -> bool:
    if text.strip().lower() in _TRUE | _FALSE:
        return text.strip().lower() in _TRUE
    raise ValueError(f"expected one of {', '.join(sorted(_TRUE | _FALSE))}")


def _read(read: Any, text: str, name: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidInput(
            f"{name} must be a {read.__name__.removeprefix('_read_')}; got {text[:80]!r} ({error})",
            reason="BAD_SETTING",
            field=name,
        ) from error


def _argument(read: Any) -> Any:
    def argument(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return argument
