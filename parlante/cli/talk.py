"""Make a talking-face video: a portrait and a recording in, an MP4 (or another) out.

With --json the last line is JSON:
  output            the video's file
  avatar            name of the avatar
  frames, seconds   length of the video
  fps               frames per second made, from the opening of the session to the last frame
  first_frame_ms    from the opening of the session to the first frame
  encode_ms         from the upload of the portrait to the avatar (short when it is known already)
  width_px, height_px
                    size of the frames
  seed              the seed in effect; it gives the same video again
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from parlante.cli.embedded import gateway_target
from parlante.cli.options import (
    Look,
    add_control_options,
    add_face_net_option,
    add_face_option,
    add_look_options,
    add_server_option,
    controls_of,
    face_of,
    look_of,
)
from parlante.cli.progress import progress
from parlante.client import Frame, Pacing, ParlanteClient, talk
from parlante.errors import InternalError, InvalidInput
from parlante.media.audio_file import Recording, read_recording
from parlante.media.video_writer import check_video_path, frame_encoding_for, open_writer
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    DEFAULT_DELAY_BUDGET_MS,
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    MAX_DELAY_BUDGET_MS,
    MIN_DELAY_BUDGET_MS,
    MODEL_SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    Controls,
    FaceSelection,
    MotionConfig,
)

__all__ = ["TalkJob", "TalkReport", "configure", "make_video", "run"]

CONNECT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkJob:
    """What to make.

    Attributes:
        portrait: Picture file.
        recording: Speech.
        output: Video to write; its end says which kind.
        seed: Fixes all that is random.
        controls: Gaze, distance, emotion and the rest.
        face: Which face of the picture, and how much of it.
        show_progress: Draw a bar on stderr.
        delay_budget_ms: How far ahead the motion may hear, [120, 400]; 0 = the server's default.
        look: What frames look like beside motion.
    """

    portrait: Path
    recording: Recording
    output: Path
    seed: int
    controls: Controls
    face: FaceSelection
    show_progress: bool
    delay_budget_ms: int = 0
    look: Look = field(default_factory=Look)


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkReport:
    """What came out; the module's docstring explains the figures."""

    output: str
    avatar: str
    frames: int
    seconds: float
    fps: float
    first_frame_ms: float
    encode_ms: float
    width_px: int
    height_px: int
    seed: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--portrait", required=True, type=Path, metavar="FILE", help="the face")
    parser.add_argument("--audio", required=True, type=Path, metavar="FILE", help="the speech")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="the video: .mp4, or for transparent backgrounds .mov, .webm or frame_%%05d.png",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another performance")
    add_control_options(parser)
    parser.add_argument(
        "--delay-budget",
        type=int,
        default=BURST_DELAY_BUDGET_MS,
        metavar="MS",
        help=f"how far ahead the motion may hear, {MIN_DELAY_BUDGET_MS} to {MAX_DELAY_BUDGET_MS} "
        f"ms; longer closes lips better (default: {BURST_DELAY_BUDGET_MS}, live sessions have "
        f"{DEFAULT_DELAY_BUDGET_MS})",
    )
    add_face_option(parser)
    add_look_options(parser)
    add_server_option(parser)
    add_face_net_option(parser)
    parser.add_argument("--json", action="store_true", help="no progress bar, JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    look = look_of(args)
    check_video_path(args.output, has_alpha=look.is_clear)
    if not args.portrait.is_file():
        raise InvalidInput(
            f"no portrait at {args.portrait}; check the path",
            reason="FILE_NOT_FOUND",
            field="portrait",
        )
    if not -(2**63) <= args.seed < 2**63:
        raise InvalidInput(f"--seed takes a 64-bit integer; got {args.seed}", field="seed")
    MotionConfig(delay_budget_ms=args.delay_budget)  # refuses it before there is work to lose
    job = TalkJob(
        portrait=args.portrait,
        recording=read_recording(args.audio),
        output=args.output,
        seed=args.seed,
        controls=controls_of(args),
        face=face_of(args.face, look.framing),
        show_progress=not args.json and sys.stderr.isatty(),
        delay_budget_ms=args.delay_budget,
        look=look,
    )
    report = asyncio.run(_run(job, args.server, args.face_net))
    if args.json:
        print(json.dumps(asdict(report)))
    else:
        print(
            f"{report.output}: {report.frames} frames, {report.seconds:.2f} s, "
            f"{report.width_px}x{report.height_px}, made at {report.fps:.1f} frames/s"
        )
    return 0


async def _run(job: TalkJob, server: str | None, face_net: str | None) -> TalkReport:
    if server is not None and face_net is not None:
        raise InvalidInput(
            "--face-net is of a renderer in this process; got --server too; start the renderer "
            "of that server with --face-net instead",
            reason="BAD_OPTION",
            field="face_net",
        )
    async with (
        gateway_target(server, face_net=face_net) as target,
        ParlanteClient(target) as client,
    ):
        await client.wait_ready(CONNECT_TIMEOUT_S)
        return await make_video(client, job)


async def make_video(client: ParlanteClient, job: TalkJob) -> TalkReport:
    """Make one video over a client.

    Raises:
        PortraitRejected: The picture is no usable portrait.
        ParlanteError: The server could not do it; no file is left behind.
    """
    start_s = time.perf_counter()
    avatar = await client.create_avatar(job.portrait, face=job.face)
    encode_ms = (time.perf_counter() - start_s) * 1000
    pcm = job.recording.pcm16(MODEL_SAMPLE_RATE_HZ)
    num_expected = math.ceil(len(pcm) / SAMPLES_PER_FRAME)
    session = client.converse(
        avatar=avatar.name,
        encodings=(frame_encoding_for(job.output),),
        h264_bitrate_kbps=job.look.bitrate_kbps(avatar),
        frame_size_px=job.look.frame_size_px,
        background=job.look.background,
        pacing=Pacing.BURST,
        seed=job.seed,
        controls=job.controls,
        delay_budget_ms=job.delay_budget_ms,
    )
    num_frames, first_frame_s = 0, 0.0
    start_s = time.perf_counter()
    async with session:
        writer = open_writer(
            job.output,
            width_px=session.info.width_px,
            height_px=session.info.height_px,
            recording=job.recording,
            has_alpha=job.look.is_clear,
        )
        with progress(num_expected, "frame", shown=job.show_progress) as advance, writer:
            async for item in talk(session, pcm):
                if not isinstance(item, Frame):
                    continue
                first_frame_s = first_frame_s or time.perf_counter()
                index = round(item.media_offset_us / FRAME_DURATION_US)
                writer.write_frame(index, item.data, key_frame=item.key_frame)
                num_frames += 1
                advance()
            end_s = time.perf_counter()
            _check_whole(num_frames, num_expected)
    return TalkReport(
        output=str(job.output),
        avatar=avatar.name,
        frames=num_frames,
        seconds=num_frames / FRAME_RATE_HZ,
        fps=round(num_frames / (end_s - start_s), 2),
        first_frame_ms=round((first_frame_s - start_s) * 1000, 1),
        encode_ms=round(encode_ms, 1),
        width_px=session.info.width_px,
        height_px=session.info.height_px,
        seed=session.info.seed,
    )


def _check_whole(num_frames: int, num_expected: int) -> None:
    if num_frames != num_expected:
        raise InternalError(
            f"the server gave {num_frames} frames where the speech needs {num_expected}; "
            "no video was written",
            reason="FRAMES_MISSING",
        )
