"""Judge talking faces in finished videos, ours or anybody's, against people's.

`parlante eval motion VIDEO...` tracks the face in each video with sound (or in all of a folder),
finds the phones of its speech, and prints lips, silence, head, eyes, seams and sync beside those
of VASA-1's demonstration and of people. `eval fit-sync` makes a sync model of videos of people
who talk; the one that ships is fitted on synthetic speech. docs/quality.md explains the measures.

`eval face` judges what is drawn of a face, by held-out synthetic heads and by photos; `eval
encoders` judges what is read off one.

With --json the last line of `eval motion`, `eval face` and `eval encoders` is the report as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from parlante.cli.eval_encoders import configure_encoders, judge_encoders
from parlante.cli.eval_face import configure_face, judge_faces
from parlante.errors import InvalidInput
from parlante.evaluation.clip import find_videos
from parlante.evaluation.head_sound import fit_head_sound
from parlante.evaluation.motion import Judgement, judge_video
from parlante.evaluation.report import make_report, table_lines
from parlante.evaluation.speech_source import SpeechSource
from parlante.evaluation.sync import SyncModel, load_reference_model
from parlante.evaluation.sync_fit import (
    SyntheticConfig,
    fit_on_synthetic_speech,
    fit_on_videos,
)
from parlante.models.face_tracker import FaceTracker

__all__ = ["DEFAULT_BLOCK_FRAMES", "configure", "run"]

# Of our motion model, whose module would bring torch along.
DEFAULT_BLOCK_FRAMES: Final = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the targets of the command."""
    targets = parser.add_subparsers(
        dest="target", required=True, metavar="motion|face|encoders|fit-sync|fit-head-sound"
    )
    motion = targets.add_parser("motion", help="judge the motion in videos")
    motion.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="file or folder")
    motion.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="FILE|WORDS",
        help="what is said; once per video, in order. A .txt beside a video is found by itself; "
        "without any, English words are recognised",
    )
    motion.add_argument(
        "--phones",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.json",
        help="a JSON list of [symbol, start_s, end_s] from any aligner; once per video, in order",
    )
    motion.add_argument(
        "--language",
        default="en",
        help="of the speech; other than English, phone events need --phones (default: en)",
    )
    motion.add_argument(
        "--block-frames",
        type=int,
        default=DEFAULT_BLOCK_FRAMES,
        help="frames that were generated at a time, for the seam test (default: %(default)s)",
    )
    motion.add_argument("--sync-model", type=Path, metavar="FILE.npz", help="of `eval fit-sync`")
    motion.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write report.json, report.md and pictures"
    )
    motion.add_argument("--json", action="store_true", help="one line of JSON at the end")
    configure_face(targets.add_parser("face", help="judge what is drawn of a face"))
    configure_encoders(targets.add_parser("encoders", help="judge what is read off a face"))
    sync = targets.add_parser("fit-sync", help="make a sync model")
    source = sync.add_mutually_exclusive_group(required=True)
    source.add_argument("--videos", type=Path, nargs="+", metavar="FOLDER", help="people who talk")
    source.add_argument(
        "--synthetic",
        action="store_true",
        help="as the one that ships: configs/sync_reference.json",
    )
    sync.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    head = targets.add_parser("fit-head-sound", help="make the model of head and loudness")
    head.add_argument(
        "--reference",
        type=Path,
        required=True,
        metavar="FILE.npz",
        help="tracked motion of people: clipNN, clipNN.fps, clipNN.loudness_db",
    )
    head.add_argument("--output", type=Path, required=True, metavar="FILE.npz")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    match args.target:
        case "motion":
            return _judge_motion(args)
        case "face":
            return judge_faces(args)
        case "encoders":
            return judge_encoders(args)
        case "fit-sync":
            return _fit_sync(args)
        case _:
            return _fit_head_sound(args)


def _judge_motion(args: argparse.Namespace) -> int:
    if args.block_frames < 1:
        raise InvalidInput(
            f"--block-frames takes a number from 1; got {args.block_frames}", field="block_frames"
        )
    videos = find_videos(args.videos)
    if args.output is not None:
        _make_folder(args.output)
    sources = _sources(args, len(videos))
    sync_model = SyncModel.load(args.sync_model) if args.sync_model else load_reference_model()
    tracker = FaceTracker()
    judgements: list[Judgement] = []
    refused: dict[str, str] = {}
    for video, source in zip(videos, sources, strict=True):
        try:
            judgements.append(
                judge_video(
                    video, tracker, sync_model, source=source, block_frames=args.block_frames
                )
            )
        except InvalidInput as error:
            if len(videos) == 1:
                raise
            refused[video.name] = error.message
    if not judgements:
        first = next(iter(refused.values()))
        raise InvalidInput(
            f"none of {len(videos)} videos can be judged; the first: {first}",
            reason="NO_USABLE_VIDEO",
            field="video",
        )
    report = make_report(judgements, sync_model, block_frames=args.block_frames, refused=refused)
    print("\n".join(table_lines(report)))
    if args.output is not None:
        from parlante.evaluation.plots import write_report

        print(f"report: {write_report(judgements, report, args.output)}")
    if args.json:
        print(json.dumps(report))
    return 0


def _sources(args: argparse.Namespace, num_videos: int) -> list[SpeechSource]:
    """What is known of the speech in each video."""
    for name, given in (("text", args.text), ("phones", args.phones)):
        if len(given) not in (0, num_videos):
            raise InvalidInput(
                f"--{name} is given once per video; got {len(given)} for {num_videos} videos",
                reason="BAD_OPTION",
                field=name,
            )
    texts = [_read_text(text) for text in args.text] or [""] * num_videos
    phones = args.phones or [None] * num_videos
    return [
        SpeechSource(text=text, phones=path, language=args.language)
        for text, path in zip(texts, phones, strict=True)
    ]


def _read_text(text: str) -> str:
    """Read a file of this name, or take the text as the words themselves."""
    if "\n" in text or len(text) > 250:  # no name of a file
        return text
    path = Path(text)
    if path.is_file():
        return path.read_text("utf-8")
    if path.suffix == ".txt":
        raise InvalidInput(
            f"no transcript at {path}; check the path", reason="FILE_NOT_FOUND", field="text"
        )
    return text


def _fit_sync(args: argparse.Namespace) -> int:
    _check_folder_of(args.output)
    if args.synthetic:
        model = fit_on_synthetic_speech(SyntheticConfig.reference())
    else:
        model = fit_on_videos(args.videos, FaceTracker())
    model.save(args.output)
    print(
        f"{args.output}: {model.source}, {model.seconds / 60:.0f} min; "
        f"correlation on clips left out: {model.held_out}"
    )
    return 0


def _fit_head_sound(args: argparse.Namespace) -> int:
    _check_folder_of(args.output)
    model = fit_head_sound(args.reference)
    model.save(args.output)
    print(f"{args.output}: {model.source}; correlation on clips left out: {model.held_out}")
    return 0


def _make_folder(folder: Path) -> None:
    """Make the folder of a report, before an hour of tracking is lost on it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"cannot make the folder {folder} ({error.strerror}); give another --output",
            reason="OUTPUT_FOLDER_MISSING",
            field="output",
        ) from error


def _check_folder_of(path: Path) -> None:
    if not path.parent.is_dir():
        raise InvalidInput(
            f"cannot write {path}: its folder does not exist; make it first",
            reason="OUTPUT_FOLDER_MISSING",
            field="output",
        )
