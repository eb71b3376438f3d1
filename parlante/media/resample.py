"""Streaming resampling to 16 kHz with all state in a value.

A windowed-sinc interpolator, as soxr is one, but with a state that can be seen, copied and sent
away, and a short, fixed delay of 2 ms. Every output sample is a dot product of its own, placed by
integer arithmetic, so how the input was cut into chunks cannot matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.types import (
    MAX_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    Float32Array,
    Int16Array,
)

KERNEL_HALF_S: Final = 0.002
_KAISER_BETA: Final = 6.8  # 70 dB of stop band
_TRANSITION_HZ: Final = 1080.0  # that such a kernel of 4 ms needs


@dataclass(frozen=True, slots=True, eq=False)
class ResamplerState:
    """Where a stream stands.

    Attributes:
        tail: float32 [S], input that later output still needs.
        first_sample: Position of `tail[0]` in the input; negative before the start.
        num_outputs: Output samples given so far.
    """

    tail: Float32Array
    first_sample: int
    num_outputs: int


class Resampler:
    """int16 at any rate from 8 to 48 kHz -> float32 at 16 kHz in [-1, 1]."""

    def __init__(self, rate_hz: int) -> None:
        if not MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise InvalidInput(
                f"rate_hz must be in [{MIN_SAMPLE_RATE_HZ}, {MAX_SAMPLE_RATE_HZ}]; got {rate_hz}; "
                "resample before sending",
                reason="UNSUPPORTED_SAMPLE_RATE",
                field="rate_hz",
            )
        self.rate_hz = rate_hz
        self._identity = rate_hz == MODEL_SAMPLE_RATE_HZ
        self._half = 0 if self._identity else int(KERNEL_HALF_S * rate_hz)

    @property
    def delay_samples(self) -> int:
        """Input samples beyond an output's own time that it depends on."""
        return self._half

    def start(self) -> ResamplerState:
        """Return the state before the first sample: silence."""
        return ResamplerState(np.zeros(self._half, np.float32), -self._half, 0)

    def push(
        self, state: ResamplerState, samples: Int16Array
    ) -> tuple[Float32Array, ResamplerState]:
        """Take input, give all output that is now certain.

        Args:
            state: Of the stream; not modified.
            samples: int16 [S] that follow what came before.

        Returns:
            float32 [N] at 16 kHz and the next state.
        """
        signal = np.concatenate([state.tail, samples.astype(np.float32) / np.float32(32768.0)])
        end = state.first_sample + len(signal)
        first = state.num_outputs
        if self._identity:
            return signal, ResamplerState(signal[:0], end, first + len(signal))
        # Output n sits at n * rate / 16000 of the input and needs `half` samples after it.
        last = max(first, (end - self._half - 1) * MODEL_SAMPLE_RATE_HZ // self.rate_hz + 1)
        position = np.arange(first, last, dtype=np.int64) * self.rate_hz
        base = position // MODEL_SAMPLE_RATE_HZ
        step = math.gcd(self.rate_hz, MODEL_SAMPLE_RATE_HZ)
        phase = (position % MODEL_SAMPLE_RATE_HZ) // step
        if last > first:
            windows = np.lib.stride_tricks.sliding_window_view(signal, 2 * self._half)
            window = windows[base - state.first_sample + 1 - self._half]
            output = np.einsum("nt,nt->n", window, _kernels(self.rate_hz)[phase])
        else:
            output = np.zeros(0, np.float32)
        keep_from = last * self.rate_hz // MODEL_SAMPLE_RATE_HZ + 1 - self._half
        cut = min(len(signal), max(0, keep_from - state.first_sample))
        return output, ResamplerState(signal[cut:].copy(), state.first_sample + cut, last)


@lru_cache(maxsize=8)
def _kernels(rate_hz: int) -> Float32Array:
    """One kernel per distinct fraction of an input sample, float32 [phases, 2 * half]."""
    half = int(KERNEL_HALF_S * rate_hz)
    num_phases = MODEL_SAMPLE_RATE_HZ // math.gcd(rate_hz, MODEL_SAMPLE_RATE_HZ)
    fraction = np.arange(num_phases)[:, None] / num_phases
    distance = np.arange(1 - half, half + 1) - fraction  # input samples
    cutoff = (min(rate_hz, MODEL_SAMPLE_RATE_HZ) - _TRANSITION_HZ) / rate_hz
    edge = np.clip(1.0 - (distance / half) ** 2, 0.0, None)
    window = np.i0(_KAISER_BETA * np.sqrt(edge)) / np.i0(_KAISER_BETA)
    kernels = np.sinc(cutoff * distance) * window
    kernels /= kernels.sum(axis=1, keepdims=True)
    kernels.setflags(write=False)
    return np.asarray(kernels, dtype=np.float32)
