"""Compilation of the pixel loops: numba with a cache on disk where one can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile a pixel loop; it releases the GIL while it runs.

    The machine code is cached beside the source, else in the user's cache folder
    (``NUMBA_CACHE_DIR`` overrides both). In a read-only installation without either, the code is
    compiled anew in each process: slower to start, the same to run.
    """
    try:
        return cast("F", numba.njit(function, cache=True, nogil=True, fastmath=True))
    except RuntimeError:  # numba found no folder that it may write to
        return cast("F", numba.njit(function, nogil=True, fastmath=True))
