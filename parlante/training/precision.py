"""In which numbers matrix products of a training run on this machine."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

__all__ = ["multiplies_bfloat16", "products", "runs_in_bfloat16"]


@functools.cache
def multiplies_bfloat16() -> bool:
    """Tell whether this processor has instructions for products of bfloat16 (Linux tells)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)


def runs_in_bfloat16(asked: bool | None, device_type: str = "cpu") -> bool:
    """What a config's `bfloat16` means on a device: None asks for it where the device has it."""
    if asked is not None:
        return asked
    return device_type == "cuda" or multiplies_bfloat16()


def products(device: torch.device, asked: bool | None) -> AbstractContextManager[Any]:
    """Have matrix products on a device run as a config's `bfloat16` asks, within a `with`."""
    if not runs_in_bfloat16(asked, device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
