"""Measure what a frame costs in process and on a Triton server, in turn, in one run.

Usage: python -m tests.perf.renderer_backends [--rounds N] [--batches 1,8] [--triton-url HOST:PORT]

Without --triton-url the bundled server is started. Each round makes a few batches of every kind, so
that what else the machine does falls on all of them alike. The last line is JSON: for each way and
batch size the median ms per frame, `ratio` to one frame in process (median over the rounds) and
`ratio_p25` (of the lower quartiles, less disturbed by a busy machine); `start_s` from the server's
start to ready; `first_avatar_s` from there to the first frame of an avatar that it did not know;
`rss_mb` of its processes; `disk_mb`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import psutil

from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder
from parlante.triton.client import TritonClient
from parlante.triton.installation import find_installation
from parlante.triton.layout import FrameRow, RowStatus, pack_latents
from parlante.triton.server import TritonServer
from tests.fakes.faces import face_latents, row_of

KEYS = [f"{number:02x}" * 32 for number in range(1, 9)]
JPEG_QUALITY = 85
REPEATS = 3


def in_process(decoder: Decoder, avatars: list[Any], num_rows: int, quality: int) -> None:
    """Make frames one after the other, as one thread of the renderer does."""
    for number in range(num_rows):
        pixels = decoder.render(avatars[number], row_of(number))
        if quality:
            JpegEncoder(quality=quality).encode(pixels)
        else:
            pixels.tobytes()  # as a stream gives them; here they may still be in shared memory


async def on_triton(client: TritonClient, num_rows: int, quality: int) -> None:
    """Make one batch, every row of another avatar."""
    rows = [
        FrameRow(avatar_key=KEYS[number], motion=row_of(number), jpeg_quality=quality)
        for number in range(num_rows)
    ]
    results = await client.decode(rows, timeout_s=20.0)
    assert {result.status for result in results} == {RowStatus.OK}
    for result in results:
        if result.pixels is not None:
            result.pixels.tobytes()


async def prepare(client: TritonClient) -> float:
    """Let the server know all avatars; gives the seconds from the first one's upload to a frame."""
    start_s, first_s = time.perf_counter(), 0.0
    for key in KEYS:
        await client.store(key, pack_latents(face_latents(key)), timeout_s=20.0)
        row = FrameRow(avatar_key=key, motion=row_of(0), jpeg_quality=1)
        while (await client.decode([row], timeout_s=20.0))[0].status is not RowStatus.OK:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # while it is being prepared
        first_s = first_s or time.perf_counter() - start_s
    return first_s


async def measure(address: str, num_rounds: int, batches: Sequence[int]) -> dict[str, Any]:
    """Measure all ways in turn."""
    cv2.setNumThreads(1)  # as the renderer's threads and the model's do
    decoder = Decoder()
    avatars = [decoder.prepare(face_latents(key)) for key in KEYS]
    shared = TritonClient(address)
    in_band = TritonClient(address, shared_memory=False)
    first_s = await prepare(shared)
    times: dict[str, list[float]] = {}

    async def timed(name: str, num_rows: int, work: Callable[[], Any]) -> None:
        for repeat in range(1 + REPEATS):
            start_s = time.perf_counter()
            pending = work()
            if pending is not None:
                await pending
            duration_ms = (time.perf_counter() - start_s) * 1000 / num_rows
            if repeat:  # the first finds the caches full of another process's data
                times.setdefault(f"{name} {num_rows}", []).append(duration_ms)

    for _ in range(num_rounds):
        for num in batches:
            for label, quality in (("raw", 0), ("jpeg", JPEG_QUALITY)):
                await timed(
                    f"in process {label}",
                    num,
                    lambda n=num, q=quality: in_process(decoder, avatars, n, q),
                )
                await timed(
                    f"triton {label}", num, lambda n=num, q=quality: on_triton(shared, n, q)
                )
            await timed("triton raw in-band", num, lambda n=num: on_triton(in_band, n, 0))
    await shared.aclose()
    await in_band.aclose()
    figures = {name: _figures(name, times) for name in sorted(times)}
    return figures | {"first_avatar_s": round(first_s, 2)}


def _figures(name: str, times: dict[str, list[float]]) -> dict[str, float]:
    """Median cost per frame; the ratio is of the same rounds, to one frame in process."""
    base = times["in process jpeg 1" if "jpeg" in name else "in process raw 1"]
    ratios = [own / other for own, other in zip(times[name], base, strict=True)]
    return {
        "ms_per_frame": round(statistics.median(times[name]), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_p25": round(_lower_quartile(times[name]) / _lower_quartile(base), 2),
    }


def _lower_quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def _rss_mb(pid: int) -> dict[str, float]:
    parent = psutil.Process(pid)
    found = {"tritonserver": round(parent.memory_info().rss / 1e6)}
    for child in parent.children(recursive=True):
        name = next((Path(word).parts[-3] for word in child.cmdline() if "model.py" in word), "?")
        found[name] = round(child.memory_info().rss / 1e6)
    return found


def _disk_mb(folder: Path) -> int:
    return round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6)


def main() -> None:
    """Parse the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", default="1,2,4,8", help="rows of a batch; 1 among them")
    parser.add_argument("--triton-url")
    arguments = parser.parse_args()
    batches = [int(text) for text in arguments.batches.split(",")]
    work = partial(measure, num_rounds=arguments.rounds, batches=batches)
    if arguments.triton_url:
        print(json.dumps(asyncio.run(work(arguments.triton_url))))
        return
    installation = find_installation()
    with TritonServer(installation) as server:
        result = asyncio.run(work(server.grpc_address))
        result["start_s"] = round(server.start_s, 1)
        result["rss_mb"] = _rss_mb(server.pid)
        result["disk_mb"] = {
            "server": _disk_mb(installation.binary.parents[1]) + _disk_mb(installation.libraries),
            "environment": _disk_mb(installation.python_bin_dir.parent),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
