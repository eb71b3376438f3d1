"""Avatar latents in memory: least recently used go first, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from parlante.types import AvatarLatents

__all__ = ["LatentCache"]


class LatentCache:
    """Holds latents up to a number of bytes; safe for use from several threads.

    Args:
        max_bytes: Bound on the sum of `AvatarLatents.num_bytes`; what is larger is never held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._entries: OrderedDict[str, AvatarLatents] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes held now."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> AvatarLatents | None:
        """Give the latents of a key and mark them as used, or None."""
        with self._lock:
            latents = self._entries.get(key)
            if latents is not None:
                self._entries.move_to_end(key)
            return latents

    def put(self, latents: AvatarLatents) -> None:
        """Hold latents; drops the least recently used ones to make room."""
        with self._lock:
            self._drop(latents.key)
            if latents.num_bytes > self._max_bytes:
                return
            self._entries[latents.key] = latents
            self._num_bytes += latents.num_bytes
            while self._num_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def remove(self, key: str) -> None:
        """Forget a key, if it is held."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        latents = self._entries.pop(key, None)
        if latents is not None:
            self._num_bytes -= latents.num_bytes
