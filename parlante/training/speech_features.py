"""What a pretrained speech encoder hears in clips, made once and kept on disk (docs/adr/0011).

One file per clip, float16 [T, E]: an interrupted run goes on where it stopped, and a batch maps
only the files that it draws from. Encoding is slow, so it runs on a GPU where there is one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from parlante.models.audio_features import look_ahead_samples
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.speech_encoder import SpeechEncoder
from parlante.training.takes import CLIP_FRAMES
from parlante.types import Float32Array

__all__ = ["encode_clips"]

logger = logging.getLogger(__name__)


def encode_clips(
    name: str,
    num_clips: int,
    sounds: Callable[[], Iterable[Float32Array]],
    encoder: SpeechEncoder,
    cache: Path,
) -> tuple[Path, ...]:
    """Give the files of the clips' features; what is not in the cache is made.

    Args:
        name: Of the clips; the same name means the same sound.
        num_clips: How many.
        sounds: Gives their sound in order, float32 [S] at 16 kHz; asked only if a file is missing.
        encoder: Hears them in the windows of a stream, with the look-ahead of its config.
        cache: Folder of all corpora.
    """
    folder = cache / f"speech-{name}-{_key(encoder)}"
    paths = tuple(folder / f"{index:05d}.npy" for index in range(num_clips))
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    encoder.to("cuda" if torch.cuda.is_available() else "cpu")
    for index, (path, sound) in enumerate(zip(paths, sounds(), strict=True)):
        if not path.exists():
            features = encoder.read_clip(
                sound,
                CLIP_FRAMES,
                block_frames=BLOCK_FRAMES,
                look_ahead_samples=look_ahead_samples(encoder.config.look),
            )
            part = path.with_suffix(".part.npy")
            np.save(part, features.astype(np.float16))
            part.replace(path)
        if index % 50 == 49:
            logger.info("%s: %d of %d clips heard", name, index + 1, num_clips)
    encoder.to("cpu")
    return paths


def _key(encoder: SpeechEncoder) -> str:
    config = encoder.config
    parts = (config.digest, config.layer, config.context_ms, config.look, BLOCK_FRAMES)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
