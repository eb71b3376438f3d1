"""Measure how many streams one device can make motion for, when their blocks share batches.

Usage: python -m tests.perf.device_motion [--device cuda] [--batches 1,8,32,128,512] [--seconds 1]
    [--config parlante/training/configs/motion_base.json]

A batch is what the model `motion` of the Triton server runs for the blocks of that many streams:
their last latents brought to the device, the passes of the sampler, the new latents brought back.
Every stream has a full past, the longest that the network sees. For each size: `ms`, the median
time of a batch, and `streams`, how many live streams that is (a block lasts 80 ms). With --config
the network of that training config with random weights, as speed does not depend on them. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from parlante.diffusion.guidance import GuidanceScales
from parlante.models.motion_batch import BatchGenerator
from parlante.models.motion_dit import BLOCK_FRAMES, MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import LATENT_DIM
from parlante.models.motion_weights import load_weights
from parlante.types import FRAME_RATE_HZ

BLOCK_MS = 1000 * BLOCK_FRAMES / FRAME_RATE_HZ


def measure(generator: BatchGenerator, num: int, seconds: float) -> dict[str, float]:
    """Measure one size of batch."""
    rng = np.random.default_rng(num)
    width = generator.probe().frames.shape[1]
    frames = rng.standard_normal((num, BLOCK_FRAMES, width), np.float32)
    past = rng.standard_normal((num, generator.past_frames, LATENT_DIM)).astype(np.float16)
    num_past = np.full((num, 1), generator.past_frames, np.int32)
    for _ in range(3):
        generator.draw(frames, past, num_past)
    times: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < until_s:
        start_s = time.perf_counter()
        generator.draw(frames, past, num_past)  # its result is on the host: all is done
        times.append(time.perf_counter() - start_s)
    ms = statistics.median(times) * 1000
    return {"ms": round(ms, 2), "streams": round(num * BLOCK_MS / ms)}


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="of torch: cpu, cuda, cuda:N")
    parser.add_argument("--batches", default="1,8,32,128,512", help="streams of a batch")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--config", type=Path, help="network of this config, random weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.config is None:
        model, _ = load_weights()
    else:
        size = json.loads(args.config.read_text(encoding="utf-8"))["model"]
        model = MotionDiT(MotionDiTConfig(**size)).eval()
    torch.set_default_device(args.device)
    model.to(args.device)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for label, guidance in (("plain", GuidanceScales()), ("guided", GuidanceScales(audio=1.5))):
        generator = BatchGenerator(model, SamplerConfig(guidance=guidance))
        found[label] = {}
        for num in (int(part) for part in args.batches.split(",")):
            figures = found[label][str(num)] = measure(generator, num, args.seconds)
            print(f"{label:7} {num:4d} {figures['ms']:8.2f} ms {figures['streams']:7.0f} streams")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
