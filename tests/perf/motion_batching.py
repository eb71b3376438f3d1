"""Measure what batching the motion network over sessions would save, in processor time.

Usage: python tests/perf/motion_batching.py [--blocks N]

Each round makes one block (80 ms) for B sessions as the motion stage does, one after the other,
and as one batch: their pasts put together, conditions, all passes of the sampler, and remembering.
One thread, packaged weights, a full past. The last line is JSON: for each B the median milliseconds
of processor time per session and block, `alone` of sessions one by one in the same rounds, and
`ratio` of the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from parlante.diffusion.guidance import GuidanceScales, combine, keep_rows
from parlante.diffusion.sampler import sample
from parlante.models.motion_dit import BLOCK_FRAMES, NUM_READ, PAST_GROUP, Cache, MotionDiT
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.motion_weights import load_weights

SESSIONS = (1, 2, 4, 8)


class Session:
    """What one stream brings to its next block."""

    def __init__(self, model: MotionDiT, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        config = model.config
        self.speech = noise(1, BLOCK_FRAMES, config.audio_width + NUM_READ)
        self.controls = noise(1, BLOCK_FRAMES, CONDITION_DIM)
        self.noise = noise(1, BLOCK_FRAMES, LATENT_DIM)
        self.cache = model.empty_cache(1)
        for _ in range(config.past_frames // BLOCK_FRAMES):
            self.cache = model.remember(noise(1, BLOCK_FRAMES, LATENT_DIM), self.cache)


def make_block(sessions: list[Session], model: MotionDiT, sampler: SamplerConfig) -> torch.Tensor:
    """Draw one block of each session as one batch, [B, T, D], as `services.motion.drawing` does."""
    B = len(sessions)
    keep = keep_rows(sampler.guidance)
    rows = len(keep)
    speech = torch.cat([own.speech for own in sessions]).repeat(rows, 1, 1)
    controls = torch.cat([own.controls for own in sessions]).repeat(rows, 1, 1)
    cache: Cache = [
        (torch.cat([k for k, _ in layer]), torch.cat([v for _, v in layer]))
        for layer in zip(*(own.cache for own in sessions), strict=True)
    ]
    pasts = [(k.repeat(rows, 1, 1, 1), v.repeat(rows, 1, 1, 1)) for k, v in cache]
    keep = keep.repeat_interleave(B, 0)
    see_past = keep[:, PAST_GROUP] > 0.5 if rows > 1 else None
    plans = dict(
        zip(
            sampler.times,
            model.plan(model.condition(speech, controls, keep), sampler.times),
            strict=True,
        )
    )

    def denoise(z: torch.Tensor, level: float) -> torch.Tensor:
        found = model.denoise(z.repeat(rows, 1, 1), plans[level], pasts, see_past)
        per_session = found.view(rows, B, *found.shape[1:]).unbind(1)
        return torch.cat([combine(own, sampler.guidance) for own in per_session])

    clean = sample(denoise, torch.cat([own.noise for own in sessions]), sampler.times)
    model.remember(clean, cache)
    return clean


def timed_ms(work: Callable[[], Any]) -> float:
    """Processor time of this thread, which other work on the machine lengthens little."""
    start_s = time.thread_time()
    work()
    return (time.thread_time() - start_s) * 1000


def measure(num_blocks: int, sampler: SamplerConfig) -> dict[str, Any]:
    """Measure all batch sizes in turn."""
    model, _ = load_weights()
    sessions = [Session(model, seed) for seed in range(max(SESSIONS))]
    together = make_block(sessions, model, sampler)
    alone = torch.cat([make_block([own], model, sampler) for own in sessions])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    times: dict[int, list[tuple[float, float]]] = {num: [] for num in SESSIONS}
    for _ in range(num_blocks):
        for num in SESSIONS:
            own = sessions[:num]
            one_by_one = timed_ms(lambda own=own: [make_block([s], model, sampler) for s in own])
            batched = timed_ms(lambda own=own: make_block(own, model, sampler))
            times[num].append((one_by_one / num, batched / num))
    return {str(num): _figures(pairs) for num, pairs in times.items()}


def _figures(pairs: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "ms_per_session": round(statistics.median(batched for _, batched in pairs), 2),
        "alone": round(statistics.median(alone for alone, _ in pairs), 2),
        "ratio": round(statistics.median(batched / alone for alone, batched in pairs), 2),
    }


@torch.inference_mode()
def main() -> None:
    """Parse the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    guided = SamplerConfig(guidance=GuidanceScales(audio=1.5))
    print(
        json.dumps(
            {
                "plain": measure(arguments.blocks, SamplerConfig()),
                "guided": measure(arguments.blocks, guided),
            }
        )
    )


if __name__ == "__main__":
    main()
