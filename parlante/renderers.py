"""Where a renderer decodes frames, by the names that settings and commands use."""

from __future__ import annotations

from typing import Final

from parlante.errors import InvalidInput

__all__ = ["IN_PROCESS", "TRITON", "check_backend"]

IN_PROCESS: Final = "inprocess"
TRITON: Final = "triton"


def check_backend(renderer: str, triton_url: str) -> None:
    """Raise `InvalidInput` BAD_SETTING for settings of a renderer that name no backend.

    Args:
        renderer: Name of the backend.
        triton_url: Addresses of Triton servers; whatever they are where none is used.
    """
    if renderer not in (IN_PROCESS, TRITON):
        expected, got = f"{IN_PROCESS!r} or {TRITON!r}", renderer[:40]
        field = "renderer"
    elif renderer == TRITON and not all(part.strip() for part in triton_url.split(",")):
        expected, got, field = "HOST:PORT[,HOST:PORT...]", triton_url[:80], "triton_url"
    else:
        return
    raise InvalidInput(
        f"{field} must be {expected}; got {got!r}", reason="BAD_SETTING", field=field
    )
