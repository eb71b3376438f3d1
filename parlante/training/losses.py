"""What the motion model is trained on. Axis letters: B batch, T frames, D latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

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


@dataclass(frozen=True, slots=True, eq=False)
class LossWeights:
    """Constants of the losses, made once for a device.

    Attributes:
        channels: Importance of each latent, [D].
        mouth: That of the mouth's, 1 on average, [9].
        names: Importance of each viseme's name, [V].
    """

    channels: Tensor
    mouth: Tensor
    names: Tensor

    @classmethod
    def on(cls, device: torch.device | str = "cpu") -> Self:
        """Make them."""
        channels = channel_weights()
        mouth = channels[MOUTH_SLICE]
        names = torch.ones(len(VISEMES))
        names[VISEMES.index("PP")] = CLOSURE_WEIGHT
        parts = (channels, mouth / mouth.mean(), names)
        return cls(*(part.to(device) for part in parts))


def denoising_loss(
    predicted: Tensor, clean: Tensor, time: Tensor, weights: LossWeights | None = None
) -> Tensor:
    """Weighted squared error of the predicted clean latents and of their change per frame.

    Args:
        predicted: [B, T, D].
        clean: Truth, [B, T, D].
        time: Noise level [B, T, 1].
        weights: Made for the device; None makes them.
    """
    importance = (weights or LossWeights.on(clean.device)).channels * loss_weight(time)
    position = (predicted - clean).square()
    # The change into a block starts from the true frame before: a seam is an error like another.
    before = torch.cat([clean[:, :1], clean[:, :-1]], dim=1)
    inner = torch.arange(clean.shape[1], device=clean.device) % BLOCK_FRAMES != 0
    shifted = torch.cat([predicted[:, :1], predicted[:, :-1]], dim=1)
    predicted_before = torch.where(inner[None, :, None], shifted, before)
    motion = ((predicted - predicted_before) - (clean - before)).square()
    return ((position + MOTION_SHARE * motion) * importance).mean()


def reading_loss(mouth: Tensor, clean: Tensor, weights: LossWeights | None = None) -> Tensor:
    """Error of the mouth read from sound alone [B, T, 9], in position and change."""
    importance = (weights or LossWeights.on(clean.device)).mouth
    target = clean[..., MOUTH_SLICE]
    position = (importance * (mouth - target).square()).mean()
    change = (importance * (mouth.diff(dim=1) - target.diff(dim=1)).square()).mean()
    return position + MOTION_SHARE * change


def naming_loss(scores: Tensor, visemes: Tensor, weights: LossWeights | None = None) -> Tensor:
    """Cross entropy of the viseme named from sound alone.

    Args:
        scores: [B, T, V].
        visemes: int64 [B, T]; frames with `UNKNOWN_VISEME` do not count.
        weights: Made for the device; None makes them.
    """
    importance = (weights or LossWeights.on(scores.device)).names
    loss = F.cross_entropy(
        scores.flatten(0, 1), visemes.flatten(), importance, ignore_index=UNKNOWN_VISEME
    )
    # Without a name it is 0 / 0, with gradients of zero. Chosen on the device, as a branch would
    # wait for it.
    return torch.where((visemes != UNKNOWN_VISEME).any(), loss, 0.0)
