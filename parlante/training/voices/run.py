"""Train the network that hears voices: resumable, and reproducible from its config."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.voice_net import VoiceNet, save_voice_net
from parlante.training.checkpoint import Checkpoint, follow, save_checkpoint
from parlante.training.muon import cosine_with_warmup
from parlante.training.run_config import keep_config, stored_run
from parlante.training.voices.batches import VoiceBatch, draw_voices
from parlante.training.voices.config import VoicesConfig, read_voices_config
from parlante.training.voices.sounds import Sounds, collect

__all__ = ["DEFAULT_CONFIG", "WEIGHTS", "train_voices"]

logger = logging.getLogger(__name__)

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "voices.json"
WEIGHTS: Final = "voices.safetensors"
TELL_STEPS: Final = 50
_WEIGHT_DECAY, _CLIP = 0.01, 1.0


def train_voices(config: VoicesConfig, out: Path, cache: Path) -> Path:
    """Make the sounds that are not there yet, then train, or go on with a run that was cut off.

    Args:
        config: The run.
        out: Folder for checkpoint and weights.
        cache: Folder of all synthetic sounds.

    Returns:
        Path of the weights, float16 safetensors.

    Raises:
        InvalidInput: The folder holds a run of another size.
        EngineMissing: FluidSynth, the vocoder or a voice is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    stored = stored_run(out, config.model, lambda path: read_voices_config(path).model)
    keep_config(config, out)
    sounds, path = collect(config, cache), out / WEIGHTS
    torch.manual_seed(config.seed)
    net = VoiceNet(config.model)
    optimizer = torch.optim.AdamW(
        net.parameters(), config.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    average = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    first = 0
    if stored is not None:
        net.load_state_dict(stored.model)
        optimizer.load_state_dict(stored.optimizer)
        average, first = stored.average, stored.step
    reports: list[tuple[float, float]] = []
    started = time.monotonic()
    for step in range(first, config.num_steps):
        share = cosine_with_warmup(step, config.num_steps, config.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * share
        reports.append(_step(net, optimizer, _draw(sounds, config, step)))
        follow(average, net.state_dict(), step, config.average_decay)
        if (step + 1) % TELL_STEPS == 0:
            loss, right = np.mean(reports, axis=0)
            pace_s = (time.monotonic() - started) / (step + 1 - first)
            logger.info("step %d, %.2f s: loss %.3f right %.3f", step + 1, pace_s, loss, right)
            reports.clear()
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.num_steps:
            state = Checkpoint(step + 1, net.state_dict(), average, optimizer.state_dict())
            save_checkpoint(state, out / "checkpoint.pt")
            save_voice_net(average, config.model, path)
    return path


def _draw(sounds: Sounds, config: VoicesConfig, step: int) -> VoiceBatch:
    rng = np.random.default_rng((config.seed, 61, step))
    return draw_voices(sounds, config.batch_size, config.num_frames, rng)


def _step(
    net: VoiceNet, optimizer: torch.optim.Optimizer, batch: VoiceBatch
) -> tuple[float, float]:
    """Learn from a batch: the loss, and the share of frames that are told right."""
    features, wanted, weight = (
        torch.from_numpy(array) for array in (batch.features, batch.wanted, batch.weight)
    )
    logits, _ = net(features, torch.zeros(1, len(features), net.config.hidden))
    errors: Tensor = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    loss = (errors * weight).mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(net.parameters(), _CLIP)
    optimizer.step()
    return float(loss.detach()), float(((logits > 0) == (wanted > 0.5)).float().mean())
