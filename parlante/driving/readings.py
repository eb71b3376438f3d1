"""What driving takes from the trained encoders instead of from landmarks, and how much of it.

Axis letters: N pictures, K measures, R readings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from parlante.training.videos.following import Track
from parlante.training.videos.measures import MEASURE_INDEX

if TYPE_CHECKING:  # brings torch along
    from parlante.models.face_reader import Reading

__all__ = ["READ", "as_row", "take_over"]

Float64Array = npt.NDArray[np.float64]

# Measures that are read, by the name of `MEASURES`.
READ: Final = ("gaze_yaw", "gaze_pitch", "mouth_width", "corner_left_y", "corner_right_y")
# What is taken: the share of the reading, the rest stays the tracker's.
TAKEN: Final = {"gaze_pitch": 1.0}


def as_row(reading: Reading) -> Float64Array:
    """What one face's reading says: float64 [R] in the order of `READ`."""
    angles = {"gaze_yaw": reading.gaze[0, 0], "gaze_pitch": reading.gaze[0, 1]}
    return np.array(
        [angles[name] if name in angles else reading.measure(name)[0] for name in READ], np.float64
    )


def take_over(track: Track, readings: Float64Array) -> Track:
    """Put readings in the place of measures.

    Args:
        track: N pictures.
        readings: float64 [N, R]; NaN where there was no face.
    """
    values = track.values.copy()
    for name, share in TAKEN.items():
        column, read = MEASURE_INDEX[name], readings[:, READ.index(name)]
        values[:, column] = (1.0 - share) * values[:, column] + share * read
    return replace(track, values=values)
