"""Judge trained weights: ``python -m parlante.training.evaluate --weights FILE [--wav FOLDER]``.

Prints one JSON object. Synthetic part: speakers drawn from a seed that training never used (or,
with ``--speakers held_out``, voices it never heard), compared with their viseme targets. Recorded
part: wav files, judged without a truth: shut in silence, open in speech, head, blink and smoothness
statistics against those of real people.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from parlante.models.audio_features import Float64Array
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.motion_space import MOUTH
from parlante.ports import Motion
from parlante.training.speakers import POPULATIONS, open_speakers
from parlante.training.takes import CLIP_FRAMES, record
from parlante.training.visemes import Phone, mouth_targets
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    AudioChunk,
    Float32Array,
    Int16Array,
    MotionConfig,
    MotionInput,
)


def aperture(values: Float32Array) -> Float64Array:
    """Inner-lip opening [T] in IOD that motion [T, 60] asks for, by the renderer's calibration."""
    pick = _picker(values)
    opened = (
        0.50 * pick("jawOpen")
        + 0.08 * pick("mouthFunnel")
        + 0.10 * pick("mouthLowerDownLeft")
        + 0.06 * pick("mouthUpperUpLeft")
    )
    return np.asarray(opened * (1.0 - pick("mouthClose")))


def width(values: Float32Array) -> Float64Array:
    """Mouth width [T] relative to rest, by the renderer's calibration."""
    pick = _picker(values)
    narrowed = (1.0 - 0.35 * pick("mouthPucker")) * (1.0 - 0.20 * pick("mouthFunnel"))
    return np.asarray(narrowed * (1.0 + 0.20 * pick("mouthStretchLeft")))


def _picker(values: Float32Array) -> Any:
    return lambda name: values[:, MOTION_INDEX[name]].astype(np.float64)


async def animate(engine: Motion, samples: Int16Array, config: MotionConfig) -> Float32Array:
    """All motion [T, 60] of a piece of sound."""

    async def source() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=samples)

    blocks = [block.values async for block in engine.stream(config, source())]
    return np.concatenate(blocks)


def read_wav(path: Path) -> tuple[Int16Array, int]:
    """First channel of a 16-bit wav file, int16 [S], and its rate."""
    with wave.open(str(path), "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return data[:: file.getnchannels()].copy(), file.getframerate()


def level_db(samples: Int16Array, rate_hz: int, num_frames: int) -> Float64Array:
    """Loudness [T] per frame, dB below full scale."""
    per_frame = rate_hz / FRAME_RATE_HZ
    edges = (np.arange(num_frames + 1) * per_frame).astype(int)
    squares = np.concatenate([[0.0], np.cumsum((samples.astype(np.float64) / 32768) ** 2)])
    edges = np.minimum(edges, len(samples))
    energy = np.diff(squares[edges]) / np.maximum(1, np.diff(edges))
    return np.asarray(10.0 * np.log10(np.maximum(energy, 1e-9)))


def silent_frames(samples: Int16Array, rate_hz: int, num_frames: int) -> np.ndarray:
    """Frames [T] well inside silence: 0.2 s of nothing before and after, at least 32 dB down."""
    level = level_db(samples, rate_hz, num_frames)
    quiet = level < np.percentile(level, 95) - 32.0
    reach = 5
    padded = np.pad(quiet, reach, constant_values=True)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).all(axis=1))


def judge(values: Float32Array) -> dict[str, float]:
    """Statistics of head, lids and smoothness of motion [T, 60]."""
    rotation = np.degrees(values[:, :3].astype(np.float64))
    opened = aperture(values)
    seam = np.abs(np.diff(opened, n=2))
    at_seam = (np.arange(len(seam)) + 2) % BLOCK_FRAMES == 0
    head = np.linalg.norm(np.diff(rotation, n=2, axis=0), axis=1)
    blink = values[:, MOTION_INDEX["eyeBlinkLeft"]]
    shut = (blink[1:] > 0.5) & (blink[:-1] <= 0.5)
    starts = np.flatnonzero(shut) + 1
    depth = [float(blink[s : s + 5].max()) for s in starts]
    yaw, pitch, roll = rotation.std(axis=0)
    return {
        "yaw_std_deg": yaw,
        "pitch_std_deg": pitch,
        "roll_std_deg": roll,
        "head_speed_deg_s": float(
            np.linalg.norm(np.diff(rotation, axis=0), axis=1).mean() * FRAME_RATE_HZ
        ),
        "yaw_roll_correlation": float(np.corrcoef(rotation[:, 0], rotation[:, 2])[0, 1]),
        "blinks_per_minute": len(starts) * 60.0 * FRAME_RATE_HZ / len(values),
        "blink_depth": float(np.mean(depth)) if depth else 0.0,
        "aperture_mean": float(opened.mean()),
        "aperture_p95": float(np.percentile(opened, 95)),
        "aperture_seam_ratio": float(seam[at_seam].mean() / max(1e-9, seam[~at_seam].mean())),
        "head_seam_ratio": float(head[at_seam].mean() / max(1e-9, head[~at_seam].mean())),
    }


def _correlation(a: Float64Array, b: Float64Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _best_lag_ms(made: Float64Array, truth: Float64Array) -> int:
    """Lag of the best correlation, + = the motion is late."""
    lags = range(-5, 6)
    scores = [_correlation(np.roll(made, -lag)[8:-8], truth[8:-8]) for lag in lags]
    return int((int(np.argmax(scores)) - 5) * 1000 / FRAME_RATE_HZ)


async def judge_synthetic(
    engine: Motion, num_clips: int, seed: int, population: str
) -> dict[str, float]:
    """Compare with viseme targets on new synthetic speakers; means over clips."""
    speakers = open_speakers(population)
    rows: list[dict[str, float]] = []
    for index in range(num_clips):
        take = record(speakers, np.random.default_rng((seed, index)))
        if not take.phones:
            continue
        samples = (take.audio * 32767).astype(np.int16)[: CLIP_FRAMES * 640]
        values = await animate(engine, samples, MotionConfig(seed=index))
        truth = asked_of(take.phones, CLIP_FRAMES, take.amplitude)
        opened, wanted = aperture(values), aperture(truth)
        closed = truth[:, MOTION_INDEX["mouthClose"]] > 0.95
        parted = wanted > 0.06
        rows.append(
            {
                "aperture_correlation": _correlation(opened, wanted),
                "width_correlation": _correlation(width(values), width(truth)),
                "aperture_lag_ms": _best_lag_ms(opened, wanted),
                "bilabials_shut": float((opened[closed] < 0.025).mean()) if closed.any() else 1.0,
                "shut_elsewhere": float((opened[parted] < 0.025).mean()),
                "aperture_ratio": float(opened.mean() / max(1e-6, wanted.mean())),
            }
        )
    return {key: round(float(np.mean([r[key] for r in rows])), 3) for key in rows[0]}


def asked_of(phones: list[Phone], num_frames: int, amplitude: float = 1.0) -> Float32Array:
    """Motion [T, 60] in which the mouth, and nothing else, is what phonemes ask for."""
    motion = np.zeros((num_frames, MOTION_DIM), np.float32)
    columns = [MOTION_INDEX.get(n, MOTION_INDEX.get(n + "Left", -1)) for n in MOUTH]
    motion[:, columns] = mouth_targets(phones, num_frames, amplitude)
    return motion


async def judge_recordings(engine: Motion, paths: list[Path]) -> dict[str, Any]:
    """Statistics per wav file."""
    report: dict[str, Any] = {}
    for path in paths:
        samples, rate_hz = read_wav(path)
        begun = time.perf_counter()
        values = await animate(engine, samples, MotionConfig(sample_rate_hz=rate_hz))
        cost = (time.perf_counter() - begun) / (len(values) / FRAME_RATE_HZ)
        silent = silent_frames(samples, rate_hz, len(values))
        row = judge(values)
        row["silent_frames"] = int(silent.sum())
        if silent.any():
            row["shut_in_silence"] = float((aperture(values)[silent] < 0.02).mean())
        row["seconds_per_second"] = cost
        report[path.stem] = {key: round(float(value), 3) for key, value in row.items()}
    return report


def main() -> None:
    """Run from the command line."""
    # The evaluation drives the served engine, so that it judges exactly what is served.
    from services.motion.engine import MotionEngine

    parser = argparse.ArgumentParser(description="Judge motion weights.")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument(
        "--speech-encoder", type=Path, default=None, help="folder; default that of training"
    )
    parser.add_argument("--wav", type=Path, default=None, help="folder of 16-bit wav recordings")
    parser.add_argument("--speakers", choices=POPULATIONS, default="espeak")
    parser.add_argument("--num-clips", type=int, default=6)
    parser.add_argument("--seed", type=int, default=987_654)
    arguments = parser.parse_args()
    recordings = sorted(arguments.wav.glob("*.wav")) if arguments.wav else []

    async def run() -> dict[str, Any]:
        engine = MotionEngine.load(arguments.weights, speech_encoder=arguments.speech_encoder)
        await engine.warm_up()
        try:
            report: dict[str, Any] = {
                "synthetic": await judge_synthetic(
                    engine, arguments.num_clips, arguments.seed, arguments.speakers
                )
            }
            if recordings:
                report["recordings"] = await judge_recordings(engine, recordings)
            return report
        finally:
            await engine.aclose()

    print(json.dumps(asyncio.run(run()), indent=1))


if __name__ == "__main__":
    main()
