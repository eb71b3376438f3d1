"""A small network that names the parts of a face, and what it sees on the way.

How far apart two pictures look is told better by what such a network sees than by their pixels.
Ours is trained on the synthetic heads' own part labels; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.network_file import NetworkKind, read_network, write_network

__all__ = ["NUM_PARTS", "PartNet", "load_part_net", "save_part_net"]

NUM_PARTS: Final = 15
DEFAULT_FEATURES: Final = Path(__file__).parent / "weights" / "face_features.safetensors"
_WIDTHS: Final = (16, 32, 48, 64)
_KIND: Final = NetworkKind(
    name="weights of the network that names parts",
    marks={"parts": str(NUM_PARTS)},
    reason="FACE_FEATURES_UNUSABLE",
    advice="train one with parlante train face",
)


class PartNet(nn.Module):
    """Names the part that each pixel of a crop shows."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, first, 3, 2, 1),
                nn.Conv2d(first, second, 3, 1, 1),
                nn.Conv2d(second, third, 3, 2, 1),
                nn.Conv2d(third, fourth, 3, 2, 1),
            ]
        )
        self.names = nn.ModuleList(nn.Conv2d(width, NUM_PARTS, 1) for width in _WIDTHS[1:])

    def features(self, rgb: Tensor) -> list[Tensor]:
        """What is seen at half, a quarter and an eighth of the size.

        Args:
            rgb: [B, 3, H, W] in [0, 1].
        """
        hidden = rgb * 2.0 - 1.0
        seen = []
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), 0.1)
            seen.append(hidden)
        return seen[1:]

    def forward(self, rgb: Tensor) -> Tensor:
        """Scores of the parts at half the size: [B, NUM_PARTS, H / 2, W / 2]."""
        return self.named(self.features(rgb))

    def named(self, seen: list[Tensor]) -> Tensor:
        """Scores of the parts from what `features` sees."""
        scores: Tensor = self.names[0](seen[0])
        for name, hidden in zip(list(self.names)[1:], seen[1:], strict=True):
            coarse = name(hidden)
            scores = scores + F.interpolate(
                coarse, size=scores.shape[-2:], mode="bilinear", align_corners=False
            )
        return scores

    def distance(self, first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor:
        """How far apart two pictures look: [B].

        What is seen is brought to unit length at each place, so that no level outweighs another.

        Args:
            first: [B, 3, H, W] in [0, 1].
            second: The same.
            weight: [B, 1, H, W] of places that count; None counts all.
        """
        return self.apart(self.features(first), second, weight)

    def apart(self, first: list[Tensor], second: Tensor, weight: Tensor | None = None) -> Tensor:
        """As `distance`, from what `features` sees of the first picture."""
        with torch.no_grad():
            wanted = [_unit(hidden) for hidden in self.features(second)]
        total = second.new_zeros(second.shape[0])
        for seen, target in zip(first, wanted, strict=True):
            apart = (_unit(seen) - target).square().sum(1, keepdim=True)
            if weight is None:
                total = total + apart.mean((1, 2, 3))
            else:
                share = F.interpolate(weight, size=apart.shape[-2:], mode="area")
                total = total + (apart * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(1e-3)
        return total / len(wanted)


def _unit(hidden: Tensor) -> Tensor:
    return hidden * torch.rsqrt(hidden.square().sum(1, keepdim=True) + 1e-4)


def save_part_net(net: PartNet, path: Path) -> None:
    """Write the network's weights as float16."""
    write_network(_KIND, net.state_dict(), {}, path)


def load_part_net(path: Path = DEFAULT_FEATURES) -> PartNet:
    """Read a network, frozen, in evaluation mode.

    Raises:
        FailedPrecondition: There is no such file, or it holds another network.
    """
    net, _ = read_network(_KIND, path, lambda config, metadata: PartNet())
    return net.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
