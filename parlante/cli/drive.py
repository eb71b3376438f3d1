"""Put the motion of a face in a video onto portraits: `talk` with a face instead of a voice.

The video shows one face that is not turned away for most of its time; its rest (calm frames, shut
lips, open eyes) becomes the portrait's rest. Head, lips, brows, lids and gaze follow without delay
at any frame rate; the sound is kept. --save-motion and --motion keep the motion between runs (npz
or CSV, see docs/driving.md).

With several --portrait, an --output that is a folder gets one video each, a file gets a grid.

With --json the last line is JSON:
  outputs, frames, seconds   what was made
  fps                        frames per second made, all portraits together
  followed                   share of the video's frames in which the face was seen
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from parlante.cli.rendering import RenderJob, render_each, render_grid
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
    part = MotionPart(args.only) if args.only else MotionPart.ALL
    shown = not args.json and sys.stderr.isatty()
    performance = _performance(args, shown=shown)
    if args.save_motion is not None:
        save_clip(args.save_motion, performance.clip)
    clip = select(performance.clip, part=part, intensity=args.intensity)
    job = RenderJob(
        portraits=tuple(args.portrait),
        outputs=outputs,
        motion=clip.values,
        recording=performance.recording,
        face=face_of(args.face, look.framing),
        look=look,
    )
    start_s = time.perf_counter()
    if outputs:
        with progress(clip.num_frames * len(args.portrait), "frame", shown=shown) as advance:
            asyncio.run(_render(job, args.server, advance))
    elapsed_s = time.perf_counter() - start_s
    report = DriveReport(
        outputs=[str(path) for path in outputs],
        frames=clip.num_frames,
        seconds=clip.num_frames / FRAME_RATE_HZ,
        fps=round(clip.num_frames * len(args.portrait) / elapsed_s, 2) if outputs else 0.0,
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


def _performance(args: argparse.Namespace, *, shown: bool) -> Performance:
    if args.motion is not None:
        return Performance(clip=load_clip(args.motion), recording=None, followed=1.0)
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


async def _render(job: RenderJob, server: str | None, advance: Callable[[], object]) -> None:
    async with gateway_target(server) as target, ParlanteClient(target) as client:
        await client.wait_ready(CONNECT_TIMEOUT_S)
        if len(job.outputs) == 1 and len(job.portraits) > 1:
            await render_grid(client, job, advance)
        else:
            await render_each(client, job, advance)
