"""Measure how many frames several decoder processes make together on one device.

Usage: python -m tests.perf.device_processes [--device cuda] [--processes 1,2,4] [--batches 8,32]
    [--fuse] [--seconds 2] [--net CONFIG.json]

Each process is what the decoder model is on a Triton server: it draws batches of eight avatars and
encodes JPEGs on four threads. One Python interpreter starts kernels and works out shapes on one
core; this tells how many of them a device is worth. With --net frames are retouched, as
`torch_decoder` says. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from parlante.models.frame_makers import DeviceFrames
from parlante.triton.layout import FrameRow
from tests.perf.torch_decoder import JPEG_QUALITY, Bench, net_of

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

NUM_THREADS = 4
START_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps of processes and rows, which all processes take together."""

    device: str
    fuse: bool
    seconds: float
    net: Path | None
    steps: list[tuple[int, int]]


def work(index: int, plan: Plan, barrier: Barrier, rates: Any) -> None:
    """Take part in the steps; the body of a process."""
    torch.set_num_threads(1)
    retouch = None if plan.net is None else net_of(plan.net)
    bench = Bench(plan.device, 512, 1.0, "inductor" if plan.fuse else None, retouch)
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        maker = DeviceFrames(bench.decoder, threads)
        jobs = {}
        for num in {num for _, num in plan.steps}:
            avatars, motions = bench.batch(num)
            rows = [FrameRow(avatar_key="", motion=m, jpeg_quality=JPEG_QUALITY) for m in motions]
            jobs[num] = rows, avatars, [None] * num
            maker.make(*jobs[num])
        for num_processes, num_rows in plan.steps:
            barrier.wait(START_TIMEOUT_S)
            rates[index] = 0.0
            if index < num_processes:
                start_s, num_frames = time.perf_counter(), 0
                while time.perf_counter() < start_s + plan.seconds:
                    num_frames += len(maker.make(*jobs[num_rows]))
                rates[index] = num_frames / (time.perf_counter() - start_s)
            barrier.wait(START_TIMEOUT_S)


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="of torch: cpu, cuda, cuda:N")
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--batches", default="8,32", help="rows of a batch")
    parser.add_argument("--fuse", action="store_true", help="with the pixel work compiled")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--net", type=Path, metavar="CONFIG.json", help="also retouch frames")
    args = parser.parse_args()
    processes, batches = (
        [int(part) for part in text.split(",")] for text in (args.processes, args.batches)
    )
    plan = Plan(
        device=args.device,
        fuse=args.fuse,
        seconds=args.seconds,
        net=args.net,
        steps=[(num, rows) for num in processes for rows in batches],
    )
    most = max(processes)
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(most + 1), context.Array("d", most, lock=False)
    workers = [
        context.Process(target=work, args=(index, plan, barrier, rates), daemon=True)
        for index in range(most)
    ]
    for worker in workers:
        worker.start()
    found = {}
    for num_processes, num_rows in plan.steps:
        barrier.wait(START_TIMEOUT_S)
        barrier.wait(START_TIMEOUT_S)
        found[f"{num_processes} x {num_rows}"] = rate = round(sum(rates))
        print(f"{num_processes} processes, {num_rows} rows: {rate} frames/s", flush=True)
    for worker in workers:
        worker.join()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
