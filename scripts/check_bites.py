"""Say how near the lower lip comes to the upper teeth in F and V, as the tracker sees it.

Usage: python scripts/check_bites.py PORTRAIT...

Sentences of espeak-ng are spoken by each portrait with the packaged weights. Aperture in units of
the distance between the eyes, the least during each F and V: median and 90th percentile. The last
line is JSON, of all portraits together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import numpy as np
import torch

from parlante.media.image import decode_image
from parlante.models.decoder import Decoder
from parlante.models.face_coefficients import measure_face
from parlante.models.face_tracker import FaceTracker
from parlante.models.motion_weights import DEFAULT_WEIGHTS
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.training.espeak import Espeak, Voice
from parlante.training.evaluate import animate
from parlante.types import FRAME_RATE_HZ, FaceChoice, FaceSelection, Float32Array, MotionConfig
from services.motion.engine import MotionEngine

SENTENCES = (
    "Five very fine foxes live far above the village.",
    "Leave off, if ever you have to give half of it away.",
    "The French chef prefers fresh vanilla over coffee.",
)


# Motion [T, 60] of a sentence, and when its F and V are, seconds.
Spoken = tuple[Float32Array, list[tuple[float, float]]]


async def spoken(engine: MotionEngine) -> list[Spoken]:
    """Speak the sentences."""
    espeak, found = Espeak(), []
    for seed, text in enumerate(SENTENCES):
        speech = espeak.speak(text, Voice(language="en-us", variant=""))
        config = MotionConfig(sample_rate_hz=speech.sample_rate_hz, seed=seed, delay_budget_ms=320)
        values = await animate(engine, speech.samples, config)
        found.append((values, [(p.start_s, p.end_s) for p in speech.phones if p.ipa in "fv"]))
    return found


def seen(
    path: Path, sentences: list[tuple[Float32Array, list[tuple[float, float]]]]
) -> list[float]:
    """Least aperture during each F and V of the sentences, spoken by a portrait."""
    picture = decode_image(path.read_bytes())
    latents = PortraitEncoder().encode(picture, FaceSelection(choice=FaceChoice.LARGEST))
    decoder = Decoder()
    avatar = decoder.prepare(latents)
    found = []
    for values, times in sentences:
        frames = (decoder.render(avatar, np.ascontiguousarray(row)) for row in values)
        faces = list(FaceTracker().track(frames))
        apertures = [
            np.nan if face is None else measure_face(face.points).aperture for face in faces
        ]
        for start_s, end_s in times:
            own = apertures[int(start_s * FRAME_RATE_HZ) : int(end_s * FRAME_RATE_HZ) + 1]
            if own and not np.isnan(own).all():
                found.append(float(np.nanmin(own)))
    return found


def figures(apertures: list[float]) -> dict[str, float]:
    """Median and 90th percentile."""
    median, high = np.percentile(apertures, (50, 90))
    return {"median": round(float(median), 3), "p90": round(float(high), 3)}


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("portraits", type=Path, nargs="+", help="pictures with a face")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sentences = asyncio.run(spoken(MotionEngine.load(DEFAULT_WEIGHTS)))
    together: list[float] = []
    for path in args.portraits:
        own = seen(path, sentences)
        together += own
        print(f"{path.stem:28} {figures(own)}", flush=True)
    print(json.dumps({**figures(together), "num": len(together)}))


if __name__ == "__main__":
    main()
