"""Run one motion stream for long, faster than real time: no drift, no clock slip, no growth.

Usage: python tests/perf/motion_soak.py [--minutes 20] [--from-hours 10] [--rate-hz 44100]

Sound of changing loudness goes in 20 ms at a time. Every media minute: frames made against frames
owed, memory of the process, size of the checkpoint, mean head angles and mouth opening. With
--from-hours the stream's counters begin as after so many hours, which is where clocks slip.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
import psutil

from parlante.media.resample import Resampler
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_weights import load_weights
from parlante.training.evaluate import aperture
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, MotionConfig
from services.motion import checkpoint, incoming, session
from services.motion.session import SessionState


def set_clock(state: SessionState, hours: int, rate_hz: int) -> SessionState:
    """Return the state, past its warm-up, with the counters of a stream that is hours old."""
    seconds = hours * 3600
    return replace(
        state,
        num_samples=state.num_samples + seconds * rate_hz,
        block_index=state.block_index + seconds * FRAME_RATE_HZ // session.BLOCK_FRAMES,
        resampler=replace(
            state.resampler,
            first_sample=state.resampler.first_sample + seconds * rate_hz,
            num_outputs=state.resampler.num_outputs + seconds * MODEL_SAMPLE_RATE_HZ,
        ),
    )


def main() -> None:
    """Run from the command line; prints a JSON line per media minute."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--from-hours", type=int, default=10)
    parser.add_argument("--rate-hz", type=int, default=44_100)
    arguments = parser.parse_args()
    model, digest = load_weights()
    resampler = Resampler(arguments.rate_hz)
    state = session.start(MotionConfig(sample_rate_hz=arguments.rate_hz), resampler, model)
    state = incoming.hear(state, np.zeros(arguments.rate_hz // 5, np.int16), resampler)
    while session.is_ready(state):
        _, state = session.advance(state, model, SamplerConfig())
    state = set_clock(state, arguments.from_hours, arguments.rate_hz)
    rng = np.random.default_rng(0)
    begun, process = time.perf_counter(), psutil.Process()
    for minute in range(1, arguments.minutes + 1):
        values = []
        for index in range(60 * 50):
            level = 3000.0 * max(0.0, np.sin(index / 90.0)) ** 2
            piece = (rng.standard_normal(arguments.rate_hz // 50) * level).astype(np.int16)
            state = incoming.hear(state, piece, resampler)
            while session.is_ready(state):
                block, state = session.advance(state, model, SamplerConfig())
                if block is not None:
                    values.append(block.values)
        motion = np.concatenate(values)
        stored = checkpoint.dump(state, bundle_digest=digest, rate_hz=arguments.rate_hz)
        row = {
            "minute": minute,
            "frames_behind": session.num_frames(state, arguments.rate_hz) - session.num_made(state),
            "rss_mb": round(process.memory_info().rss / 2**20, 1),
            "checkpoint_bytes": len(stored),
            "head_deg": [round(float(v), 2) for v in np.degrees(motion[:, :3]).mean(axis=0)],
            "aperture": round(float(aperture(motion).mean()), 4),
            "times_real_time": round(60 * minute / (time.perf_counter() - begun), 2),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
