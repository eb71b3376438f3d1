"""Names of GPUs, as torch has them."""

from __future__ import annotations

__all__ = ["gpu_index"]


def gpu_index(name: str) -> int | None:
    """Give N of ``cuda:N``, 0 of ``cuda``, None of anything else."""
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        return None
    return int(index or "0")
