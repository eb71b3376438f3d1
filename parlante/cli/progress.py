"""A progress bar on stderr, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["progress"]


@contextmanager
def progress(total: int, unit: str, *, shown: bool) -> Iterator[Callable[[], object]]:
    """Give a function to call per unit; a bar that is not shown would start a thread as well."""
    if not shown:
        yield lambda: None
        return
    with tqdm(total=total, unit=unit) as bar:
        yield bar.update
