"""A stack of causal convolutions from mel features to one vector per motion frame.

The convolutions have no padding of their own: the caller gives `CONTEXT_HOPS` of the past, zeros
before a stream begins. Whole clips and live blocks therefore give the same numbers.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.audio_features import HOPS_PER_FRAME, LOOK_AHEAD_HOPS, NUM_FEATURES

_HOP_DILATIONS: Final = (1, 2)  # kernel 5, at 100 Hz, where bursts are
_PAIR_DILATIONS: Final = (1, 2, 2)  # kernel 5, at 50 Hz
_FRAME_DILATIONS: Final = (1, 2, 3)  # kernel 3, at 25 Hz
# How many frames of sound each look-ahead shows beyond the base one.
_AHEAD_FRAMES: Final = tuple(hops // HOPS_PER_FRAME for hops in LOOK_AHEAD_HOPS)
_WINDOW_PAST: Final = 3  # frames before the current one that `_Aligned` sees at once
_WINDOW: Final = _WINDOW_PAST + max(_AHEAD_FRAMES) + 1
HOP_CONTEXT: Final = 4 * sum(_HOP_DILATIONS) + 8 * sum(_PAIR_DILATIONS)  # 52 hops of the past
_FRAME_REACH: Final = _WINDOW - 1 + 2 * sum(_FRAME_DILATIONS)  # 19 frames of the past
# Even, as streams go by blocks of two frames.
FRAME_CONTEXT: Final = _FRAME_REACH + _FRAME_REACH % 2
CONTEXT_HOPS: Final = HOP_CONTEXT + FRAME_CONTEXT * HOPS_PER_FRAME  # 132


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
    """Apply a convolution without padding to [B, C, N]."""
    return _slide(x, conv.weight, conv.bias, stride=conv.stride[0], dilation=conv.dilation[0])


def _slide(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Convolve [B, C, N] without padding.

    Short pieces, as a live stream has them, go as one matrix product: oneDNN's convolution spends
    most of its time there on laying out the weights anew (measured 4 times slower at N = 12).
    """
    if x.shape[2] > _SHORT:
        return F.conv1d(x, weight, bias, stride=stride, dilation=dilation)
    reach = (weight.shape[2] - 1) * dilation + 1
    taps = x.unfold(2, reach, stride)[..., ::dilation]  # [B, C, N', K]
    rows = taps.permute(0, 2, 1, 3).flatten(2)  # [B, N', C * K]
    return F.linear(rows, weight.flatten(1), bias).transpose(1, 2)


class _ChannelNorm(nn.Module):
    """RMS normalisation over channels of [B, C, N]; per step, so it stays causal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.normalise_at_once(x)
        normed: Tensor = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)
        return normed * self.scale

    def normalise_at_once(self, x: Tensor) -> Tensor:
        """Do the same as one operation, which a GPU starts sooner than six."""
        normed = F.rms_norm(x.transpose(1, 2), x.shape[1:2], eps=1e-6).transpose(1, 2)
        return normed * self.scale


class _Aligned(nn.Module):
    """One code per motion frame, whatever the look-ahead: sound not yet heard is left out.

    A stream with a long look-ahead hears a frame's sound earlier than one with a short one. The
    same weights belong to the same sound all the same, so that each look-ahead learns from all
    others (telling one stack by an embedding how far the sound is shifted learnt several times
    more slowly, and the longest look-ahead worst).

    Args:
        width: Of the codes.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _ChannelNorm(width)
        conv = nn.Conv1d(width, width, _WINDOW)
        self.weight, self.bias = conv.weight, nn.Parameter(torch.zeros(len(_AHEAD_FRAMES), width))
        self.mix = nn.Conv1d(width, width, 1)
        self._hidden: Tensor  # frames of the window that each look-ahead does not hear yet
        hidden = torch.tensor([max(_AHEAD_FRAMES) - ahead for ahead in _AHEAD_FRAMES])
        self.register_buffer("_hidden", hidden, persistent=False)

    def forward(self, x: Tensor, look: Tensor) -> Tensor:
        """Frames [B, C, N] that end with the look-ahead -> [B, C, N - _WINDOW + 1]."""
        normed = self.norm(x)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self.read_mixed(normed, look)
        if len(look) == 1 or bool((look == look[0]).all()):
            return self._read(normed, int(look[0]))
        out = x.new_empty(x.shape[0], x.shape[1], x.shape[2] - _WINDOW + 1)
        for index in sorted(set(look.tolist())):
            rows = (look == index).nonzero()[:, 0]
            out = out.index_copy(0, rows, self._read(normed[rows], index))
        return out

    def read_mixed(self, x: Tensor, look: Tensor) -> Tensor:
        """Read all rows at once, whatever their look-aheads: nothing has to come to the host."""
        hidden = self._hidden[look]  # [B]
        # The first tap is on the first frame that is not left out; those beyond the end are.
        frames = torch.arange(x.shape[2], device=x.device) + hidden[:, None]
        frames = frames.clamp(max=x.shape[2] - 1)
        moved = x.gather(2, frames[:, None].expand(-1, x.shape[1], -1))
        heard = torch.arange(_WINDOW, device=x.device) < _WINDOW - hidden[:, None]  # [B, K]
        taps = moved.unfold(2, _WINDOW, 1).permute(0, 2, 1, 3) * heard[:, None, None].to(x.dtype)
        rows = F.linear(taps.flatten(2), self.weight.flatten(1))  # [B, N', C]
        codes = (rows + F.embedding(look, self.bias)[:, None]).transpose(1, 2)
        return _convolve(self.mix, F.gelu(codes))

    def _read(self, x: Tensor, look: int) -> Tensor:
        hidden = max(_AHEAD_FRAMES) - _AHEAD_FRAMES[look]
        taps = F.pad(self.weight[:, :, : _WINDOW - hidden], (hidden, 0))
        return _convolve(self.mix, F.gelu(_slide(x, taps, self.bias[look])))


class AudioEncoder(nn.Module):
    """Mel features at 100 Hz -> speech code at 25 Hz.

    Args:
        width: Of the code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(8, width * 3 // 5)  # the fast steps are many, and need less
        self.embed = nn.Conv1d(NUM_FEATURES, narrow, 1)
        self.hops = nn.Sequential(*(_Residual(narrow, 5, d) for d in _HOP_DILATIONS))
        self.pair = nn.Conv1d(narrow, width, 2, stride=2)
        self.pairs = nn.Sequential(*(_Residual(width, 5, d) for d in _PAIR_DILATIONS))
        self.pool = nn.Conv1d(width, width, 2, stride=2)
        self.aligned = _Aligned(width)
        self.frames = nn.Sequential(*(_Residual(width, 3, d) for d in _FRAME_DILATIONS))
        self.norm = _ChannelNorm(width)

    def forward(self, features: Tensor, look: Tensor) -> Tensor:
        """Encode features [B, CONTEXT_HOPS + 4 T, NUM_FEATURES] into [B, T, width]."""
        return self.read_frames(self.read_hops(features), look)

    def read_hops(self, features: Tensor) -> Tensor:
        """First half, which is the same for every look-ahead.

        Args:
            features: [B, HOP_CONTEXT + 4 T, NUM_FEATURES].

        Returns:
            Half-encoded frames [B, width, T].
        """
        x = _convolve(self.embed, features.transpose(1, 2))
        return _convolve(self.pool, self.pairs(_convolve(self.pair, self.hops(x))))

    def read_frames(self, frames: Tensor, look: Tensor) -> Tensor:
        """Second half.

        Args:
            frames: [B, width, FRAME_CONTEXT + T].
            look: int64 [B], index into `LOOK_AHEAD_HOPS`.

        Returns:
            [B, T, width].
        """
        needed = frames[:, :, FRAME_CONTEXT - _FRAME_REACH :]
        x: Tensor = self.norm(self.frames(self.aligned(needed, look)))
        return x.transpose(1, 2)
