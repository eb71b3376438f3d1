"""Find out how many live sessions this machine, or a server, can hold.

Sessions speak through the gateway as microphones do, 20 ms of sound every 20 ms. Their number rises
step by step; a step's sessions run side by side for some seconds. A frame is on time when it
arrives within --late-ms of the moment its own sound was sent; a frame that was dropped never is. A
session is held when 99 % of its frames are on time.

Without --server the suite is started here, once for each of --renderers, and all are measured in
one run, so that they can be compared. The clients of this command run on the same machine and take
their share of it.

With --json the last line is one JSON object:
  sessions_on_time     the most sessions side by side that were all held, by the best renderer
  first_frame_ms_p95   of that step: opening of a session to its first speaking frame
  frame_latency_ms_p95 of that step: sound sent to its frame received
  renderers            the same for each renderer, and its time from start to ready
  steps                all that was measured: sessions held and refused, latencies, jitter (standard
                       deviation of the time between frames), drops, processor cores, memory, GPU,
                       rows per batch and frames per second of the Triton server
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from parlante.cli.load_report import LoadStep, line_of, summarise
from parlante.cli.load_servers import Meters, StartedSuite, Suite, running_suite
from parlante.cli.load_sessions import run_sessions
from parlante.cli.sample import sample_portrait, sample_speech
from parlante.client import ParlanteClient
from parlante.errors import InvalidInput
from parlante.types import MODEL_SAMPLE_RATE_HZ, FrameEncoding, Int16Array

__all__ = ["configure", "run"]

RENDERERS: Final = ("inprocess", "triton")
_MAX_SESSIONS: Final = 512
_AVATAR: Final = "load"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="a running gateway, in place of --renderers"
    )
    parser.add_argument(
        "--renderers",
        default="inprocess",
        metavar="NAME[,NAME]",
        help=f"what to start and compare: {', '.join(RENDERERS)} (default: inprocess)",
    )
    parser.add_argument(
        "--sessions",
        default="1,2,3,4",
        metavar="N[,N...]",
        help="sessions of each step, rising; a renderer's steps end once one holds less than half "
        "of its sessions (default: 1,2,3,4)",
    )
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="speech of each session (default: 8)"
    )
    parser.add_argument(
        "--encoding", choices=("jpeg", "h264"), default="jpeg", help="of the frames (default: jpeg)"
    )
    parser.add_argument(
        "--late-ms",
        type=float,
        default=500.0,
        help="sound sent to frame received, after which a frame is late (default: 500)",
    )
    parser.add_argument(
        "--metrics-url",
        metavar="URL",
        help="with --server: the /metrics of its Triton server, for the size of batches",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    numbers = _read_sessions(args.sessions)
    suites = _suites(args)
    if not 2 <= args.seconds <= 600:
        raise InvalidInput(f"--seconds takes 2 to 600; got {args.seconds:g}", field="seconds")
    if not 50 <= args.late_ms <= 10_000:
        raise InvalidInput(f"--late-ms takes 50 to 10000; got {args.late_ms:g}", field="late_ms")
    steps: list[LoadStep] = []
    ready_s: dict[str, float] = {}
    for suite in suites:
        asyncio.run(_measure(suite, numbers, args, steps, ready_s))
    report = summarise(steps, ready_s)
    if args.plot is not None:
        from parlante.cli.load_plot import draw_steps

        draw_steps(steps, args.plot)
    print(json.dumps(report) if args.json else _told(report))
    return 0


def _told(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {found['sessions_on_time']} sessions on time"
        for name, found in report["renderers"].items()
    )


def _read_sessions(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    in_range = all(1 <= number <= _MAX_SESSIONS for number in numbers)
    if not numbers or not in_range or numbers != sorted(set(numbers)):
        raise InvalidInput(
            f"--sessions takes rising numbers of 1 to {_MAX_SESSIONS}; got {text!r}",
            reason="BAD_OPTION",
            field="sessions",
        )
    return numbers


def _suites(args: argparse.Namespace) -> list[Suite]:
    if args.server is not None:
        return [Suite(name="server", server=args.server, metrics_url=args.metrics_url)]
    names = args.renderers.split(",")
    if not all(name in RENDERERS for name in names) or len(set(names)) != len(names):
        raise InvalidInput(
            f"--renderers takes names of {', '.join(RENDERERS)}; got {args.renderers!r}",
            reason="BAD_OPTION",
            field="renderers",
        )
    return [Suite(name=name) for name in names]


async def _measure(
    suite: Suite,
    numbers: list[int],
    args: argparse.Namespace,
    steps: list[LoadStep],
    ready_s: dict[str, float],
) -> None:
    """Run the steps of one suite; adds to `steps` and `ready_s`."""
    encoding = FrameEncoding(args.encoding)
    pcm = sample_speech(min_seconds=args.seconds).pcm16(MODEL_SAMPLE_RATE_HZ)
    speech: Int16Array = pcm[: int(args.seconds * MODEL_SAMPLE_RATE_HZ)]
    async with (
        running_suite(suite) as started,
        ParlanteClient(started.target) as client,
    ):
        ready_s[suite.name] = started.ready_s
        await client.create_avatar(sample_portrait(), name=_AVATAR)
        # Once before: the first session of a process pays for what is loaded on demand.
        await run_sessions(client, (_AVATAR,), speech[: 2 * MODEL_SAMPLE_RATE_HZ], 1, encoding)
        for number in numbers:
            step = await _step(started, client, speech, number, encoding, args.late_ms)
            steps.append(step)
            if not args.json:
                print(line_of(step), file=sys.stderr, flush=True)
            if 2 * step.sessions_on_time < number:
                break


async def _step(
    started: StartedSuite,
    client: ParlanteClient,
    speech: Int16Array,
    number: int,
    encoding: FrameEncoding,
    late_ms: float,
) -> LoadStep:
    async with Meters(started) as meters:
        outcomes = await run_sessions(client, (_AVATAR,), speech, number, encoding)
    return LoadStep.of(
        started.name, outcomes, num_samples=len(speech), late_ms=late_ms, **asdict(meters.usage)
    )
