"""Make clips of synthetic heads that talk, to try `parlante train face --videos` without videos.

The head goes from one drawn mouth, expression and pose to the next and now and then home to a shut
mouth; there is no sound.

    python scripts/talking_heads.py --heads HEADS --output CLIPS --num-clips 4
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np

from parlante.synth.assets import HeadPack, load_pack
from parlante.synth.landmarks import load_landmark_map
from parlante.synth.performance import FrameScript, sample_frames
from parlante.synth.renderer import Renderer
from parlante.synth.subject import Studio, build_subject
from parlante.types import Uint8Array

SIZE_PX: Final = 512
RATE_HZ: Final = 12
FRAMES_PER_KEY: Final = 4
KEYS_TO_HOME: Final = 6
MOVES: Final = 0.35  # share of a data set's turns, which are wider than a talking head's
MAX_YAW_RAD: Final = 0.15  # of the first frame
MOVING: Final = tuple(name for name in FrameScript.__slots__ if name not in ("units", "kind"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=Path, required=True, help="folder of the head parts")
    parser.add_argument("--output", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--num-clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pack = load_pack(args.heads)
    studio = Studio.of(pack, load_landmark_map(pack))
    args.output.mkdir(parents=True, exist_ok=True)
    num_frames = round(args.seconds * RATE_HZ)
    with Renderer(pack, size_px=SIZE_PX) as renderer:
        for number in range(args.num_clips):
            path = args.output / f"head-{number:03d}.mp4"
            _write(path, _pictures(studio, renderer, args.seed, number, num_frames))
            print(path, flush=True)


def _pictures(
    studio: Studio, renderer: Renderer, seed: int, number: int, num_frames: int
) -> Iterator[Uint8Array]:
    """uint8 [512, 512, 3] each."""
    rng = np.random.default_rng([seed, number])
    keys = _keys(studio.pack, rng, num_frames // FRAMES_PER_KEY + 2)
    subject = build_subject(studio, renderer, rng, number=number, frames=keys[:1])
    for index in range(num_frames):
        key, step = divmod(index, FRAMES_PER_KEY)
        share = 0.5 - 0.5 * math.cos(math.pi * step / FRAMES_PER_KEY)
        frame = _between(keys[key], keys[key + 1], share, share)
        points, normals, matrices = subject.mesh.pose(subject.face_pose(frame, 0))
        yield renderer.draw(subject.mesh, subject.scene, points, normals, matrices).rgb


def _keys(pack: HeadPack, rng: np.random.Generator, count: int) -> list[FrameScript]:
    """What the head goes through, from a calm face that looks ahead."""
    while True:
        home, *others = sample_frames(pack, rng, num_frames=count)
        if home.kind == "calm" and abs(home.yaw_rad) < MAX_YAW_RAD:
            break
    keys = [home, *(_between(home, other, 1.0, MOVES) for other in others)]
    keys[KEYS_TO_HOME - 1 :: KEYS_TO_HOME] = [home] * len(keys[KEYS_TO_HOME - 1 :: KEYS_TO_HOME])
    return keys


def _between(first: FrameScript, second: FrameScript, share: float, moves: float) -> FrameScript:
    """The first frame with a share of the second's face, and one of its pose."""
    units = {
        name: (1.0 - share) * first.units.get(name, 0.0) + share * second.units.get(name, 0.0)
        for name in (*first.units, *second.units)
    }
    pose = {
        name: (1.0 - moves) * getattr(first, name) + moves * getattr(second, name)
        for name in MOVING
    }
    return FrameScript(units=units, **pose)


def _write(path: Path, pictures: Iterator[Uint8Array]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = SIZE_PX, SIZE_PX, "yuv420p"
        stream.bit_rate = 8_000_000
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
