"""One client process of `tests.perf.device_load`: runs sessions when it is told to.

Usage: python -m tests.perf.device_load_client SERVER SPEECH.wav

Reads a step from each line of its input, JSON: `avatars`, one for each session, `start_s` by the
machine's monotonic clock, `stagger_s` and `seconds` of speech. Answers each with a line of JSON,
the outcomes of its sessions. Ends when its input does, so that none outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np

from parlante.cli.load_sessions import run_sessions
from parlante.client import ParlanteClient
from parlante.types import MODEL_SAMPLE_RATE_HZ, FrameEncoding, Int16Array


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


async def run_step(
    client: ParlanteClient, speech: Int16Array, step: dict[str, Any]
) -> list[dict[str, Any]]:
    """Wait for the moment that all clients begin at, and run sessions."""
    await asyncio.sleep(max(0.0, step["start_s"] - time.monotonic()))
    outcomes = await run_sessions(
        client,
        step["avatars"],
        lasting(speech, step["seconds"]),
        len(step["avatars"]),
        FrameEncoding.JPEG,
        stagger_s=step["stagger_s"],
    )
    return [outcome.to_json() for outcome in outcomes]


async def main(server: str, speech_path: str) -> None:
    """Serve steps until the input ends."""
    speech = read_speech(Path(speech_path))
    async with ParlanteClient(server) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await run_step(client, speech, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
