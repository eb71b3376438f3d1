"""What a live session gets beside bursts without a pause, and what the bursts get.

Usage: python -m tests.perf.burst_beside_live [--server HOST:PORT] [--bursts 0,1,2] [--seconds 6]

Without --server a gateway with its stages runs in this process, which its clients then share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import suppress

from parlante.aio import cancel_and_wait
from parlante.cli.embedded import gateway_target
from parlante.cli.live_probe import measure_live
from parlante.cli.sample import sample_portrait, sample_speech
from parlante.client import Frame, Pacing, ParlanteClient, talk
from parlante.errors import ParlanteError
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, FrameEncoding, Int16Array

AVATAR = "beside"
BURST_S = 20
HEAD_START_S = 1.0


async def _burst(client: ParlanteClient, speech: Int16Array, times_s: list[float]) -> None:
    """Have recordings made one after the other; notes when each frame came."""
    while True:
        async with client.converse(
            avatar=AVATAR, pacing=Pacing.BURST, encodings=(FrameEncoding.JPEG,)
        ) as session:
            async for item in talk(session, speech):
                if isinstance(item, Frame):
                    times_s.append(time.perf_counter())  # noqa: PERF401 (when, not what)


async def _measure(client: ParlanteClient, num_bursts: int, seconds: float) -> str:
    pcm = sample_speech(min_seconds=max(BURST_S, seconds)).pcm16(MODEL_SAMPLE_RATE_HZ)
    times_s: list[float] = []
    bursts = [
        asyncio.create_task(_burst(client, pcm[: BURST_S * MODEL_SAMPLE_RATE_HZ], times_s))
        for _ in range(num_bursts)
    ]
    try:
        await asyncio.sleep(HEAD_START_S)
        begin_s = time.perf_counter()
        figures = await measure_live(
            client,
            AVATAR,
            pcm[: int(seconds * MODEL_SAMPLE_RATE_HZ)],
            encoding=FrameEncoding.JPEG,
        )
        end_s = time.perf_counter()
    finally:
        with suppress(ParlanteError):
            await cancel_and_wait(*bursts)
    latencies = sorted(figures.latencies_ms)
    rate_hz = sum(begin_s <= at_s < end_s for at_s in times_s) / (end_s - begin_s)
    return (
        f"{num_bursts} bursts: {len(latencies)} of {int(seconds * FRAME_RATE_HZ)} live frames, "
        f"{statistics.median(latencies):.0f} ms in the middle, "
        f"{latencies[int(len(latencies) * 0.95)]:.0f} p95; bursts {rate_hz:.1f} frames/s"
    )


async def run(server: str | None, bursts: list[int], seconds: float) -> None:
    """Measure and print."""
    async with gateway_target(server) as target, ParlanteClient(target) as client:
        await client.wait_ready()
        await client.create_avatar(sample_portrait(), name=AVATAR)
        await _measure(client, 0, 1.0)  # everything is hot
        for num_bursts in bursts:
            print(await _measure(client, num_bursts, seconds), flush=True)
    print(f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server")
    parser.add_argument("--bursts", default="0,1,2")
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    bursts = [int(number) for number in args.bursts.split(",")]
    asyncio.run(run(args.server, bursts, args.seconds))


if __name__ == "__main__":
    main()
