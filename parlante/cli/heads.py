"""Where the parts of synthetic heads are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from parlante.errors import InvalidInput

__all__ = ["HEADS_VARIABLE", "heads_of"]

HEADS_VARIABLE: Final = "PARLANTE_HEADS"


def heads_of(given: Path | None, *, needed_by: str) -> Path:
    """The folder that was given, or else that of the variable.

    Raises:
        InvalidInput: Neither is there.
    """
    found = given or os.environ.get(HEADS_VARIABLE)
    if not found:
        raise InvalidInput(
            f"{needed_by} needs the folder of the head parts; give --heads DIR or set "
            f"{HEADS_VARIABLE}",
            reason="BAD_OPTION",
            field="heads",
        )
    return Path(found)
