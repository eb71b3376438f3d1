"""Draw a contact sheet of rendered portraits: one row per portrait, one column per motion.

Usage: python scripts/contact_sheet.py PORTRAIT... --output sheet.png [--size 256]
       [--motion jawOpen=0.3,headYaw=0.1]...
"Left" and "Right" may be left out of a channel's name: eyeBlink=1 shuts both eyes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from parlante.models.decoder import Decoder
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.types import (
    FRAME_SIZE_PX,
    MOTION_DIM,
    MOTION_INDEX,
    FaceChoice,
    FaceSelection,
    Float32Array,
    Uint8Array,
)

DEFAULT_MOTIONS = (
    "",
    "jawOpen=0.2",
    "jawOpen=0.6",
    "headYaw=0.25,jawOpen=0.1",
    "headYaw=-0.25,headPitch=-0.15,mouthSmile=0.7",
    "headPitch=0.2,eyeBlink=1",
    "mouthPucker=1,jawOpen=0.1,gazeYaw=0.4",
    "mouthLowerDown=1,mouthUpperUp=1,browInnerUp=1",
    "headLogScale=-0.6",
)


def parse_motion(text: str) -> Float32Array:
    """Read ``name=value,...`` into a motion vector, float32 [60]."""
    motion = np.zeros(MOTION_DIM, np.float32)
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        names = [name] if name in MOTION_INDEX else [f"{name}Left", f"{name}Right"]
        for channel in names:
            motion[MOTION_INDEX[channel]] = float(value)
    return motion


def draw_row(path: Path, motions: list[str], size_px: int) -> Uint8Array:
    """Render one portrait in all motions, side by side: uint8 [size_px, W, 3], BGR."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise SystemExit(f"{path}: not a picture that OpenCV reads")
    rgb = np.ascontiguousarray(pixels[..., ::-1])
    latents = PortraitEncoder().encode(rgb, FaceSelection(choice=FaceChoice.LARGEST))
    decoder = Decoder()
    avatar = decoder.prepare(latents)
    tiles = []
    for text in motions:
        tile = decoder.render(avatar, parse_motion(text))[..., ::-1]
        if size_px != FRAME_SIZE_PX:
            tile = cv2.resize(tile, (size_px, size_px), interpolation=cv2.INTER_AREA)
        tiles.append(tile)
    return np.hstack(tiles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256, help="px of a tile")
    parser.add_argument("--motion", action="append", help="name=value,... once per column")
    arguments = parser.parse_args()
    motions = arguments.motion or list(DEFAULT_MOTIONS)
    rows = [draw_row(path, motions, arguments.size) for path in arguments.portraits]
    cv2.imwrite(str(arguments.output), np.vstack(rows))


if __name__ == "__main__":
    main()
