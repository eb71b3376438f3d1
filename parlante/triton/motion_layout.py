"""The motion model of the Triton server: its tensors, on which both sides agree.

Model ``motion``, batched over B streams, one block of T frames each:
    FRAMES: float32 [B, T, F], for each frame the speech code, controls and noise, one after the
        other.
    PAST: float16 [B, P, D], the latents of the frames before, the last ones at the end. P is what
        the network remembers (`past_frames` of its configuration), the same in all rows.
    NUM_PAST: int32 [B, 1], how many of them there are; the others are ignored.
    -> LATENTS: float16 [B, T, D].
    Parameter `BUNDLE` of a request: digest of weights and sampler; a model that runs others
        refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.types import Float32Array

__all__ = ["BUNDLE", "MOTION", "OTHER_BUNDLE", "BlockRow", "pad_past"]

MOTION: Final = "motion"
BUNDLE: Final = "bundle"
OTHER_BUNDLE: Final = "OTHER_BUNDLE"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockRow:
    """What a block needs.

    Attributes:
        frames: float32 [T, F].
        past: float16 [P, D].
    """

    frames: Float32Array
    past: npt.NDArray[np.float16]


def pad_past(past: npt.NDArray[np.float16], num_frames: int) -> npt.NDArray[np.float16]:
    """Bring a past to the length that all rows of a batch have.

    Args:
        past: float16 [P, D].
        num_frames: What the network remembers, >= 1.

    Returns:
        float16 [num_frames, D]: the last of them, zeros before.
    """
    padded: npt.NDArray[np.float16] = np.zeros((num_frames, past.shape[1]), np.float16)
    if len(past):
        kept = past[-num_frames:]
        padded[-len(kept) :] = kept
    return padded
