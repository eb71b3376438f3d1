"""The regions of one client: lent to its calls, then to whoever holds their pixels."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from parlante.triton.layout import MAX_PIXEL_BYTES, RowResult
from parlante.triton.regions import Region

__all__ = ["RegionPool"]

logger = logging.getLogger(__name__)

# Regions whose pixels are still held by somebody; beyond that pixels are copied, as nobody knows
# how long they will be held. Two: one batch is encoded while another one comes.
MAX_LENT: Final = 2


class RegionPool:
    """Takes and gives back; regions may come back on any thread.

    Args:
        server: For the log.
        is_wanted: False never gives any.
    """

    def __init__(self, server: str, *, is_wanted: bool = True) -> None:
        self._server = server
        self._is_wanted = is_wanted
        self._is_closed = False
        self._idle: list[Region] = []
        self._lent: dict[str, Region] = {}

    def take(self) -> Region | None:
        """Give a region for a call, None where shared memory is of no use."""
        if not self._is_wanted:
            return None
        if self._idle:  # taken by the event loop's thread alone
            return self._idle.pop()
        try:
            return Region(MAX_PIXEL_BYTES)
        except OSError as error:
            self._do_without(str(error))
            return None

    def give_back(self, region: Region, results: Sequence[RowResult]) -> list[RowResult]:
        """Take a region back once its call has been answered.

        Args:
            region: From `take`.
            results: Of the call, whose pixels are views of the region.

        Returns:
            The results, whose pixels hold as long as anybody has them.
        """
        pixels = [row.pixels for row in results if row.offset is not None]
        if not pixels:
            self._examine(region, results)
            return list(results)
        region.is_known = True
        if len(self._lent) >= MAX_LENT:
            copies = [_copied(row) for row in results]
            self._put(region)
            return copies
        memory = pixels[0].base  # type: ignore[union-attr]
        self._lent[region.name] = region
        # All views of a call have the same array as their base, which goes with the last of them.
        weakref.finalize(memory, self._return, region.name).atexit = False
        return list(results)

    def close(self) -> None:
        """Give all regions up; pixels that somebody holds stay as they are."""
        self._is_closed = True
        for name in tuple(self._lent):
            self._return(name)
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._idle.pop().close()

    def _examine(self, region: Region, results: Sequence[RowResult]) -> None:
        """Keep a region of which there is nothing to say, drop one that the model cannot open."""
        if all(row.pixels is None for row in results):
            self._put(region)
            return
        region.close()
        if not region.is_known:
            self._do_without("the server cannot open our shared memory")

    def _return(self, name: str) -> None:
        region = self._lent.pop(name, None)
        if region is not None:
            self._put(region)

    def _put(self, region: Region) -> None:
        self._idle.append(region)
        if self._is_closed:
            self.close()

    def _do_without(self, why: str) -> None:
        self._is_wanted = False
        logger.warning(
            "frames come within messages, not through shared memory",
            extra={"server": self._server, "detail": why[:200]},
        )


def _copied(row: RowResult) -> RowResult:
    return row if row.pixels is None else replace(row, pixels=row.pixels.copy())
