"""Measure what motion costs with the network in process and on a Triton server, in turn.

Usage: python -m tests.perf.motion_backends [--rounds N] [--streams 1,4,8] [--triton-url HOST:PORT]

Without --triton-url the bundled server is started. Each round has B streams make motion of 1 s of
speech as fast as they can, both ways. The last line is JSON: for each way and B the median
milliseconds per block (80 ms of motion) of time and of processor time, of this process and, with
the bundled server, of the server and its model together; and `rows_per_batch`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import psutil

from parlante.triton.installation import find_installation
from parlante.triton.motion_layout import MOTION
from parlante.triton.server import TritonServer
from parlante.types import AudioChunk, MotionConfig, MotionInput
from services.motion.engine import MotionEngine
from services.motion.network import TritonNetwork

NUM_SAMPLES = 16_000
BLOCKS = 13  # of each stream


async def one_stream(engine: MotionEngine, seed: int) -> None:
    """Make the motion of a second of noise."""
    voice = np.random.default_rng(seed).normal(0, 2000, NUM_SAMPLES).astype(np.int16)

    async def sound() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=voice)

    async for _ in engine.stream(MotionConfig(seed=seed), sound()):
        pass


def processor_s(pid: int | None) -> float:
    """Processor time of this process, and of a server with its models, so far."""
    total = time.process_time()
    if pid is not None:
        server = psutil.Process(pid)
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                total += used.user + used.system
    return total


def batches_of(server: TritonServer | None) -> tuple[float, float]:
    """Blocks and batches of the motion model so far."""
    if server is None:
        return 0.0, 0.0
    url = f"http://127.0.0.1:{server.ports.metrics}/metrics"
    with urllib.request.urlopen(url) as response:
        lines = response.read().decode().splitlines()
    found = {
        line.partition("{")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if f'model="{MOTION}"' in line
    }
    return found.get("nv_inference_count", 0.0), found.get("nv_inference_exec_count", 0.0)


async def measure(
    url: str, server: TritonServer | None, num_rounds: int, streams: Sequence[int]
) -> dict[str, Any]:
    """Measure both ways in turn."""
    engines = {"in process": MotionEngine.load(), "triton": MotionEngine.load(triton_url=url)}
    pid = None if server is None else server.pid
    times: dict[str, list[tuple[float, float]]] = {}
    rows: dict[str, float] = {}
    for engine in engines.values():
        await engine.warm_up()
    network = engines["triton"]._network
    assert isinstance(network, TritonNetwork)
    for round_index in range(1 + num_rounds):
        for num in streams:
            for name, engine in engines.items():
                made, runs = batches_of(server)
                start_s, used_s = time.perf_counter(), processor_s(pid)
                await asyncio.gather(*(one_stream(engine, seed) for seed in range(num)))
                figures = (time.perf_counter() - start_s, processor_s(pid) - used_s)
                if round_index:  # the first finds everything cold
                    times.setdefault(f"{name} {num}", []).append(figures)
                if name == "triton" and server is not None:
                    now_made, now_runs = batches_of(server)
                    rows[f"{name} {num}"] = (now_made - made) / max(1.0, now_runs - runs)
    for engine in engines.values():
        await engine.aclose()
    result: dict[str, Any] = {
        key: {
            "ms": round(statistics.median(own[0] for own in values) * 1000 / num_blocks(key), 2),
            "cpu_ms": round(
                statistics.median(own[1] for own in values) * 1000 / num_blocks(key), 2
            ),
            **({"rows_per_batch": round(rows[key], 1)} if key in rows else {}),
        }
        for key, values in sorted(times.items())
    }
    return result | {"made_here_instead": network.num_local}


def num_blocks(key: str) -> int:
    """Blocks of all streams of a round."""
    return BLOCKS * int(key.rpartition(" ")[2])


def main() -> None:
    """Parse the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--streams", default="1,4,8,16")
    parser.add_argument("--triton-url")
    arguments = parser.parse_args()
    streams = [int(text) for text in arguments.streams.split(",")]
    if arguments.triton_url:
        print(
            json.dumps(asyncio.run(measure(arguments.triton_url, None, arguments.rounds, streams)))
        )
        return
    with TritonServer(find_installation()) as server:
        work = measure(server.grpc_address, server, arguments.rounds, streams)
        print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
