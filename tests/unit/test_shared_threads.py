"""Which job is next: urgency, order, and what background work gets of threads that are full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from parlante.shared_threads import MAX_LIVE_IN_A_ROW, SharedThreads


@contextmanager
def running(num_threads: int) -> Iterator[SharedThreads]:
    threads = SharedThreads(num_threads, name="test")
    try:
        yield threads
    finally:
        threads.shutdown()


@contextmanager
def held(threads: SharedThreads, num_threads: int) -> Iterator[None]:
    """Keep threads busy with live work for the length of the block."""
    release = threading.Event()
    for _ in range(num_threads):
        threads.live.submit(release.wait)
    try:
        yield
    finally:
        release.set()


class Record:
    """Jobs in the order they ran."""

    def __init__(self, threads: SharedThreads) -> None:
        self._threads = threads
        self._results: list[Future[None]] = []
        self._ran: list[str] = []

    def add(self, name: str) -> Future[None]:
        lane = self._threads.lane(in_background=name.startswith("background"))
        job = lane.submit(self._ran.append, name)
        self._results.append(job)
        return job

    @property
    def ran(self) -> list[str]:
        for result in self._results:
            if not result.cancelled():
                result.result(timeout=10)
        return self._ran


def test_live_work_goes_first_and_each_kind_in_its_order() -> None:
    with running(1) as threads:
        record = Record(threads)
        with held(threads, 1):
            for name in ("background a", "background b", "live a", "live b"):
                record.add(name)
        assert record.ran == ["live a", "live b", "background a", "background b"]


def test_background_work_gets_a_turn_where_live_work_leaves_no_time() -> None:
    with running(1) as threads:
        record = Record(threads)
        with held(threads, 1):
            record.add("background a")
            record.add("background b")
            for _ in range(3 * MAX_LIVE_IN_A_ROW):
                record.add("live")
        places = [index for index, name in enumerate(record.ran) if name != "live"]
        assert places == [MAX_LIVE_IN_A_ROW, 2 * MAX_LIVE_IN_A_ROW + 1]


def test_background_work_waits_while_live_work_runs_on_another_thread() -> None:
    with running(2) as threads:
        record = Record(threads)
        with held(threads, 1):
            job = record.add("background")
            threads.live.submit(lambda: None).result(timeout=10)
            assert not job.running()
            assert not job.done()
        assert record.ran == ["background"]


def test_background_work_takes_every_thread_that_nobody_wants() -> None:
    with running(2) as threads:
        both = threading.Barrier(2)
        jobs = [threads.background.submit(both.wait, 10) for _ in range(2)]
        assert sorted(job.result(timeout=10) for job in jobs) == [0, 1]


def test_cancelled_job_is_left_out() -> None:
    with running(1) as threads:
        record = Record(threads)
        with held(threads, 1):
            assert record.add("live a").cancel()
            record.add("live b")
        assert record.ran == ["live b"]


def test_error_of_a_job_is_its_result() -> None:
    with running(1) as threads:
        job = threads.live.submit(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            job.result(timeout=10)


def test_shutdown_ends_what_waits_and_refuses_more() -> None:
    threads = SharedThreads(1, name="test")
    record = Record(threads)
    with held(threads, 1):
        record.add("background")
        record.add("live")
    threads.shutdown()
    assert record.ran == ["live", "background"]
    with pytest.raises(RuntimeError):
        threads.live.submit(int)
