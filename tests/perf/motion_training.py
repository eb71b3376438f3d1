"""Measure the training of the motion model on a device, and check its losses against the CPU's.

Usage: python -m tests.perf.motion_training [--device cuda] [--config FILE] [--fuse kernels]
    [--workers 0,4,12] [--seconds 5]

The corpus is noise: it costs what speech costs. For a step of reading and one of the whole:
`draw_ms` on one core; `step_ms` of the device with a batch at hand; `steps_per_s` of training fed
by each number of workers; on a GPU `launches`, the kernels of a step, and `busy_ms`, their time.
`operations` are those of torch of forward and backward pass and of Muon, views left out, where all
runs as on a GPU, which does some of them at once. `off` is how far loss and length of the gradient
are from those of the CPU in float32, as a share. `first_s` is the first step, with what is compiled
for it.
The last line is JSON. Takes about a minute on a GPU.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import parlante.training
from parlante.models.audio_features import HOPS_PER_FRAME, NUM_MELS
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.viseme_names import VISEMES
from parlante.training.corpus import Corpus
from parlante.training.device import AUTO, FUSE_MODES, Hardware
from parlante.training.loop import Run, TrainingConfig, draw_step, objective_of, on_device
from parlante.training.motion import read_config
from parlante.training.muon import Muon, is_inner
from parlante.training.prefetch import Arrays, drawn
from parlante.training.takes import CLIP_FRAMES

NUM_CLIPS = 40
DEFAULT_CONFIG = Path(parlante.training.__file__).parent / "configs" / "motion_nano.json"
PHASES = ("reading", "whole")


def noise_corpus() -> Corpus:
    """Clips of the right shapes."""
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return rng.standard_normal((NUM_CLIPS, *shape), np.float32).astype(np.float16)

    return Corpus(
        np.abs(3.0 * noise(CLIP_FRAMES * HOPS_PER_FRAME, NUM_MELS)),
        noise(1, CLIP_FRAMES, LATENT_DIM),
        noise(1, CLIP_FRAMES, CONDITION_DIM),
        np.ones((NUM_CLIPS, CLIP_FRAMES), np.float16),
        rng.integers(0, len(VISEMES), (NUM_CLIPS, CLIP_FRAMES)).astype(np.uint8),
    )


class Launches(TorchDispatchMode):
    """Counts operations that make or change something, as views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        makes = [value.alias_info for value in func._schema.returns]
        self.num += not any(info is not None and not info.is_write for info in makes)
        return func(*args, **(kwargs or {}))


class Bench:
    """One phase of a run: its steps alone, from the second on."""

    def __init__(self, config: TrainingConfig, phase: str, hardware: Hardware) -> None:
        steps = 1_000_000
        reading = steps if phase == "reading" else 0
        self.config = replace(config, num_steps=steps, reading_steps=reading)
        self.hardware = hardware
        self.draw = functools.partial(draw_step, self.config, noise_corpus(), range(NUM_CLIPS))

    def measure(self, seconds: float, workers: list[int]) -> dict[str, Any]:
        """All figures of the phase."""
        fed = {}
        arrays = tuple(array.copy() for array in self.draw(0))
        for num in workers:  # processes are forked before the GPU is used, the first time at least
            with drawn(self.draw, range(100_000), num) as batches:
                run, first_s = self._begin(arrays)
                fed[num] = self._fed(run, batches, seconds)
        launches, busy_ms = self._profiled(run, arrays)
        return {
            "draw_ms": _median_ms(lambda: self.draw(1), seconds / 4),
            "first_s": first_s,
            "step_ms": self._step_ms(run, arrays, seconds),
            "operations": self._operations(arrays),
            "launches": launches,
            "busy_ms": busy_ms,
            "steps_per_s": fed,
            "off": self._off(arrays),
        }

    def _begin(self, arrays: Arrays) -> tuple[Run, float]:
        self.hardware.prepare()
        run = Run(self.config, self.hardware, None, None, None)
        started_s = time.perf_counter()
        run.step(0, arrays)
        self._wait()
        first_s = time.perf_counter() - started_s
        run.step(1, arrays)
        return run, first_s

    def _fed(self, run: Run, batches: Iterator[Arrays], seconds: float) -> float:
        """Steps per second when batches come from workers that have had time to begin."""
        run.step(2, next(batches))
        self._wait()
        time.sleep(min(1.0, seconds / 2))
        for step in range(3, 3 + 2 * self.hardware.num_workers):
            run.step(step, next(batches))
        self._wait()
        started_s, num = time.perf_counter(), 0
        while time.perf_counter() < started_s + seconds:
            run.step(100 + num, next(batches))
            num += 1
        self._wait()
        return num / (time.perf_counter() - started_s)

    def _step_ms(self, run: Run, arrays: Arrays, seconds: float) -> float:
        """Time of a step without drawing; the device is waited for at the end alone."""
        self._wait()
        started_s, num = time.perf_counter(), 0
        while num < 3 or time.perf_counter() < started_s + seconds / 2:
            run.step(num, arrays)
            num += 1
        self._wait()
        return (time.perf_counter() - started_s) / num * 1000

    def _profiled(self, run: Run, arrays: Arrays) -> tuple[int, float]:
        if self.hardware.device.type != "cuda":
            return 0, 0.0
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            run.step(5, arrays)
            self._wait()
        kernels = [
            event
            for event in profile.events()
            if "CUDA" in str(event.device_type) and not event.is_user_annotation
        ]
        busy_us = sum(event.time_range.elapsed_us() for event in kernels)
        return len(kernels), busy_us / 1000.0

    def _operations(self, arrays: Arrays) -> dict[str, int]:
        """Counted on the device that computes shapes alone, where all runs as on a GPU."""
        model = MotionDiT(self.config.model).to("meta")
        objective = objective_of(model, replace(self.config, bfloat16=False))
        batch, noise = on_device(arrays, torch.device("meta"))
        with Launches() as forward:
            loss = objective.reading(batch) if noise is None else objective.whole(batch, noise)[0]
        with Launches() as backward:
            loss.backward()
        muon = Muon((p for p in model.parameters() if is_inner(p)), 1e-3)
        muon.step()
        with Launches() as moves:
            muon.step()
        return {"forward": forward.num, "backward": backward.num, "muon": moves.num}

    def _off(self, arrays: Arrays) -> dict[str, tuple[float, float]]:
        """Loss and length of the gradient against the CPU in float32, as shares of them."""
        right = self._loss(arrays, torch.device("cpu"), bfloat16=False)
        found = {}
        for name, bfloat16 in (("float32", False), ("bfloat16", True)):
            got = self._loss(arrays, self.hardware.device, bfloat16=bfloat16)
            found[name] = tuple(abs(a - b) / b for a, b in zip(got, right, strict=True))
        return found  # type: ignore[return-value]

    def _loss(self, arrays: Arrays, device: torch.device, *, bfloat16: bool) -> tuple[float, float]:
        torch.manual_seed(0)
        model = MotionDiT(self.config.model)
        for parameter in model.parameters():  # none of zeros: all takes part
            torch.nn.init.normal_(parameter, std=0.05)
        model.to(device)
        objective = objective_of(model, replace(self.config, bfloat16=bfloat16))
        batch, noise = on_device(arrays, device)
        loss = objective.reading(batch) if noise is None else objective.whole(batch, noise)[0]
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        return float(loss.detach()), float(torch.nn.utils.get_total_norm(gradients))

    def _wait(self) -> None:
        if self.hardware.device.type == "cuda":
            torch.cuda.synchronize(self.hardware.device)


def _median_ms(work: Any, seconds: float) -> float:
    times: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until_s:
        started_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times) * 1000


@contextmanager
def _no_compiled_leftovers() -> Iterator[None]:
    yield
    torch.compiler.reset()


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=AUTO, help="auto, cpu or cuda[:N]")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--fuse", choices=FUSE_MODES, default="none")
    parser.add_argument("--workers", help="numbers of processes (default: that of training)")
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure of speed")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    hardware = Hardware.choose(args.device, fuse=args.fuse)
    workers = [int(part) for part in (args.workers or str(hardware.num_workers)).split(",")]
    found: dict[str, Any] = {"device": str(hardware.device), "fuse": args.fuse}
    for phase in args.phases.split(","):
        with _no_compiled_leftovers():
            found[phase] = Bench(read_config(args.config), phase, hardware).measure(
                args.seconds, workers
            )
        print(phase, json.dumps(found[phase]), flush=True)
    if hardware.device.type == "cuda":
        found["device"] = torch.cuda.get_device_name(hardware.device)
        found["device_mb"] = round(torch.cuda.max_memory_allocated(hardware.device) / 1e6)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
