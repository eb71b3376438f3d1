"""Make a data set of synthetic talking heads with exact labels; docs/synthetic-heads.md tells more.

Needs the folder of the head parts, as --heads or in the variable PARLANTE_HEADS. Subjects whose
files are there already are kept: a run that was cut off goes on with the same command.
With --json the last line is a report as JSON: rate and milliseconds per frame by step.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from parlante.cli.heads import HEADS_VARIABLE, heads_of
from parlante.cli.options import check_count
from parlante.cli.progress import progress
from parlante.synth.assets import load_pack
from parlante.synth.dataset import open_dataset
from parlante.synth.dataset_maker import SynthReport, make_dataset
from parlante.synth.generator import SynthOptions
from parlante.synth.landmarks import load_landmark_map
from parlante.synth.sheet import draw_sheet
from parlante.synth.subject import Studio

__all__ = ["configure", "run"]

NUM_SHEET_SUBJECTS: Final = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--heads",
        type=Path,
        metavar="DIR",
        help=f"folder of the head parts (default: the variable {HEADS_VARIABLE})",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the data set"
    )
    parser.add_argument("--num-subjects", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument(
        "--frames-per-subject",
        type=int,
        default=6,
        metavar="F",
        help="the source portrait and F - 1 targets (default: 6)",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes all that is random (default: 0)")
    parser.add_argument(
        "--size", type=int, default=512, metavar="PX", help="edge of the pictures (default: 512)"
    )
    parser.add_argument(
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="that draw at once (default: 1; without a GPU it takes several cores by itself)",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE.npz",
        help="landmark map of scripts/calibrate_heads.py, for parts of another topology "
        "(default: the packaged one)",
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help=f"draw the first {NUM_SHEET_SUBJECTS} subjects with their labels",
    )
    parser.add_argument("--json", action="store_true", help="no progress bar, JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    options = SynthOptions(
        num_subjects=args.num_subjects,
        frames_per_subject=args.frames_per_subject,
        seed=args.seed,
        size_px=args.size,
    )
    check_count("--num-processes", args.num_processes)
    pack = load_pack(heads_of(args.heads, needed_by="synth"))
    studio = Studio.of(pack, load_landmark_map(pack, args.landmarks))
    shown = not args.json and sys.stderr.isatty()
    with progress(options.num_subjects, "subject", shown=shown) as advance:
        report = make_dataset(
            studio,
            args.output,
            options,
            num_processes=args.num_processes,
            progress=lambda _: advance(),
        )
    if args.sheet is not None:
        dataset = open_dataset(args.output)
        draw_sheet(dataset, args.sheet, range(min(NUM_SHEET_SUBJECTS, len(dataset))))
    if args.json:
        rates = {
            "frames_per_second": report.frames_per_second,
            "frames_per_core_second": report.frames_per_core_second,
        }
        print(json.dumps({**asdict(report), **rates}))
    else:
        print(_in_words(report, args.output))
    return 0


def _in_words(report: SynthReport, folder: Path) -> str:
    if not report.num_made:
        return f"{folder}: all {report.num_kept} subjects were there"
    steps = ", ".join(f"{name} {ms:.0f}" for name, ms in report.step_ms.items())
    return (
        f"{folder}: {report.num_made} subjects made, {report.num_kept} kept; "
        f"{report.frames_per_second:.2f} frames/s, {report.frames_per_core_second:.2f} per second "
        f"of processor time, on {report.device} (ms per frame: {steps})"
    )
