"""Work that is spread over processes, for what holds Python's lock or an OpenGL of its own."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import cv2

__all__ = ["spread"]

Item = TypeVar("Item")
Given = TypeVar("Given")
Result = TypeVar("Result")


def spread(
    items: Sequence[Item],
    *,
    make_worker: Callable[[Given], Callable[[Item], Result]],
    given: Given,
    num_processes: int,
    done: Callable[[Result], object],
) -> None:
    """Do something with every item, in several processes, each with one core.

    They are started anew and not forked, as OpenGL and pools of threads do not outlive a fork.

    Args:
        items: What each call of a worker is given.
        make_worker: A function of a module; makes a process's worker, before its first item.
        given: What `make_worker` is given.
        num_processes: That work at once; no more are started than there are items.
        done: Called with every result as it comes, in any order; what it raises ends the work.
    """
    if not items:
        return
    context = multiprocessing.get_context("spawn")
    num_processes = min(num_processes, len(items))
    with ProcessPoolExecutor(num_processes, context, _begin, (make_worker, given)) as pool:
        try:
            for future in as_completed([pool.submit(_work, item) for item in items]):
                done(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: Callable[[], Callable[[Any], Any]] | None = None  # of this process


def _begin(make_worker: Callable[[Given], Callable[[Item], Result]], given: Given) -> None:
    global _worker
    cv2.setNumThreads(1)  # the others take the other cores
    os.environ.setdefault("LP_NUM_THREADS", "1")  # of Mesa's software rasteriser
    # Made with the first item: what goes wrong then is its error, not that of a broken pool.
    _worker = functools.cache(lambda: make_worker(given))


def _work(item: Any) -> Any:
    assert _worker is not None
    return _worker()(item)
