"""Compare frames of portraits from the batched decoder with those of the loops.

Usage: python -m tests.perf.device_frames PORTRAIT... [--device cuda] [--fuse] [--out DIR]

A portrait may also be a file of latents, as an encoder keeps them in its store, for machines that
have no tracker. For each: the least PSNR over motions of mouth, lids, gaze and head, the largest
step in levels of 255, and the share of values that differ at all. --out writes both frames and
their difference, 64 times as strong, for the worst motion. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from parlante.latent_file import unpack_latents
from parlante.media.image import decode_image
from parlante.models.decoder import Decoder
from parlante.models.torch_decoder import TorchDecoder
from parlante.types import (
    MOTION_DIM,
    MOTION_INDEX,
    AvatarLatents,
    FaceChoice,
    FaceSelection,
    Float32Array,
)

MOTIONS: dict[str, dict[str, float]] = {
    "still": {},
    "open": {"jawOpen": 0.7},
    "wide": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.25},
    "rounded": {"mouthPucker": 0.7, "mouthFunnel": 0.4, "jawOpen": 0.15},
    "lip on teeth": {"mouthRollLower": 0.6, "jawOpen": 0.1, "mouthUpperUpLeft": 0.2},
    "tongue": {"tongueOut": 0.8, "jawOpen": 0.4},
    "pressed": {"mouthClose": 0.5, "mouthPressLeft": 0.5, "mouthPressRight": 0.5},
    "shut eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "half shut, looking aside": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.4, "gazeYaw": 0.2},
    "turned": {"headYaw": 0.25, "gazeYaw": -0.2, "jawOpen": 0.1},
    "turned back, tilted": {"headYaw": -0.2, "headRoll": 0.1, "mouthSmileLeft": 0.5},
    "nodding, nearer": {"headPitch": 0.2, "headLogScale": 0.1, "headX": 0.2},
    "looking up": {"headPitch": -0.2, "headY": -0.2, "browInnerUp": 0.8},
}


def motion_of(channels: dict[str, float]) -> Float32Array:
    """Motion by channel name, float32 [60]."""
    motion = np.zeros(MOTION_DIM, np.float32)
    for name, value in channels.items():
        motion[MOTION_INDEX[name]] = value
    return motion


def latents_of(path: Path) -> AvatarLatents:
    """Encode a picture, or read a file of latents."""
    if path.suffix == ".avatar":
        return unpack_latents(path.stem, path.read_bytes())
    # Imported here: latents need no tracker.
    from parlante.models.portrait_encoder import PortraitEncoder

    rgb = decode_image(path.read_bytes())
    return PortraitEncoder().encode(rgb, FaceSelection(choice=FaceChoice.LARGEST))


def compare(path: Path, loops: Decoder, device: TorchDecoder, out: Path | None) -> dict[str, Any]:
    """Compare all motions of one portrait."""
    latents = latents_of(path)
    avatar, sent = loops.prepare(latents), device.prepare(latents)
    rows = [motion_of(channels) for channels in MOTIONS.values()]
    worst: dict[str, Any] = {"psnr_db": np.inf, "step": 0, "share": 0.0}
    for start in range(0, len(rows), 8):
        part = rows[start : start + 8]
        for number, own in enumerate(device.render([sent] * len(part), part)):
            right = loops.render(avatar, part[number])
            difference = np.abs(own.astype(int) - right)
            noise = max(float((difference.astype(float) ** 2).mean()), 1e-12)
            psnr_db = 10.0 * float(np.log10(255.0**2 / noise))
            worst["step"] = max(worst["step"], int(difference.max()))
            worst["share"] = max(worst["share"], float((difference > 0).mean()))
            if psnr_db < worst["psnr_db"]:
                worst |= {"psnr_db": psnr_db, "motion": [*MOTIONS][start + number]}
                if out is not None:
                    shown = np.clip(64 * difference, 0, 255).astype(np.uint8)
                    sheet = np.hstack([right, own, shown])
                    cv2.imwrite(str(out / f"{path.stem}.png"), sheet[..., ::-1])
    return worst


def main() -> None:
    """Print the worst of each portrait."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("portraits", type=Path, nargs="+", help="pictures with a face")
    parser.add_argument("--device", default="cpu", help="of torch: cpu, cuda, cuda:N")
    parser.add_argument("--fuse", action="store_true", help="with the pixel work compiled")
    parser.add_argument("--out", type=Path, help="folder for pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    loops = Decoder()
    device = TorchDecoder(args.device, fuse="inductor" if args.fuse else None)
    found = {}
    for path in args.portraits:
        worst = found[path.stem] = compare(path, loops, device, args.out)
        print(
            f"{path.stem:28} {worst['psnr_db']:6.1f} dB ({worst['motion']}), largest step "
            f"{worst['step']}, {worst['share']:.6f} of values differ",
            flush=True,
        )
    least = min(worst["psnr_db"] for worst in found.values())
    step = max(worst["step"] for worst in found.values())
    print(json.dumps({"psnr_db": round(least, 1), "step": step, "num_portraits": len(found)}))


if __name__ == "__main__":
    main()
