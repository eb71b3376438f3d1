"""The motion generator's network: a block-causal diffusion transformer over motion latents.

It predicts clean latents from noised ones, as VASA-1 does (arXiv 2404.10667, sec. 3.2), under
the conditions audio, gaze, head distance and emotion. Where VASA-1 denoises a long window again
for every step forward, this network denoises one short block at a time and looks at all earlier
frames through cached keys and values, so that an answer to live sound costs a few tiny passes.

Training sees a whole sequence in one pass: every block twice, once clean and once noised. Clean
tokens see clean blocks up to their own; noised tokens see clean blocks before theirs, and their own
noised block. Generation does the same, block by block: `denoise` several times, then `remember`.

Axis letters: B batch, T frames, D latent channels, W width, H heads, L layers, P past frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.audio_features import HOPS_PER_FRAME, NUM_FEATURES
from parlante.models.layers.attention import Attention, TimeBias
from parlante.models.layers.causal_conv import FRAME_CONTEXT, HOP_CONTEXT, AudioEncoder
from parlante.models.motion_space import CONDITION_DIM, CONDITION_GROUPS, LATENT_DIM, MOUTH

BLOCK_FRAMES: Final = 2  # 80 ms: an answer within 160 ms, look-ahead included
NUM_GROUPS: Final = len(CONDITION_GROUPS) + 1  # and audio

Cache = list[tuple[Tensor, Tensor]]  # keys and values [B, H, P, W / H] of each layer


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionDiTConfig:
    """Size of the network.

    Attributes:
        width: W of the transformer.
        num_layers: L.
        num_heads: H.
        feed_forward: Width of the feed-forward part as a multiple of W.
        audio_width: Width of the audio encoder.
        past_frames: How many earlier frames attention reaches.
    """

    width: int = 160
    num_layers: int = 5
    num_heads: int = 5
    feed_forward: int = 3
    audio_width: int = 112
    past_frames: int = 48


class Block(nn.Module):
    """Transformer block, modulated by the conditions (adaptive layer norm; DiT, 2212.09748)."""

    def __init__(self, config: MotionDiTConfig) -> None:
        super().__init__()
        W = config.width
        self.attention = Attention(W, config.num_heads)
        self.up = nn.Linear(W, config.feed_forward * W)
        self.down = nn.Linear(config.feed_forward * W, W)
        # What this layer adds to the modulation shared by all (PixArt-alpha, 2310.00426).
        self.table = nn.Parameter(torch.zeros(6 * W))

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        bias: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, T, W], modulation [B, T, 6 W] -> x and its own keys and values."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).chunk(6, dim=-1)
        y, own = self.attention(_modulate(x, shift1, scale1), bias, past)
        x = x + gate1 * y
        y = self.down(F.gelu(self.up(_modulate(x, shift2, scale2)), approximate="tanh"))
        return x + gate2 * y, own


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    normed = F.layer_norm(x, x.shape[-1:])
    return torch.addcmul(shift, normed, 1.0 + scale)


def _zero_linear(width_in: int, width_out: int) -> nn.Linear:
    """A layer that starts as nothing, so that training begins at the identity (DiT)."""
    layer = nn.Linear(width_in, width_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _time_waves(time: Tensor, width: int) -> Tensor:
    """Sinusoids of the noise level [..., 1] in [0, 1] -> [..., width]."""
    octaves = torch.arange(width // 2, dtype=torch.float32) / (width // 2)
    angle = time * (1000.0 * torch.exp(-math.log(10_000.0) * octaves))
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class MotionDiT(nn.Module):
    """The network."""

    def __init__(self, config: MotionDiTConfig) -> None:
        super().__init__()
        self.config = config
        W, A = config.width, config.audio_width
        self.audio_encoder = AudioEncoder(A)
        # A direct reading of the mouth from sound alone: a training aid, and a condition.
        # Not linear, as a closure is all or nothing.
        self.mouth_reader = nn.Sequential(nn.Linear(A, A), nn.GELU(), nn.Linear(A, len(MOUTH)))
        self.audio_in = nn.Linear(A + len(MOUTH), W)
        self.no_audio = nn.Parameter(torch.zeros(W))
        self.control_in = nn.Linear(CONDITION_DIM + len(CONDITION_GROUPS), W)
        self.time_in = nn.Sequential(nn.Linear(64, W), nn.SiLU(), nn.Linear(W, W))
        self.latent_in = nn.Linear(LATENT_DIM, W)
        self.kind = nn.Parameter(torch.zeros(2, W))  # clean, noised
        self.modulate = nn.Sequential(nn.SiLU(), _zero_linear(W, 6 * W))
        self.time_bias = TimeBias(config.num_heads, config.past_frames, BLOCK_FRAMES)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head_modulate = _zero_linear(W, 2 * W)
        self.head = _zero_linear(W, LATENT_DIM)

    # --- conditions ---------------------------------------------------------------------------

    def read_audio(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Encode sound.

        Args:
            features: [B, CONTEXT_HOPS + 4 T, NUM_FEATURES].

        Returns:
            Speech code for `condition` [B, T, audio_width + 9], and within it the mouth read
            from sound alone [B, T, 9] in latent units.
        """
        code = self.audio_encoder(features)
        mouth = self.mouth_reader(code)
        return torch.cat([code, mouth], dim=-1), mouth

    def read_audio_live(self, features: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the sound of one block, as `read_audio` does, without doing old work again.

        Args:
            features: [1, HOP_CONTEXT + 4 T, NUM_FEATURES].
            past: Half-encoded frames before the block, [1, audio_width, FRAME_CONTEXT].

        Returns:
            Speech code [1, T, audio_width + 9], and the next block's `past`.
        """
        frames = torch.cat([past, self.audio_encoder.read_hops(features)], dim=2)
        code = self.audio_encoder.read_frames(frames)
        speech = torch.cat([code, self.mouth_reader(code)], dim=-1)
        return speech, frames[:, :, -FRAME_CONTEXT:]

    def silent_past(self) -> Tensor:
        """Return what `read_audio_live` takes as the past of a stream's first block."""
        hops = HOP_CONTEXT + FRAME_CONTEXT * HOPS_PER_FRAME
        return self.audio_encoder.read_hops(torch.zeros(1, hops, NUM_FEATURES))

    def condition(self, speech: Tensor, controls: Tensor, keep: Tensor) -> Tensor:
        """Join the conditions.

        Args:
            speech: [B, T, audio_width + 9] of `read_audio`.
            controls: [B, T, 10] of `motion_space.condition`.
            keep: [B, 4], 1 or 0 for gaze, distance, emotion, audio: 0 drops a condition.

        Returns:
            [B, T, W].
        """
        B, T, _ = controls.shape
        flags = keep[:, None, :-1].expand(B, T, -1)
        masked = torch.cat(
            [controls[..., g] * flags[..., i : i + 1] for i, g in enumerate(CONDITION_GROUPS)]
            + [flags],
            dim=-1,
        )
        audio_kept = keep[:, None, -1:]
        audio = audio_kept * self.audio_in(speech) + (1.0 - audio_kept) * self.no_audio
        joined: Tensor = audio + self.control_in(masked)
        return joined

    # --- training: the whole sequence at once ---------------------------------------------------

    def forward(
        self, clean: Tensor, noised: Tensor, time: Tensor, conditions: Tensor, hide_past: Tensor
    ) -> Tensor:
        """Denoise every block of a sequence, each given the clean blocks before it.

        Args:
            clean: [B, T, D], the past as generation will see it (training may roughen it).
            noised: [B, T, D].
            time: [B, T, 1], noise level of `noised` in [0, 1], equal within a block.
            conditions: [B, T, W] of `condition`.
            hide_past: bool [B]; True lets a sequence's blocks see nothing before themselves.

        Returns:
            Prediction of the clean latents, [B, T, D].
        """
        T = clean.shape[1]
        noised_condition = conditions + self.time_in(_time_waves(time, 64))
        x = torch.cat(
            [
                self.latent_in(clean) + self.kind[0] + conditions,
                self.latent_in(noised) + self.kind[1] + conditions,
            ],
            dim=1,
        )  # [B, 2 T, W]
        clean_condition = conditions + self.time_in(_time_waves(torch.zeros_like(time), 64))
        modulation = self.modulate(torch.cat([clean_condition, noised_condition], dim=1))
        bias = self._training_bias(T, hide_past)
        for block in self.blocks:
            x, _ = block(x, modulation, bias)
        return self._read_out(x[:, T:], noised_condition)

    def _training_bias(self, T: int, hide_past: Tensor) -> Tensor:
        """Bias [B, H, 2 T, 2 T] that also hides what a token must not see."""
        frames = torch.arange(T)
        block = frames // BLOCK_FRAMES
        before = block[:, None] > block[None, :]
        same = block[:, None] == block[None, :]
        near = frames[:, None] // BLOCK_FRAMES * BLOCK_FRAMES - frames[None, :]
        near = near <= self.config.past_frames
        never = torch.zeros(T, T, dtype=torch.bool)
        seen = torch.cat(
            [torch.cat([(before | same) & near, never], 1), torch.cat([before & near, same], 1)]
        )
        alone = torch.cat([torch.cat([same, never], 1), torch.cat([never, same], 1)])
        visible = torch.where(hide_past[:, None, None], alone, seen)
        both = torch.cat([frames, frames])
        bias = self.time_bias(both, both)
        masked: Tensor = bias[None].masked_fill(~visible[:, None], -math.inf)
        return masked

    def _read_out(self, x: Tensor, conditions: Tensor) -> Tensor:
        shift, scale = self.head_modulate(F.silu(conditions)).chunk(2, dim=-1)
        out: Tensor = self.head(_modulate(x, shift, scale))
        return out

    # --- generation: one block at a time --------------------------------------------------------

    def empty_cache(self, batch: int) -> Cache:
        """Return the cache of streams without a past."""
        heads = self.config.num_heads
        empty = torch.zeros(batch, heads, 0, self.config.width // heads)
        return [(empty, empty) for _ in self.blocks]

    def denoise(self, noised: Tensor, time: float, conditions: Tensor, cache: Cache) -> Tensor:
        """Predict the clean latents of the next block.

        Args:
            noised: [B, BLOCK_FRAMES, D].
            time: Noise level in (0, 1].
            conditions: [B, BLOCK_FRAMES, W].
            cache: Past of the streams.

        Returns:
            [B, BLOCK_FRAMES, D].
        """
        waves = _time_waves(torch.tensor([[[time]]]), 64)
        joint = conditions + self.time_in(waves)
        x = self.latent_in(noised) + self.kind[1] + conditions
        x, _ = self._through(x, joint, cache)
        return self._read_out(x, joint)

    def remember(self, clean: Tensor, conditions: Tensor, cache: Cache) -> Cache:
        """Append a finished block [B, BLOCK_FRAMES, D] to the cache; returns a new cache."""
        waves = _time_waves(torch.zeros(1, 1, 1), 64)
        joint = conditions + self.time_in(waves)
        x = self.latent_in(clean) + self.kind[0] + conditions
        _, new = self._through(x, joint, cache)
        keep = self.config.past_frames
        return [
            (torch.cat([k, nk], 2)[:, :, -keep:], torch.cat([v, nv], 2)[:, :, -keep:])
            for (k, v), (nk, nv) in zip(cache, new, strict=True)
        ]

    def _through(self, x: Tensor, conditions: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        P, T = cache[0][0].shape[2], x.shape[1]
        frames = torch.arange(P + T)
        bias = self.time_bias(frames[P:], frames)
        modulation = self.modulate(conditions)
        new: Cache = []
        for block, past in zip(self.blocks, cache, strict=True):
            x, own = block(x, modulation, bias, past)
            new.append(own)
        return x, new
