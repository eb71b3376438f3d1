"""A face and a voice that everybody may use, for the demonstration and the benchmark."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import skimage.data
from PIL import Image

from parlante.media.audio_file import Recording
from parlante.training.espeak import Espeak, Voice

__all__ = ["DEMO_TEXT", "sample_portrait", "sample_speech"]

DEMO_TEXT: Final = (
    "Hello! A moment ago I was only a picture. Now my mouth follows every word, "
    "my eyes blink, and my head moves a little, all from one portrait and this voice."
)
_BENCH_TEXT: Final = (
    "People in the park were happy about the warm weather. My brother bought five big apples, "
    "and we ate them on the bench by the river. Maybe we should do that more often."
)
_FULL_SCALE: Final = 32768.0


def sample_portrait() -> bytes:
    """Give a PNG: Eileen Collins by NASA (public domain), out of scikit-image."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, format="PNG")
    return file.getvalue()


def sample_speech(text: str = _BENCH_TEXT, *, min_seconds: float = 0.0) -> Recording:
    """Speak `text` with espeak-ng, again and again until it lasts `min_seconds`."""
    speech = Espeak().speak(text, Voice())
    samples = speech.samples.astype(np.float32) / _FULL_SCALE
    num_times = max(1, int(np.ceil(min_seconds * speech.sample_rate_hz / max(len(samples), 1))))
    num_wanted = int(min_seconds * speech.sample_rate_hz) or len(samples)
    return Recording(
        samples=np.tile(samples, num_times)[:num_wanted], sample_rate_hz=speech.sample_rate_hz
    )
