"""Training on a device: what would run on a GPU, as far as it can be seen without one.

A network on torch's `meta` device computes shapes alone: it refuses tensors of the CPU among its
own, and to tell a value, as a GPU would have to be waited for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.layers.causal_conv import CONTEXT_HOPS, AudioEncoder
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.motion_weights import load_weights
from parlante.training.batches import Batch
from parlante.training.checkpoint import load_checkpoint
from parlante.training.corpus import Corpus
from parlante.training.device import Hardware, choose_device
from parlante.training.loop import TrainingConfig, objective_of, train
from parlante.training.muon import Muon, MuonAndAdamW, orthogonalise, orthogonalise_all
from parlante.training.objective import Noise, draw_noise
from parlante.training.precision import runs_in_bfloat16
from parlante.training.takes import CLIP_FRAMES

TINY = TrainingConfig(
    model=MotionDiTConfig(
        width=16, num_layers=1, num_heads=2, feed_forward=2, audio_width=8, past_frames=8
    ),
    num_steps=5,
    reading_steps=2,
    batch_size=4,
    num_frames=16,
    warmup_steps=2,
    checkpoint_steps=10,
    bfloat16=False,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Noise in the shapes of a corpus."""
    rng = np.random.default_rng(0)
    clips = 4

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 1.0, (clips, *shape)).astype(np.float16)

    return Corpus(
        np.abs(3.0 * noise(CLIP_FRAMES * 4, 40)),
        noise(1, CLIP_FRAMES, LATENT_DIM),
        noise(1, CLIP_FRAMES, CONDITION_DIM),
        np.ones((clips, CLIP_FRAMES), np.float16),
        rng.integers(0, 16, (clips, CLIP_FRAMES)).astype(np.uint8),
    )


def _step_inputs(config: TrainingConfig, device: str) -> tuple[Batch, Noise]:
    B, T = config.batch_size, config.num_frames
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randn(B, CONTEXT_HOPS + 4 * T, 42, generator=generator),
        torch.randn(B, T, LATENT_DIM, generator=generator),
        torch.randn(B, T, CONDITION_DIM, generator=generator),
        torch.randint(0, 16, (B, T), generator=generator),
        torch.arange(B) % 4,
    )
    parts = (getattr(batch, name).to(device) for name in Batch.__slots__)
    noise = (torch.from_numpy(part).to(device) for part in draw_noise(config, B, generator))
    return Batch(*parts), Noise(*noise)


class _StaysOn(TorchDispatchMode):
    """Refuses operations that give a tensor on another device than the one named."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self.num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor):
                assert value.device.type == self._device, f"{func} on {value.device}"
        self.num += 1
        return made


def test_a_step_stays_on_the_device_and_never_waits_for_it() -> None:
    config = replace(TINY, model=MotionDiTConfig(width=64, num_heads=2))
    model = MotionDiT(config.model).to("meta")
    # Of AdamW, torch has a version for CUDA that stays there.
    optimizer = Muon([p for p in model.parameters() if p.ndim > 1], 1e-3)
    batch, noise = _step_inputs(config, "meta")
    objective = objective_of(model, config)
    with _StaysOn("meta") as seen:
        for loss in (objective.reading(batch), objective.whole(batch, noise)[0]):
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert seen.num > 500
