"""Runs processes that belong together: all become ready, and when one ends all end.

None of them outlives the supervisor, not even one that is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parlante.errors import Unavailable

__all__ = ["Process", "Supervisor"]

_PROBE_INTERVAL_S: Final = 0.1
# Nothing listens yet when the first probe is sent; gRPC would wait a second before it tries again.
_PROBE_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)
# Without the last, a terminal that is closed would leave everything running.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Becomes the process after asking the kernel to kill it when its parent, the first argument, dies
# (1 is PR_SET_PDEATHSIG, which outlasts exec). In a Python of its own: code of ours between fork
# and exec is not safe in a process with threads, and gRPC has some.
_BOUND_TO_PARENT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process to run.

    Attributes:
        name: For messages.
        arguments: After the Python interpreter, for example ``("-m", "gateway")``.
        host: Address it listens on.
        port: Port it listens on, with a gRPC health service.
    """

    name: str
    arguments: tuple[str, ...]
    host: str
    port: int

    @property
    def probe_target(self) -> str:
        """Where to ask for its health; every address includes the loopback one."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "[::]") else self.host
        return f"{host}:{self.port}"


class Supervisor:
    """Starts processes in order; an async context manager that stops what still runs.

    SIGTERM, SIGINT and SIGHUP end it. While it stops, the next one of them goes to all processes,
    which cuts their drain short, and those after it kill them.

    Args:
        processes: What to run; each must be ready before the next one starts.
        ready_timeout_s: Time for each to become ready.
        stop_timeout_s: Time to end after SIGTERM, before SIGKILL.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        ready_timeout_s: float = 120.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self._processes = tuple(processes)
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._signals: tuple[signal.Signals, ...] = ()
        self._asked = asyncio.Event()
        self._is_stopping = False
        self._is_cut_short = False

    async def __aenter__(self) -> Supervisor:
        # What is ignored stays so: `nohup` means it.
        self._signals = tuple(
            number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN
        )
        for number in self._signals:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stop()
        finally:  # not sooner: a signal while it stops must not end it before the processes
            for number in self._signals:
                asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._asked.set()
        elif not self._is_cut_short:
            self._is_cut_short = True
            self._send(signal.SIGTERM)
        else:
            self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to all that run."""
        for running in self._running.values():
            if running.returncode is None:
                with suppress(ProcessLookupError):
                    running.send_signal(number)

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Start all, call `on_ready`, then run until a signal comes.

        Raises:
            Unavailable: A process did not become ready, or ended by itself.
        """
        for process in self._processes:
            await self._start(process)
            if not await self._until_ready(process):
                return
        on_ready()
        await self._until_end()

    def pid_of(self, name: str) -> int:
        """Give the process id of a process that was started."""
        return self._running[name].pid

    async def _start(self, process: Process) -> None:
        # A session of its own keeps the terminal's Ctrl-C from reaching it past us.
        self._running[process.name] = await asyncio.create_subprocess_exec(
            *_command(process), start_new_session=True
        )

    async def _until_ready(self, process: Process) -> bool:
        """Wait until health says SERVING; False when a signal came before."""
        async with grpc.aio.insecure_channel(
            process.probe_target, options=_PROBE_OPTIONS
        ) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                async with asyncio.timeout(self._ready_timeout_s):
                    while not await _is_serving(stub):
                        self._raise_if_ended()
                        with suppress(TimeoutError):
                            await asyncio.wait_for(self._asked.wait(), _PROBE_INTERVAL_S)
                        if self._asked.is_set():
                            return False
            except TimeoutError:
                raise Unavailable(
                    f"{process.name} was not ready within {self._ready_timeout_s:g} s; "
                    "its log above says why",
                    reason="STAGE_NOT_READY",
                ) from None
        return True

    async def _until_end(self) -> None:
        """Wait for a signal, or for a process that ends."""
        waits = [asyncio.create_task(running.wait()) for running in self._running.values()]
        waits.append(asyncio.create_task(_true_once(self._asked)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._raise_if_ended()

    def _raise_if_ended(self) -> None:
        if self._asked.is_set():  # so it did not end by itself
            return
        for name, running in self._running.items():
            if running.returncode is not None:
                raise Unavailable(
                    f"{name} ended by itself with code {running.returncode}; its log above says "
                    "why; everything else was stopped",
                    reason="STAGE_ENDED",
                )

    async def _stop(self) -> None:
        """End what runs, the last started first, so that no stage misses one it needs."""
        self._is_stopping = True
        try:
            for running in reversed(self._running.values()):
                await self._end(running)
        finally:  # nothing is left by now, unless this was cancelled
            self._send(signal.SIGKILL)
            for running in self._running.values():
                await running.wait()

    async def _end(self, running: asyncio.subprocess.Process) -> None:
        """Let a process end, and kill it when it takes too long."""
        if running.returncode is not None:
            return
        with suppress(ProcessLookupError):
            running.terminate()
        try:
            await asyncio.wait_for(running.wait(), self._stop_timeout_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                running.kill()
            await running.wait()


def _command(process: Process) -> tuple[str, ...]:
    """Give the command of a process, one that ends with us where the kernel can see to it."""
    command = (sys.executable, *process.arguments)
    if sys.platform != "linux":
        return command
    # -I and -S spare it what the process itself is going to load.
    return (sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT, str(os.getpid()), *command)


async def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2.0)
    except grpc.aio.AioRpcError:
        return False  # not listening yet
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _true_once(event: asyncio.Event) -> int:
    await event.wait()
    return 0
