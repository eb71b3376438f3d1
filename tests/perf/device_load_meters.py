"""Processor time of the processes of a fleet, by kind."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from parlante.triton.layout import DECODER, STORE
from parlante.triton.motion_layout import MOTION

__all__ = ["CoreMeter", "Cores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Processor time per second.

    Attributes:
        total: Of all processes of a kind.
        busiest: Of the one that used most; one Python interpreter hardly uses more than 1.
    """

    total: dict[str, float]
    busiest: dict[str, float]


@dataclass(kw_only=True)
class CoreMeter:
    """Measures between `start` and `stop`.

    Attributes:
        pids: Process ids by kind.
        triton_pid: Of the Triton server, whose models are its children.
    """

    pids: Mapping[str, Sequence[int]]
    triton_pid: int
    _before: dict[tuple[str, int], float] = field(default_factory=dict)
    _start_s: float = 0.0

    def start(self) -> None:
        """Begin."""
        self._before, self._start_s = self._times(), time.monotonic()

    def stop(self) -> Cores:
        """Give what was used since."""
        duration_s = time.monotonic() - self._start_s
        total: dict[str, float] = defaultdict(float)
        busiest: dict[str, float] = defaultdict(float)
        for place, cpu_s in self._times().items():
            cores = (cpu_s - self._before.get(place, 0.0)) / duration_s
            total[place[0]] += cores
            busiest[place[0]] = max(busiest[place[0]], cores)
        return Cores(
            total={kind: round(cores, 2) for kind, cores in total.items()},
            busiest={kind: round(cores, 2) for kind, cores in busiest.items()},
        )

    def _times(self) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], float] = {}
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.triton_pid)
            found["triton server", server.pid] = _cpu_s(server)
            for child in server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    found[_kind_of(child), child.pid] = _cpu_s(child)
        for kind, pids in self.pids.items():
            for pid in pids:
                with suppress(psutil.NoSuchProcess):
                    found[kind, pid] = _cpu_s(psutil.Process(pid))
        return found


def _kind_of(stub: psutil.Process) -> str:
    command = " ".join(stub.cmdline())
    for model in (DECODER, STORE, MOTION):
        if f"/{model}/" in command:
            return f"triton {model}"
    return "triton other"


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
