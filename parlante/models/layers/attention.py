"""Attention with a learned bias by distance in time, whole or over cached keys and values.

Axis letters: B batch, T tokens, H heads, C width of a head, P cached past tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeBias(nn.Module):
    """A learned number per head and distance in frames (as in T5, without buckets).

    Unlike rotary angles it needs no absolute position, so a stream may run forever.
    """

    def __init__(self, num_heads: int, max_past: int, max_future: int) -> None:
        super().__init__()
        self.max_future = max_future
        self.table = nn.Parameter(torch.zeros(num_heads, max_past + max_future + 1))

    def forward(self, query_frames: Tensor, key_frames: Tensor) -> Tensor:
        """Return [H, Tq, Tk] for frame indexes int64 [Tq] and [Tk]; far ones share the end."""
        distance = query_frames[:, None] - key_frames[None, :] + self.max_future
        return self.table[:, distance.clamp(0, self.table.shape[1] - 1)]


class Attention(nn.Module):
    """Multi-head attention from tokens to a remembered past and to themselves."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.past_kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def read_past(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, P, C] each of a remembered past [B, P, H * C]."""
        B, P, _ = memory.shape
        k, v = self.past_kv(memory).view(B, P, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, x: Tensor, bias: Tensor, past: tuple[Tensor, Tensor]) -> Tensor:
        """Attend from x to the past and to x itself.

        Args:
            x: [B, T, H * C].
            bias: [H, T, P + T], or that with B in front, added to the scores; -inf hides a key.
            past: Keys and values of `read_past`.

        Returns:
            [B, T, H * C].
        """
        B, T, width = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        keys = torch.cat([past[0], k], dim=2)
        values = torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.to(q.dtype))
        out: Tensor = self.out(y.transpose(1, 2).reshape(B, T, width))
        return out
