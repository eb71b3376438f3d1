"""The renderer's threads: bounded, shared by all streams, live ones first, in order of arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

import cv2

from parlante.errors import Unavailable
from parlante.shared_threads import SharedThreads

__all__ = ["WorkerLane", "WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")


class WorkerLane:
    """The way to the threads for work of one urgency."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
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
        job = self._threads.submit(function, *args, **kwargs)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not job.cancel():
                await asyncio.wait([future])  # some milliseconds: one frame
                if not future.cancelled():
                    future.exception()  # marks it as retrieved
            raise

    def close(self) -> None:
        """Refuse further work."""
        self._is_closed = True


class WorkerPool:
    """Runs pixel work off the event loop.

    Each stream has few jobs in flight, two frames that are drawn and one that is encoded, so the
    queue never holds more jobs than three times the streams, and streams take turns.

    Args:
        num_threads: >= 1.

    Attributes:
        live: For what somebody waits for in real time.
        background: For what gets the time that is left.
    """

    def __init__(self, num_threads: int) -> None:
        self._threads = SharedThreads(
            num_threads,
            name="renderer",
            # A frame is one thread's work; OpenCV's own threads would only fight over the cores.
            initializer=cv2.setNumThreads,
            initargs=(1,),
        )
        self.live = WorkerLane(self._threads.live)
        self.background = WorkerLane(self._threads.background)

    def lane(self, *, in_background: bool) -> WorkerLane:
        """Give `background` or `live`."""
        return self.background if in_background else self.live

    async def aclose(self) -> None:
        """Wait for running jobs and end the threads."""
        self.live.close()
        self.background.close()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
