"""The motion generator's network: a block-causal diffusion transformer over motion latents.

It predicts clean latents from noised ones, as VASA-1 does (arXiv 2404.10667, sec. 3.2), under
the conditions audio, gaze, head distance, emotion, listening and past frames. Where VASA-1
denoises a long window again for every step forward, this network denoises one short block at a
time and looks at earlier frames through keys and values that are computed once per frame.

What is remembered of a past frame depends on that frame alone, not on what was remembered before:
the whole memory of a stream can be made again from its last latents (docs/adr/0012).

Axis letters: B batch, T frames, D latent channels, W width, H heads, L layers, P past frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.layers.attention import Attention, TimeBias
from parlante.models.layers.causal_conv import FRAME_CONTEXT, AudioEncoder
from parlante.models.motion_space import (
    CONDITION_DIM,
    CONDITION_GROUPS,
    LATENT_DIM,
    MOUTH,
    SHAPES,
)
from parlante.models.speech_encoder import SpeechEncoder, SpeechProjection
from parlante.models.viseme_names import VISEMES, VOWELS
from parlante.models.voice_net import VoiceNet

BLOCK_FRAMES: Final = 2  # 80 ms: an answer within 160 ms, look-ahead included
NUM_GROUPS: Final = len(CONDITION_GROUPS) + 2  # and audio, and the past
AUDIO_GROUP: Final = len(CONDITION_GROUPS)
PAST_GROUP: Final = AUDIO_GROUP + 1
NUM_READ: Final = len(MOUTH) + len(VISEMES)  # what is read from sound alone
_WAVES: Final = 64

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
    audio_width: int = 160
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
        self._first: Tensor  # scales begin at 1
        is_scale = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
        self.register_buffer("_first", is_scale.repeat_interleave(W), persistent=False)

    def forward(
        self, x: Tensor, modulation: Tensor, bias: Tensor, past: tuple[Tensor, Tensor]
    ) -> Tensor:
        """x [B, T, W], modulation [B, T, 6 W] with the layer's own added -> x."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        x = torch.addcmul(x, gate1, self.attention(_modulate(x, shift1, scale1), bias, past))
        y = self.down(F.gelu(self.up(_modulate(x, shift2, scale2)), approximate="tanh"))
        return torch.addcmul(x, gate2, y)

    def own_modulation(self) -> Tensor:
        """What is added to the modulation shared by all, [6 W]."""
        return self.table + self._first


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one denoising pass needs besides latents and past.

    Attributes:
        conditions: [B, T, W].
        layers: Modulation of each layer, [B, T, 6 W].
        head: Modulation of the read-out, [B, T, 2 W].
        bias: Of attention over past and block, [H, T, P + T] or that with B in front.
    """

    conditions: Tensor
    layers: list[Tensor]
    head: Tensor
    bias: Tensor


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)


def _zero_linear(width_in: int, width_out: int) -> nn.Linear:
    """A layer that starts as nothing, so that training begins at the identity (DiT)."""
    layer = nn.Linear(width_in, width_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _time_waves(time: Tensor) -> Tensor:
    """Sinusoids of the noise level [..., 1] in [0, 1] -> [..., _WAVES]."""
    octaves = torch.arange(_WAVES // 2, dtype=torch.float32, device=time.device) / (_WAVES // 2)
    angle = time * (1000.0 * torch.exp(-math.log(10_000.0) * octaves))
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class MotionDiT(nn.Module):
    """The network.

    Args:
        config: Its size.
        speech_encoder: Gives the features that `read_audio` takes; None takes mel features.
        voice_net: Tells streams whether a voice is heard; None takes all that sounds for one.
    """

    def __init__(
        self,
        config: MotionDiTConfig,
        speech_encoder: SpeechEncoder | None = None,
        voice_net: VoiceNet | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        W, A = config.width, config.audio_width
        # In a tuple, so that their weights are not among this module's: they have files of their
        # own.
        self._others = (speech_encoder, voice_net)
        self.audio_encoder = (
            AudioEncoder(A) if speech_encoder is None else SpeechProjection(speech_encoder.width, A)
        )
        # Direct readings of the mouth and of viseme names from sound alone: a training aid, and
        # conditions. Not linear, as a closure is all or nothing.
        self.mouth_reader = nn.Sequential(nn.Linear(A, A), nn.GELU(), nn.Linear(A, len(MOUTH)))
        self.namer = nn.Linear(A, len(VISEMES))
        # What lips will do, see `lip_foresight`; found when all else is trained, not by steps.
        self.shape_map: Tensor
        self.register_buffer("shape_map", torch.zeros(len(SHAPES), A + NUM_READ + 1))
        self.audio_in = nn.Linear(A + NUM_READ, W)
        self.no_audio = nn.Parameter(torch.zeros(W))
        self.control_in = nn.Linear(CONDITION_DIM + len(CONDITION_GROUPS), W)
        self.time_in = nn.Sequential(nn.Linear(_WAVES, W), nn.SiLU(), nn.Linear(W, W))
        self.latent_in = nn.Linear(LATENT_DIM, W)
        self.memory_in = nn.Sequential(
            nn.Linear(LATENT_DIM, W), nn.GELU(), nn.Linear(W, W), nn.LayerNorm(W)
        )
        self.modulate = nn.Sequential(nn.SiLU(), _zero_linear(W, 6 * W))
        self.time_bias = TimeBias(config.num_heads, config.past_frames, BLOCK_FRAMES)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head_modulate = _zero_linear(W, 2 * W)
        self.head = _zero_linear(W, LATENT_DIM)

    @property
    def speech_encoder(self) -> SpeechEncoder | None:
        """The pretrained encoder that hears in place of our own, if there is one."""
        return self._others[0]

    @property
    def voice_net(self) -> VoiceNet | None:
        """What tells streams whether a voice is heard."""
        return self._others[1]

    @property
    def mel_encoder(self) -> AudioEncoder:
        """Our own encoder; only where there is no pretrained one."""
        assert isinstance(self.audio_encoder, AudioEncoder)
        return self.audio_encoder

    @property
    def reading_parts(self) -> tuple[nn.Module, ...]:
        """What reads the mouth and the names of visemes off sound."""
        return self.audio_encoder, self.mouth_reader, self.namer

    # --- conditions ---------------------------------------------------------------------------

    def read_audio(self, features: Tensor, look: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode sound.

        Args:
            features: [B, CONTEXT_HOPS + 4 T, NUM_FEATURES], or [B, T, E] of the speech encoder.
            look: int64 [B], index into `LOOK_AHEAD_HOPS`; a speech encoder's features need none.

        Returns:
            Speech code for `condition` [B, T, audio_width + NUM_READ]; the mouth read from sound
            alone [B, T, 9] in latent units; and scores of viseme names [B, T, 16].
        """
        if isinstance(self.audio_encoder, SpeechProjection):
            return self._read(self.audio_encoder(features))
        return self._read(self.audio_encoder(features, look))

    def read_audio_live(
        self, features: Tensor, past: Tensor, look: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode the sound of one block, as `read_audio` does, without doing old work again.

        Args:
            features: [1, HOP_CONTEXT + 4 T, NUM_FEATURES].
            past: Half-encoded frames before the block, [1, audio_width, FRAME_CONTEXT].
            look: int64 [1], index into `LOOK_AHEAD_HOPS`.

        Returns:
            Speech code [1, T, audio_width + NUM_READ], and the next block's `past`.
        """
        frames = torch.cat([past, self.mel_encoder.read_hops(features)], dim=2)
        speech, _, _ = self._read(self.mel_encoder.read_frames(frames, look))
        return speech, frames[:, :, -FRAME_CONTEXT:]

    def _read(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mouth, names = self.mouth_reader(code), self.namer(code)
        return torch.cat([code, mouth, names.softmax(dim=-1)], dim=-1), mouth, names

    def mouth_of(self, speech: Tensor) -> Tensor:
        """The mouth that a speech code [..., audio_width + NUM_READ] holds, [..., 9]."""
        return speech[..., self.config.audio_width : self.config.audio_width + len(MOUTH)]

    def names_of(self, speech: Tensor) -> Tensor:
        """Chances of visemes that a speech code [..., audio_width + NUM_READ] holds, [..., 16]."""
        return speech[..., self.config.audio_width + len(MOUTH) :]

    def silence_of(self, speech: Tensor) -> Tensor:
        """How sure a speech code [..., audio_width + NUM_READ] is that nobody speaks, [..., 1]."""
        first = VISEMES.index("sil")
        return self.names_of(speech)[..., first : first + 1]

    def shapes_ahead(self, speech: Tensor) -> Tensor:
        """The lip shapes that a speech code [..., audio_width + NUM_READ] announces, [..., 3]."""
        return F.linear(speech, self.shape_map[:, :-1], self.shape_map[:, -1])

    def without_silence(self, speech: Tensor, share: Tensor) -> Tensor:
        """Have a speech code name vowels, as it weighs them, for silence that is none.

        Args:
            speech: [B, T, audio_width + NUM_READ].
            share: [T], how surely it is none, [0, 1].

        Returns:
            [B, T, audio_width + NUM_READ].
        """
        names = self.names_of(speech).clone()
        silence, vowels = names[..., VISEMES.index("sil")], names[..., -len(VOWELS) :]
        taken = (share * silence)[..., None]
        vowels += taken * vowels / vowels.sum(dim=-1, keepdim=True).clamp_min(1e-6)
        silence -= taken[..., 0]
        return torch.cat([speech[..., : -len(VISEMES)], names], dim=-1)

    def condition(self, speech: Tensor, controls: Tensor, keep: Tensor) -> Tensor:
        """Join the conditions.

        Args:
            speech: [B, T, audio_width + NUM_READ] of `read_audio`.
            controls: [B, T, CONDITION_DIM] of `motion_space.condition`.
            keep: [B, NUM_GROUPS], 1 or 0 for gaze, distance, emotion, listening, audio, past: 0
                drops a condition. The past is not a matter of this function.

        Returns:
            [B, T, W].
        """
        B, T, _ = controls.shape
        flags = keep[:, None, :AUDIO_GROUP].expand(B, T, -1)
        masked = torch.cat(
            [controls[..., g] * flags[..., i : i + 1] for i, g in enumerate(CONDITION_GROUPS)]
            + [flags],
            dim=-1,
        )
        audio_kept = keep[:, None, AUDIO_GROUP : AUDIO_GROUP + 1]
        audio = audio_kept * self.audio_in(speech) + (1.0 - audio_kept) * self.no_audio
        joined: Tensor = audio + self.control_in(masked)
        return joined

    # --- training: the whole sequence at once ---------------------------------------------------

    def forward(
        self, clean: Tensor, noised: Tensor, time: Tensor, conditions: Tensor, see_past: Tensor
    ) -> Tensor:
        """Denoise every block of a sequence, each given the clean blocks before it.

        Args:
            clean: [B, T, D], the past as generation will see it (training may roughen it).
            noised: [B, T, D].
            time: [B, T, 1], noise level of `noised` in [0, 1], equal within a block.
            conditions: [B, T, W] of `condition`.
            see_past: bool [B]; False lets a sequence's blocks see nothing before themselves.

        Returns:
            Prediction of the clean latents, [B, T, D].
        """
        joint = conditions + self.time_in(_time_waves(time))
        x = self.latent_in(noised) + conditions
        modulation = self.modulate(joint)
        memory = self.memory_in(clean)
        bias = self._training_bias(clean.shape[1], see_past)
        for block in self.blocks:
            assert isinstance(block, Block)
            past = block.attention.read_past(memory)
            x = block(x, modulation + block.own_modulation(), bias, past)
        return self._read_out(x, self.head_modulate(F.silu(joint)))

    def _training_bias(self, T: int, see_past: Tensor) -> Tensor:
        """Bias [B, H, T, 2 T] over past and own tokens that hides what a token must not see."""
        frames = torch.arange(T, device=see_past.device)
        block = frames // BLOCK_FRAMES
        before = block[:, None] > block[None, :]
        near = (block * BLOCK_FRAMES)[:, None] - frames[None, :] <= self.config.past_frames
        same = block[:, None] == block[None, :]
        past = (before & near)[None] & see_past[:, None, None]
        visible = torch.cat([past, same.expand(len(see_past), -1, -1)], dim=2)
        bias = self.time_bias(frames, torch.cat([frames, frames]))
        masked: Tensor = bias[None].masked_fill(~visible[:, None], -math.inf)
        return masked

    def _read_out(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = modulation.chunk(2, dim=-1)
        out: Tensor = self.head(_modulate(x, shift, 1.0 + scale))
        return out

    # --- generation: one block at a time --------------------------------------------------------

    def empty_cache(self, batch: int) -> Cache:
        """Return the cache of streams without a past."""
        heads = self.config.num_heads
        device = self.no_audio.device
        empty = torch.zeros(batch, heads, 0, self.config.width // heads, device=device)
        return [(empty, empty) for _ in self.blocks]

    def plan(
        self,
        conditions: Tensor,
        times: tuple[float, ...],
        cache: Cache,
        see_past: Tensor | None = None,
    ) -> list[Plan]:
        """Work out what a block's passes need besides latents and past, for all passes at once.

        Args:
            conditions: [B, BLOCK_FRAMES, W].
            times: Noise levels in (0, 1], one per pass.
            cache: Past of the streams.
            see_past: bool [B], or [B, P] for each past frame; None lets all see their past.
        """
        waves = _time_waves(torch.tensor(times, device=conditions.device).view(-1, 1, 1, 1))
        joint = conditions + self.time_in(waves)  # [N, B, T, W]
        tables = torch.stack([block.own_modulation() for block in self.blocks])  # type: ignore[operator]
        layers = self.modulate(joint)[:, None] + tables[:, None, None]  # [N, L, B, T, 6 W]
        head = self.head_modulate(F.silu(joint))
        bias = self._block_bias(cache[0][0].shape[2], conditions.shape[1], see_past)
        return [
            Plan(conditions, list(layer), out, bias)
            for layer, out in zip(layers, head, strict=True)
        ]

    def _block_bias(self, P: int, T: int, see_past: Tensor | None) -> Tensor:
        frames = torch.arange(P + T, device=self.no_audio.device)
        bias: Tensor = self.time_bias(frames[P:], frames)
        if see_past is None:
            return bias
        if see_past.dim() == 1:
            see_past = see_past[:, None].expand(-1, P)
        hidden = F.pad(~see_past, (0, T))[:, None, None]
        return bias[None].masked_fill(hidden, -math.inf)

    def denoise(self, noised: Tensor, plan: Plan, cache: Cache) -> Tensor:
        """Predict the clean latents of the next block.

        Args:
            noised: [B, BLOCK_FRAMES, D].
            plan: Of the pass.
            cache: Past of the streams.

        Returns:
            [B, BLOCK_FRAMES, D].
        """
        x = self.latent_in(noised) + plan.conditions
        for block, modulation, past in zip(self.blocks, plan.layers, cache, strict=True):
            x = block(x, modulation, plan.bias, past)
        return self._read_out(x, plan.head)

    def recall(self, clean: Tensor) -> Cache:
        """Make the cache of past frames [B, P, D] at once, as `remember` does block by block."""
        if clean.shape[1] == 0:
            return self.empty_cache(len(clean))
        memory = self.memory_in(clean)
        cache: Cache = []
        for block in self.blocks:
            assert isinstance(block, Block)
            cache.append(block.attention.read_past(memory))
        return cache

    def remember(self, clean: Tensor, cache: Cache) -> Cache:
        """Append a finished block [B, BLOCK_FRAMES, D] to the cache; returns a new cache."""
        memory = self.memory_in(clean)
        keep = self.config.past_frames
        joined: Cache = []
        for block, (k, v) in zip(self.blocks, cache, strict=True):
            assert isinstance(block, Block)
            new_k, new_v = block.attention.read_past(memory)
            joined.append(
                (torch.cat([k, new_k], 2)[:, :, -keep:], torch.cat([v, new_v], 2)[:, :, -keep:])
            )
        return joined
