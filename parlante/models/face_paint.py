"""How the face network paints: pictures without a grid, in colours that the portrait gives.

Pixels that are painted in blocks show their blocks: a step that doubles the size gives each of its
four neighbours other weights, and what they differ by on average is a pattern of two pixels. So
every doubling is followed by a blur over three pixels, which is blind to exactly that pattern.

Axes: B batch, S side of a region in px, N colours of a palette.
"""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_COLOURS: Final = 3
FIRST_MASK_LOGIT: Final = -1.0
FIRST_GREY: Final = 0.8  # of the tone
# A colour of a palette may be this much off by itself, of the tone: teeth are not all alike.
MOST_OFF: Final = 0.12


class Painter(nn.Module):
    """Paints a picture of full size from features of a shrunk one.

    Args:
        width: Channels of the features.
        fine: Channels between two doublings.
        num_planes: Of the picture.
        shrink: By how much the features' side is smaller, a power of two.
    """

    def __init__(self, width: int, fine: int, num_planes: int, shrink: int) -> None:
        super().__init__()
        doublings = shrink.bit_length() - 1
        widths = [width, *[fine] * (doublings - 1), num_planes]
        pairs = itertools.pairwise(widths)
        self.grow = nn.ModuleList(nn.Conv2d(a, 4 * b, 3, 1, 1) for a, b in pairs)
        self._blur: Tensor
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("_blur", row[:, None] * row, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, width, S / shrink, S / shrink] -> [B, num_planes, S, S]."""
        for index, layer in enumerate(self.grow):
            # Several times faster on a processor than with planes apart.
            hidden = hidden.contiguous(memory_format=torch.channels_last)
            hidden = F.pixel_shuffle(layer(F.silu(hidden) if index else hidden), 2)
            hidden = hidden.contiguous(memory_format=torch.channels_last)
            planes = hidden.shape[1]
            kernel = self._blur.to(hidden.dtype).expand(planes, 1, 3, 3)
            hidden = F.conv2d(hidden, kernel, padding=1, groups=planes)
        return hidden

    def start_softly(self, means: Tensor) -> None:
        """Begin with an even picture of these means, [num_planes]."""
        last = self.grow[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(means.repeat_interleave(4))


def num_planes(palette: int) -> int:
    """Planes of a picture in colours of a palette of N; 0 paints any colour."""
    if palette == 0:
        return NUM_COLOURS + 1
    return palette + 1 + 1 + NUM_COLOURS + 1  # shares, that of the tone among them, and light


def first_means(palette: int) -> Tensor:
    """What an untrained network paints: a grey or an even mixture that is hardly laid on."""
    means = torch.zeros(num_planes(palette))
    if palette == 0:
        means[:NUM_COLOURS] = FIRST_GREY
    means[-1] = FIRST_MASK_LOGIT
    return means


def read_picture(picture: Tensor, tone: Tensor, palette: Tensor | None) -> tuple[Tensor, Tensor]:
    """Colours and mask that a picture's planes say.

    With a palette every pixel is a mixture of its colours and of the tone, lit more or less, and
    hardly anything else: teeth then have the colour that is drawn in all other frames.

    Args:
        picture: [B, num_planes, S, S].
        tone: [B, 3, 1, 1].
        palette: [B, N, 3] in [0, 1], or None.

    Returns:
        [B, 3, S, S], and the mask [B, 1, S, S] in [0, 1].
    """
    mask = torch.sigmoid(picture[:, -1:])
    if palette is None:
        return picture[:, :NUM_COLOURS] * tone, mask
    colours = torch.cat([palette, tone.flatten(1)[:, None]], 1)  # [B, N + 1, 3]
    count = colours.shape[1]
    shares = torch.softmax(picture[:, :count], 1)
    light = 2.0 * torch.sigmoid(picture[:, count : count + 1])
    off = F.softsign(picture[:, count + 1 : count + 1 + NUM_COLOURS]) * (MOST_OFF * tone)
    mixed = (colours.transpose(1, 2) @ shares.flatten(2)).view(off.shape)
    return mixed * light + off, mask
