"""Work that is spread over processes, for what holds Python's lock or an OpenGL of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import cv2

__all__ = ["spread"]

Item = TypeVar("Item")
Given = TypeVar("Given")
Result = TypeVar("Result")


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_processes: int,
    begin: Callable[[Given], object],
    given: Given,
    done: Callable[[Result], object],
) -> None:
    """Do something with every item, in several processes, each with one core.

    They are started anew and not forked, as OpenGL and pools of threads do not outlive a fork.

    Args:
        work: A function of a module.
        items: What each call is given.
        num_processes: That work at once; no more are started than there are items.
        begin: A function of a module, called once in every process.
        given: What `begin` is given.
        done: Called with every result as it comes, in any order; what it raises ends the work.
    """
    if not items:
        return
    context = multiprocessing.get_context("spawn")
    num_processes = min(num_processes, len(items))
    with ProcessPoolExecutor(num_processes, context, _begin, (begin, given)) as pool:
        try:
            for future in as_completed([pool.submit(work, item) for item in items]):
                done(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(begin: Callable[[Given], object], given: Given) -> None:
    cv2.setNumThreads(1)  # the others take the other cores
    os.environ.setdefault("LP_NUM_THREADS", "1")  # of Mesa's software rasteriser
    begin(given)
