"""What comes into a motion stream: the sound that it speaks, and what the user says."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.media.resample import Resampler
from parlante.types import FRAME_RATE_HZ, AudioChunk, Int16Array, ListeningChunk
from services.motion.session import SessionState, num_made

__all__ = ["attend", "check_chunk", "hear"]

MAX_HEARD_FRAMES: Final = 125  # of the user ahead of the motion; more is not kept


def check_chunk(state: SessionState, chunk: AudioChunk) -> None:
    """Raise `InvalidInput` unless the chunk continues the stream's sound."""
    _check_samples(chunk.samples)
    if chunk.start_sample != state.num_samples:
        gap = chunk.start_sample > state.num_samples
        raise InvalidInput(
            f"audio must continue at sample {state.num_samples}; got a chunk that starts at "
            f"{chunk.start_sample}; send every sample once, in order, from 0",
            reason="AUDIO_GAP" if gap else "AUDIO_OVERLAP",
            field="start_sample",
        )


def _check_samples(samples: Int16Array) -> None:
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise InvalidInput(
            f"audio samples must be int16 [S]; got {samples.dtype} "
            f"{list(samples.shape)}; send 16-bit mono",
            reason="BAD_AUDIO_FORMAT",
            field="samples",
        )


def hear(
    state: SessionState, samples: np.ndarray, resampler: Resampler, *, is_padding: bool = False
) -> SessionState:
    """Append int16 samples [S] to the stream; padding does not count as input."""
    heard, after = resampler.push(state.resampler, samples)
    counted = 0 if is_padding else len(samples)
    rounded = np.clip(np.round(heard * 32768.0), -32768, 32767).astype(np.int16)
    return replace(
        state,
        num_samples=state.num_samples + counted,
        resampler=after,
        audio=np.concatenate([state.audio, rounded]),
    )


def attend(state: SessionState, chunk: ListeningChunk, rate_hz: int) -> SessionState:
    """Take what the user says; sound of frames that are made already, or far ahead, is left out.

    Raises:
        InvalidInput: It goes back in time.
    """
    _check_samples(chunk.samples)
    if chunk.start_sample < state.heard_samples:
        raise InvalidInput(
            f"listening audio must not go back behind sample {state.heard_samples}; got a chunk "
            f"that starts at {chunk.start_sample}; gaps are allowed, overlaps are not",
            reason="LISTENING_OVERLAP",
            field="start_sample",
        )
    first_frame = num_made(state)
    positions = chunk.start_sample + np.arange(len(chunk.samples), dtype=np.int64)
    frames = positions * FRAME_RATE_HZ // rate_hz - first_frame
    kept = (frames >= 0) & (frames < MAX_HEARD_FRAMES)
    squares = np.square(chunk.samples[kept].astype(np.float64) / 32768.0)
    power = np.bincount(frames[kept], squares, minlength=len(state.heard)) if kept.any() else None
    heard = state.heard
    if power is not None:
        heard = (power * FRAME_RATE_HZ / rate_hz).astype(np.float32)
        heard[: len(state.heard)] += state.heard
    end = chunk.start_sample + len(chunk.samples)
    return replace(state, heard=heard, heard_samples=end)
