"""Networks that learn to tell what is painted from what is true, so that teeth become sharp.

A network that is told the mean of all mouths paints the mean. A judge sees small patches of a crop
and asks only whether they look true. It sees the crop relative to its own tone, where it may be
changed in detail, and its geometry; elsewhere both kinds of pictures are the drawn frame, so that
it can learn nothing there. After Isola et al. 2017 (arXiv 1611.07004), with a hinge loss and
spectral normalisation (Miyato et al. 2018, arXiv 1802.05957).

Axes: B batch, S side of a region, G side of its maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from parlante.models.face_net import RegionInput
from parlante.models.face_regions import EYE_MAPS, MOUTH_MAPS
from parlante.training.face.batches import RegionBatch
from parlante.training.face.losses import Pull

__all__ = ["Judge", "Judges", "beside_of", "lean"]

MAPS: Final = {"mouth": MOUTH_MAPS, "eyes": EYE_MAPS}
STRIDE: Final = 4  # px from patch to patch; a patch is 31 px wide, two or three teeth
LEAST_WEIGHT: Final = 1.0  # of all patches together, against division by nothing
LEAST_NORM: Final = 1e-8


class Judge(nn.Module):
    """Scores patches of crops, high for true ones."""

    def __init__(self, num_maps: int, width: int = 32) -> None:
        super().__init__()
        sizes = [  # channels in and out, stride, reach
            (3 + 1 + num_maps, width, 2, 1),
            (width, 2 * width, 2, 1),
            (2 * width, 2 * width, 1, 1),
            (2 * width, 2 * width, 1, 2),
        ]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 3, stride, reach, reach)) for a, b, stride, reach in sizes
        )
        self.score = spectral_norm(nn.Conv2d(2 * width, 1, 1))

    def forward(self, rgb: Tensor, tone: Tensor, beside: Tensor) -> Tensor:
        """Scores [B, 1, S / 4, S / 4].

        Args:
            rgb: [B, 3, S, S], in [0, 1] or a little beyond.
            tone: [B, 3, 1, 1].
            beside: [B, 1 + maps, S, S], see `beside_of`.
        """
        hidden = torch.cat([rgb / tone - 1.0, beside], 1)
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), 0.2)
        scores: Tensor = self.score(hidden)
        return scores


class Judges:
    """A judge of mouths and one of eyes, with their optimiser.

    Args:
        device: Of all.
        learning_rate: Of all.
    """

    def __init__(self, device: torch.device, learning_rate: float) -> None:
        self._nets = nn.ModuleDict({name: Judge(num_maps) for name, num_maps in MAPS.items()})
        self._nets.to(device)
        self._optimizer = torch.optim.Adam(
            self._nets.parameters(),
            lr=learning_rate,
            betas=(0.0, 0.99),
            fused=True if device.type == "cuda" else None,
            capturable=device.type == "cuda",  # its steps may be recorded, see `Replay`
        )

    def learn(
        self, name: str, made: Tensor, tone: Tensor, batch: RegionBatch, beside: Tensor
    ) -> None:
        """Take one step on what was painted [B, 3, S, S] and on what is true."""
        judge = self._nets[name]
        drawn, share = batch.region.rgb, beside[:, :1]
        pictures = torch.cat(
            [_within(each.detach(), drawn, share) for each in (batch.answer, made)]
        )
        scores = judge(pictures, torch.cat([tone, tone]), torch.cat([beside, beside]))
        true, painted = scores.chunk(2)
        loss = _mean(F.relu(1.0 - true) + F.relu(1.0 + painted), share)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def pull(
        self, name: str, made: Tensor, tone: Tensor, batch: RegionBatch, beside: Tensor
    ) -> Tensor:
        """Where painted pictures would have to go to look less true: gradients [B, 3, S, S]."""
        leaf = made.detach().requires_grad_()
        share = beside[:, :1]
        scores = self._nets[name](_within(leaf, batch.region.rgb, share), tone, beside)
        return torch.autograd.grad(-_mean(scores, share), leaf)[0]

    def judge(self, name: str, batch: RegionBatch, share: Tensor) -> Pull | None:
        """Let a region's judge learn from a batch, then say how it pulls; None without a judge."""
        if name not in self._nets:
            return None

        def ask(made: Tensor, loss: Tensor, tone: Tensor) -> Tensor:
            beside = beside_of(batch.region)
            self.learn(name, made, tone, batch, beside)
            return lean(made, loss, self.pull(name, made, tone, batch, beside), share)

        return ask

    def save(self, path: Path) -> None:
        """Write what a run that goes on needs."""
        part = path.with_suffix(".part")
        state = {"nets": self._nets.state_dict(), "optimizer": self._optimizer.state_dict()}
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Read it again; without a file judges begin anew."""
        if not path.exists():
            return
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self._nets.load_state_dict(state["nets"])
        self._optimizer.load_state_dict(state["optimizer"])


def lean(made: Tensor, loss: Tensor, pull: Tensor, share: Tensor) -> Tensor:
    """A loss that moves what was painted along a judge's pull.

    A judge's gradients have a size of their own, which changes as it learns; here they have a
    fixed share of the size of those of colour and slopes, so that one weight serves a whole run.

    Args:
        made: [B, 3, S, S], with its graph.
        loss: Of colour and slopes, from `made`.
        pull: [B, 3, S, S], see `Judges.pull`.
        share: [], size of the pull's gradients by the loss's, [0, 1] or more.
    """
    own = torch.autograd.grad(loss, made, retain_graph=True)[0]
    scale = share * own.norm() / pull.norm().clamp(LEAST_NORM)
    leaning: Tensor = (made * (pull * scale).detach()).sum()
    return leaning


def beside_of(region: RegionInput) -> Tensor:
    """What a judge sees beside a picture: where detail may be changed, and its geometry.

    Returns:
        [B, 1 + maps, S, S].
    """
    beside = torch.cat([region.allow[:, :1], region.maps], 1)
    return F.interpolate(beside, size=region.rgb.shape[-2:], mode="bilinear")


def _within(picture: Tensor, drawn: Tensor, share: Tensor) -> Tensor:
    return drawn + share * (picture - drawn)


def _mean(of_patches: Tensor, share: Tensor) -> Tensor:
    """Mean over patches [B, 1, S / 4, S / 4] by how much of each may be changed."""
    weight = F.avg_pool2d(share, STRIDE)
    return (weight * of_patches).sum() / weight.sum().clamp(LEAST_WEIGHT)
