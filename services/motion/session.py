"""One motion stream: its state as a value, and the pure steps that move it on.

Sound goes in piece by piece; `advance` makes the next block of frames once all sound that it
depends on is there. Nothing here depends on how the sound was cut, on time, or on other streams.
What the state keeps is kept in few bits from the start, so that a stream that was stored and read
again (`checkpoint`) goes on to the bit as it would have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.media.resample import Resampler, ResamplerState
from parlante.models.audio_features import (
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    NUM_FEATURES,
    WINDOW_SAMPLES,
    NormaliserState,
    dequantise,
    look_ahead_samples,
    mel_energies,
    normalise,
    quantise,
    usual_spectrum,
)
from parlante.models.held_notes import voiced
from parlante.models.layers.causal_conv import CONTEXT_HOPS, FRAME_CONTEXT, HOP_CONTEXT
from parlante.models.lip_foresight import foresee
from parlante.models.lip_timing import linger, sounds_near
from parlante.models.listening import ListenerState, listen
from parlante.models.melody import (
    NUM_TONES,
    Melody,
    Tones,
    emphasis,
    follow_melody,
    liveliness,
    no_tones,
    tones_of,
    usual_melody,
    voicing,
)
from parlante.models.motion_channels import to_channels
from parlante.models.motion_dit import BLOCK_FRAMES, Cache, MotionDiT
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import (
    LATENT_DIM,
    LISTENING_SLICE,
    condition,
)
from parlante.models.pose_state import MOUTH_INTENSITY, PoseState
from parlante.models.speech_encoder import SpeechEncoder
from parlante.models.stress import stresses
from parlante.models.voice_net import EARLIER_HOPS, VoiceNet
from parlante.models.voices import SURE, follow, rest_without_voice
from parlante.types import (
    FRAME_RATE_HZ,
    Controls,
    Float32Array,
    Int16Array,
    MotionBlock,
    MotionConfig,
)
from services.motion.delay import BLOCK_SAMPLES, choose_look
from services.motion.drawing import Place, chances, draw, unhurried

BLOCK_HOPS: Final = BLOCK_FRAMES * HOPS_PER_FRAME
# Windows of one block; the next block's begin BLOCK_SAMPLES later.
SPAN_SAMPLES: Final = (BLOCK_HOPS - 1) * HOP_SAMPLES + WINDOW_SAMPLES
_GLIDE_PER_FRAME: Final = 1.0 - math.exp(-1.0 / (0.03 * FRAME_RATE_HZ))  # 90 % in 0.07 s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionState:
    """All that a stream carries from block to block.

    Attributes:
        seed: Of the stream.
        look: Index into `LOOK_AHEAD_HOPS`.
        num_samples: Input samples so far, at the input's rate.
        resampler: State of the rate converter.
        audio: int16 [S] at 16 kHz that is not used up; begins with the next block's first window.
        sound: int16 [S], what came before `audio`, as far as a speech encoder hears back from it;
            empty where there is none.
        block_index: Next block; negative ones only warm up the features.
        normaliser: Running level and spectrum.
        features: int8 [CONTEXT_HOPS, F], the encoder's past as `quantise` keeps it.
        tones: int8 [NUM_TONES, 2], the voice's pitch until now, see `melody`.
        melody: float64 [3], how lively it speaks.
        half_encoded: float32 [1, A, FRAME_CONTEXT], the same, half-way through the encoder.
        controls: In force.
        glided: float32 [CONDITION_DIM], conditions as smoothed so far.
        latents: float16 [P, D], past frames.
        cache: Keys and values of the past frames.
        pose: Where the head is.
        listener: How loud the user is.
        heard: float32 [K], mean square of the user's sound in the next block's frames and later.
        heard_samples: Where the user's sound ends, at the input's rate.
        sure: How sure it was at the last frame that there is a voice, see `voices`.
        voice_memory: float16 [H], what `VoiceNet` remembers; empty where there is none.
    """

    seed: int
    look: int
    num_samples: int
    resampler: ResamplerState
    audio: Int16Array
    sound: Int16Array
    block_index: int
    normaliser: NormaliserState
    features: npt.NDArray[np.int8]
    half_encoded: Tensor
    controls: Controls
    glided: Float32Array
    latents: npt.NDArray[np.float16]
    cache: Cache
    pose: PoseState
    listener: ListenerState = field(default_factory=ListenerState)
    heard: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))
    heard_samples: int = 0
    sure: float = SURE
    voice_memory: npt.NDArray[np.float16] = field(default_factory=lambda: np.zeros(0, np.float16))
    tones: Tones = field(default_factory=no_tones)
    melody: Melody = field(default_factory=usual_melody)


@torch.inference_mode()
def start(config: MotionConfig, resampler: Resampler, model: MotionDiT) -> SessionState:
    """Return the state of a stream before its first sample."""
    look = choose_look(config.delay_budget_ms, resampler)
    num_warm_up, pre_roll = _lead_in(look)
    features = np.zeros((CONTEXT_HOPS, NUM_FEATURES), np.int8)
    return SessionState(
        seed=config.seed,
        look=look,
        num_samples=0,
        resampler=resampler.start(),
        audio=np.zeros(pre_roll, np.int16),
        sound=np.zeros(num_sound(look, model), np.int16),
        block_index=-num_warm_up,
        normaliser=NormaliserState.fresh(1),
        features=features,
        half_encoded=half_encode(features, look, model),
        controls=config.controls,
        glided=condition(config.controls),
        latents=np.zeros((0, LATENT_DIM), np.float16),
        cache=model.empty_cache(1),
        pose=_at_rest(PoseState.settled(config.controls)),
        voice_memory=np.zeros(num_remembered(model), np.float16),
    )


def _at_rest(pose: PoseState) -> PoseState:
    """Begin with the portrait's own mouth: it glides into the first sound within 0.2 s."""
    intensity = pose.intensity.copy()
    intensity[MOUTH_INTENSITY] = 0.0
    return replace(pose, intensity=intensity)


def _lead_in(look: int) -> tuple[int, int]:
    """Blocks that only warm up, and samples of silence before the first of them."""
    ahead = look_ahead_samples(look)
    num_warm_up = -(-ahead // BLOCK_SAMPLES)
    return num_warm_up, num_warm_up * BLOCK_SAMPLES - (BLOCK_SAMPLES + ahead - SPAN_SAMPLES)


def num_sound(look: int, model: MotionDiT) -> int:
    """Samples of `SessionState.sound`: windows of a block end with its look-ahead."""
    if model.speech_encoder is None:
        return 0
    ahead = look_ahead_samples(look)
    return model.speech_encoder.config.context_samples + BLOCK_SAMPLES + ahead - SPAN_SAMPLES


def num_remembered(model: MotionDiT) -> int:
    """Numbers of `SessionState.voice_memory`."""
    return 0 if model.voice_net is None else model.voice_net.config.hidden


def _look_tensor(look: int) -> Tensor:
    return torch.tensor([look])


def half_encode(features: npt.NDArray[np.int8], look: int, model: MotionDiT) -> Tensor:
    """Half-encode the past [CONTEXT_HOPS, F] block by block, as a stream does.

    Nothing of it is used, and given, where a speech encoder hears in its place.
    """
    if model.speech_encoder is not None:
        return torch.zeros(1, model.config.audio_width, 0)
    parts = []
    for begin in range(0, CONTEXT_HOPS - HOP_CONTEXT, BLOCK_HOPS):
        window = dequantise(features[begin : begin + HOP_CONTEXT + BLOCK_HOPS])
        hops = torch.from_numpy(window)[None]
        parts.append(model.mel_encoder.read_hops(hops))
    return torch.cat(parts, dim=2)[:, :, -FRAME_CONTEXT:]


def recall(latents: npt.NDArray[np.float16], model: MotionDiT) -> Cache:
    """Make the cache of past frames [P, D] again, block by block, as a stream does."""
    cache = model.empty_cache(1)
    for begin in range(0, len(latents), BLOCK_FRAMES):
        block = torch.from_numpy(latents[begin : begin + BLOCK_FRAMES].astype(np.float32))
        cache = model.remember(block[None], cache)
    return cache


def num_frames(state: SessionState, rate_hz: int) -> int:
    """Frames that the sound so far is worth: ceil(samples * 25 / rate)."""
    return -(-state.num_samples * FRAME_RATE_HZ // rate_hz)


def num_made(state: SessionState) -> int:
    """Frames made so far."""
    return max(0, state.block_index) * BLOCK_FRAMES


def is_ready(state: SessionState) -> bool:
    """Whether all sound that the next block depends on is there."""
    return len(state.audio) >= SPAN_SAMPLES


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A block that only the network's answer is missing of.

    Attributes:
        place: Which block of which stream.
        speech: Speech code, [1, T, audio_width + NUM_READ].
        controls: [1, T, CONDITION_DIM].
        sounding: bool [T], in which frames there is sound close by.
        sure: float32 [T], how sure it is that a voice is heard.
        stressed: float32 [T], how much the voice stresses each frame.
        lively: How lively it speaks, [-1, 1].
    """

    place: Place
    speech: Tensor
    controls: Tensor
    sounding: npt.NDArray[np.bool_]
    sure: Float32Array
    stressed: Float32Array
    lively: float


def advance(
    state: SessionState, model: MotionDiT, sampler: SamplerConfig
) -> tuple[MotionBlock | None, SessionState]:
    """Make the next block; None for one that only warms up. Needs `is_ready`."""
    draft, state = begin(state, model)
    if draft is None:
        return None, state
    return finish(draft, draw_draft(draft, state, model, sampler), state, model)


@torch.inference_mode()
def begin(state: SessionState, model: MotionDiT) -> tuple[Draft | None, SessionState]:
    """Read the next block's sound and controls; None for one that only warms up."""
    index = state.block_index
    sure, state = _hear(state, model)
    speech: Tensor | None
    if model.speech_encoder is None:
        speech, state = _read_mel(state, model)
    else:
        speech, state = _read_windows(state, model, model.speech_encoder)
    if speech is None or index < 0:
        return None, state
    controls, state = _conditions(state)
    features, ahead = dequantise(state.features), look_ahead_samples(state.look)
    if model.voice_net is not None:
        pitched = voicing(state.tones, BLOCK_FRAMES, ahead)
        share = voiced(features, usual_spectrum(state.normaliser)[0], sure, pitched, ahead)
        speech = model.without_silence(speech, torch.from_numpy(share))
    sounding = sounds_near(features, BLOCK_FRAMES, ahead)
    stressed = stresses(features, BLOCK_FRAMES, ahead)
    stressed = stressed * emphasis(state.tones, state.melody, BLOCK_FRAMES, ahead)
    lively = liveliness(state.melody)
    return Draft(
        Place(state.seed, index), speech, controls, sounding, sure, stressed, lively
    ), state


@torch.inference_mode()
def draw_draft(
    draft: Draft, state: SessionState, model: MotionDiT, sampler: SamplerConfig
) -> npt.NDArray[np.float16]:
    """Draw a draft's latents in this process, float16 [T, D]."""
    return draw(draft.speech, draft.controls, draft.place, state.cache, model, sampler)


@torch.inference_mode()
def finish(
    draft: Draft, latents: npt.NDArray[np.float16], state: SessionState, model: MotionDiT
) -> tuple[MotionBlock, SessionState]:
    """Turn a draft's latents, float16 [T, D], into motion, and remember them."""
    latents = unhurried(latents, state.latents)
    attention = draft.controls[0, :, LISTENING_SLICE].numpy()
    wide, before = latents.astype(np.float32), state.latents.astype(np.float32)
    shaped = foresee(wide, draft.speech, model)
    drawn = rest_without_voice(linger(shaped, before, draft.sounding), draft.sure)
    chance = chances(draft.place)
    values, pose = to_channels(
        drawn, state.controls, state.pose, chance, attention, draft.stressed, draft.lively
    )
    block = MotionBlock(start_frame=draft.place.block_index * BLOCK_FRAMES, values=values)
    past = np.concatenate([state.latents, latents])[-model.config.past_frames :]
    cache = model.remember(torch.from_numpy(wide)[None], state.cache)
    return block, replace(state, latents=past, cache=cache, pose=pose)


def _hear(state: SessionState, model: MotionDiT) -> tuple[Float32Array, SessionState]:
    """Take in the features of the block's sound: how sure of a voice [T], and the next state."""
    audio = state.audio[:SPAN_SAMPLES].astype(np.float32) / np.float32(32768.0)
    fresh, normaliser = normalise(mel_energies(audio)[None], state.normaliser)
    features = np.concatenate([state.features[BLOCK_HOPS:], quantise(fresh[0])])
    new = tones_of(audio)
    tones = np.concatenate([state.tones, new])[-NUM_TONES:]
    melody = follow_melody(state.melody, tones, len(new))
    state = replace(state, features=features, normaliser=normaliser, tones=tones, melody=melody)
    if model.voice_net is None:
        return np.full(BLOCK_FRAMES, SURE, np.float32), state
    chances, memory = _voices(state, model.voice_net)
    sure = follow(chances, state.sure)
    return sure, replace(state, sure=float(sure[-1]), voice_memory=memory)


def _voices(state: SessionState, net: VoiceNet) -> tuple[Float32Array, npt.NDArray[np.float16]]:
    """How likely there is a voice in each frame [T] of the features' last block, and its memory."""
    window = dequantise(state.features[-(EARLIER_HOPS + BLOCK_HOPS) :])
    before = torch.from_numpy(state.voice_memory.astype(np.float32))[None, None]
    logits, memory = net(torch.from_numpy(window)[None], before)
    return torch.sigmoid(logits)[0].numpy(), memory[0, 0].numpy().astype(np.float16)


def _read_mel(state: SessionState, model: MotionDiT) -> tuple[Tensor, SessionState]:
    """Read the block's sound with our own encoder."""
    window = dequantise(state.features[-(HOP_CONTEXT + BLOCK_HOPS) :])
    speech, half_encoded = model.read_audio_live(
        torch.from_numpy(window)[None], state.half_encoded, _look_tensor(state.look)
    )
    return speech, replace(
        state,
        audio=state.audio[BLOCK_SAMPLES:],
        block_index=state.block_index + 1,
        half_encoded=half_encoded,
    )


def _read_windows(
    state: SessionState, model: MotionDiT, encoder: SpeechEncoder
) -> tuple[Tensor | None, SessionState]:
    """Read the block's sound with a pretrained encoder, which has nothing to warm up."""
    speech = None
    if state.block_index >= 0:
        heard = np.concatenate([state.sound, state.audio[:SPAN_SAMPLES]])
        window = heard.astype(np.float32) / np.float32(32768.0)
        context = encoder.config.context_samples
        features, _ = encoder.read_block(window[:context], window[context:], BLOCK_FRAMES)
        speech, _, _ = model.read_audio(features, _look_tensor(state.look))
    sound = np.concatenate([state.sound, state.audio[:BLOCK_SAMPLES]])[BLOCK_SAMPLES:]
    return speech, replace(
        state,
        audio=state.audio[BLOCK_SAMPLES:],
        sound=sound,
        block_index=state.block_index + 1,
    )


def _conditions(state: SessionState) -> tuple[Tensor, SessionState]:
    """Conditions of the block's frames [1, T, CONDITION_DIM].

    All but gaze move smoothly to new controls; the user is heard as they are.
    """
    target = condition(state.controls)
    value = state.glided
    rows = []
    for _ in range(BLOCK_FRAMES):
        value = value + np.float32(_GLIDE_PER_FRAME) * (target - value)
        value[:2] = target[:2]  # eyes jump: that is what saccades are
        rows.append(value)
    squares = np.zeros(BLOCK_FRAMES, np.float32)
    now = state.heard[:BLOCK_FRAMES]
    squares[: len(now)] = now
    attention, listener = listen(squares, state.listener)
    controls = np.stack(rows)
    controls[:, LISTENING_SLICE] = attention
    state = replace(state, glided=value, listener=listener, heard=state.heard[BLOCK_FRAMES:])
    return torch.from_numpy(controls)[None], state
