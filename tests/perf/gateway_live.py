"""Measure live sessions with the real engines: latency against the media clock, and memory.

Usage: python tests/perf/gateway_live.py [--sessions N] [--seconds S] [--encoding jpeg|h264]

The last line is JSON. `first_frame_ms` is from opening the call to the first frame of a known
avatar, `speaking_frame_ms` from the moment the first 0.5 s of live audio has been sent to the
first frame that speaks, `latency_ms` from a frame's place on the media clock to its arrival.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from skimage.data import astronaut

from gateway.config import EMBEDDED, GatewayConfig
from gateway.serving import running_gateway
from parlante.rpc.channel import open_channel
from parlante.v1 import common_pb2, gateway_pb2, gateway_pb2_grpc

RATE_HZ = 16_000
CHUNK = RATE_HZ // 50
ENCODINGS = {"jpeg": common_pb2.FRAME_ENCODING_JPEG, "h264": common_pb2.FRAME_ENCODING_H264}


def portrait() -> bytes:
    """Give the astronaut as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(astronaut()).save(file, "PNG")
    return file.getvalue()


def hum(num_samples: int) -> np.ndarray[Any, Any]:
    """Make a hum that opens and shuts four times a second, int16."""
    t = np.arange(num_samples) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20))
    return (4000 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * t))).astype("<i2")


async def converse(channel: Any, avatar: str, encoding: int, duration_s: float) -> dict[str, Any]:
    """Hold one live session: 1 s idle, then 3 s of speech and 2 s of silence in turn."""
    call = gateway_pb2_grpc.GatewayServiceStub(channel).Converse()
    opened = time.monotonic()
    config = gateway_pb2.SessionConfig(avatar_name=avatar, frame_encodings=[encoding])
    await call.write(gateway_pb2.ConverseRequest(config=config))
    assert (await call.read()).HasField("session_started")
    start = time.monotonic()
    half_second_sent: list[float] = []

    async def speak() -> None:
        position, turn = 0, 0
        while (begin := time.monotonic()) - start < duration_s:
            await asyncio.sleep(1.0 if turn == 0 else 2.0)
            begin = time.monotonic()
            voice, name = hum(3 * RATE_HZ), f"u{turn}"
            for index, offset in enumerate(range(0, len(voice), CHUNK)):
                data = voice[offset : offset + CHUNK].tobytes()
                audio = gateway_pb2.AudioInput(start_sample=position, data=data, utterance_id=name)
                await call.write(gateway_pb2.ConverseRequest(audio=audio))
                position += CHUNK
                if turn == 0 and index == 24:
                    half_second_sent.append(time.monotonic())
                await asyncio.sleep(max(0.0, begin + (index + 1) * 0.02 - time.monotonic()))
            end = gateway_pb2.EndOfUtterance(utterance_id=name)
            await call.write(gateway_pb2.ConverseRequest(end_of_utterance=end))
            turn += 1
        await call.done_writing()

    speaker = asyncio.create_task(speak())
    first_s = speaking_s = 0.0
    latencies: list[float] = []
    dropped = num_frames = 0
    while response := await call.read():
        if not response.HasField("frame"):
            continue
        now, frame = time.monotonic(), response.frame
        first_s = first_s or now - opened
        if frame.utterance_id and not speaking_s:
            speaking_s = now
        latencies.append((now - start) * 1000 - frame.media_offset_us / 1000)
        dropped, num_frames = frame.dropped_frame_count, num_frames + 1
    await speaker
    return {
        "num_frames": num_frames,
        "num_dropped": dropped,
        "first_frame_ms": first_s * 1000,
        # Below 0 when it came before the half second was complete.
        "speaking_frame_ms": (speaking_s - half_second_sent[0]) * 1000,
        "latency_ms_median": statistics.median(latencies),
        "latency_ms_p95": statistics.quantiles(latencies, n=20)[-1],
        "latency_ms_max": max(latencies),
    }


async def watch_memory(samples: list[float]) -> None:
    """Note the resident memory of this process every 5 s, MiB."""
    process = psutil.Process(os.getpid())
    while True:
        samples.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(5)


async def measure(num_sessions: int, duration_s: float, encoding: str) -> dict[str, Any]:
    """Run sessions side by side in an embedded gateway."""
    with tempfile.TemporaryDirectory() as folder:
        config = GatewayConfig(
            host="127.0.0.1", port=0, wiring=EMBEDDED, store_dir=Path(folder), max_sessions=64
        )
        async with (
            running_gateway(config) as server,
            open_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            call = stub.Converse()
            settings = gateway_pb2.SessionConfig(portrait=portrait(), no_frames=True)
            await call.write(gateway_pb2.ConverseRequest(config=settings))
            avatar = (await call.read()).session_started.avatar.name
            call.cancel()
            memory: list[float] = []
            watch = asyncio.create_task(watch_memory(memory))
            encoding_number = ENCODINGS[encoding]
            results = await asyncio.gather(
                *(
                    converse(channel, avatar, encoding_number, duration_s)
                    for _ in range(num_sessions)
                )
            )
            watch.cancel()
    minute = min(len(memory) - 1, 12)
    return {
        "sessions": [{key: round(value, 1) for key, value in result.items()} for result in results],
        "rss_mib_start": round(memory[0]),
        "rss_mib_minute_1": round(memory[minute]),
        "rss_mib_end": round(memory[-1]),
    }


def main() -> None:
    """Parse the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--encoding", choices=ENCODINGS, default="jpeg")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.sessions, arguments.seconds, arguments.encoding))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
