"""Say how often the mouth is shut while music plays that nobody sings to.

Usage: python scripts/check_music.py FILE... [--seconds 15] [--from 0] [--delay-budget-ms 320]

For each file (wav, ogg, mp3, flac): the share of frames with the mouth shut, in the motion's
channels, and how often in a minute it opens. The first two seconds are left out, in which there may
still be a voice. Debian has pieces: `apt-get install asterisk-moh-opsound-wav`. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Final

import numpy as np
import torch
from motion_lips import lips_of

from parlante.media.audio_file import Recording, read_recording
from parlante.training.evaluate import animate
from parlante.types import BURST_DELAY_BUDGET_MS, FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, MotionConfig
from services.motion.engine import MotionEngine

SHUT_BELOW: Final = 0.02  # aperture, IOD
FIRST_S: Final = 2.0


async def check(engine: MotionEngine, recording: Recording, budget_ms: int) -> tuple[float, float]:
    """Share of frames with the mouth shut, and openings per minute."""
    config = MotionConfig(seed=1, delay_budget_ms=budget_ms)
    values = await animate(engine, recording.pcm16(MODEL_SAMPLE_RATE_HZ), config)
    shut = lips_of(values).aperture[int(FIRST_S * FRAME_RATE_HZ) :] < SHUT_BELOW
    openings = np.count_nonzero(shut[:-1] & ~shut[1:])
    return float(shut.mean()), openings / (len(shut) / FRAME_RATE_HZ / 60.0)


def part_of(path: Path, begin_s: float, length_s: float) -> Recording:
    """Read a part of a file."""
    recording = read_recording(path)
    begin, length = (int(s * recording.sample_rate_hz) for s in (begin_s, length_s))
    samples = recording.samples[begin : begin + length]
    return Recording(samples=samples, sample_rate_hz=recording.sample_rate_hz)


async def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--from", type=float, default=0.0, dest="begin_s", metavar="SECONDS")
    parser.add_argument("--delay-budget-ms", type=int, default=BURST_DELAY_BUDGET_MS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = MotionEngine.load()
    shares = {}
    for path in args.files:
        recording = part_of(path, args.begin_s, args.seconds)
        shut, openings = await check(engine, recording, args.delay_budget_ms)
        shares[path.name] = round(shut, 3)
        print(f"{path.name:40} shut {100 * shut:3.0f} %, opens {openings:4.1f} times a minute")
    await engine.aclose()
    print(json.dumps(shares))


if __name__ == "__main__":
    asyncio.run(main())
