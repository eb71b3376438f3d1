"""Make the demonstration: a public-domain portrait speaks with a synthesised voice.

Writes demo.mp4 and a contact sheet demo.png, beside the portrait and the voice they are made of.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import soundfile

from parlante.cli.contact_sheet import make_contact_sheet
from parlante.cli.embedded import gateway_target
from parlante.cli.sample import DEMO_TEXT, sample_portrait, sample_speech
from parlante.cli.talk import TalkJob, TalkReport, make_video
from parlante.client import ParlanteClient
from parlante.types import Controls, FaceSelection

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--output-dir", type=Path, default=Path("out"), metavar="FOLDER")
    parser.add_argument("--text", default=DEMO_TEXT, help="what to say")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another performance")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    folder: Path = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    portrait = folder / "demo_portrait.png"
    portrait.write_bytes(sample_portrait())
    recording = sample_speech(args.text)
    soundfile.write(folder / "demo_voice.wav", recording.samples, recording.sample_rate_hz)
    job = TalkJob(
        portrait=portrait,
        recording=recording,
        output=folder / "demo.mp4",
        seed=args.seed,
        controls=Controls(),
        face=FaceSelection(),
        show_progress=sys.stderr.isatty(),
    )
    report = asyncio.run(_make(job))
    make_contact_sheet(job.output, folder / "demo.png", portrait=portrait.read_bytes())
    print(
        f"{report.frames} frames ({report.seconds:.1f} s) at {report.fps:.0f} frames/s\n"
        f"video:         {job.output}\n"
        f"contact sheet: {folder / 'demo.png'}"
    )
    return 0


async def _make(job: TalkJob) -> TalkReport:
    async with gateway_target(None) as target, ParlanteClient(target) as client:
        return await make_video(client, job)
