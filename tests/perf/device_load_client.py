"""One client process of `tests.perf.device_load`: runs sessions when it is told to.

Usage: python -m tests.perf.device_load_client gateway|renderer SERVER SPEECH.wav

Reads a step from each line of its input, JSON: `avatars`, one for each session (names for a
gateway, content keys for a renderer, which is sent motion instead of speech), `start_s` by the
machine's monotonic clock, `stagger_s` and `seconds` of speech. Answers each with a line of JSON,
the outcomes of its sessions. Ends when its input does, so that none outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from parlante.cli.load_sessions import Outcome, run_sessions
from parlante.client import ParlanteClient
from parlante.rpc.channel import open_channel
from parlante.types import MODEL_SAMPLE_RATE_HZ, FrameEncoding, Int16Array
from tests.perf.device_load_streams import run_streams

Sessions = Callable[[dict[str, Any]], Awaitable[list[Outcome]]]


def read_speech(path: Path) -> Int16Array:
    """Read a WAV file of one channel of 16 bits at 16 kHz: int16 [S]."""
    with wave.open(str(path)) as file:
        kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if kind != (1, 2, MODEL_SAMPLE_RATE_HZ):
            raise SystemExit(f"{path} must have 1 channel of 2 bytes at 16000 Hz; got {kind}")
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def lasting(speech: Int16Array, seconds: float) -> Int16Array:
    """Say it again and again until it lasts so long."""
    return np.resize(speech, int(seconds * MODEL_SAMPLE_RATE_HZ))


async def run_step(step: dict[str, Any], sessions: Sessions) -> list[dict[str, Any]]:
    """Wait for the moment that all clients begin at, and run sessions."""
    await asyncio.sleep(max(0.0, step["start_s"] - time.monotonic()))
    return [outcome.to_json() for outcome in await sessions(step)]


@asynccontextmanager
async def talking(server: str, speech: Int16Array) -> AsyncIterator[Sessions]:
    """Sessions that speak, through a gateway."""
    async with ParlanteClient(server) as client:
        yield lambda step: run_sessions(
            client,
            step["avatars"],
            lasting(speech, step["seconds"]),
            len(step["avatars"]),
            FrameEncoding.JPEG,
            stagger_s=step["stagger_s"],
        )


@asynccontextmanager
async def moving(server: str) -> AsyncIterator[Sessions]:
    """Streams of motion, to a renderer."""
    async with open_channel(server) as channel:
        yield lambda step: run_streams(
            channel, step["avatars"], seconds=step["seconds"], stagger_s=step["stagger_s"]
        )


async def main(stage: str, server: str, speech_path: str) -> None:
    """Serve steps until the input ends."""
    is_direct = stage == "renderer"
    opened = moving(server) if is_direct else talking(server, read_speech(Path(speech_path)))
    async with opened as sessions:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await run_step(json.loads(line), sessions)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
