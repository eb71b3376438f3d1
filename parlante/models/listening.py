"""What an avatar hears of the user: whether they speak, and how loudly, once per motion frame.

A few causal numbers suffice to nod and attend, and keep the user's words out of the generator.
Axis letters: B batch, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.types import Float32Array

LISTENING_DIM: Final = 2
_FLOOR: Final = 1e-7  # mean square; -70 dBFS counts as nothing
_PEAK_START: Final = 5.0  # nats above the floor: speech at about -48 dBFS
_PEAK_DECAY: Final = 0.04  # nats per frame: the loudness reference falls by 4.3 dB in a second
_SPEECH_MARGIN: Final = 3.5  # nats (15 dB) below the peak still count as speech


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerState:
    """Followed loudness, nats above the floor, and activity as smoothed so far."""

    peak: float = _PEAK_START
    activity: float = 0.0


def listen(mean_squares: Float32Array, state: ListenerState) -> tuple[Float32Array, ListenerState]:
    """Hear some frames of the user.

    Args:
        mean_squares: float32 [T], mean square of the samples of each frame, full scale 1.
        state: After the frame before; not modified.

    Returns:
        float32 [T, 2], activity in [0, 1] and loudness against the followed peak, 0 in silence and
        about 1 at the peak; and the next state.
    """
    rows = np.empty((len(mean_squares), LISTENING_DIM), np.float32)
    peak, activity = state.peak, state.activity
    for index, square in enumerate(mean_squares):
        level = float(np.log(max(float(square), _FLOOR) / _FLOOR))
        peak = max(level, peak - _PEAK_DECAY, 2.0)
        speaks = 1.0 / (1.0 + np.exp(-2.0 * (level - peak + _SPEECH_MARGIN)))
        speaks *= 1.0 / (1.0 + np.exp(-3.0 * (level - 2.5)))
        activity += (0.6 if speaks > activity else 0.15) * (float(speaks) - activity)
        loudness = float(np.clip((level - peak) / 3.0 + 1.0, 0.0, 1.0))
        rows[index] = activity, loudness * activity
    return rows, ListenerState(peak=peak, activity=activity)
