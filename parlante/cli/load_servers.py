"""The suite under load: starting and stopping it, and what it uses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import psutil

from parlante.aio import cancel_and_wait
from parlante.errors import Unavailable
from parlante.triton.server import free_ports

__all__ = ["Meters", "StartedSuite", "Suite", "Usage", "running_suite"]

_READY_TIMEOUT_S: Final = 180.0
_STOP_TIMEOUT_S: Final = 60.0
_SAMPLE_S: Final = 1.0
_READY: Final = "parlante: ready at "
_MAX_SESSIONS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What to measure.

    Attributes:
        name: Of the renderer, or any.
        server: A running gateway; None starts one.
        metrics_url: The metrics of its Triton server, if it has one.
    """

    name: str
    server: str | None = None
    metrics_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedSuite:
    """A suite that runs.

    Attributes:
        name: Of the renderer.
        target: The gateway's address.
        metrics_url: The metrics of its Triton server, if it has one.
        pid: The process whose descendants are measured; None for a server elsewhere.
        ready_s: Time from its start to ready; 0 if it ran already.
    """

    name: str
    target: str
    metrics_url: str | None = None
    pid: int | None = None
    ready_s: float = 0.0


@asynccontextmanager
async def running_suite(suite: Suite) -> AsyncIterator[StartedSuite]:
    """Run a suite for the length of the block, in processes and with a store of its own."""
    if suite.server is not None:
        yield StartedSuite(name=suite.name, target=suite.server, metrics_url=suite.metrics_url)
        return
    metrics_port = free_ports().metrics
    options = ["--renderer", suite.name]
    if suite.name == "triton":
        options += ["--triton-metrics-port", str(metrics_port)]
    with tempfile.TemporaryDirectory(prefix="parlante-load-") as store:
        start_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "parlante.cli.main", "serve", "--port", "0", *options),
            *("--", "--max-sessions", str(_MAX_SESSIONS)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PARLANTE_STORE_DIR": store},
        )
        try:
            target = await _until_ready(process)
            yield StartedSuite(
                name=suite.name,
                target=target,
                metrics_url=f"http://127.0.0.1:{metrics_port}/metrics"
                if suite.name == "triton"
                else None,
                pid=process.pid,
                ready_s=time.monotonic() - start_s,
            )
        finally:
            await _stop(process)


async def _until_ready(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while line := (await process.stdout.readline()).decode():
                if line.startswith(_READY):
                    return line.removeprefix(_READY).split()[0]
    except TimeoutError:
        pass
    raise Unavailable(
        "the suite did not become ready; run: parlante serve, with the same --renderer, to see why",
        reason="SUITE_NOT_READY",
    )


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.communicate(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a suite used during a step; fields as in `LoadStep`."""

    cpu_cores: float | None = None
    rss_mb: float | None = None
    gpu_percent: float | None = None
    gpu_mb: float | None = None
    rows_per_batch: float | None = None
    frames_per_s: float | None = None


@dataclass
class Meters:
    """Measures a suite for the length of an async with block.

    Attributes:
        usage: What was found, after the block.
    """

    suite: StartedSuite
    usage: Usage = field(default_factory=Usage)

    async def __aenter__(self) -> Meters:
        self._start_s = time.monotonic()
        self._cpu_s = _cpu_s(self.suite.pid)
        self._batches = await asyncio.to_thread(_batches, self.suite.metrics_url)
        self._gpu: list[tuple[float, float]] = []
        self._watch = asyncio.create_task(self._watch_gpu())
        return self

    async def __aexit__(self, *error: object) -> None:
        await cancel_and_wait(self._watch)
        duration_s = time.monotonic() - self._start_s
        cpu_s, batches = _cpu_s(self.suite.pid), _batches(self.suite.metrics_url)
        rows_per_batch = frames_per_s = None
        if batches and self._batches and batches[1] > self._batches[1]:
            num_rows = batches[0] - self._batches[0]
            rows_per_batch = num_rows / (batches[1] - self._batches[1])
            frames_per_s = num_rows / duration_s
        self.usage = Usage(
            cpu_cores=None
            if cpu_s is None or self._cpu_s is None
            else round((cpu_s - self._cpu_s) / duration_s, 2),
            rss_mb=_rss_mb(self.suite.pid),
            gpu_percent=_mean([percent for percent, _ in self._gpu]),
            gpu_mb=max((used_mb for _, used_mb in self._gpu), default=None),
            rows_per_batch=None if rows_per_batch is None else round(rows_per_batch, 2),
            frames_per_s=None if frames_per_s is None else round(frames_per_s, 1),
        )

    async def _watch_gpu(self) -> None:
        tool = shutil.which("nvidia-smi")
        while tool is not None:
            query = "--query-gpu=utilization.gpu,memory.used"
            process = await asyncio.create_subprocess_exec(
                *(tool, query, "--format=csv,noheader,nounits", "--id=0"),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            output, _ = await process.communicate()
            numbers = re.findall(r"[\d.]+", output.decode())
            if len(numbers) == 2:
                self._gpu.append((float(numbers[0]), float(numbers[1])))
            await asyncio.sleep(_SAMPLE_S)


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None


def _tree(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(pid: int | None) -> float | None:
    total_s = 0.0
    processes = _tree(pid)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s if processes else None


def _rss_mb(pid: int | None) -> float | None:
    total_bytes = 0
    processes = _tree(pid)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total_bytes += process.memory_info().rss
    return round(total_bytes / 1e6, 1) if processes else None


def _batches(url: str | None) -> tuple[float, float] | None:
    """Read how many rows and batches the decoder has run."""
    if url is None:
        return None
    try:
        with urllib.request.urlopen(url, timeout=3.0) as response:
            text = response.read().decode()
    except (OSError, urllib.error.URLError):
        return None
    found = [
        re.search(rf"^parlante_decoder_{name}(?:{{[^}}]*}})? ([\d.e+]+)$", text, re.MULTILINE)
        for name in ("frames", "batches")
    ]
    rows, batches = (float(match.group(1)) if match else None for match in found)
    return None if rows is None or batches is None else (rows, batches)
