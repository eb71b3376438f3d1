"""One motion stream: its state as a value, and the pure steps that move it on.

Sound goes in piece by piece; `advance` makes the next block of frames once all sound that it
depends on is there. Nothing here depends on how the sound was cut, on time, or on other streams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from parlante.diffusion.guidance import GuidanceScales, combine, keep_rows
from parlante.diffusion.sampler import sample
from parlante.errors import InvalidInput
from parlante.media.resample import Resampler, ResamplerState
from parlante.models.audio_features import (
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    LOOK_AHEAD_SAMPLES,
    NUM_FEATURES,
    WINDOW_SAMPLES,
    NormaliserState,
    mel_energies,
    normalise,
)
from parlante.models.layers.causal_conv import HOP_CONTEXT
from parlante.models.motion_dit import BLOCK_FRAMES, Cache, MotionDiT
from parlante.models.motion_space import (
    HEAD_SLICE,
    LATENT_DIM,
    LATENT_INDEX,
    MOUTH,
    MOUTH_SLICE,
    PoseState,
    condition,
    to_channels,
)
from parlante.types import (
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    SAMPLES_PER_FRAME,
    AudioChunk,
    Controls,
    Float32Array,
    MotionBlock,
    MotionConfig,
)

BLOCK_SAMPLES: Final = BLOCK_FRAMES * SAMPLES_PER_FRAME
BLOCK_HOPS: Final = BLOCK_FRAMES * HOPS_PER_FRAME
# Windows of one block; the next block's begin BLOCK_SAMPLES later.
SPAN_SAMPLES: Final = (BLOCK_HOPS - 1) * HOP_SAMPLES + WINDOW_SAMPLES
_PRE_ROLL_SAMPLES: Final = SPAN_SAMPLES - LOOK_AHEAD_SAMPLES
_GLIDE_PER_FRAME: Final = 1.0 - math.exp(-1.0 / (0.03 * FRAME_RATE_HZ))  # 90 % in 0.07 s


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How blocks are drawn.

    Attributes:
        times: Noise levels of the network passes, falling from 1.
        guidance: Scale of each condition.
        mouth_temperature: Scale of the noise that the mouth starts from, [0, 1]; below 1 the lips
            follow the sound more strictly than they follow chance.
        head_temperature: Scale of the noise that head motion starts from; few steps calm it.
        blink_temperature: Scale of the noise that blinks start from. They are rare events, which
            few-step sampling makes rarer; above 1 sets their rate right again.
        gaze_temperature: The same for the eyes' wandering.
        reading_weight: How far every prediction of the mouth is drawn towards what the audio
            encoder reads from sound alone, [0, 1]. It keeps the lips from following their own
            momentum instead of the voice.
    """

    times: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    guidance: GuidanceScales = field(default_factory=GuidanceScales)
    mouth_temperature: float = 0.6
    head_temperature: float = 1.2
    blink_temperature: float = 1.2
    gaze_temperature: float = 1.8
    reading_weight: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionState:
    """All that a stream carries from block to block.

    Attributes:
        seed: Of the stream.
        num_samples: Input samples so far, at the input's rate.
        resampler: State of the rate converter.
        audio: float32 [S] at 16 kHz that is not used up; begins with the next block's first window.
        block_index: Next block; block -1 only warms up the features.
        normaliser: Running level and spectrum.
        features: float32 [HOP_CONTEXT, F], the encoder's past.
        half_encoded: float32 [1, A, FRAME_CONTEXT], the same, half-way through the encoder.
        controls: In force.
        glided: float32 [10], conditions as smoothed so far.
        cache: Keys and values of past frames.
        pose: Where the head is.
    """

    seed: int
    num_samples: int
    resampler: ResamplerState
    audio: Float32Array
    block_index: int
    normaliser: NormaliserState
    features: Float32Array
    half_encoded: Tensor
    controls: Controls
    glided: Float32Array
    cache: Cache
    pose: PoseState


@torch.inference_mode()
def start(config: MotionConfig, resampler: Resampler, model: MotionDiT) -> SessionState:
    """Return the state of a stream before its first sample."""
    return SessionState(
        seed=config.seed,
        num_samples=0,
        resampler=resampler.start(),
        audio=np.zeros(_PRE_ROLL_SAMPLES, np.float32),
        block_index=-1,
        normaliser=NormaliserState.fresh(1),
        features=np.zeros((HOP_CONTEXT, NUM_FEATURES), np.float32),
        half_encoded=model.silent_past(),
        controls=config.controls,
        glided=condition(config.controls),
        cache=model.empty_cache(1),
        pose=PoseState.settled(config.controls),
    )


def check_chunk(state: SessionState, chunk: AudioChunk) -> None:
    """Raise `InvalidInput` unless the chunk continues the stream's sound."""
    if chunk.samples.dtype != np.int16 or chunk.samples.ndim != 1:
        raise InvalidInput(
            f"audio samples must be int16 [S]; got {chunk.samples.dtype} "
            f"{list(chunk.samples.shape)}; send 16-bit mono",
            reason="BAD_AUDIO_FORMAT",
            field="samples",
        )
    if chunk.start_sample != state.num_samples:
        gap = chunk.start_sample > state.num_samples
        raise InvalidInput(
            f"audio must continue at sample {state.num_samples}; got a chunk that starts at "
            f"{chunk.start_sample}; send every sample once, in order, from 0",
            reason="AUDIO_GAP" if gap else "AUDIO_OVERLAP",
            field="start_sample",
        )


def hear(
    state: SessionState, samples: np.ndarray, resampler: Resampler, *, is_padding: bool = False
) -> SessionState:
    """Append int16 samples [S] to the stream; padding does not count as input."""
    heard, after = resampler.push(state.resampler, samples)
    counted = 0 if is_padding else len(samples)
    return replace(
        state,
        num_samples=state.num_samples + counted,
        resampler=after,
        audio=np.concatenate([state.audio, heard]),
    )


def num_frames(state: SessionState, rate_hz: int) -> int:
    """Frames that the sound so far is worth: ceil(samples * 25 / rate)."""
    return -(-state.num_samples * FRAME_RATE_HZ // rate_hz)


def num_made(state: SessionState) -> int:
    """Frames made so far."""
    return max(0, state.block_index) * BLOCK_FRAMES


def is_ready(state: SessionState) -> bool:
    """Whether all sound that the next block depends on is there."""
    return len(state.audio) >= SPAN_SAMPLES


@torch.inference_mode()
def advance(
    state: SessionState, model: MotionDiT, sampler: SamplerConfig
) -> tuple[MotionBlock | None, SessionState]:
    """Make the next block; None for the warm-up block before the first. Needs `is_ready`."""
    energies = mel_energies(state.audio[:SPAN_SAMPLES])[None]
    features, normaliser = normalise(energies, state.normaliser)
    window = np.concatenate([state.features, features[0]])
    speech, half_encoded = model.read_audio_live(torch.from_numpy(window)[None], state.half_encoded)
    state = replace(
        state,
        audio=state.audio[BLOCK_SAMPLES:],
        block_index=state.block_index + 1,
        normaliser=normaliser,
        features=window[BLOCK_HOPS:],
        half_encoded=half_encoded,
    )
    index = state.block_index - 1
    if index < 0:
        return None, state
    controls, glided = _glide(state)
    latents, cache = _draw(speech, controls, index, state, model, sampler)
    values, pose = to_channels(latents, state.controls, state.pose)
    block = MotionBlock(start_frame=index * BLOCK_FRAMES, values=values)
    return block, replace(state, glided=glided, cache=cache, pose=pose)


def _glide(state: SessionState) -> tuple[Tensor, Float32Array]:
    """Conditions of the block's frames [1, T, 10]: all but gaze move smoothly to new controls."""
    target = condition(state.controls)
    value = state.glided
    rows = []
    for _ in range(BLOCK_FRAMES):
        value = value + np.float32(_GLIDE_PER_FRAME) * (target - value)
        value[:2] = target[:2]  # eyes jump: that is what saccades are
        rows.append(value)
    return torch.from_numpy(np.stack(rows))[None], value


def _draw(
    speech: Tensor,
    controls: Tensor,
    index: int,
    state: SessionState,
    model: MotionDiT,
    sampler: SamplerConfig,
) -> tuple[Float32Array, Cache]:
    """Sample the block's latents [T, D] and take them into the past."""
    reading = speech[..., -len(MOUTH) :]
    keep = keep_rows(sampler.guidance)
    rows = len(keep)
    conditions = model.condition(speech.expand(rows, -1, -1), controls.expand(rows, -1, -1), keep)
    cache = [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in state.cache]

    def denoise(z: Tensor, time: float) -> Tensor:
        predictions = model.denoise(z.expand(rows, -1, -1), time, conditions, cache)
        clean = combine(predictions, sampler.guidance)
        clean[..., MOUTH_SLICE].lerp_(reading, sampler.reading_weight)
        return clean

    noise = torch.from_numpy(_noise(state.seed, index, sampler))[None]
    latents = sample(denoise, noise, sampler.times)
    return latents[0].numpy(), model.remember(latents, conditions[:1], state.cache)


def _noise(seed: int, index: int, sampler: SamplerConfig) -> Float32Array:
    """Noise of a block, [T, D], a function of seed and frame index alone."""
    frames = range(index * BLOCK_FRAMES, (index + 1) * BLOCK_FRAMES)
    key = seed % 2**64
    draws = [
        np.random.Generator(np.random.Philox(key=key, counter=[0, frame, 0, 0])).standard_normal(
            LATENT_DIM, dtype=np.float32
        )
        for frame in frames
    ]
    noise = np.stack(draws)
    noise[:, MOUTH_SLICE] *= np.float32(sampler.mouth_temperature)
    noise[:, HEAD_SLICE] *= np.float32(sampler.head_temperature)
    noise[:, LATENT_INDEX["blink"]] *= np.float32(sampler.blink_temperature)
    noise[:, [LATENT_INDEX[n] for n in ("gazeYaw", "gazePitch")]] *= np.float32(
        sampler.gaze_temperature
    )
    return noise


def algorithmic_delay_ms(resampler: Resampler) -> float:
    """From the first sample of a block to the last that it depends on, ms."""
    model_ms = (BLOCK_SAMPLES + LOOK_AHEAD_SAMPLES) / SAMPLES_PER_FRAME * FRAME_DURATION_US / 1000
    return model_ms + 1000.0 * resampler.delay_samples / resampler.rate_hz
