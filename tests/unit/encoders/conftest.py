"""Heads made of numbers alone, and heads of the tiny pack where OpenGL can start."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.face_coefficients import load_reference, rotation_matrix
from parlante.models.face_crop import PX_PER_IOD
from parlante.training.encoders.shards import STORED_PX, Head
from parlante.types import ARKIT_CHANNELS
from tests.unit.synth.conftest import heads, opengl, pack, studio

__all__ = ["heads", "opengl", "pack", "studio"]


def made_head(seed: int, num_frames: int = 4) -> Head:
    """The mean face turned as its labels say, before noise."""
    rng = np.random.default_rng(seed)
    mean = load_reference().mean
    irises = [mean[list(eye)].mean(axis=0) for eye in (fm.RIGHT_EYE_CORNERS, fm.LEFT_EYE_CORNERS)]
    face = np.concatenate([mean, np.repeat(irises, 5, axis=0)])
    angles = rng.uniform(-0.4, 0.4, (num_frames, 3)).astype(np.float32)
    landmarks = [
        face @ rotation_matrix(*angle).T * PX_PER_IOD + [STORED_PX / 2, STORED_PX / 3, 0.0]
        for angle in angles
    ]
    arkit = rng.uniform(0.0, 1.0, (num_frames, len(ARKIT_CHANNELS))).astype(np.float32)
    return Head(
        images=rng.integers(0, 256, (num_frames, STORED_PX, STORED_PX, 3)).astype(np.uint8),
        landmarks=np.array(landmarks, np.float32),
        angles=angles,
        crop_roll=np.zeros(num_frames, np.float32),
        gaze=rng.uniform(-0.4, 0.4, (num_frames, 2)).astype(np.float32),
        arkit=arkit,
        metadata={},
    )


@pytest.fixture(scope="session")
def made_heads() -> list[Head]:
    return [made_head(seed) for seed in range(6)]
