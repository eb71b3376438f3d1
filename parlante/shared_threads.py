"""Threads that many streams share: work that somebody waits for in real time goes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["MAX_LIVE_IN_A_ROW", "SharedThreads"]

P = ParamSpec("P")
T = TypeVar("T")

# Where live work alone fills the threads, background work still gets one turn in so many: a
# recording ends at last, and live streams that are short of time lose 6 % to all recordings.
MAX_LIVE_IN_A_ROW: Final = 16


class SharedThreads:
    """Runs jobs of two urgencies, each in the order they came.

    Background jobs begin only while no live one runs or waits, even on a thread that is free: on
    as many cores as threads they would slow it down, and the next live job is near. A job that runs
    is never interrupted, so jobs should be short: a frame, a block of motion.

    Args:
        num_threads: >= 1.
        name: Of the threads.
        initializer: Run on each thread first.
        initargs: Its arguments.

    Attributes:
        live: Takes jobs that somebody waits for in real time.
        background: Takes jobs that get what the live ones leave.
    """

    def __init__(
        self,
        num_threads: int,
        *,
        name: str,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._pool = ThreadPoolExecutor(
            num_threads, thread_name_prefix=name, initializer=initializer, initargs=initargs
        )
        self._num_threads = num_threads
        self._changed = threading.Condition()
        self._is_closed = False
        self._num_running = 0
        self._num_live_running = 0
        self._num_live_in_a_row = 0  # since background work began to wait
        self._live_jobs: deque[_Job] = deque()
        self._background_jobs: deque[_Job] = deque()
        self.live: Executor = _Lane(partial(self._add, self._live_jobs))
        self.background: Executor = _Lane(partial(self._add, self._background_jobs))

    def lane(self, *, in_background: bool) -> Executor:
        """Give `background` or `live`."""
        return self.background if in_background else self.live

    def shutdown(self) -> None:
        """Refuse further jobs, wait for those there are, and end the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._num_running == 0)
        self._pool.shutdown()

    def _add(self, lane: deque[_Job], job: _Job) -> None:
        with self._changed:
            if self._is_closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            lane.append(job)
            self._start_some()

    def _start_some(self) -> None:
        """Start what may be started; with the lock held."""
        while self._num_running < self._num_threads:
            lane = self._next_lane()
            if lane is None:
                return
            job, is_live = lane.popleft(), lane is self._live_jobs
            if not job.begin():
                continue
            self._num_running += 1
            self._num_live_running += is_live
            self._pool.submit(self._run, job, is_live)

    def _next_lane(self) -> deque[_Job] | None:
        """Say whose turn it is; None when nothing may be started."""
        waits = bool(self._background_jobs)
        is_live = bool(self._live_jobs) and not (
            waits and self._num_live_in_a_row >= MAX_LIVE_IN_A_ROW
        )
        if is_live:
            self._num_live_in_a_row += waits
            return self._live_jobs
        if not waits:
            return None
        if self._num_live_running and self._num_live_in_a_row < MAX_LIVE_IN_A_ROW:
            return None
        self._num_live_in_a_row = 0
        return self._background_jobs

    def _run(self, job: _Job, is_live: bool) -> None:
        job.run()
        with self._changed:
            self._num_running -= 1
            self._num_live_running -= is_live
            self._start_some()
            self._changed.notify_all()


class _Job:
    """A call whose result is awaited."""

    def __init__(self, call: Callable[[], Any], result: Future[Any]) -> None:
        self._call = call
        self._result = result

    def begin(self) -> bool:
        """False when nobody wants it any more; else it cannot be cancelled from now on."""
        return self._result.set_running_or_notify_cancel()

    def run(self) -> None:
        try:
            value = self._call()
        except BaseException as error:
            self._result.set_exception(error)
        else:
            self._result.set_result(value)


class _Lane(Executor):
    """The way in for jobs of one urgency."""

    def __init__(self, add: Callable[[_Job], None]) -> None:
        self._add = add

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a job; raises RuntimeError once the threads are shut down."""
        result: Future[T] = Future()
        self._add(_Job(partial(fn, *args, **kwargs), result))
        return result
