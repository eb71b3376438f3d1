"""A stack of causal convolutions from mel features to one vector per motion frame.

The convolutions have no padding of their own: the caller gives `CONTEXT_HOPS` of the past, zeros
before a stream begins. Whole clips and live blocks therefore give the same numbers.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.audio_features import HOPS_PER_FRAME, NUM_FEATURES

_HOP_DILATIONS: Final = (1, 2)  # kernel 5, at 100 Hz, where bursts are
_PAIR_DILATIONS: Final = (1, 2, 2)  # kernel 5, at 50 Hz
_FRAME_DILATIONS: Final = (1, 2, 3, 2)  # kernel 3, at 25 Hz
HOP_CONTEXT: Final = 4 * sum(_HOP_DILATIONS) + 8 * sum(_PAIR_DILATIONS)  # 52 hops of the past
FRAME_CONTEXT: Final = 2 * sum(_FRAME_DILATIONS)  # 16 frames of the past
CONTEXT_HOPS: Final = HOP_CONTEXT + FRAME_CONTEXT * HOPS_PER_FRAME  # 116


class _Residual(nn.Module):
    """x + f(norm(x)) with a convolution that eats `reach` steps at the left."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.norm = _ChannelNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        # Layers start as nothing, so that a deeper encoder can go on from a shallower one.
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = _convolve(self.mix, F.gelu(_convolve(self.conv, self.norm(x))))
        return x[:, :, self.reach :] + y


_SHORT: Final = 96


def _convolve(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Apply a convolution without padding to [B, C, N].

    Short pieces, as a live stream has them, go as one matrix product: oneDNN's convolution spends
    most of its time there on laying out the weights anew (measured 4 times slower at N = 12).
    """
    if x.shape[2] > _SHORT:
        y: Tensor = conv(x)
        return y
    reach = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
    taps = x.unfold(2, reach, conv.stride[0])[..., :: conv.dilation[0]]  # [B, C, N', K]
    rows = taps.permute(0, 2, 1, 3).flatten(2)  # [B, N', C * K]
    return F.linear(rows, conv.weight.flatten(1), conv.bias).transpose(1, 2)


class _ChannelNorm(nn.Module):
    """RMS normalisation over channels of [B, C, N]; per step, so it stays causal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return normed * self.scale


class AudioEncoder(nn.Module):
    """Mel features at 100 Hz -> speech code at 25 Hz.

    How much of the future the features show is told to it, as the same sound means another frame.

    Args:
        width: Of the code.
        num_look_aheads: How many look-aheads there are to choose from.
    """

    def __init__(self, width: int, num_look_aheads: int) -> None:
        super().__init__()
        narrow = max(8, width * 3 // 5)  # the fast steps are many, and need less
        self.embed = nn.Conv1d(NUM_FEATURES, narrow, 1)
        self.look = nn.Embedding(num_look_aheads, narrow + width)
        nn.init.zeros_(self.look.weight)
        self.hops = nn.Sequential(*(_Residual(narrow, 5, d) for d in _HOP_DILATIONS))
        self.pair = nn.Conv1d(narrow, width, 2, stride=2)
        self.pairs = nn.Sequential(*(_Residual(width, 5, d) for d in _PAIR_DILATIONS))
        self.pool = nn.Conv1d(width, width, 2, stride=2)
        self.frames = nn.Sequential(*(_Residual(width, 3, d) for d in _FRAME_DILATIONS))
        self.norm = _ChannelNorm(width)

    def forward(self, features: Tensor, look: Tensor) -> Tensor:
        """Encode features [B, CONTEXT_HOPS + 4 T, NUM_FEATURES] into [B, T, width]."""
        return self.read_frames(self.read_hops(features, look), look)

    def read_hops(self, features: Tensor, look: Tensor) -> Tensor:
        """First half.

        Args:
            features: [B, HOP_CONTEXT + 4 T, NUM_FEATURES].
            look: int64 [B], which look-ahead.

        Returns:
            Half-encoded frames [B, width, T].
        """
        early = self.look(look)[:, : self.embed.out_channels]
        x = _convolve(self.embed, features.transpose(1, 2)) + early[:, :, None]
        return _convolve(self.pool, self.pairs(_convolve(self.pair, self.hops(x))))

    def read_frames(self, frames: Tensor, look: Tensor) -> Tensor:
        """Second half: frames [B, width, FRAME_CONTEXT + T] -> [B, T, width]."""
        late = self.look(look)[:, self.embed.out_channels :]
        x: Tensor = self.norm(self.frames(frames + late[:, :, None]))
        return x.transpose(1, 2)
