"""Arrays, clocks and sizes that every stage agrees on."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "FRAME_DURATION_US",
    "FRAME_RATE_HZ",
    "FRAME_SIZES_PX",
    "FRAME_SIZE_PX",
    "MAX_PICTURE_LONG_PX",
    "MAX_PICTURE_SHORT_PX",
    "MAX_SAMPLE_RATE_HZ",
    "MIN_SAMPLE_RATE_HZ",
    "MODEL_SAMPLE_RATE_HZ",
    "SAMPLES_PER_FRAME",
    "Float32Array",
    "Int16Array",
    "Uint8Array",
]

Float32Array = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]
Uint8Array = npt.NDArray[np.uint8]

FRAME_RATE_HZ: Final = 25
FRAME_DURATION_US: Final = 1_000_000 // FRAME_RATE_HZ
FRAME_SIZE_PX: Final = 512  # of the latents' crop, and of frames unless asked otherwise
FRAME_SIZES_PX: Final = (256, 512, 768, 1024)
MAX_PICTURE_LONG_PX: Final = 1920  # of frames that show the whole picture
MAX_PICTURE_SHORT_PX: Final = 1080
MODEL_SAMPLE_RATE_HZ: Final = 16_000
SAMPLES_PER_FRAME: Final = MODEL_SAMPLE_RATE_HZ // FRAME_RATE_HZ  # 640
MIN_SAMPLE_RATE_HZ: Final = 8_000
MAX_SAMPLE_RATE_HZ: Final = 48_000
