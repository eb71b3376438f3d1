"""What the face network is trained on. Axes: B batch, S side of a region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.face_features import PartNet
from parlante.models.face_net import RegionNet
from parlante.training.face.batches import RegionBatch
from parlante.training.face.sources import NO_LABEL
from parlante.training.precision import products

__all__ = ["LossWeights", "Pull", "region_loss"]

LEAST_SHARE: Final = 1.0  # of all pixels together, against division by nothing

# A loss from what was painted [B, 3, S, S], its loss so far, and the portraits' tone.
Pull = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the parts of the loss, against that of colour.

    Attributes:
        square: Of the square of the error of colour, which counts what is far off.
        gradient: Of the slopes of the picture.
        likeness: Of what a network that names parts sees.
        outline: Of how badly that network finds the true parts in what was painted: lips, teeth
            and lids are to end where they do.
        twins: Of the difference between frames that differ only in the noise of landmarks.
        restraint: Of masks and shades where the frame was right already.
        truth: Of what judges of patches say, see `judges`: size of its gradients by those of colour
            and slopes together. 0 = no judges.
        right: Error below which a frame counts as right, 1 = full scale.
    """

    square: float = 0.0
    gradient: float = 1.0
    likeness: float = 0.02
    outline: float = 0.0
    twins: float = 0.3
    restraint: float = 0.02
    truth: float = 0.0
    right: float = 0.03


def region_loss(
    net: RegionNet,
    batch: RegionBatch,
    parts: PartNet | None,
    weights: LossWeights,
    *,
    pull: Pull | None = None,
    bfloat16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss of one region.

    Args:
        net: Of the region.
        batch: Samples.
        parts: Sees likeness; None leaves that out.
        weights: Of the parts.
        pull: Asks a judge, see `Pull`; None leaves that out.
        bfloat16: Whether the networks' convolutions run in bfloat16; losses are float32.

    Returns:
        The loss, and the mean error of colour before and after within what may be changed, [2].
    """
    device = batch.answer.device
    with products(device, bfloat16):
        look = net.look(batch.portrait)
        change, mask, shade = net(batch.region, look)
    drawn, answer = batch.region.rgb, batch.answer
    made = drawn + change
    allow = F.interpolate(batch.region.allow, size=drawn.shape[-2:], mode="bilinear")
    counts = allow[:, :1] + 0.3 * allow[:, 1:] + 1e-3
    total = counts.sum()
    error = (made - answer).abs().mean(1, keepdim=True)
    before = (drawn - answer).abs().mean(1, keepdim=True)
    colour = (counts * error).sum() / total
    loss = colour + weights.gradient * _gradient_loss(made - answer, counts)
    if weights.square > 0.0:
        square = (made - answer).square().mean(1, keepdim=True)
        loss = loss + weights.square * (counts * square).sum() / total
    if pull is not None:
        loss = loss + pull(made, loss, look.tone)
    is_right = torch.exp(-before / weights.right)
    held = (is_right * (mask + shade.abs().mean(1, keepdim=True))).sum() / total
    loss = loss + weights.restraint * held
    if parts is not None:
        with products(device, bfloat16):
            seen = parts.features(made)
            apart = parts.apart(seen, answer, counts).mean()
        loss = loss + weights.likeness * apart
        if weights.outline > 0.0:
            with products(device, bfloat16):
                scores = parts.named(seen)
            loss = loss + weights.outline * _misnamed(scores, batch.labels, counts)
    if batch.num_twins:
        first, second = made[: 2 * batch.num_twins : 2], made[1 : 2 * batch.num_twins : 2]
        loss = (
            loss
            + weights.twins * (counts[: 2 * batch.num_twins : 2] * (first - second)).abs().mean()
        )
    report = torch.stack([(counts * before).sum() / total, colour]).detach()
    return loss, report


def _misnamed(scores: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """How badly scores of a `PartNet` find the parts; 0 where these are not labelled."""
    wanted = labels[:, ::2, ::2].long()
    apart = F.cross_entropy(scores.float(), wanted, ignore_index=NO_LABEL, reduction="none")
    share = F.avg_pool2d(counts, 2)[:, 0] * (wanted != NO_LABEL)
    return (apart * share).sum() / share.sum().clamp(LEAST_SHARE)


def _gradient_loss(difference: Tensor, counts: Tensor) -> Tensor:
    """Mean error of the slopes to the right and down."""
    right = (difference[..., 1:] - difference[..., :-1]).abs().mean(1, keepdim=True)
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean(1, keepdim=True)
    weighted = (right * counts[..., 1:]).sum() + (down * counts[..., 1:, :]).sum()
    return weighted / counts.sum()
