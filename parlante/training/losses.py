"""What the motion model is trained on. Axis letters: B batch, T frames, D latents."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.diffusion.schedule import loss_weight
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.motion_space import (
    EYES_SLICE,
    FACE_SLICE,
    HEAD_SLICE,
    LATENT_DIM,
    LATENT_INDEX,
    MOUTH_SLICE,
    SIDES_SLICE,
)
from parlante.models.viseme_names import VISEMES
from parlante.training.visemes import UNKNOWN_VISEME

CLOSURE_WEIGHT: Final = 1.4  # of lips that meet, when visemes are named
MOTION_SHARE: Final = 0.5  # of the loss on change from frame to frame, against that on position


def channel_weights() -> Tensor:
    """Importance of each latent [D]: lips first, then what the eye catches."""
    weights = torch.ones(LATENT_DIM)
    weights[HEAD_SLICE] = 0.8
    weights[MOUTH_SLICE] = 2.0
    weights[LATENT_INDEX["jawOpen"]] = 3.0
    weights[LATENT_INDEX["mouthClose"]] = 3.0
    weights[FACE_SLICE] = 0.7
    weights[SIDES_SLICE] = 0.3
    weights[EYES_SLICE] = 1.2
    return weights


def denoising_loss(predicted: Tensor, clean: Tensor, time: Tensor) -> Tensor:
    """Weighted squared error of the predicted clean latents and of their change per frame.

    Args:
        predicted: [B, T, D].
        clean: Truth, [B, T, D].
        time: Noise level [B, T, 1].
    """
    weights = channel_weights() * loss_weight(time)
    position = (predicted - clean).square()
    # The change into a block starts from the true frame before: a seam is an error like another.
    before = torch.cat([clean[:, :1], clean[:, :-1]], dim=1)
    inner = torch.arange(clean.shape[1]) % BLOCK_FRAMES != 0
    shifted = torch.cat([predicted[:, :1], predicted[:, :-1]], dim=1)
    predicted_before = torch.where(inner[None, :, None], shifted, before)
    motion = ((predicted - predicted_before) - (clean - before)).square()
    return ((position + MOTION_SHARE * motion) * weights).mean()


def reading_loss(mouth: Tensor, clean: Tensor) -> Tensor:
    """Error of the mouth read from sound alone [B, T, 9], in position and change."""
    weights = channel_weights()[MOUTH_SLICE]
    weights = weights / weights.mean()
    target = clean[..., MOUTH_SLICE]
    position = (weights * (mouth - target).square()).mean()
    change = (weights * (mouth.diff(dim=1) - target.diff(dim=1)).square()).mean()
    return position + MOTION_SHARE * change


def naming_loss(scores: Tensor, visemes: Tensor) -> Tensor:
    """Cross entropy of the viseme named from sound alone.

    Args:
        scores: [B, T, V].
        visemes: int64 [B, T]; frames with `UNKNOWN_VISEME` do not count.
    """
    if not (visemes != UNKNOWN_VISEME).any():
        return scores.sum() * 0.0
    weights = torch.ones(scores.shape[-1])
    weights[VISEMES.index("PP")] = CLOSURE_WEIGHT
    return F.cross_entropy(
        scores.flatten(0, 1), visemes.flatten(), weights, ignore_index=UNKNOWN_VISEME
    )
