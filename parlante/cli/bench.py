"""Measure speed, delay and memory of everything in one process on this machine.

The last line is JSON:
  fps                  512x512 H.264 frames per second of a recording, motion, rendering, encoding
                       and the way through gateway and client included
  frames, seconds      how many that were, and how long they took
  kbit_per_s           H.264 per second of video in it
  first_frame_ms       live, avatar known: from opening the session with the first 0.5 s of speech
                       at hand to the first frame that speaks (median of 5)
  live_latency_ms_p50, live_latency_ms_p95
                       live, sound sent in chunks of 20 ms: from sending the first sample that a
                       frame shows to the arrival of that frame
  live_frames_dropped  frames that were dropped in that session
  encode_ms            portrait to avatar, the first time
  motion_ms, render_ms cost per frame of the two stages by themselves
  cpu_cores            processor time per second while `fps` was measured
  rss_mb               memory of the process at the end
  rss_mb_by_minute     with --memory-minutes N: memory at each minute of one live stream
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from parlante.cli.embedded import EmbeddedGateway, embedded_gateway
from parlante.cli.live_probe import measure_live
from parlante.cli.options import add_face_net_option
from parlante.cli.sample import sample_portrait, sample_speech
from parlante.client import Frame, Pacing, ParlanteClient, talk
from parlante.errors import InvalidInput
from parlante.types import (
    MODEL_SAMPLE_RATE_HZ,
    AudioChunk,
    FrameEncoding,
    Int16Array,
    MotionBlock,
    MotionConfig,
    MotionInput,
    RenderConfig,
)

__all__ = ["configure", "run"]

_AVATAR: Final = "bench"
_WARM_UP_S: Final = 2.0
_NUM_FIRST_FRAMES: Final = 5
_HEAD_SAMPLES: Final = MODEL_SAMPLE_RATE_HZ // 2
_LIVE_S: Final = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--seconds", type=float, default=20.0, help="speech for fps (default: 20)")
    parser.add_argument(
        "--memory-minutes", type=int, default=0, metavar="N", help="watch memory for N minutes"
    )
    add_face_net_option(parser)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if not 1 <= args.seconds <= 600:
        raise InvalidInput(f"--seconds takes 1 to 600; got {args.seconds:g}", field="seconds")
    if not 0 <= args.memory_minutes <= 600:
        raise InvalidInput(
            f"--memory-minutes takes 0 to 600; got {args.memory_minutes}", field="memory_minutes"
        )
    report = asyncio.run(
        _bench(args.seconds, args.memory_minutes, face_net=args.face_net, quiet=args.json)
    )
    print(json.dumps(report))
    return 0


async def _bench(
    seconds: float, memory_minutes: int, *, face_net: str | None, quiet: bool
) -> dict[str, Any]:
    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    pcm = sample_speech(min_seconds=max(seconds, _LIVE_S)).pcm16(MODEL_SAMPLE_RATE_HZ)
    report: dict[str, Any] = {}
    # A store of its own: the first encoding must not be found in a cache.
    with tempfile.TemporaryDirectory() as folder:
        async with (
            embedded_gateway(Path(folder), face_net=face_net) as gateway,
            ParlanteClient(gateway.target) as client,
        ):
            say("portrait")
            portrait = sample_portrait()
            start_s = time.perf_counter()
            avatar = await client.create_avatar(portrait, name=_AVATAR)
            report["encode_ms"] = _rounded((time.perf_counter() - start_s) * 1000)
            say("speed")
            await _throughput(client, pcm[: int(_WARM_UP_S * MODEL_SAMPLE_RATE_HZ)])
            speech = pcm[: int(seconds * MODEL_SAMPLE_RATE_HZ)]
            report |= await _throughput(client, speech)
            say("stages")
            report |= await _stage_costs(gateway, avatar.key, speech)
            say("delay")
            report |= await _delay(client, pcm[: int(_LIVE_S * MODEL_SAMPLE_RATE_HZ)])
            if memory_minutes:
                say(f"memory, {memory_minutes} minutes")
                report["rss_mb_by_minute"] = await _memory(client, pcm, memory_minutes)
            report["rss_mb"] = _rss_mb()
    return report


async def _throughput(client: ParlanteClient, speech: Int16Array) -> dict[str, Any]:
    process = psutil.Process()
    session = client.converse(avatar=_AVATAR, pacing=Pacing.BURST, encodings=(FrameEncoding.H264,))
    num_frames = num_bytes = 0
    start_s, start_cpu_s = time.perf_counter(), sum(process.cpu_times()[:2])
    async with session:
        async for item in talk(session, speech):
            if isinstance(item, Frame):
                num_frames += 1
                num_bytes += len(item.data)
    elapsed_s = time.perf_counter() - start_s
    cpu_s = sum(process.cpu_times()[:2]) - start_cpu_s
    return {
        "fps": _rounded(num_frames / elapsed_s),
        "frames": num_frames,
        "seconds": _rounded(elapsed_s),
        "cpu_cores": _rounded(cpu_s / elapsed_s),
        "kbit_per_s": _rounded(num_bytes * 8 / 1000 / (len(speech) / MODEL_SAMPLE_RATE_HZ)),
    }


async def _stage_costs(
    gateway: EmbeddedGateway, avatar_key: str, speech: Int16Array
) -> dict[str, Any]:
    stages = gateway.stages
    start_s = time.perf_counter()
    blocks = [block async for block in stages.motion.stream(MotionConfig(), _chunks(speech))]
    motion_s = time.perf_counter() - start_s
    num_frames = sum(len(block.values) for block in blocks)
    config = RenderConfig(avatar_key=avatar_key, encoding=FrameEncoding.H264)
    start_s = time.perf_counter()
    async for _ in stages.renderer.stream(config, _each(blocks)):
        pass
    render_s = time.perf_counter() - start_s
    return {
        "motion_ms": _rounded(motion_s * 1000 / num_frames),
        "render_ms": _rounded(render_s * 1000 / num_frames),
    }


async def _chunks(speech: Int16Array) -> AsyncIterator[MotionInput]:
    for start in range(0, len(speech), MODEL_SAMPLE_RATE_HZ // 2):
        yield AudioChunk(
            start_sample=start, samples=speech[start : start + MODEL_SAMPLE_RATE_HZ // 2]
        )


async def _each(blocks: list[MotionBlock]) -> AsyncIterator[MotionBlock]:
    for block in blocks:
        yield block


async def _delay(client: ParlanteClient, speech: Int16Array) -> dict[str, Any]:
    head = speech[:_HEAD_SAMPLES]
    first = [
        await measure_live(client, _AVATAR, head, head_samples=len(head))
        for _ in range(_NUM_FIRST_FRAMES)
    ]
    live = await measure_live(client, _AVATAR, speech)
    return {
        "first_frame_ms": _rounded(statistics.median(figures.first_frame_ms for figures in first)),
        "live_latency_ms_p50": _rounded(float(np.percentile(live.latencies_ms, 50))),
        "live_latency_ms_p95": _rounded(float(np.percentile(live.latencies_ms, 95))),
        "live_frames_dropped": live.dropped,
    }


async def _memory(client: ParlanteClient, speech: Int16Array, minutes: int) -> list[float]:
    """Stream for `minutes` in real time; gives the memory at each whole minute, MB."""
    found: list[float] = []

    async def look(elapsed_s: float) -> None:
        if elapsed_s >= 60 * (len(found) + 1):
            found.append(_rss_mb())

    num_samples = (minutes * 60 + 2) * MODEL_SAMPLE_RATE_HZ
    await measure_live(client, _AVATAR, np.resize(speech, num_samples), each_second=look)
    return found


def _rss_mb() -> float:
    return _rounded(psutil.Process().memory_info().rss / 1e6)


def _rounded(value: float) -> float:
    return round(value, 2)
