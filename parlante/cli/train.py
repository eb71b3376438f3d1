"""Train a model, on synthetic data or on your own videos; docs/training.md tells more.

`train motion` makes the model that turns a voice into motion, `train rooms` teaches it to hear
voices across rooms, `train face` makes the network that retouches mouth, eyes and contour of a
rendered frame, `train encoders` the one that reads pose, gaze, dynamics and identity off a
picture, `train voices` the one that tells voices from music.

A run that was cut off goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parlante.cli.heads import HEADS_VARIABLE, heads_of
from parlante.cli.options import check_count
from parlante.errors import InvalidInput
from parlante.settings import default_store_dir

if TYPE_CHECKING:
    from parlante.training.device import Hardware

__all__ = ["configure", "run"]

NO_START: Final = "none"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the targets of the command."""
    targets = parser.add_subparsers(
        dest="target", required=True, metavar="motion|rooms|face|encoders|voices"
    )
    motion = targets.add_parser(
        "motion",
        help="the model that turns a voice into motion",
        description="Without --videos: train on synthetic speech, by a config. With --videos: "
        "measure a folder of talking videos, and train on them and synthetic speech together.",
    )
    motion.add_argument(
        "--videos",
        type=Path,
        metavar="DIR",
        help="videos of people who talk (mp4, mov, mkv, webm), with all folders in it",
    )
    motion.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the run as JSON; needed without --videos (default with it: the packaged one)",
    )
    motion.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="checkpoint and weights, and what was measured; taken up again if it is there",
    )
    motion.add_argument(
        "--start",
        metavar="WEIGHTS",
        help=f"weights to begin with, or {NO_START} (default: the packaged ones with --videos, "
        f"else {NO_START})",
    )
    motion.add_argument(
        "--align-with",
        type=Path,
        metavar="WEIGHTS",
        help="weights that hear where phonemes are, for a config whose corpora say realign",
    )
    _configure_cache(motion)
    motion.add_argument("--num-threads", type=int, default=1, metavar="N", help="default: 1")
    _configure_hardware(motion)
    motion.add_argument(
        "--fuse",
        choices=("none", "kernels", "graphs"),
        default="none",
        help="compile the losses into fewer kernels, or, on a GPU, replay steps as CUDA graphs "
        "(default: %(default)s)",
    )
    rooms = targets.add_parser(
        "rooms",
        help="teach a trained motion model to hear voices across rooms and through noise",
        description="The model teaches a copy of itself: the copy hears in rooms, through noise "
        "and telephones what the model hears close by. What it makes of clear voices stays.",
    )
    _configure_sounds(rooms, "motion_rooms.json")
    rooms.add_argument(
        "--start", metavar="WEIGHTS", help="weights to begin with (default: the packaged ones)"
    )
    _configure_face(targets.add_parser("face", help="the network that retouches frames"))
    encoders = targets.add_parser("encoders", help="the network that reads motion off pictures")
    _configure_encoders(encoders)
    _configure_sounds(
        targets.add_parser("voices", help="the network that tells voices from music"), "voices.json"
    )


def _configure_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus-cache",
        type=Path,
        default=default_store_dir().parent / "corpus",
        metavar="DIR",
        help="where synthetic speech is kept (default: %(default)s)",
    )


def _configure_hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]",
        help="what to train on (default: auto, a GPU that torch can use and else the CPU)",
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        metavar="N",
        help="processes that draw batches ahead (default: 0 on the CPU, up to 12 beside a GPU)",
    )


def _configure_face(face: argparse.ArgumentParser) -> None:
    face.add_argument(
        "--synth", type=Path, metavar="DIR", help="synthetic heads, as parlante synth makes them"
    )
    face.add_argument(
        "--videos", type=Path, metavar="DIR", help="videos of people who talk, one face in each"
    )
    face.add_argument(
        "--portraits", type=Path, metavar="DIR", help="photos whose skin is to be left alone"
    )
    face.add_argument(
        "--config", type=Path, metavar="FILE", help="the run as JSON (default: face_nano.json)"
    )
    face.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="pairs, checkpoint and weights; taken up again if it is there",
    )
    face.add_argument(
        "--start", metavar="WEIGHTS", help="weights of this size to begin with (default: none)"
    )
    face.add_argument("--num-threads", type=int, default=1, metavar="N", help="default: 1")
    face.add_argument(
        "--prepare-processes",
        type=int,
        default=1,
        metavar="N",
        help="that make pairs at once (default: 1)",
    )
    _configure_hardware(face)
    face.add_argument(
        "--fuse",
        choices=("none", "graphs"),
        default="none",
        help="on a GPU, replay steps as CUDA graphs (default: %(default)s)",
    )


def _configure_encoders(encoders: argparse.ArgumentParser) -> None:
    encoders.add_argument(
        "--heads",
        type=Path,
        metavar="DIR",
        help=f"folder of the head parts (default: the variable {HEADS_VARIABLE})",
    )
    encoders.add_argument(
        "--config", type=Path, metavar="FILE", help="the run as JSON (default: encoders_nano.json)"
    )
    encoders.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="heads, checkpoint and weights; taken up again if it is there",
    )
    encoders.add_argument(
        "--draw-processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that draw heads at once (default: 1)",
    )
    encoders.add_argument("--num-threads", type=int, default=1, metavar="N", help="default: 1")
    _configure_hardware(encoders)


def _configure_sounds(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"the run as JSON (default: {default})"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="checkpoint and weights; taken up again if it is there",
    )
    _configure_cache(parser)
    parser.add_argument("--num-threads", type=int, default=1, metavar="N", help="default: 1")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_count("--num-threads", args.num_threads)
    import torch

    torch.set_num_threads(args.num_threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.target == "face":
        print(f"weights in {_train_face(args)}")
        return 0
    if args.target == "encoders":
        print(f"weights in {_train_encoders(args)}")
        return 0
    if args.target == "voices":
        print(f"weights in {_train_voices(args)}")
        return 0
    if args.target == "rooms":
        print(f"weights in {_train_rooms(args)}")
        return 0
    start = _start_of(args)
    weights = _on_speech(args, start) if args.videos is None else _on_videos(args, start)
    print(f"weights in {weights}")
    return 0


def _start_of(args: argparse.Namespace) -> Path | None:
    """Weights to begin with; None is none at all."""
    if args.start is None:
        return None if args.videos is None else _packaged()
    if args.start == NO_START:
        return None
    return _existing(Path(args.start), "start", f", or {NO_START}")


def _packaged() -> Path:
    from parlante.models.motion_weights import DEFAULT_WEIGHTS

    return DEFAULT_WEIGHTS


def _aligner_of(args: argparse.Namespace) -> Path | None:
    return None if args.align_with is None else _existing(args.align_with, "align_with")


def _existing(path: Path, field: str, otherwise: str = "") -> Path:
    if not path.is_file():
        raise InvalidInput(
            f"no weights at {path}; name a file of a training run{otherwise}",
            reason="FILE_NOT_FOUND",
            field=field,
        )
    return path


def _train_face(args: argparse.Namespace) -> Path:
    from parlante.training.face.config import read_face_config
    from parlante.training.face.run import DEFAULT_CONFIG, train_on_pictures

    check_count("--prepare-processes", args.prepare_processes)
    start = None if args.start in (None, NO_START) else _existing(Path(args.start), "start")
    return train_on_pictures(
        read_face_config(args.config or DEFAULT_CONFIG),
        args.out,
        synth=args.synth,
        videos=args.videos,
        portraits=args.portraits,
        start=start,
        hardware=_hardware_of(args),
        prepare_processes=args.prepare_processes,
        tell=lambda line: print(line, flush=True),
    )


def _train_encoders(args: argparse.Namespace) -> Path:
    check_count("--draw-processes", args.draw_processes)
    import cv2

    from parlante.training.encoders.config import read_encoders_config
    from parlante.training.encoders.run import DEFAULT_CONFIG, train_on_heads

    cv2.setNumThreads(1)
    return train_on_heads(
        read_encoders_config(args.config or DEFAULT_CONFIG),
        args.out,
        assets=heads_of(args.heads, needed_by="train encoders"),
        hardware=_hardware_of(args),
        draw_processes=args.draw_processes,
        tell=lambda line: print(line, flush=True),
    )


def _train_voices(args: argparse.Namespace) -> Path:
    from parlante.training.voices.config import read_voices_config
    from parlante.training.voices.run import DEFAULT_CONFIG, train_voices

    config = read_voices_config(args.config or DEFAULT_CONFIG)
    return train_voices(config, args.out, args.corpus_cache)


def _train_rooms(args: argparse.Namespace) -> Path:
    from parlante.training.rooms.config import read_rooms_config
    from parlante.training.rooms.run import DEFAULT_CONFIG, train_rooms

    config = read_rooms_config(args.config or DEFAULT_CONFIG)
    start = _packaged() if args.start is None else _existing(Path(args.start), "start")
    return train_rooms(config, start, args.out, args.corpus_cache)


def _on_speech(args: argparse.Namespace, start: Path | None) -> Path:
    from parlante.training.motion import read_config, train_on_speech

    if args.config is None:
        raise InvalidInput(
            "train motion needs --config FILE, or --videos DIR; parlante/training/configs holds "
            "the configs of the packaged weights",
            reason="BAD_OPTION",
            field="config",
        )
    try:
        config = read_config(args.config)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{args.config} is no config of a run ({error}); see docs/training.md",
            reason="BAD_CONFIG",
            field="config",
        ) from error
    return train_on_speech(
        config, args.out, start, args.corpus_cache, _aligner_of(args), _hardware_of(args)
    )


def _hardware_of(args: argparse.Namespace) -> Hardware:
    from parlante.training.device import Hardware

    return Hardware.choose(args.device, args.num_workers, getattr(args, "fuse", "none"))


def _on_videos(args: argparse.Namespace, start: Path | None) -> Path:
    from parlante.training.videos.run import DEFAULT_CONFIG, read_video_config, train_on_videos

    return train_on_videos(
        args.videos,
        args.out,
        read_video_config(args.config or DEFAULT_CONFIG),
        start=start,
        corpus_cache=args.corpus_cache,
        hardware=_hardware_of(args),
        tell=lambda line: print(line, flush=True),
    )
