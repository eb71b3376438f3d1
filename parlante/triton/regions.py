"""Shared memory through which a decoder on the same host hands over pixels.

The caller makes a region and names it in its calls; the model opens it by that name and writes its
pixels there itself. The server between them knows nothing of it, so pixels are copied once, and no
region outlives a restart of the server in one side's books only.

A caller keeps a lock on each of its regions while it lives, and the system takes that lock away
from one that was killed: so both sides know what nobody owns any more, and free it.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from parlante.types import Uint8Array

__all__ = ["OpenRegions", "PixelRoom", "Region", "Slot"]

_DIR: Final = Path("/dev/shm")
_PREFIX: Final = "parlante-"
# No path, and nothing but what `Region` makes: callers must not have us write anywhere else.
_NAME: Final = re.compile(r"parlante-\d{1,10}-[0-9a-f]{12}")


class Region:
    """One region, of the caller that made it.

    Args:
        num_bytes: Size.

    Attributes:
        name: Unique; by it a model opens the region.
        is_known: True once a model has written to it.

    Raises:
        OSError: There is no room, or no such file system.
    """

    def __init__(self, num_bytes: int) -> None:
        _remove_ownerless()
        self.name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.num_bytes = num_bytes
        self.is_known = False
        # Locked before it has its name: whoever finds it would take it for ownerless otherwise.
        unnamed = _DIR / f".{self.name}"
        self._descriptor = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Reserved now: without this a full file system would kill whoever writes, by SIGBUS.
            os.posix_fallocate(self._descriptor, 0, num_bytes)
            self._memory = mmap.mmap(self._descriptor, num_bytes)
            unnamed.rename(_DIR / self.name)
        except OSError:
            os.close(self._descriptor)
            unnamed.unlink()
            raise

    def view(self) -> Uint8Array:
        """Give the memory, uint8 [N]; a new array over it each time."""
        return np.frombuffer(self._memory, np.uint8)

    def close(self) -> None:
        """Give the region up; its memory goes with the last array over it, on both sides."""
        with contextlib.suppress(FileNotFoundError):
            (_DIR / self.name).unlink()
        # Said outright: the mapping has a descriptor of its own, which would hold the lock.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        del self._memory


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where one frame is drawn: uint8 [H, W, C], from a byte of a region on."""

    pixels: Uint8Array
    offset: int


class PixelRoom:
    """A region's memory, uint8 [N], in which the frames of one call find their places."""

    def __init__(self, memory: Uint8Array) -> None:
        self._memory = memory
        self._end = 0

    def take(self, shape: tuple[int, int, int]) -> Slot | None:
        """Give the place of the next frame; None if there is no room."""
        start, end = self._end, self._end + math.prod(shape)
        if end > self._memory.size:
            return None
        self._end = end
        return Slot(self._memory[start:end].reshape(shape), start)


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    descriptor: int
    memory: Uint8Array

    def is_owned(self) -> bool:
        return not _may_lock(self.descriptor)


class OpenRegions:
    """The regions of callers, as a model sees them."""

    def __init__(self) -> None:
        self._opened: dict[str, _Opened] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def find(self, name: str) -> Uint8Array | None:
        """Give a region's memory, uint8 [N] to write to; None if there is none on this host."""
        found = self._opened.get(name)
        if found is None:
            self.drop_ownerless()
            found = _open(name)
            if found is None:
                return None
            self._opened[name] = found
        return found.memory

    def drop_ownerless(self) -> None:
        """Free what its caller has given up, or left behind when it was killed."""
        for name, opened in tuple(self._opened.items()):
            if opened.is_owned():
                continue
            self._opened.pop(name, None)
            os.close(opened.descriptor)  # the memory goes with the last array over it


def _open(name: str) -> _Opened | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        descriptor = os.open(_DIR / name, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        memory = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8)
    except (OSError, ValueError):
        os.close(descriptor)
        return None
    return _Opened(descriptor, memory)


def _remove_ownerless() -> None:
    """Take away the regions of callers that were killed."""
    for path in _DIR.glob(f"{_PREFIX}*"):
        if not _NAME.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _may_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _may_lock(descriptor: int) -> bool:
    """Tell whether nobody owns the file."""
    try:
        # Shared: several may ask at once.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
