"""Avatars made ready to render: one preparation per key, least recently used go first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["AvatarCache", "Sized"]


class Sized(Protocol):
    """Something with a size in memory."""

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        ...


T = TypeVar("T", bound=Sized)


class AvatarCache(Generic[T]):
    """Holds prepared avatars, bounded in entries and bytes; belongs to one event loop.

    A stream keeps its own reference, so dropping an entry never takes an avatar from a stream.

    Args:
        max_entries: Bound on the number of avatars, >= 1.
        max_bytes: Bound on their sum; an avatar larger than that is never held.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, T] = OrderedDict()
        self._pending: dict[str, asyncio.Task[T]] = {}
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Bytes held now."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    async def get(self, key: str, prepare: Callable[[], Awaitable[T]]) -> T:
        """Give the avatar of a key, preparing it if need be; callers at once share the work."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        task = self._pending.get(key)
        if task is None:
            task = asyncio.create_task(self._prepare(key, prepare), name=f"prepare-{key[:12]}")
            self._pending[key] = task
        # One caller that leaves does not take the work from the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop what is being prepared and forget everything."""
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._entries.clear()
        self._num_bytes = 0

    async def _prepare(self, key: str, prepare: Callable[[], Awaitable[T]]) -> T:
        try:
            entry = await prepare()
        finally:
            del self._pending[key]
        self._hold(key, entry)
        return entry

    def _hold(self, key: str, entry: T) -> None:
        if entry.num_bytes > self._max_bytes:
            return
        self._entries[key] = entry
        self._num_bytes += entry.num_bytes
        while len(self._entries) > self._max_entries or self._num_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._num_bytes -= oldest.num_bytes
