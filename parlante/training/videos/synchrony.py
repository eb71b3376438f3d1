"""Does the sound belong to the lips, and is it late? Compared with what a motion model reads.

Loudness says little about lips (real speakers: a correlation of 0.3, at any lag), so the mouth that
a trained model reads from the sound is set against the mouth that was measured.
Axis letters: T frames (25 Hz), S samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from parlante.models.audio_features import (
    DEFAULT_LOOK,
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    NUM_FEATURES,
    WINDOW_SAMPLES,
    NormaliserState,
    mel_energies,
    normalise,
)
from parlante.models.layers.causal_conv import CONTEXT_HOPS
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_space import LATENT_SCALE, MOUTH_SLICE
from parlante.models.motion_weights import load_weights
from parlante.training.corpus import FIRST_WINDOW_SAMPLE
from parlante.training.videos.cleaning import Segment
from parlante.training.videos.lips import aperture_of, opening_of
from parlante.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

__all__ = ["LipReader", "Synchrony", "compare", "open_lip_reader", "shift"]

Float64Array = npt.NDArray[np.float64]

LipReader = Callable[[Float32Array], Float64Array]
"""Sound, float32 [S] at 16 kHz -> the lips' opening that it sounds like, float64 [S // 640]."""

MAX_OFFSET_FRAMES: Final = 5  # 200 ms
MIN_FRAMES: Final = 150  # 6 s: less proves nothing
MIN_CORRELATION: Final = 0.25  # real speakers have 0.35 to 0.5, another voice 0.0 +- 0.1
MIN_EVIDENCE: Final = 5.0  # the least correlation times the root of the frames: chance has 2 to 3
MIN_GAIN: Final = 0.04  # over no offset, to move the sound
MIN_OFFSET_MS: Final = 25.0
# A face that long under a voice that is not its own is left out.
STRANGE_FRAMES: Final = 250
STRANGE_CORRELATION: Final = 0.05
_CHUNK_FRAMES: Final = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Synchrony:
    """How sound and lips go together.

    Attributes:
        offset_ms: How much later the sound is than the lips; 0 where that is not clear.
        correlation: Of measured and read opening at that offset, over all segments.
        is_clear: Whether the offset can be trusted.
        by_segment: Correlation of each segment at that offset.
    """

    offset_ms: float
    correlation: float
    is_clear: bool
    by_segment: tuple[float, ...]

    def is_strange(self, index: int, segment: Segment) -> bool:
        """Whether a segment's face does not speak what is heard."""
        return segment.num_frames >= STRANGE_FRAMES and self.by_segment[index] < STRANGE_CORRELATION


def open_lip_reader(weights: Path) -> LipReader:
    """Read lips from sound with the audio encoder of motion weights.

    Raises:
        FailedPrecondition: The weights cannot be read.
    """
    model, _ = load_weights(weights)
    return lambda audio: _read(model, audio)


@torch.inference_mode()
def _read(model: MotionDiT, audio: Float32Array) -> Float64Array:
    num_frames = len(audio) // SAMPLES_PER_FRAME
    padded = np.concatenate([audio, np.zeros(2 * SAMPLES_PER_FRAME + WINDOW_SAMPLES, np.float32)])
    state = NormaliserState.fresh(1)
    context = np.zeros((1, CONTEXT_HOPS, NUM_FEATURES), np.float32)
    openings = []
    for start in range(0, num_frames, _CHUNK_FRAMES):
        count = min(_CHUNK_FRAMES, num_frames - start)
        first = FIRST_WINDOW_SAMPLE + start * SAMPLES_PER_FRAME
        span = (count * HOPS_PER_FRAME - 1) * HOP_SAMPLES + WINDOW_SAMPLES
        features, state = normalise(mel_energies(padded[first : first + span])[None], state)
        joined = np.concatenate([context, features], axis=1)
        context = joined[:, -CONTEXT_HOPS:]
        mouth = _read_mouth(model, torch.from_numpy(joined))
        openings.append(opening_of(mouth * LATENT_SCALE[MOUTH_SLICE]))
    return np.concatenate(openings) if openings else np.zeros(0)


def _read_mouth(model: MotionDiT, features: torch.Tensor) -> Float64Array:
    """Mouth latents [T, 9] that the model reads from features [1, CONTEXT_HOPS + 4 T, F]."""
    _, mouth, _ = model.read_audio(features, torch.tensor([DEFAULT_LOOK]))
    return mouth[0].numpy().astype(np.float64)


def compare(segments: list[Segment], read: Float64Array) -> Synchrony:
    """Compare measured lips with those read from the sound of the whole video.

    Args:
        segments: On the video's clock.
        read: Opening of a `LipReader` [T'].
    """
    lags = np.arange(-MAX_OFFSET_FRAMES - 1, MAX_OFFSET_FRAMES + 2)
    scores = np.array(
        [[_correlation(segment, read, int(lag)) for lag in lags] for segment in segments]
    )
    if not len(scores):
        return Synchrony(offset_ms=0.0, correlation=0.0, is_clear=False, by_segment=())
    weights = np.array([segment.num_frames for segment in segments], np.float64)
    # A face under another's voice says nothing about the offset.
    weights *= scores.max(axis=1) > MIN_CORRELATION / 2
    if not weights.any():
        weights[:] = 1.0
    pooled = weights @ scores / weights.sum()
    zero = MAX_OFFSET_FRAMES + 1
    best = int(np.argmax(pooled[1:-1])) + 1
    offset = float(lags[best]) + _peak(pooled[best - 1 : best + 2])
    offset_ms = 1000.0 * offset / FRAME_RATE_HZ
    is_clear = bool(
        weights.sum() >= MIN_FRAMES
        and pooled[best] >= max(MIN_CORRELATION, MIN_EVIDENCE / np.sqrt(weights.sum()))
        and pooled[best] == pooled.max()
        and (pooled[best] - pooled[zero] >= MIN_GAIN or best == zero)
    )
    if not is_clear or abs(offset_ms) < MIN_OFFSET_MS:
        best, offset_ms = zero, 0.0
    return Synchrony(
        offset_ms=offset_ms,
        correlation=float(pooled[best]),
        is_clear=is_clear,
        by_segment=tuple(float(score) for score in scores[:, best]),
    )


def _correlation(segment: Segment, read: Float64Array, lag: int) -> float:
    """Of the segment's lips with the sound `lag` frames later."""
    frames = np.arange(segment.start_frame, segment.end_frame) + lag
    inside = (frames >= 0) & (frames < len(read))
    measured = aperture_of(segment.raw)[inside]
    heard = read[frames[inside]]
    if inside.sum() < FRAME_RATE_HZ or measured.std() < 1e-6 or heard.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(measured, heard)[0, 1])


def _peak(three: Float64Array) -> float:
    """Where a parabola through three values has its top, relative to the middle one."""
    curve = three[0] - 2.0 * three[1] + three[2]
    if curve >= -1e-9:
        return 0.0
    return float(np.clip(0.5 * (three[0] - three[2]) / curve, -0.5, 0.5))


def shift(audio: Float32Array, offset_ms: float) -> Float32Array:
    """Take the offset out of the sound: what was late comes earlier, zeros fill up."""
    samples = round(offset_ms * SAMPLES_PER_FRAME * FRAME_RATE_HZ / 1000.0)
    out = np.zeros_like(audio)
    if samples >= 0:
        out[: len(audio) - samples] = audio[samples:]
    else:
        out[-samples:] = audio[:samples]
    return out
