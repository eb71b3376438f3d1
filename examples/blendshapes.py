"""Drive a face of your own: ARKit blendshapes, head pose and gaze instead of pictures.

    python examples/blendshapes.py --server localhost:50050 --portrait me.jpg --audio speech.wav

Prints one CSV row per frame of 25 Hz, for a game engine or a plot.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from pathlib import Path
from typing import TextIO

import soundfile

from parlante.client import MotionSample, Pacing, ParlanteClient, talk


async def write_motion(server: str, portrait: Path, audio: Path, output: TextIO) -> int:
    """Write the motion of a recording as CSV; gives the number of frames."""
    samples, rate_hz = soundfile.read(audio, dtype="int16")
    writer = csv.writer(output)
    num_frames = 0
    async with ParlanteClient(server) as client:
        await client.wait_ready()
        avatar = await client.create_avatar(portrait)
        async with client.converse(
            avatar=avatar.name,
            sample_rate_hz=rate_hz,
            pacing=Pacing.BURST,
            frames=False,
            return_motion=True,
        ) as session:
            writer.writerow(["seconds", *session.info.motion_channels])
            async for item in talk(session, samples):
                if isinstance(item, MotionSample):
                    values = (f"{value:.4f}" for value in item.values)
                    writer.writerow([item.media_offset_us / 1e6, *values])
                    num_frames += 1
    return num_frames


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="localhost:50050")
    parser.add_argument("--portrait", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True, help="mono WAV, FLAC or OGG")
    args = parser.parse_args()
    asyncio.run(write_motion(args.server, args.portrait, args.audio, sys.stdout))


if __name__ == "__main__":
    main()
