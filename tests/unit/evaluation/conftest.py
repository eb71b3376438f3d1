"""Faces whose curves are known: what the measures say of them is known too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parlante.evaluation.tracking import MEASURES, FaceCurves

_REST = {
    "aperture": 0.1,
    "mouth_width": 0.55,
    "lip_height": 0.25,
    "jaw": 0.8,
    "brow_height": 0.2,
    "eye_ratio": 0.3,
    "iris": 0.5,
    "x_px": 256.0,
    "y_px": 200.0,
    "iod_px": 90.0,
}


def make_curves(num_frames: int = 250, **values: Any) -> FaceCurves:
    """A face at rest, but for the curves and attributes given."""
    curves: dict[str, Any] = {
        name: np.full(num_frames, _REST.get(name, 0.0)) for name in MEASURES
    } | {"tracked": np.ones(num_frames, bool), "source_frames": num_frames}
    return FaceCurves(**curves | values)


@pytest.fixture
def face() -> Callable[..., FaceCurves]:
    """Make a face at rest, but for the curves given."""
    return make_curves


@pytest.fixture
def voice() -> np.ndarray[Any, np.dtype[np.float32]]:
    """10 s at 16 kHz: noise from 2 s to 4 s and from 6 s to 9 s, silence elsewhere."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(160_000).astype(np.float32)
    for start_s, end_s in ((0, 2), (4, 6), (9, 10)):
        samples[start_s * 16_000 : end_s * 16_000] = 0.0
    return samples
