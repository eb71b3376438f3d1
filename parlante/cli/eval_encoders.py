"""`parlante eval encoders`: judge the encoders of pose, gaze, dynamics and identity."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from parlante.errors import InvalidInput

if TYPE_CHECKING:
    from parlante.evaluation.encoders.closed_loop import LoopScores
    from parlante.evaluation.encoders.heads import Correctness, Leaks, Recognition
    from parlante.models.face_reader import FaceReader
    from parlante.models.face_tracker import FaceTracker

__all__ = ["configure_encoders", "judge_encoders"]

# Heads that no run draws, as long as its seed is another.
HEADS_SEED: Final = 7001
PROBES_SEED: Final = 7002
HEAD_FRAMES: Final = 16
SHOWN_FRAMES: Final = (30, 55, 80, 105, 130, 155, 180)


def configure_encoders(encoders: argparse.ArgumentParser) -> None:
    """Add the options of the target."""
    encoders.add_argument(
        "--heads", type=Path, metavar="DIR", help="folder of the head parts, for held-out heads"
    )
    encoders.add_argument("--num-heads", type=int, default=30, metavar="N", help="default: 30")
    encoders.add_argument(
        "--portraits", type=Path, metavar="DIR", help="photos to put known motion onto"
    )
    encoders.add_argument(
        "--weights", type=Path, metavar="FILE", help="default: the packaged encoders"
    )
    encoders.add_argument("--num-frames", type=int, default=250, metavar="T", help="of each photo")
    encoders.add_argument("--max-portraits", type=int, default=0, metavar="N", help="0 takes all")
    encoders.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="report.json, report.md, pictures, and the heads that were drawn",
    )
    encoders.add_argument("--json", action="store_true", help="one line of JSON at the end")


def judge_encoders(args: argparse.Namespace) -> int:
    """Run the target."""
    if args.heads is None and args.portraits is None:
        raise InvalidInput(
            "eval encoders needs something to judge by; give --heads DIR, --portraits DIR or both",
            reason="BAD_OPTION",
            field="heads",
        )
    if args.num_heads < 2 or args.num_frames < 2:
        raise InvalidInput("--num-heads and --num-frames take at least 2", reason="BAD_OPTION")
    import cv2
    import torch

    from parlante.evaluation.encoders.report import (
        draw_strips,
        make_encoders_report,
        summary_lines,
        write_encoders_page,
    )
    from parlante.evaluation.report import write_json
    from parlante.models.face_codes_weights import PACKAGED_CODES
    from parlante.models.face_reader import FaceReader
    from parlante.models.face_tracker import FaceTracker

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader, tracker = FaceReader(args.weights or PACKAGED_CODES), FaceTracker()
    args.output.mkdir(parents=True, exist_ok=True)
    errors = leaks = people = None
    if args.heads is not None:
        errors, leaks, people = _by_heads(args, reader, tracker)
    loops = _by_photos(args, reader, tracker) if args.portraits is not None else None
    report = make_encoders_report(reader.digest, errors, leaks, people, loops)
    print("\n".join(summary_lines(report)))
    write_json(report, args.output / "report.json")
    pictures = draw_strips(loops, args.output) if loops else []
    write_encoders_page(report, args.output / "report.md", pictures)
    print(f"report: {args.output / 'report.md'}")
    if args.json:
        print(json.dumps(report))
    return 0


def _by_heads(
    args: argparse.Namespace, reader: FaceReader, tracker: FaceTracker
) -> tuple[dict[str, tuple[Correctness, Correctness | None]], Leaks, Recognition]:
    from parlante.evaluation.encoders import heads
    from parlante.training.encoders.actions import sample_actions
    from parlante.training.encoders.batches import collect
    from parlante.training.encoders.probes import PROBE_FRAMES, sample_probes
    from parlante.training.encoders.shards import draw_heads, read_heads

    drawn = []
    for name, seed, frames, actions in (
        ("heads", HEADS_SEED, HEAD_FRAMES, sample_actions),
        ("probes", PROBES_SEED, PROBE_FRAMES, sample_probes),
    ):
        folder = args.output / name
        draw_heads(
            args.heads,
            folder,
            num_heads=args.num_heads,
            num_frames=frames,
            seed=seed,
            actions=actions,
        )
        drawn.append(read_heads(folder, range(args.num_heads)))
    data, probes = (collect(each) for each in drawn)
    reading = heads.read_all(reader, data)
    landmarks = np.concatenate([head.landmarks for head in drawn[0]])
    tracked = heads.track_all(tracker, data, landmarks)
    return (
        heads.judge_errors(reading, data, tracked),
        heads.judge_leaks(heads.read_all(reader, probes), probes),
        heads.judge_people(reading, data),
    )


def _by_photos(
    args: argparse.Namespace, reader: FaceReader, tracker: FaceTracker
) -> dict[str, LoopScores]:
    from parlante.evaluation.encoders.closed_loop import judge_loop
    from parlante.evaluation.encoders.exercise import exercise
    from parlante.media.image import decode_image
    from parlante.models.decoder import Decoder
    from parlante.models.portrait_encoder import PortraitEncoder
    from parlante.training.face.sources import photo_files
    from parlante.types import FaceChoice, FaceSelection

    encoder, decoder, out = PortraitEncoder(), Decoder(), {}
    for index, path in enumerate(photo_files(args.portraits)[: args.max_portraits or None]):
        selection = FaceSelection(choice=FaceChoice.LARGEST)
        avatar = decoder.prepare(encoder.encode(decode_image(path.read_bytes()), selection))
        out[path.stem] = judge_loop(
            avatar,
            exercise(args.num_frames, index),
            decoder=decoder,
            tracker=tracker,
            reader=reader,
            shown=[frame for frame in SHOWN_FRAMES if frame < args.num_frames],
        )
    return out
