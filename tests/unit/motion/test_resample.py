"""The streaming resampler."""

import numpy as np
import pytest
import soxr

from parlante.errors import InvalidInput
from parlante.media.resample import KERNEL_HALF_S, Resampler

RATES = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 47_999, 48_000]


def _tone(rate_hz: int, hz: float, seconds: float = 0.5) -> np.ndarray:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * hz * time_s) * 16_000).astype(np.int16)


@pytest.mark.parametrize("rate_hz", RATES)
def test_resampler_keeps_a_tone_in_place(rate_hz):
    resampler = Resampler(rate_hz)
    output, _ = resampler.push(resampler.start(), _tone(rate_hz, 1000.0))
    expected = np.sin(2 * np.pi * 1000.0 * np.arange(len(output)) / 16_000) * 16_000 / 32_768
    assert len(output) >= 0.5 * 16_000 - 16_000 * KERNEL_HALF_S - 2
    np.testing.assert_allclose(output[64:], expected[64:], atol=2e-3)


@pytest.mark.parametrize("rate_hz", RATES)
def test_resampler_does_not_care_about_chunks(rate_hz):
    rng = np.random.default_rng(rate_hz)
    samples = rng.integers(-20_000, 20_000, rate_hz // 5).astype(np.int16)
    resampler = Resampler(rate_hz)
    whole, _ = resampler.push(resampler.start(), samples)
    state, parts = resampler.start(), []
    for part in np.array_split(samples, 37):
        out, state = resampler.push(state, part)
        parts.append(out)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_resampler_agrees_with_soxr_on_speech_frequencies():
    rng = np.random.default_rng(0)
    time_s = np.arange(24_000) / 48_000
    signal = sum(
        np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) for hz in (150, 700, 2500, 5200)
    )
    samples = (signal * 5_000).astype(np.int16)
    resampler = Resampler(48_000)
    ours, _ = resampler.push(resampler.start(), samples)
    theirs = soxr.resample(samples / 32_768, 48_000, 16_000)[: len(ours)]
    error = ours[200:-200] - theirs[200 : len(ours) - 200]
    assert np.sqrt((error**2).mean()) < 1e-3


def test_resampler_removes_what_would_alias():
    resampler = Resampler(48_000)
    output, _ = resampler.push(resampler.start(), _tone(48_000, 11_000.0))
    assert np.abs(output[100:]).max() < 2e-3


@pytest.mark.parametrize("rate_hz", [0, -16_000, 7_999, 48_001])
def test_resampler_refuses_other_rates(rate_hz):
    with pytest.raises(InvalidInput) as caught:
        Resampler(rate_hz)
    assert caught.value.reason == "UNSUPPORTED_SAMPLE_RATE"
