"""How soon motion follows the sound that it needs, live.

Usage: python -m tests.perf.first_motion [--rounds 6]

Sound goes in 20 ms at a time, as it is spoken. For each delay budget: milliseconds from the piece
that completes a block to the block itself, for the first block of a stream and for the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator

import numpy as np
import torch

from parlante.types import MODEL_SAMPLE_RATE_HZ, AudioChunk, MotionConfig
from services.motion.engine import MotionEngine

PIECE_S = 0.02
SECONDS = 3.0
BUDGETS_MS = (120, 160, 320)


async def delays_ms(engine: MotionEngine, budget_ms: int) -> list[float]:
    """From each block's last piece of sound to the block; the last ones, of the tail, left out."""
    piece = round(PIECE_S * MODEL_SAMPLE_RATE_HZ)
    noise = np.random.default_rng(0).standard_normal(round(SECONDS * MODEL_SAMPLE_RATE_HZ))
    samples = (2000.0 * noise).astype(np.int16)
    sent_s = 0.0

    async def sound() -> AsyncIterator[AudioChunk]:
        nonlocal sent_s
        for start in range(0, len(samples), piece):
            sent_s = time.perf_counter()
            yield AudioChunk(start_sample=start, samples=samples[start : start + piece])
            await asyncio.sleep(PIECE_S)

    config = MotionConfig(sample_rate_hz=MODEL_SAMPLE_RATE_HZ, seed=1, delay_budget_ms=budget_ms)
    waits = [1000.0 * (time.perf_counter() - sent_s) async for _ in engine.stream(config, sound())]
    return waits[:-8]


async def measure(rounds: int) -> None:
    """Print a JSON line per budget."""
    engine = MotionEngine.load(None)
    await engine.warm_up()
    for budget_ms in BUDGETS_MS:
        waits = [await delays_ms(engine, budget_ms) for _ in range(rounds)]
        others = [wait for row in waits for wait in row[1:]]
        row = {
            "budget_ms": budget_ms,
            "first_ms": [round(row[0], 1) for row in waits],
            "others_ms_p50": round(float(np.percentile(others, 50)), 1),
            "others_ms_p95": round(float(np.percentile(others, 95)), 1),
        }
        print(json.dumps(row), flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=6)
    torch.set_num_threads(1)
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
