"""How long motion waits for sound: a block and what is heard ahead of it."""

from __future__ import annotations

from typing import Final

from parlante.media.resample import Resampler
from parlante.models.audio_features import LOOK_AHEAD_HOPS, look_ahead_samples
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.types import FRAME_DURATION_US, SAMPLES_PER_FRAME

__all__ = ["BLOCK_SAMPLES", "algorithmic_delay_ms", "choose_look"]

BLOCK_SAMPLES: Final = BLOCK_FRAMES * SAMPLES_PER_FRAME


def choose_look(budget_ms: int, resampler: Resampler) -> int:
    """Index of the longest look-ahead that fits a delay, or of the shortest there is."""
    fitting = [
        look
        for look in range(len(LOOK_AHEAD_HOPS))
        if algorithmic_delay_ms(resampler, look) <= budget_ms + 1e-6
    ]
    return max(fitting, default=0)


def algorithmic_delay_ms(resampler: Resampler, look: int) -> float:
    """From the first sample of a block to the last that it depends on, ms."""
    samples = BLOCK_SAMPLES + look_ahead_samples(look)
    model_ms = samples / SAMPLES_PER_FRAME * FRAME_DURATION_US / 1000
    return model_ms + 1000.0 * resampler.delay_samples / resampler.rate_hz
