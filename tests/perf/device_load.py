"""How many live sessions a small fleet holds whose frames are drawn on one device.

Usage:
  python -m tests.perf.device_load --fill STORE [--avatars N] [--portrait FILE]
  python -m tests.perf.device_load --sessions 16,32,64,96 --gateways 4 --motions 6 --renderers 2
      --clients 4 --decoder-device cuda:0 --fuse --max-batch 32 [--store STORE] [--json FILE]

Starts one bundled Triton server, one encoder and as many motion, renderer and gateway processes as
asked, all on this machine; then client processes that speak side by side, each through a gateway of
its own, as `parlante load` does. Their number rises step by step; figures of a step are of the
frames of all its clients together. Printed at the end as a table and as one line of JSON.

With --stage renderer clients send motion to the renderers instead, at live pace, so that a GPU can
be measured that serves more sessions than the cores beside it can run all stages for.

Sessions take some avatars in turn, as a fleet keeps the sessions of one at two of its renderers.

A machine that has no tracker is given a store that another one has filled with --fill: avatars and
a minute of speech; it then needs neither the tracker's files nor ai-edge-litert, espeak-ng,
scikit-image or av. The models' interpreter is PARLANTE_TRITON_PYTHON, as ever.

  --plot needs matplotlib; --draw FILE.json --plot FILE.png draws figures of another machine.

What each step tells, beside what `parlante load --json` does: `cores` by kind of process, and
`busiest`, those of the busiest process of each kind. They, the rows per batch and the GPU's use are
measured while all sessions speak.

Exit code 1 when no step held all its sessions, or none could be run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from parlante.cli.load_report import LoadStep, line_of
from parlante.cli.load_servers import Meters, StartedSuite
from parlante.triton.tuning import DecoderTuning
from tests.fleet.local_fleet import LocalFleet, local_fleet
from tests.perf.device_load_clients import Clients
from tests.perf.device_load_meters import CoreMeter, Cores
from tests.perf.device_load_store import avatars_of, fill_store, keys_of, speech_of
from tests.perf.device_load_triton import running_triton

MAX_STREAMS = 1024
# Of what a renderer has if all have the same: avatars are spread by chance.
RENDERER_SHARE = 1.25
# Sound sent to frame received, most of which is the motion's look-ahead; motion sent to frame.
LATE_MS = {"gateway": 500.0, "renderer": 150.0}
WARM_UP_S = 2.0
WARM_UP_RAMP_S = 0.25  # of each session
# A machine that has never run them compiles their loops first, all processes at once.
READY_TIMEOUT_S = 240.0


def flags_of(args: argparse.Namespace, store: Path, triton: str) -> dict[str, tuple[str, ...]]:
    """Give the flags of the stages: no limit but what the machine can do, and shares of it."""
    streams = ("--max-streams", str(MAX_STREAMS))
    fair = max(*args.sessions, len(avatars_of(store))) / args.renderers
    renderer_streams = math.ceil(RENDERER_SHARE * fair)
    served = ("--triton-url", triton)
    return {
        "encoder": ("--store-dir", str(store), "--no-preload"),
        "motion": (*streams, "--network", args.motion_network, *served),
        "renderer": (
            *("--max-streams", str(renderer_streams), "--renderer", "triton"),
            *served,
        ),
        "gateway": ("--max-sessions", str(MAX_STREAMS)),
    }


async def measure(
    args: argparse.Namespace, store: Path, logs: Path, found: list[dict[str, Any]]
) -> None:
    """Start all, run the steps, stop all; adds to `found` after each step."""
    avatars = avatars_of(store) if args.stage == "gateway" else keys_of(store)
    async with AsyncExitStack() as stack:
        triton = await stack.enter_async_context(
            running_triton(
                tuning=DecoderTuning(
                    decoder_processes=args.decoders,
                    decoder_max_batch=args.max_batch,
                    decoder_fuse=args.fuse,
                    decoder_threads=args.decode_threads,
                ),
                device=args.decoder_device,
                motion_device=args.motion_device,
                log=logs / "triton.log",
            )
        )
        tell(f"Triton is ready after {triton.start_s:.1f} s")
        fleet = await stack.enter_async_context(
            local_fleet(
                gateways=args.gateways,
                motions=args.motions,
                renderers=args.renderers,
                encoders=1,
                real=True,
                flags=flags_of(args, store, triton.grpc_address),
                folder=logs,
                with_cache=False,
                ready_timeout_s=READY_TIMEOUT_S,
            )
        )
        called = [member.address for member in fleet.of(args.stage)]
        clients = await stack.enter_async_context(
            Clients(
                args.stage,
                [called[index % len(called)] for index in range(args.clients)],
                avatars,
                speech_of(store),
                logs,
            )
        )
        tell("the fleet is ready")
        # Once before: the first session of a process, or of an avatar, pays for what is loaded.
        num_first = max(args.clients, args.motions, args.renderers, len(avatars))
        await clients.run(num_first, seconds=WARM_UP_S, ramp_s=WARM_UP_RAMP_S * num_first)
        suite = StartedSuite(
            name=args.name,
            target=called[0],
            metrics_url=f"http://127.0.0.1:{triton.ports.metrics}/metrics",
        )
        meter = CoreMeter(pids=pids_of(fleet, clients), triton_pid=triton.pid)
        for number in args.sessions:
            found.append(await step_of(args, clients, suite, meter, number))
            if 2 * found[-1]["sessions_on_time"] < number and not args.all_steps:
                break


async def step_of(
    args: argparse.Namespace, clients: Clients, suite: StartedSuite, meter: CoreMeter, number: int
) -> dict[str, Any]:
    """Run one step; gives its figures as plain values."""
    running = asyncio.create_task(
        clients.run(number, seconds=args.seconds, ramp_s=args.ramp_s), name="sessions"
    )
    try:
        await asyncio.sleep(clients.LEAD_S + args.ramp_s)
        async with Meters(suite) as meters:
            meter.start()
            # A little less than they speak: the Triton server tells its counts twice a second.
            await asyncio.sleep(args.seconds - args.ramp_s - 0.5)
            cores = meter.stop()
        outcomes = await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    step = LoadStep.of(
        suite.name,
        outcomes,
        num_samples=int(args.seconds * 16_000),
        late_ms=args.late_ms,
        **asdict(meters.usage) | {"cpu_cores": total_of(cores)},
    )
    tell(line_of(step))
    reasons = sorted({outcome.reason for outcome in outcomes if outcome.reason})
    return asdict(step) | {"cores": cores.total, "busiest": cores.busiest, "reasons": reasons}


def total_of(cores: Cores) -> float:
    """Give what all servers used; clients are none."""
    return round(sum(used for kind, used in cores.total.items() if kind != "client"), 2)


def pids_of(fleet: LocalFleet, clients: Clients) -> dict[str, list[int]]:
    """Give the processes by kind."""
    pids: dict[str, list[int]] = {"client": clients.pids}
    for member in fleet.members:
        assert member.process is not None
        pids.setdefault(member.stage, []).append(member.process.pid)
    return pids


def tell(text: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def print_table(steps: Sequence[dict[str, Any]]) -> None:
    """Print the steps as Markdown."""
    columns = (
        ("sessions", "sessions"),
        ("held", "sessions_on_time"),
        ("refused", "refused"),
        ("failed", "failed"),
        ("on time", "on_time_share"),
        ("first frame p50, ms", "first_frame_ms_p50"),
        ("p95", "first_frame_ms_p95"),
        ("latency p50, ms", "frame_latency_ms_p50"),
        ("p95", "frame_latency_ms_p95"),
        ("p99", "frame_latency_ms_p99"),
        ("jitter, ms", "jitter_ms"),
        ("dropped", "dropped"),
        ("frames/s", "frames_per_s"),
        ("rows/batch", "rows_per_batch"),
        ("GPU, %", "gpu_percent"),
        ("GPU, MiB", "gpu_mb"),
    )
    print("| " + " | ".join(title for title, _ in columns) + " |")
    print("|" + "---|" * len(columns))
    for step in steps:
        cells = ["-" if step[name] is None else str(step[name]) for _, name in columns]
        print("| " + " | ".join(cells) + " |")
    kinds = sorted({kind for step in steps for kind in step["cores"]})
    print("\nCores by kind of process, all (the busiest one):\n")
    print("| sessions | " + " | ".join(kinds) + " |")
    print("|" + "---|" * (len(kinds) + 1))
    for step in steps:
        cells = [
            f"{step['cores'].get(kind, 0.0):.2f} ({step['busiest'].get(kind, 0.0):.2f})"
            for kind in kinds
        ]
        print(f"| {step['sessions']} | " + " | ".join(cells) + " |")


def draw(steps: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the curves of `parlante load`."""
    from parlante.cli.load_plot import draw_steps

    names = {field.name for field in fields(LoadStep)}
    draw_steps(
        [LoadStep(**{key: step[key] for key in step if key in names}) for step in steps], path
    )


def read_arguments() -> argparse.Namespace:
    """Read the command line, and refuse what cannot be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", default="16,32,64,96", help="of each step, rising")
    parser.add_argument(
        "--stage",
        choices=tuple(LATE_MS),
        default="gateway",
        help="what clients call: all stages by speech, or renderers alone by motion",
    )
    parser.add_argument("--late-ms", type=float, help="default: 500, of a renderer 150")
    parser.add_argument("--gateways", type=int, default=4)
    parser.add_argument("--motions", type=int, default=6)
    parser.add_argument("--renderers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4, help="not fewer than gateways")
    parser.add_argument("--seconds", type=float, default=8.0, help="of speech")
    parser.add_argument("--ramp-s", type=float, default=2.0, help="in which all sessions begin")
    parser.add_argument("--all-steps", action="store_true", help="even after one that held few")
    parser.add_argument("--decoder-device", default="loops", help="auto, loops, cpu or cuda:N")
    parser.add_argument("--fuse", action="store_true")
    parser.add_argument("--max-batch", type=int, default=8, help="max_batch_size of the decoder")
    parser.add_argument("--decoders", type=int, default=1, help="processes of the decoder")
    parser.add_argument("--decode-threads", type=int, default=0, help="0 = cores, 4 at most")
    parser.add_argument("--motion-network", choices=("inprocess", "triton"), default="inprocess")
    parser.add_argument("--motion-device", default="auto", help="of --motion-network triton")
    parser.add_argument("--store", type=Path, metavar="DIR", help="made by --fill")
    parser.add_argument("--avatars", type=int, default=16, help="to make with --fill")
    parser.add_argument("--fill", type=Path, metavar="DIR", help="make a store, and no more")
    parser.add_argument("--portrait", type=Path, help="with --fill or without --store")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="of all processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--draw", type=Path, metavar="FILE.json", help="only draw these figures")
    args = parser.parse_args()
    args.sessions = [int(part) for part in args.sessions.split(",")]
    args.late_ms = args.late_ms or LATE_MS[args.stage]
    num_called = args.gateways if args.stage == "gateway" else args.renderers
    if args.clients < num_called:
        parser.error(f"each {args.stage} needs a client, so {num_called} at least")
    if args.seconds < args.ramp_s + 2.0:
        parser.error("--seconds must be 2 more than --ramp-s, for a time in which all speak")
    if args.draw is not None and args.plot is None:
        parser.error("--draw needs --plot")
    fused = ", fused" if args.fuse else ""
    args.name = f"{args.decoder_device} x {args.decoders}, batches of {args.max_batch}{fused}"
    return args


async def run(args: argparse.Namespace, store: Path, logs: Path, steps: list[Any]) -> None:
    """Measure until it is done or told to stop by a signal."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await measure(args, store, logs, steps)


def gpu_name() -> str | None:
    """Give the name of the first GPU, None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or None


def report_of(args: argparse.Namespace, steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures together with how they were made."""
    wanted = (
        *("stage", "late_ms", "gateways", "motions", "renderers", "clients", "seconds", "ramp_s"),
        *("decoder_device", "fuse", "max_batch", "decoders", "decode_threads"),
        *("motion_network", "motion_device"),
    )
    held = [step["sessions"] for step in steps if step["sessions_on_time"] == step["sessions"]]
    return {
        "sessions_on_time": max(held, default=0),
        "settings": {name: getattr(args, name) for name in wanted},
        "num_cores": os.cpu_count(),
        "gpu": gpu_name(),
        "steps": steps,
    }


def main() -> int:
    """Run what the command line says."""
    args = read_arguments()
    if args.draw is not None:
        draw(json.loads(args.draw.read_text())["steps"], args.plot)
        return 0
    if args.fill is not None:
        fill_store(args.fill, args.portrait, args.avatars)
        return 0
    if args.plot is not None:
        import matplotlib  # noqa: F401 (to fail before the work, not after it)
    steps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="parlante-device-load-") as folder:
        logs = args.logs or Path(folder) / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        store = args.store or Path(folder) / "store"
        if args.store is None:
            fill_store(store, args.portrait, args.avatars)
        elif not avatars_of(store):
            raise SystemExit(f"--store must hold avatars, got none in {store}; fill it with --fill")
        try:
            asyncio.run(run(args, store, logs, steps))
        except (KeyboardInterrupt, asyncio.CancelledError):
            tell("stopped by a signal")
        finally:
            if steps:
                print_table(steps)
                report = json.dumps(report_of(args, steps))
                print(report)
                if args.json is not None:
                    args.json.write_text(report)
    if args.plot is not None and steps:
        draw(steps, args.plot)
    return 0 if report_of(args, steps)["sessions_on_time"] else 1


if __name__ == "__main__":
    sys.exit(main())
