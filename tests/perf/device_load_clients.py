"""Client processes that run sessions side by side, for `tests.perf.device_load`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from parlante.cli.load_sessions import Outcome
from tests.fleet.local_fleet import ROOT

__all__ = ["Clients"]

_MODULE = "tests.perf.device_load_client"
# A step's answer is one line: some 200 frames of each session, two numbers each.
_MAX_LINE_BYTES = 64 * 1024 * 1024
_OVERTIME_S = 60.0


class Clients:
    """Processes that wait for steps; an async context manager.

    Args:
        stage: What they call: ``gateway`` or ``renderer``.
        servers: The one of each client.
        avatars: What that stage knows avatars by; the sessions take them in turn.
        speech: WAV file.
        logs: Folder for what they say.
    """

    # From the order to the begin of a step, so that all clients have heard of it.
    LEAD_S: ClassVar[float] = 0.5

    def __init__(
        self, stage: str, servers: Sequence[str], avatars: Sequence[str], speech: Path, logs: Path
    ) -> None:
        self._stage = stage
        self._servers = servers
        self._avatars = avatars
        self._speech = speech
        self._logs = logs
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Clients:
        try:
            for index, server in enumerate(self._servers):
                with (self._logs / f"client-{index}.log").open("wb") as log:
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", _MODULE, self._stage, server, str(self._speech)),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        cwd=ROOT,
                        limit=_MAX_LINE_BYTES,
                        start_new_session=True,
                    )
                self._processes.append(process)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [process.pid for process in self._processes]

    async def run(self, number: int, *, seconds: float, ramp_s: float) -> list[Outcome]:
        """Run sessions, shared by all clients in turn.

        Args:
            number: Sessions of all clients together.
            seconds: Speech of each.
            ramp_s: Time in which they begin, one after the other.
        """
        start_s = time.monotonic() + self.LEAD_S
        num_clients = len(self._processes)
        orders: list[dict[str, Any]] = [
            {
                "avatars": [
                    self._avatars[session % len(self._avatars)]
                    for session in range(index, number, num_clients)
                ],
                "start_s": start_s + ramp_s * index / number,
                "stagger_s": ramp_s * num_clients / number,
                "seconds": seconds,
            }
            for index in range(num_clients)
        ]
        async with asyncio.timeout(self.LEAD_S + ramp_s + seconds + _OVERTIME_S):
            parts = await asyncio.gather(*map(self._ask, range(num_clients), orders))
        return [outcome for part in parts for outcome in part]

    async def _ask(self, index: int, order: dict[str, Any]) -> list[Outcome]:
        process = self._processes[index]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            log = (self._logs / f"client-{index}.log").read_text(errors="replace")
            raise RuntimeError(f"client {index} has ended: {log[-2000:]}")
        return [Outcome.from_json(values) for values in json.loads(line)]
