"""Shared memory through which a server on the same host hands over pixels."""

from __future__ import annotations

import contextlib
import mmap
import os
import uuid
from pathlib import Path
from typing import Final

import numpy as np

from parlante.types import Uint8Array

__all__ = ["Region"]

_DIR: Final = Path("/dev/shm")


class Region:
    """One region, which its name no longer keeps alive once both sides have opened it.

    Args:
        num_bytes: Size.

    Attributes:
        name: Unique; the file's name and the key by which the server opens it.

    Raises:
        OSError: There is no room, or no such file system.
    """

    def __init__(self, num_bytes: int) -> None:
        self.name = f"parlante-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.num_bytes = num_bytes
        descriptor = os.open(_DIR / self.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # Reserved now: without this a full file system would kill whoever writes, by SIGBUS.
            os.posix_fallocate(descriptor, 0, num_bytes)
            self._memory = mmap.mmap(descriptor, num_bytes)
        except OSError:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    def unlink(self) -> None:
        """Take the name away: the memory goes when the last side that opened it is done."""
        with contextlib.suppress(FileNotFoundError):
            (_DIR / self.name).unlink()

    def copy(self, num_bytes: int) -> Uint8Array:
        """Copy what the server wrote, uint8 [num_bytes], from the beginning of the region."""
        return np.frombuffer(self._memory, np.uint8, num_bytes).copy()

    def close(self) -> None:
        """Free our side."""
        self.unlink()
        self._memory.close()
