"""Fixtures for every test: nothing that a test starts may outlive it."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from parlante.errors import FailedPrecondition
from parlante.triton.installation import Installation, find_installation
from parlante.triton.server import TritonServer

# Threads of the event loop's own executor end with the loop, which is after the test.
_LOOP_THREADS = "asyncio_"
_PATIENCE_S = 2.0


def _threads() -> set[threading.Thread]:
    return {
        thread
        for thread in threading.enumerate()
        if thread.is_alive()
        and not thread.name.startswith(_LOOP_THREADS)
        and not (thread.daemon and "_poll_wrapper" in thread.name)  # grpc.aio's own poller
        # A thread of gRPC's core that has called us once; it is not Python's to end.
        and not isinstance(thread, threading._DummyThread)
    }


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Fail when a test leaves a thread behind."""
    before = _threads()
    yield
    deadline = time.monotonic() + _PATIENCE_S
    while (leaked := _threads() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not leaked, f"threads left behind: {sorted(thread.name for thread in leaked)}"


@pytest.fixture(autouse=True)
def _no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Fail when an asynchronous test leaves a task behind; others need no event loop."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_tasks_all_end")


@pytest_asyncio.fixture
async def _tasks_all_end() -> AsyncIterator[None]:
    yield
    leaked = asyncio.all_tasks() - {asyncio.current_task()}
    if leaked:
        _, leaked = await asyncio.wait(leaked, timeout=_PATIENCE_S)
    assert not leaked, f"tasks left behind: {[task.get_coro() for task in leaked]}"


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """The Triton server of the wheel; tests that need it are skipped where it cannot run."""
    try:
        return find_installation()
    except FailedPrecondition as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def triton_server(triton_installation: Installation) -> Iterator[TritonServer]:
    """One real server with the real models, for all tests that leave it as it was."""
    with TritonServer(triton_installation) as server:
        yield server
