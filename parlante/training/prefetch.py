"""Batches drawn ahead by processes of their own, in an order that does not depend on their number.

Numpy gives the interpreter's lock back too seldom for threads to draw side by side. Processes are
forked, so that they share a corpus that lies in memory and what cannot be pickled; batches come
back through shared memory, without being copied through a pipe. A process draws what it is asked
for and holds nothing between: what a batch holds follows from its step alone.
"""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Final

import numpy as np
import torch

from parlante.errors import FailedPrecondition

__all__ = ["Arrays", "drawn"]

Arrays = tuple[np.ndarray, ...]
_Layout = list[tuple[str, tuple[int, ...]]]  # dtype and shape of each array of a batch

_SLOTS_PER_WORKER: Final = 2  # one is drawn while the other waits to be taken
_ALIGNMENT_BYTES: Final = 64
_PATIENCE_S: Final = 5.0


@contextmanager
def drawn(
    draw: Callable[[int], Arrays], steps: range, num_workers: int
) -> Iterator[Iterator[Arrays]]:
    """Have batches drawn, ahead of their use if there are workers.

    To be entered before a GPU is used, and left before what `draw` reads is closed.

    Args:
        draw: Makes the batch of a step; depends on the step alone. The last step's is the largest.
        steps: Which, in order.
        num_workers: Processes; 0 draws when a batch is wanted.

    Yields:
        The batches in order; each is valid until the next one is asked for.

    Raises:
        FailedPrecondition: This system cannot fork processes.
    """
    if num_workers == 0 or len(steps) == 0:
        yield map(draw, steps)
        return
    if not hasattr(os, "fork"):
        raise FailedPrecondition(
            "batches are drawn ahead by forked processes, which this system lacks; give 0 workers",
            reason="NO_FORK",
            field="num_workers",
        )
    workers = _Workers(draw, steps, min(num_workers, len(steps)))
    try:
        yield workers.batches()
    finally:
        workers.close()


class _Workers:
    """Processes that each draw every n-th step, into slots of their own."""

    def __init__(self, draw: Callable[[int], Arrays], steps: range, num_workers: int) -> None:
        self._steps = steps
        size = _size_bytes(draw(steps[-1]))
        self._slots = [mmap.mmap(-1, size) for _ in range(_SLOTS_PER_WORKER * num_workers)]
        self._connections: list[Connection] = []
        self._processes = []
        context = multiprocessing.get_context("fork")
        for index in range(num_workers):
            ours, theirs = context.Pipe()
            # A worker ends when nobody holds the other end of its pipe, this process's death
            # included: so none may hold that of another.
            strangers = [*self._connections, ours]
            process = context.Process(
                target=_work,
                args=(draw, theirs, strangers, self._slots),
                name=f"draw-{index}",
                daemon=True,
            )
            with warnings.catch_warnings():
                # Python 3.12 warns of forking beside other threads, which may hold locks: workers
                # take none but those of numpy and of the allocator, which are made for it.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def batches(self) -> Iterator[Arrays]:
        """All batches in order; the slot of one is free when the next is asked for."""
        num_slots = len(self._slots)
        for index in range(min(num_slots, len(self._steps))):
            self._ask(index)
        for index in range(len(self._steps)):
            layout = self._take(index)
            yield _unpack(self._slots[index % num_slots], layout)
            if index + num_slots < len(self._steps):
                self._ask(index + num_slots)

    def close(self) -> None:
        """End all processes, whatever they are drawing."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_PATIENCE_S)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def _ask(self, index: int) -> None:
        connection = self._connections[index % len(self._connections)]
        with suppress(OSError):  # it has ended, which `_take` tells of when its turn comes
            connection.send((self._steps[index], index % len(self._slots)))

    def _take(self, index: int) -> _Layout:
        worker = index % len(self._connections)
        try:
            answer: _Layout | str = self._connections[worker].recv()
        except (EOFError, OSError) as error:
            self._processes[worker].join(_PATIENCE_S)
            code = self._processes[worker].exitcode
            raise RuntimeError(
                f"the process that drew the batch of step {self._steps[index]} ended with code "
                f"{code}; the run goes on from its checkpoint when it is started again"
            ) from error
        if isinstance(answer, str):
            raise RuntimeError(f"drawing the batch of step {self._steps[index]} failed:\n{answer}")
        return answer


def _work(
    draw: Callable[[int], Arrays],
    connection: Connection,
    strangers: Sequence[Connection],
    slots: Sequence[mmap.mmap],
) -> None:
    """Draw what is asked for, in a process of its own, until nobody can ask any more."""
    gc.freeze()  # what was inherited stays shared, and tensors of a GPU are not freed here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # threads of the process that was forked do not exist here
    for stranger in strangers:
        stranger.close()
    while True:
        try:
            step, slot = connection.recv()
            connection.send(_answer(draw, step, slots[slot]))
        except (EOFError, OSError):
            return


def _answer(draw: Callable[[int], Arrays], step: int, slot: mmap.mmap) -> _Layout | str:
    try:
        return _pack(draw(step), slot)
    except Exception:
        return traceback.format_exc()


# --- batches in shared memory ----------------------------------------------------------------


def _places(layout: _Layout) -> list[int]:
    """First byte of each array, and the end of them all."""
    places = [0]
    for dtype, shape in layout:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        places.append(places[-1] + -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES)
    return places


def _layout_of(arrays: Arrays) -> _Layout:
    return [(array.dtype.str, array.shape) for array in arrays]


def _size_bytes(arrays: Arrays) -> int:
    return max(_ALIGNMENT_BYTES, _places(_layout_of(arrays))[-1])


def _pack(arrays: Arrays, slot: mmap.mmap) -> _Layout:
    layout = _layout_of(arrays)
    needed = _places(layout)[-1]
    if needed > len(slot):
        raise ValueError(f"a batch must not be larger than the last; got {needed} of {len(slot)}")
    for target, array in zip(_unpack(slot, layout), arrays, strict=True):
        np.copyto(target, array)
    return layout


def _unpack(slot: mmap.mmap, layout: _Layout) -> Arrays:
    return tuple(
        np.frombuffer(slot, dtype, int(np.prod(shape)), place).reshape(shape)
        for (dtype, shape), place in zip(layout, _places(layout), strict=False)
    )
