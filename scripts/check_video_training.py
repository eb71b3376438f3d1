"""Say how well motion comes back out of videos: makes talking videos, measures them, compares.

Usage: python scripts/check_video_training.py --out DIR PORTRAIT:SPEECH [PORTRAIT:SPEECH ...]

Each pair becomes a video whose motion is kept; the folder of videos then goes through what
`parlante train motion --videos` does, and the latents that come out are decoded to the public
channels and correlated with the motion that went in. The table in docs/training.md is its output.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parlante.cli.embedded import embedded_gateway
from parlante.client import Frame, MotionSample, Pacing, ParlanteClient, talk
from parlante.media.audio_file import read_recording
from parlante.media.mux import Mp4Writer
from parlante.models.face_tracker import FaceTracker
from parlante.models.motion_channels import VOR_GAIN, to_channels
from parlante.models.motion_weights import DEFAULT_WEIGHTS
from parlante.models.pose_state import PoseState
from parlante.training.evaluate import aperture, width
from parlante.training.videos.folder import Manifest, prepare_folder
from parlante.training.videos.shards import Report, map_shard
from parlante.training.videos.synchrony import open_lip_reader
from parlante.types import (
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    MOTION_INDEX,
    Controls,
    Float32Array,
    FrameEncoding,
)

CHANNELS = (
    *("jawOpen", "mouthClose", "mouthPucker", "mouthFunnel", "mouthStretchLeft", "mouthPressLeft"),
    *("mouthLowerDownLeft", "mouthUpperUpLeft", "browInnerUp", "browOuterUpLeft"),
    *("browOuterUpRight", "headYaw", "headPitch", "headRoll", "headX", "headY", "headLogScale"),
    "eyeBlinkLeft",
)


async def make_videos(pairs: list[tuple[Path, Path]], folder: Path) -> None:
    """Render each pair to `NAME.mp4`, with its motion in `NAME.npy` beside the folder."""
    async with (
        embedded_gateway(folder.parent / "store") as gateway,
        ParlanteClient(gateway.target) as client,
    ):
        await client.wait_ready(60.0)
        for seed, (portrait, speech) in enumerate(pairs, 1):
            path = folder / f"{portrait.stem}_{speech.stem}.mp4"
            if not path.exists():
                motion = await _make_video(client, portrait, speech, seed, path)
                np.save(folder.parent / f"{path.stem}.npy", motion)


async def _make_video(
    client: ParlanteClient, portrait: Path, speech: Path, seed: int, path: Path
) -> Float32Array:
    recording = read_recording(speech)
    avatar = await client.create_avatar(portrait)
    session = client.converse(
        avatar=avatar.name,
        encodings=(FrameEncoding.H264,),
        pacing=Pacing.BURST,
        seed=seed,
        return_motion=True,
    )
    rows: dict[int, Float32Array] = {}
    async with session:
        size = {"width_px": session.info.width_px, "height_px": session.info.height_px}
        with Mp4Writer(path, recording=recording, **size) as writer:
            async for item in talk(session, recording.pcm16(MODEL_SAMPLE_RATE_HZ)):
                match item:
                    case Frame(media_offset_us=offset_us, data=data):
                        index = round(offset_us / FRAME_DURATION_US)
                        writer.write_frame(index, data, key_frame=item.key_frame)
                    case MotionSample(media_offset_us=offset_us, values=values):
                        rows[round(offset_us / FRAME_DURATION_US)] = values
    return np.stack([rows[index] for index in range(len(rows))])


def show(manifest: Manifest, report: Report) -> Float32Array:
    """Decode the latents of a video's first stretch to public channels [T, 60]."""
    shard = map_shard(manifest.path_of(report))
    count = min(round(report.kept[0][1] * FRAME_RATE_HZ), shard["latents"].shape[2])
    latents = shard["latents"][0, 0, :count].astype(np.float32)
    asked = shard["conditions"][0, 0, :count].astype(np.float64)
    state = PoseState()
    rows = []
    for frame, (yaw, pitch, distance, *_) in zip(latents, asked, strict=True):
        controls = Controls(
            gaze_yaw_rad=0.3 * yaw,
            gaze_pitch_rad=0.3 * pitch,
            head_distance=float(np.exp(0.4 * distance)),
        )
        if not rows:
            state = PoseState.settled(controls)
        values, state = to_channels(frame[None], controls, state)
        rows.append(values[0])
    return np.array(rows)


def compare(found: Float32Array, true: Float32Array) -> dict[str, float]:
    """Correlation of each channel; NaN where one of them does not move."""
    true = true[: len(found)]
    columns: dict[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]] = {
        "aperture": (aperture(found), aperture(true)),
        "mouth width": (width(found), width(true)),
    }
    columns |= {n: (found[:, MOTION_INDEX[n]], true[:, MOTION_INDEX[n]]) for n in CHANNELS}
    for gaze, head in (("gazeYaw", "headYaw"), ("gazePitch", "headPitch")):
        eye, turn = MOTION_INDEX[gaze], MOTION_INDEX[head]
        columns[f"{gaze} to the camera"] = (
            found[:, eye] + VOR_GAIN * found[:, turn],
            true[:, eye] + VOR_GAIN * true[:, turn],
        )
    return {
        name: float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-6 else float("nan")
        for name, (a, b) in columns.items()
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("pairs", nargs="+", metavar="PORTRAIT:SPEECH")
    parser.add_argument("--out", type=Path, required=True, help="folder for videos and shards")
    arguments = parser.parse_args()
    folder = arguments.out / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(Path(a), Path(b)) for a, b in (pair.split(":") for pair in arguments.pairs)]
    asyncio.run(make_videos(pairs, folder))
    reader = open_lip_reader(DEFAULT_WEIGHTS)
    manifest = prepare_folder(folder, arguments.out, FaceTracker(), reader, tell=print)
    rows = [
        compare(show(manifest, report), np.load(arguments.out / f"{Path(report.file).stem}.npy"))
        for report in manifest.usable
    ]
    print("| channel | mean | range |\n|---|---|---|")
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = values.min(), values.max()
            print(f"| {name} | {values.mean():.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
