"""Shared pieces for the tests of the motion stage: a tiny random network and made-up sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.voice_net import VoiceNet, VoiceNetConfig
from parlante.types import AudioChunk, MotionConfig, MotionInput
from services.motion.engine import MotionEngine

torch.set_num_threads(1)

TINY = MotionDiTConfig(
    width=32, num_layers=2, num_heads=2, feed_forward=2, audio_width=16, past_frames=8
)


@pytest.fixture
def tiny_model() -> MotionDiT:
    """A network whose every part, also those that start at zero, does something."""
    torch.manual_seed(7)
    voice_net = VoiceNet(VoiceNetConfig(narrow=8, width=8, hidden=6)).eval().requires_grad_(False)
    model = MotionDiT(TINY, voice_net=voice_net)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
async def tiny_engine(tiny_model: MotionDiT) -> AsyncIterator[MotionEngine]:
    engine = MotionEngine(tiny_model, "tiny", SamplerConfig())
    yield engine
    await engine.aclose()


@pytest.fixture
async def engine() -> AsyncIterator[MotionEngine]:
    """The packaged weights."""
    engine = MotionEngine.load()
    yield engine
    await engine.aclose()


@pytest.fixture
def babble() -> Callable[..., np.ndarray]:
    """Make sound with formants and pauses: int16 [S]."""

    def make(seconds: float, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        time_s = np.arange(int(seconds * rate_hz)) / rate_hz
        voice = sum(
            np.sin(2 * np.pi * hz * time_s) * (1 + np.sin(2 * np.pi * beat * time_s))
            for hz, beat in ((140, 3.1), (640, 2.3), (1500, 4.2))
        )
        noise = 0.05 * rng.standard_normal(len(time_s))
        return ((voice + noise) * 3000).astype(np.int16)

    return make


@pytest.fixture
def feed() -> Callable[..., AsyncIterator[MotionInput]]:
    """Cut samples at given positions into a stream of chunks."""

    async def source(samples: np.ndarray, cuts: list[int]) -> AsyncIterator[MotionInput]:
        edges = [0, *cuts, len(samples)]
        for begin, end in pairwise(edges):
            yield AudioChunk(start_sample=begin, samples=samples[begin:end])

    return source


@pytest.fixture
def run() -> Callable[..., object]:
    """Collect a whole stream: float32 [T, 60]."""

    async def collect(
        engine: MotionEngine, inputs: AsyncIterator[MotionInput], config: MotionConfig
    ) -> np.ndarray:
        blocks = [block async for block in engine.stream(config, inputs)]
        next_frame = 0
        for block in blocks:
            assert block.start_frame == next_frame
            next_frame += len(block.values)
        return np.concatenate([block.values for block in blocks] or [np.zeros((0, 60))])

    return collect
