"""Put the motion of a face in a video onto portraits: `talk` with a face instead of a voice.

The video shows one face that is not turned away for most of its time; its rest (calm frames, shut
lips, open eyes) becomes the portrait's rest. Head, lips, brows, lids and gaze follow without delay
at any frame rate; the sound is kept. --save-motion and --motion keep the motion between runs (npz
or CSV, see docs/driving.md).

With several --portrait, an --output that is a folder gets one video each, a file gets a grid.

With --json the last line is JSON:
  outputs, frames, seconds   what was made
  fps                        frames per second made, all portraits together, without what goes
                             before: encoding the portraits, following the video
  followed                   share of the video's frames in which the face was seen
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from parlante.cli.embedded import gateway_target
from parlante.cli.options import (
    Look,
    add_face_option,
    add_look_options,
    add_server_option,
    face_of,
    look_of,
)
from parlante.cli.progress import progress
from parlante.cli.rendering import RenderJob, make_avatars, render_each, render_grid
from parlante.client import ParlanteClient
from parlante.driving.motion_clip import MotionClip, check_motion_path, load_clip, save_clip
from parlante.driving.retarget import MotionPart, retarget, select
from parlante.errors import InvalidInput
from parlante.media.audio_file import Recording
from parlante.media.video_file import read_sound
from parlante.media.video_writer import check_video_path
from parlante.types import FRAME_RATE_HZ, MAX_INTENSITY, FaceChoice

if TYPE_CHECKING:
    from parlante.models.face_reader import FaceReader

__all__ = ["configure", "run"]

SOUND_RATE_HZ: Final = 48_000
MAX_PORTRAITS: Final = 64
CONNECT_TIMEOUT_S: Final = 10.0
AUTO, NONE = "auto", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveReport:
    """What came out; the module's docstring explains the figures."""

    outputs: list[str]
    frames: int
    seconds: float
    fps: float
    followed: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Performance:
    """Motion, its sound if it has one, and the share of the video that showed a face."""

    clip: MotionClip
    recording: Recording | None
    followed: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--portrait",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a face to move; may be given several times",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--video", type=Path, metavar="FILE", help="whose motion and sound to take")
    source.add_argument(
        "--motion", type=Path, metavar="FILE", help="motion that --save-motion kept, or your own"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE|FOLDER",
        help="the video (.mp4, or for transparent backgrounds .mov, .webm or frame_%%05d.png), or "
        "a folder for one video each",
    )
    parser.add_argument(
        "--save-motion", type=Path, metavar="FILE.npz|FILE.csv", help="keep the motion of the video"
    )
    parser.add_argument(
        "--only",
        choices=(MotionPart.POSE.value, MotionPart.EXPRESSION.value),
        help="use the head alone, or the face alone; the other part rests",
    )
    parser.add_argument(
        "--intensity",
        type=float,
        default=1.0,
        metavar="X",
        help=f"how much of the motion, 0 to {MAX_INTENSITY:g} (default: 1); blinks and shut lips "
        "stay whole down to 0.5",
    )
    parser.add_argument(
        "--video-face",
        choices=(FaceChoice.ONLY.value, FaceChoice.LARGEST.value),
        default=FaceChoice.ONLY.value,
        help="which face of a video with several (default: only)",
    )
    parser.add_argument(
        "--encoders",
        default=AUTO,
        metavar=f"{AUTO}|{NONE}|FILE",
        help="trained encoders that see gaze and lips beside the tracker: the packaged ones, none, "
        f"or weights of `parlante train encoders` (default: {AUTO})",
    )
    add_face_option(parser)
    add_look_options(parser)
    add_server_option(parser)
    parser.add_argument("--json", action="store_true", help="no progress bar, JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    look = look_of(args)
    outputs = _plan_outputs(args, look)
    if args.save_motion is not None:
        check_motion_path(args.save_motion)
    shown = not args.json and sys.stderr.isatty()
    if outputs:
        performance, elapsed_s = asyncio.run(_film(args, look, outputs, shown=shown))
    else:
        performance, elapsed_s = _performance(args, shown=shown), 0.0
    num_frames = performance.clip.num_frames
    report = DriveReport(
        outputs=[str(path) for path in outputs],
        frames=num_frames,
        seconds=num_frames / FRAME_RATE_HZ,
        fps=round(num_frames * len(args.portrait) / elapsed_s, 2) if outputs else 0.0,
        followed=round(performance.followed, 3),
    )
    _tell(report, args)
    return 0


def _tell(report: DriveReport, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(asdict(report)))
        return
    if args.save_motion is not None:
        print(f"{args.save_motion}: {report.frames} frames of motion")
    for output in report.outputs:
        print(f"{output}: {report.frames} frames, {report.seconds:.2f} s")
    if report.followed < 1.0:
        print(
            f"the face was seen in {report.followed:.0%} of the frames; the rest was bridged",
            file=sys.stderr,
        )


# --- what comes in -----------------------------------------------------------------------------


def _plan_outputs(args: argparse.Namespace, look: Look) -> tuple[Path, ...]:
    """One path for each video that is to be made; refuses what cannot be written or read."""
    if args.output is None:
        if args.save_motion is None or args.portrait:
            raise InvalidInput(
                "--output says where the video goes; without --portrait, --save-motion alone "
                "keeps the motion",
                reason="OUTPUT_REQUIRED",
                field="output",
            )
        return ()
    if not args.portrait:
        raise InvalidInput(
            "--portrait says whose face is to move; got none",
            reason="PORTRAIT_REQUIRED",
            field="portrait",
        )
    if len(args.portrait) > MAX_PORTRAITS:
        raise InvalidInput(
            f"at most {MAX_PORTRAITS} portraits in one run; got {len(args.portrait)}",
            reason="TOO_MANY_PORTRAITS",
            field="portrait",
        )
    for path in (*args.portrait, *([args.video] if args.video else [])):
        if not path.is_file():
            raise InvalidInput(
                f"no file at {path}; check the path", reason="FILE_NOT_FOUND", field="portrait"
            )
    outputs = (args.output,)
    if args.output.is_dir():
        names = [path.stem for path in args.portrait]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(
                f"two portraits are named {twice!r} and would write one video; rename one",
                reason="SAME_NAME",
                field="portrait",
            )
        suffix = ".webm" if look.is_clear else ".mp4"
        outputs = tuple(args.output / f"{name}{suffix}" for name in names)
    for path in outputs:
        check_video_path(path, has_alpha=look.is_clear)
    return outputs


def _performance(
    args: argparse.Namespace, *, shown: bool, stopped: Callable[[], bool] = lambda: False
) -> Performance:
    """The motion that the options ask for; keeps it whole if they ask for that too."""
    if args.motion is not None:
        found = Performance(clip=load_clip(args.motion), recording=None, followed=1.0)
    else:
        found = _followed(args, shown=shown, stopped=stopped)
    if args.save_motion is not None:
        save_clip(args.save_motion, found.clip)
    part = MotionPart(args.only) if args.only else MotionPart.ALL
    return replace(found, clip=select(found.clip, part=part, intensity=args.intensity))


def _followed(args: argparse.Namespace, *, shown: bool, stopped: Callable[[], bool]) -> Performance:
    # Imported here: rendering a motion file needs no tracker.
    from parlante.driving.observe import observe
    from parlante.driving.timeline import to_frames
    from parlante.models.face_tracker import FaceTracker

    if shown:
        print(f"following the face of {args.video.name}", file=sys.stderr)
    observation = observe(
        FaceTracker(),
        args.video,
        choice=FaceChoice(args.video_face),
        reader=_reader_of(args.encoders),
        stopped=stopped,
    )
    frames = to_frames(observation)
    return Performance(
        clip=retarget(frames),
        recording=_sound(args.video, frames.num_frames),
        followed=float(1.0 - frames.lost.mean()),
    )


def _reader_of(choice: str) -> FaceReader | None:
    from parlante.models.face_reader import FaceReader

    if choice == NONE:
        return None
    return FaceReader() if choice == AUTO else FaceReader(Path(choice))


def _sound(path: Path, num_frames: int) -> Recording | None:
    """The sound of the frames; None when the video is silent."""
    num_samples = num_frames * SOUND_RATE_HZ // FRAME_RATE_HZ
    seconds = num_frames / FRAME_RATE_HZ
    try:
        samples = read_sound(path, max_seconds=seconds, sample_rate_hz=SOUND_RATE_HZ)
    except InvalidInput as error:
        if error.reason != "NO_SOUND":
            raise
        return None
    samples = np.pad(samples[:num_samples], (0, max(0, num_samples - len(samples))))
    return Recording(samples=samples, sample_rate_hz=SOUND_RATE_HZ)


# --- what goes out -----------------------------------------------------------------------------


async def _film(
    args: argparse.Namespace, look: Look, outputs: tuple[Path, ...], *, shown: bool
) -> tuple[Performance, float]:
    """Make the videos; gives what they show, and how many seconds rendering them took."""
    face = face_of(args.face, look.framing)
    # A file is read, and refused, before anything is started; to follow a video takes as long as
    # that lasts, so that portraits which will not do are refused before it.
    performance = None if args.motion is None else _performance(args, shown=shown)
    async with gateway_target(args.server) as target, ParlanteClient(target) as client:
        await client.wait_ready(CONNECT_TIMEOUT_S)
        avatars = await make_avatars(client, args.portrait, face)
        if performance is None:
            performance = await _performance_beside(args, shown=shown)
        job = RenderJob(
            avatars=avatars,
            outputs=outputs,
            motion=performance.clip.values,
            recording=performance.recording,
            look=look,
        )
        start_s = time.perf_counter()
        with progress(len(job.motion) * len(avatars), "frame", shown=shown) as advance:
            if len(outputs) == 1 and len(avatars) > 1:
                await render_grid(client, job, advance)
            else:
                await render_each(client, job, advance)
    return performance, time.perf_counter() - start_s


async def _performance_beside(args: argparse.Namespace, *, shown: bool) -> Performance:
    """Follow the video while the connection lives; Ctrl-C ends it at the next picture."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(_performance, args, shown=shown, stopped=stop.is_set)
    finally:
        stop.set()
