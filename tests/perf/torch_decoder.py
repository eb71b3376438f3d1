"""Measure the batched decoder on a device, and check its frames against the loops of the CPU.

Usage: python -m tests.perf.torch_decoder [--device cuda] [--batches 1,8,32] [--size 512] [--fuse]
    [--seconds 2] [--net FILE]

For each batch size, rows of eight avatars with all that moves moving: ms per frame of the shapes
on the host (`geometry`), of planning and drawing until the device is done (`pixels`), of bringing
the pixels to the host (`copy`) and of a JPEG on one thread (`encode`); `frames_per_s` of a loop
that makes JPEGs as the decoder model does, encoding on all cores; and `worst_step`, the largest
difference to the loops in levels of 255, which must be 1. `launches` are the kernels of a batch and
`busy` their time per frame (on a CPU, unless fused, operations of torch). With --fuse the same once
more with the pixel work compiled, how long that took, and how often it was compiled anew after the
warm-up (`recompiled`, should be 0). With --net frames are retouched, by a network of the size of
that config of `parlante train face` with random weights, as speed does not depend on them.
The last line is JSON. Meant to be run once on a machine with a GPU; takes some two minutes there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder
from parlante.models.face_net import FaceNet, FaceNetConfig
from parlante.models.face_retouch import FaceRetouch
from parlante.models.frame_look import FrameLook
from parlante.models.frame_makers import DeviceFrames
from parlante.models.torch_avatar import TorchAvatar
from parlante.models.torch_decoder import TorchDecoder, shape_of
from parlante.models.torch_pixels import to_host
from parlante.triton.layout import FrameRow
from parlante.types import MOTION_DIM, MOTION_INDEX, Float32Array, Uint8Array
from tests.fakes.faces import face_latents

KEYS = [f"{number:02x}" * 32 for number in range(1, 9)]
JPEG_QUALITY = 85
_MOVING = {
    "jawOpen": 0.4, "mouthFunnel": 0.2, "eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5,
    "headYaw": 0.15, "headPitch": -0.1, "gazeYaw": 0.2, "browInnerUp": 0.4,
}  # fmt: skip


def row_of(number: int) -> Float32Array:
    """Motion of its own for each number: everything is drawn, nothing is as in the photo."""
    row = np.zeros(MOTION_DIM, np.float32)
    for place, (name, reach) in enumerate(_MOVING.items()):
        row[MOTION_INDEX[name]] = reach * (0.6 + 0.4 * np.sin(number * (1.0 + 0.3 * place)))
    return row


class Launches(TorchDispatchMode):
    """Counts operations that make something, as views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num += not any(value.alias_info for value in func._schema.returns)
        return func(*args, **(kwargs or {}))


class Bench:
    """One decoder with its avatars."""

    def __init__(
        self,
        device: str,
        size_px: int,
        seconds: float,
        fuse: str | None,
        retouch: FaceRetouch | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.seconds = seconds
        self.is_fused = fuse is not None
        self.look = FrameLook(size_px=size_px)
        self.retouch = retouch
        self.decoder = TorchDecoder(device, retouch, fuse=fuse)
        start_s = time.perf_counter()
        self.decoder.warm_up()
        self.warm_up_s = time.perf_counter() - start_s
        self.avatars = [self.decoder.prepare(face_latents(key), self.look) for key in KEYS]
        self.num_graphs = _num_graphs()

    def batch(self, num: int) -> tuple[list[TorchAvatar], list[Float32Array]]:
        """Rows of a batch."""
        return (
            [self.avatars[n % len(KEYS)] for n in range(num)],
            [row_of(n) for n in range(num)],
        )

    def measure(self, num: int) -> dict[str, float]:
        """Measure one batch size, ms per frame."""
        avatars, motions = self.batch(num)
        shapes = [shape_of(*pair) for pair in zip(avatars, motions, strict=True)]
        drawn = self._draw(avatars, shapes)
        pixels = to_host(drawn.pixels)
        launches, busy_ms = self._profiled(avatars, shapes)
        figures = {
            "geometry": self._timed(
                lambda: [shape_of(*pair) for pair in zip(avatars, motions, strict=True)], num
            ),
            "pixels": self._timed(lambda: self._draw(avatars, shapes), num),
            "copy": self._timed(lambda: to_host(drawn.pixels), num),
            "encode": self._timed(lambda: _jpeg(pixels[0]), 1),
            "launches": float(launches),
            "busy": busy_ms / num,
            "frames_per_s": self._throughput(avatars, motions),
        }
        return {name: round(value, 3) for name, value in figures.items()}

    def worst_step(self, num: int) -> int:
        """Largest difference to the loops, levels."""
        avatars, motions = self.batch(num)
        loops = Decoder(self.retouch)
        own = [loops.prepare(face_latents(key), self.look) for key in KEYS]
        worst = 0
        for number, frame in enumerate(self.decoder.render(avatars, motions)):
            right = loops.render(own[number % len(KEYS)], motions[number])
            worst = max(worst, int(np.abs(frame.astype(int) - right).max()))
        return worst

    def _draw(self, avatars: Sequence[TorchAvatar], shapes: Sequence[Any]) -> Any:
        drawn = self.decoder.draw(avatars, shapes)
        self._wait()
        return drawn

    def _profiled(self, avatars: Sequence[TorchAvatar], shapes: Sequence[Any]) -> tuple[int, float]:
        """Kernels of a batch, and the time in them, ms."""
        if self.device.type != "cuda":
            if self.is_fused:  # what counts operations keeps torch from running compiled code
                return 0, 0.0
            with Launches() as launches:
                self.decoder.draw(avatars, shapes)
            return launches.num, 0.0
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            self._draw(avatars, shapes)
        kernels = [event for event in profile.events() if "CUDA" in str(event.device_type)]
        return len(kernels), sum(event.time_range.elapsed_us() for event in kernels) / 1000.0

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _timed(self, work: Callable[[], Any], num_frames: int) -> float:
        """Median ms per frame of as many repeats as fit into a quarter of the time, 3 at least."""
        work()
        times: list[float] = []
        until_s = time.perf_counter() + 0.25 * self.seconds
        while len(times) < 3 or time.perf_counter() < until_s:
            start_s = time.perf_counter()
            work()
            times.append(time.perf_counter() - start_s)
        return statistics.median(times) * 1000 / num_frames

    def _throughput(self, avatars: Sequence[TorchAvatar], motions: Sequence[Float32Array]) -> float:
        rows = [
            FrameRow(avatar_key="", motion=motion, jpeg_quality=JPEG_QUALITY) for motion in motions
        ]
        slots = [None] * len(rows)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            maker = DeviceFrames(self.decoder, threads)
            maker.make(rows, avatars, slots)
            start_s, num_frames = time.perf_counter(), 0
            while time.perf_counter() < start_s + self.seconds:
                num_frames += len(maker.make(rows, avatars, slots))
            return num_frames / (time.perf_counter() - start_s)


def _jpeg(pixels: Uint8Array) -> bytes:
    return JpegEncoder(quality=JPEG_QUALITY).encode(pixels).data


def _num_graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def loops_ms(size_px: int) -> float:
    """A frame of the loops on one thread."""
    cv2.setNumThreads(1)
    loops, look = Decoder(), FrameLook(size_px=size_px)
    avatars = [loops.prepare(face_latents(key), look) for key in KEYS]
    times = []
    for number in range(5 * len(KEYS)):
        start_s = time.perf_counter()
        loops.render(avatars[number % len(KEYS)], row_of(number))
        times.append(time.perf_counter() - start_s)
    return round(statistics.median(times) * 1000, 3)


def net_of(config: Path) -> FaceRetouch:
    """A network of a config's size, with random weights."""
    size = FaceNetConfig.from_dict(json.loads(config.read_text(encoding="utf-8"))["model"])
    return FaceRetouch(FaceNet(size))


def run(
    device: str,
    size_px: int,
    batches: Sequence[int],
    seconds: float,
    fuse: str | None,
    retouch: FaceRetouch | None = None,
) -> dict[str, Any]:
    """Measure one way to draw."""
    bench = Bench(device, size_px, seconds, fuse, retouch)
    found: dict[str, Any] = {"warm_up_s": round(bench.warm_up_s, 1)}
    names = ("geometry", "pixels", "busy", "copy", "encode", "launches", "frames_per_s")
    print(f"{'fused' if fuse else 'as it is'}, warm-up {bench.warm_up_s:.1f} s")
    print("rows " + "".join(f"{name:>13}" for name in names))
    for num in batches:
        figures = bench.measure(num)
        found[str(num)] = figures
        print(f"{num:4d} " + "".join(f"{figures[name]:13.3f}" for name in names), flush=True)
    found["worst_step"] = bench.worst_step(min(max(batches), 8))
    found["recompiled"] = _num_graphs() - bench.num_graphs
    if bench.device.type == "cuda":
        found["device_mb"] = round(torch.cuda.max_memory_allocated(bench.device) / 1e6)
    print(f"worst step {found['worst_step']}, recompiled {found['recompiled']}")
    return found


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="of torch: cpu, cuda, cuda:N")
    parser.add_argument("--batches", default="1,8,32", help="rows of a batch")
    parser.add_argument("--size", type=int, default=512, help="edge of the frames, px")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure of throughput")
    parser.add_argument("--fuse", action="store_true", help="also with the pixel work compiled")
    parser.add_argument("--net", type=Path, metavar="CONFIG.json", help="also retouch frames")
    args = parser.parse_args()
    torch.set_num_threads(1)
    retouch = None if args.net is None else net_of(args.net)
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    batches = [int(part) for part in args.batches.split(",")]
    found: dict[str, Any] = {"device": name, "size_px": args.size, "loops_ms": loops_ms(args.size)}
    print(f"{name}, {args.size} px; a frame of the loops on one thread {found['loops_ms']} ms")
    for label, fuse in (("plain", None), ("fused", "inductor")):
        if fuse is None or args.fuse:
            found[label] = run(args.device, args.size, batches, args.seconds, fuse, retouch)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
