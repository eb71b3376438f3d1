"""The renderer's threads: bounded, shared by all streams, served in order of arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import cv2

from parlante.errors import Unavailable

__all__ = ["WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")


class WorkerPool:
    """Runs pixel work off the event loop.

    Each stream has few jobs in flight, two frames that are drawn and one that is encoded, so the
    queue never holds more jobs than three times the streams, and streams take turns.

    Args:
        num_threads: >= 1.
    """

    def __init__(self, num_threads: int) -> None:
        self._executor = ThreadPoolExecutor(
            num_threads,
            thread_name_prefix="renderer",
            # A frame is one thread's work; OpenCV's own threads would only fight over the cores.
            initializer=cv2.setNumThreads,
            initargs=(1,),
        )
        self._is_closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a thread.

        When the caller is cancelled this returns only after the function has ended, so that what
        it works on may be freed.

        Raises:
            Unavailable: The pool is closed.
        """
        if self._is_closed:
            raise Unavailable("the renderer is shutting down; use another replica")
        job = self._executor.submit(function, *args, **kwargs)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not job.cancel():
                await asyncio.wait([future])  # some milliseconds: one frame
                if not future.cancelled():
                    future.exception()  # marks it as retrieved
            raise

    async def aclose(self) -> None:
        """Wait for running jobs and end the threads."""
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
