"""Speech -> features a mouth can be read from, in a way that a live stream allows.

Log-mel bands at 100 Hz, moved against the frame clock by one constant look-ahead; every later
step is causal. Level and spectral colour are divided out by *running* estimates (never by the
statistics of a whole clip, which a live stream does not have): a peak follower for loudness and
an average of the speech spectrum, which starts at a typical one and moves to the speaker's own
within the first seconds of speech (running cepstral mean normalisation).

All state is in the values passed in and out. Axis letters: N mel frames, M mel bands, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

Float64Array = npt.NDArray[np.float64]

NUM_MELS: Final = 40
HOP_SAMPLES: Final = 160  # 10 ms
WINDOW_SAMPLES: Final = 400  # 25 ms
FFT_SIZE: Final = 512
MEL_RATE_HZ: Final = MODEL_SAMPLE_RATE_HZ // HOP_SAMPLES  # 100
HOPS_PER_FRAME: Final = MEL_RATE_HZ // FRAME_RATE_HZ  # 4
NUM_FEATURES: Final = NUM_MELS + 2

# 78 ms: with an 80 ms block and the 2 ms of the resampler's kernel, 160 ms in all.
LOOK_AHEAD_SAMPLES: Final = 1248
# What a stream may choose to hear beyond or short of that, in hops: 38, 78, 158, 238 ms ahead.
LOOK_AHEAD_HOPS: Final = (-4, 0, 8, 16)
DEFAULT_LOOK: Final = 1  # index into it
NATS: Final = 2.5  # of log energy, in a feature
FEATURE_STEPS: Final = 40.0  # features are kept to 1 / 40, so that a stream's state is small
MEL_LOW_HZ: Final = 60.0
MEL_HIGH_HZ: Final = 7600.0
ENERGY_FLOOR: Final = 1e-6  # per band and window; about -75 dBFS noise

PEAK_DECAY_PER_HOP: Final = 0.02  # nats; the loudness reference falls by 8.7 dB in a second
PEAK_START: Final = 3.0  # nats above the floor: speech at about -45 dBFS
SPEECH_MARGIN: Final = 3.0  # nats (13 dB) below the peak still count as speech
SPECTRUM_DECAY: Final = 1.0 - 1.0 / 800.0  # per hop: forgets within 8 s
SPECTRUM_PRIOR_HOPS: Final = 40.0  # weight of the typical spectrum, always there


def _hz_to_mel(hz: Float64Array) -> Float64Array:
    return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))


@lru_cache(maxsize=1)
def mel_filters() -> Float32Array:
    """Triangular mel filters, float32 [FFT_SIZE // 2 + 1, NUM_MELS], unit area."""
    bins_hz = np.fft.rfftfreq(FFT_SIZE, 1.0 / MODEL_SAMPLE_RATE_HZ)
    low_mel, high_mel = (float(mel) for mel in _hz_to_mel(np.array([MEL_LOW_HZ, MEL_HIGH_HZ])))
    edges = np.linspace(low_mel, high_mel, NUM_MELS + 2)
    edges_hz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - low) / (centre - low)
    falling = (high - bins_hz[:, None]) / (high - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters /= filters.sum(axis=0, keepdims=True)
    filters.setflags(write=False)
    return np.asarray(filters, dtype=np.float32)


@lru_cache(maxsize=1)
def _window() -> Float32Array:
    return np.hanning(WINDOW_SAMPLES).astype(np.float32)


def mel_energies(audio: Float32Array) -> Float32Array:
    """Energy per mel band of each full window.

    Args:
        audio: float32 [S] in [-1, 1] at 16 kHz.

    Returns:
        float32 [N, M], N = (S - WINDOW_SAMPLES) // HOP_SAMPLES + 1, not yet in the log domain.
    """
    windows = np.lib.stride_tricks.sliding_window_view(audio, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(windows * _window(), FFT_SIZE, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    energies: Float32Array = power @ mel_filters() / np.float32(WINDOW_SAMPLES)
    return energies


# Mean log energy above the floor of speech in each band, measured on the synthetic corpus.
TYPICAL_SPECTRUM: Final[Float64Array] = np.interp(
    np.linspace(0.0, 1.0, NUM_MELS),
    np.linspace(0.0, 1.0, 10),
    [5.0, 5.8, 4.4, 2.8, 2.2, 1.8, 1.8, 1.6, 1.4, 1.1],
)


@dataclass(frozen=True, slots=True, eq=False)
class NormaliserState:
    """Running estimates of a batch of streams.

    Attributes:
        peak: float64 [B], followed loudness, nats above the floor.
        weight: float64 [B], how much speech has been seen, in hops, forgetting.
        spectrum: float64 [B, M], weighted sum of log energies of speech.
    """

    peak: Float64Array = field(default_factory=lambda: np.full(1, PEAK_START))
    weight: Float64Array = field(default_factory=lambda: np.zeros(1))
    spectrum: Float64Array = field(default_factory=lambda: np.zeros((1, NUM_MELS)))

    @classmethod
    def fresh(cls, batch: int) -> NormaliserState:
        """Return the state before the first sample, for `batch` streams."""
        return cls(np.full(batch, PEAK_START), np.zeros(batch), np.zeros((batch, NUM_MELS)))


def normalise(
    energies: Float32Array, state: NormaliserState
) -> tuple[Float32Array, NormaliserState]:
    """Turn mel energies into level- and colour-free features, causally.

    Args:
        energies: float32 [B, N, M], as of `mel_energies`.
        state: Estimates after the hops before; not modified.

    Returns:
        float32 [B, N, M + 2] (log energies less the running speech spectrum; loudness against the
        running peak; absolute loudness), all of order one, and the next state.
    """
    log_energy = np.log(np.maximum(energies, ENERGY_FLOOR) / ENERGY_FLOOR).astype(np.float64)
    loudness = log_energy[:, :, 2:34].mean(axis=2)  # [B, N]
    num_hops = loudness.shape[1]
    # A decaying maximum is a running maximum on a tilted axis.
    tilt = PEAK_DECAY_PER_HOP * np.arange(1, num_hops + 1)
    peak = np.maximum.accumulate(np.maximum(loudness + tilt, state.peak[:, None]), axis=1) - tilt
    peak = np.maximum(peak, 1.0)
    speech = 1.0 / (1.0 + np.exp(-2.0 * (loudness - peak + SPEECH_MARGIN)))
    speech *= 1.0 / (1.0 + np.exp(-4.0 * (loudness - 2.0)))  # near silence is no speech
    weight, weight_end = _leaky_sum(speech[:, :, None], state.weight[:, None])
    spectrum, spectrum_end = _leaky_sum(speech[:, :, None] * log_energy, state.spectrum)
    centred = log_energy - _usual(spectrum, weight)
    features = np.concatenate(
        [
            np.clip(centred / NATS, -3.0, 3.0),
            np.clip((loudness - peak)[:, :, None] / NATS + 1.0, -3.0, 3.0),
            np.clip(loudness[:, :, None] / 4.0 - 1.0, -3.0, 3.0),
        ],
        axis=2,
    ).astype(np.float32)
    next_state = NormaliserState(peak[:, -1], weight_end[:, 0], spectrum_end)
    return features, next_state


def usual_spectrum(state: NormaliserState) -> Float64Array:
    """What the first `NUM_MELS` features of each stream are relative to: [B, M], nats."""
    return _usual(state.spectrum, state.weight[:, None])


def _usual(spectrum: Float64Array, weight: Float64Array) -> Float64Array:
    prior = SPECTRUM_PRIOR_HOPS
    return np.asarray((spectrum + prior * TYPICAL_SPECTRUM) / (weight + prior), np.float64)


def quantise(features: Float32Array) -> npt.NDArray[np.int8]:
    """Features as a stream keeps them: within +-3, in steps of 1 / 40."""
    return np.round(features * FEATURE_STEPS).astype(np.int8)


def dequantise(steps: npt.NDArray[np.int8]) -> Float32Array:
    """What `quantise` kept, float32."""
    return steps.astype(np.float32) / np.float32(FEATURE_STEPS)


def look_ahead_samples(look: int) -> int:
    """Samples at 16 kHz that a stream with this look-ahead hears beyond a block."""
    return LOOK_AHEAD_SAMPLES + LOOK_AHEAD_HOPS[look] * HOP_SAMPLES


class Windows(NamedTuple):
    """How windows of sound follow each other, samples at 16 kHz.

    Attributes:
        hop: From one to the next.
        size: Of each.
    """

    hop: int
    size: int


MEL_WINDOWS: Final = Windows(HOP_SAMPLES, WINDOW_SAMPLES)


def window_places(
    num_hops: int, num_frames: int, ahead: int, windows: Windows = MEL_WINDOWS
) -> Float32Array:
    """Where windows of sound are from the begin of each frame.

    Args:
        num_hops: N; the last window ends `ahead` samples after the last frame does.
        num_frames: T.
        ahead: Samples at 16 kHz.
        windows: The windows.

    Returns:
        float32 [T, N], samples from the begin of a frame to the middle of a window.
    """
    back = np.arange(num_hops)[::-1] * windows.hop + windows.size // 2
    left = (num_frames - np.arange(num_frames)) * SAMPLES_PER_FRAME + ahead
    return (left[:, None] - back[None]).astype(np.float32)


def frame_means(
    values: npt.NDArray[np.floating],
    num_frames: int,
    ahead: int,
    span: int = SAMPLES_PER_FRAME,
    windows: Windows = MEL_WINDOWS,
) -> Float64Array:
    """Mean of what windows have within so many samples from the begin of each frame.

    Args:
        values: [N]; the last window ends `ahead` samples after the last frame does.
        num_frames: T.
        ahead: Samples at 16 kHz.
        span: Samples at 16 kHz.
        windows: The windows.

    Returns:
        [T]; 0 where there is no window.
    """
    since = window_places(len(values), num_frames, ahead, windows)
    within = ((since >= 0) & (since < span)).astype(np.float32)
    return np.asarray(within @ values / np.maximum(within.sum(axis=1), 1.0))


def _leaky_sum(values: Float64Array, start: Float64Array) -> tuple[Float64Array, Float64Array]:
    """y[n] = SPECTRUM_DECAY y[n-1] + values[n] along axis 1, from y[-1] = start [B, D]."""
    zi = SPECTRUM_DECAY * start[:, None, :]
    sums, _ = lfilter([1.0], [1.0, -SPECTRUM_DECAY], values, axis=1, zi=zi)
    return sums, sums[:, -1]
