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

_HOP_DILATIONS: Final = (1, 2, 4, 1, 2, 4)  # kernel 5, at 100 Hz
_FRAME_DILATIONS: Final = (1, 2, 3)  # kernel 3, at 25 Hz
HOP_CONTEXT: Final = 4 * sum(_HOP_DILATIONS)  # 56 hops of the past
FRAME_CONTEXT: Final = 2 * sum(_FRAME_DILATIONS)  # 12 frames of the past
CONTEXT_HOPS: Final = HOP_CONTEXT + FRAME_CONTEXT * HOPS_PER_FRAME  # 104


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
        y: Tensor = self.mix(F.gelu(self.conv(self.norm(x))))
        return x[:, :, self.reach :] + y


class _ChannelNorm(nn.Module):
    """RMS normalisation over channels of [B, C, N]; per step, so it stays causal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return normed * self.scale


class AudioEncoder(nn.Module):
    """Mel features at 100 Hz -> speech code at 25 Hz."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(NUM_FEATURES, width, 1)
        self.hops = nn.Sequential(*(_Residual(width, 5, d) for d in _HOP_DILATIONS))
        self.pool = nn.Conv1d(width, width, HOPS_PER_FRAME, stride=HOPS_PER_FRAME)
        self.frames = nn.Sequential(*(_Residual(width, 3, d) for d in _FRAME_DILATIONS))
        self.norm = _ChannelNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features [B, CONTEXT_HOPS + 4 T, NUM_FEATURES] into [B, T, width]."""
        return self.read_frames(self.read_hops(features))

    def read_hops(self, features: Tensor) -> Tensor:
        """First half: features [B, HOP_CONTEXT + 4 T, NUM_FEATURES] -> frames [B, width, T]."""
        frames: Tensor = self.pool(self.hops(self.embed(features.transpose(1, 2))))
        return frames

    def read_frames(self, frames: Tensor) -> Tensor:
        """Second half: frames [B, width, FRAME_CONTEXT + T] -> [B, T, width]."""
        x: Tensor = self.norm(self.frames(frames))
        return x.transpose(1, 2)
