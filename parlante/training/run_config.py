"""What the configs of training runs share: how they are read, refused, and held to their folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from parlante.errors import InvalidInput
from parlante.training.checkpoint import Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["bad_config", "keep_config", "read_config", "stored_run"]

Config = TypeVar("Config")
_KEPT: Final = "config.json"  # in a run's folder


def bad_config(name: str, wanted: str, got: object) -> InvalidInput:
    """Make the error of a field that is out of range."""
    return InvalidInput(f"{name} must be {wanted}; got {got}", reason="BAD_CONFIG", field=name)


def read_config(
    path: Path, make: Callable[[dict[str, Any]], Config], *, of: str, page: str
) -> Config:
    """Read a config from JSON.

    Args:
        path: The file.
        make: Makes the config of its fields.
        of: What the run trains, for the error.
        page: Where the fields are explained, for the error.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    try:
        return make(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no config of a run of {of} ({error}); see {page}",
            reason="BAD_CONFIG",
            field="config",
        ) from error


def keep_config(config: DataclassInstance, out: Path) -> None:
    """Write a config into its run's folder, as `read_config` reads it again."""
    (out / _KEPT).write_text(json.dumps(asdict(config), indent=1) + "\n", "utf-8")


def stored_run(out: Path, model: object, model_of: Callable[[Path], object]) -> Checkpoint | None:
    """Load the checkpoint that a run goes on from; None where there is none.

    Args:
        out: Folder of the run, with the `config.json` that it began with.
        model: Size of the network that is asked for.
        model_of: Reads the size out of a config file.

    Raises:
        InvalidInput: The folder holds a run of another size.
    """
    written = out / _KEPT
    stored = load_checkpoint(out / "checkpoint.pt")
    if stored is None or not written.exists():
        return stored
    if model_of(written) != model:
        raise InvalidInput(
            f"{out} holds a run with another model than the config's; give another folder",
            reason="RUN_OF_OTHER_SIZE",
            field="out",
        )
    return stored
