"""`parlante eval face`: judge what is drawn of a face, by synthetic heads and by photos."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.types import MOTION_DIM, MOTION_INDEX, Float32Array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parlante.evaluation.face.true_turns import PosedFrame
    from parlante.models.decoder import Decoder

__all__ = ["configure_face", "judge_faces"]

WARP_ONLY: Final = "warp"
_LOOKS: Final = (
    {"jawOpen": 0.15},
    {"jawOpen": 0.45},
    {"jawOpen": 0.2, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
    {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"headYaw": 0.28},
    {"headYaw": -0.28, "jawOpen": 0.2},
)


def configure_face(face: argparse.ArgumentParser) -> None:
    """Add the options of the target."""
    face.add_argument("--synth", type=Path, metavar="DIR", help="held-out synthetic heads")
    face.add_argument("--portraits", type=Path, metavar="DIR", help="photos")
    face.add_argument(
        "--turns",
        type=Path,
        metavar="DIR",
        help="synthetic heads by which to find out how much the tracker sees of a true turn",
    )
    face.add_argument(
        "--face-net",
        action="append",
        default=[],
        metavar="none|nano|base|FILE",
        help="network to judge beside the warp alone; several are allowed (default: nano, base)",
    )
    face.add_argument(
        "--features", type=Path, metavar="FILE", help="part network that sees likeness"
    )
    face.add_argument("--max-subjects", type=int, default=0, metavar="N", help="0 takes all")
    face.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write report.json, report.md and pictures"
    )
    face.add_argument("--json", action="store_true", help="one line of JSON at the end")


def judge_faces(args: argparse.Namespace) -> int:
    """Run the target."""
    import cv2
    import torch

    from parlante.evaluation.face.heads import judge_heads
    from parlante.evaluation.face.photos import judge_photos
    from parlante.evaluation.face.report import (
        draw_pictures,
        make_face_report,
        summary_lines,
        write_face_page,
    )
    from parlante.evaluation.face.true_turns import seen_of_turns
    from parlante.evaluation.report import write_json
    from parlante.models.face_features import DEFAULT_FEATURES, load_part_net
    from parlante.models.face_tracker import FaceTracker
    from parlante.training.face.sources import find_synthetic, photo_files

    if args.synth is None and args.portraits is None and args.turns is None:
        raise InvalidInput(
            "eval face needs something to judge by; give --synth DIR, --portraits DIR or both",
            reason="BAD_OPTION",
            field="synth",
        )
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    renderers, digests = _renderers(args.face_net)
    tracker = FaceTracker()
    heads = photos = None
    if args.synth is not None:
        paths = find_synthetic(args.synth)[: args.max_subjects or None]
        heads = judge_heads(
            paths, renderers, load_part_net(args.features or DEFAULT_FEATURES), tracker
        )
    if args.portraits is not None:
        paths = photo_files(args.portraits)[: args.max_subjects or None]
        photos = judge_photos(paths, renderers, tracker, [_motion(look) for look in _LOOKS])
    turns = None
    if args.turns is not None:
        turns = seen_of_turns(_posed_heads(args.turns, args.max_subjects), tracker)
    report = make_face_report(heads, photos, digests, turns)
    print("\n".join(summary_lines(report)))
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        write_json(report, args.output / "report.json")
        pictures = draw_pictures(heads, photos, args.output)
        write_face_page(report, args.output / "report.md", pictures)
        print(f"report: {args.output / 'report.md'}")
    if args.json:
        print(json.dumps(report))
    return 0


def _renderers(choices: list[str]) -> tuple[dict[str, Decoder], dict[str, str]]:
    """Decoders by name, the warp alone first, and the digests of their weights."""
    from parlante.models.decoder import Decoder
    from parlante.models.face_retouch import open_retouch
    from parlante.models.face_weights import FACE_SIZES

    renderers, digests = {WARP_ONLY: Decoder()}, {WARP_ONLY: ""}
    for choice in choices or FACE_SIZES:
        retouch = open_retouch(choice)
        if retouch is not None:
            name = Path(choice).stem if choice not in FACE_SIZES else choice
            renderers[name] = Decoder(retouch)
            digests[name] = retouch.digest
    return renderers, digests


def _posed_heads(folder: Path, max_subjects: int) -> Iterator[list[PosedFrame]]:
    """Frames of each synthetic head, with their poses."""
    from parlante.evaluation.face.true_turns import ANGLES, PosedFrame
    from parlante.synth.dataset import open_dataset

    dataset = open_dataset(folder)
    for index in range(min(len(dataset), max_subjects or len(dataset))):
        subject = dataset.subject(index)
        yield [
            PosedFrame(
                rgb=subject.image(frame),
                landmarks=subject.landmarks[frame],
                angles=subject.pose[frame, : len(ANGLES)],
            )
            for frame in range(subject.num_frames)
        ]


def _motion(channels: dict[str, float]) -> Float32Array:
    motion = np.zeros(MOTION_DIM, np.float32)
    for name, value in channels.items():
        motion[MOTION_INDEX[name]] = value
    return motion
