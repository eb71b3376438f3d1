"""Teach the reading of sound to hear across rooms: resumable, and reproducible from its config.

The network is its own teacher. It hears a voice close by, and a copy of it learns to make the same
code of the same voice heard across a room, through noise or a telephone. Nothing but the audio
encoder is changed, and what a code means stays the same, so that all that follows it serves as
before and voices that are heard close by move lips as before.
"""

from __future__ import annotations

import copy
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.errors import InvalidInput
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_weights import load_weights, save_weights
from parlante.training.checkpoint import Checkpoint, follow, load_checkpoint, save_checkpoint
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.rooms.batches import Pairs, collect, draw_pairs
from parlante.training.rooms.config import RoomsConfig
from parlante.training.run_config import keep_config

__all__ = ["DEFAULT_CONFIG", "WEIGHTS", "differences", "train_rooms"]

logger = logging.getLogger(__name__)

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "motion_rooms.json"
WEIGHTS: Final = "motion.safetensors"
TELL_STEPS: Final = 100
_HELD_OUT: Final = 20  # clips for one that is held out
_TEST_BATCHES: Final = 3  # as many crops
_CLIP: Final = 1.0
_FEWEST: Final = 1e-6  # chance of a viseme


def train_rooms(config: RoomsConfig, start: Path, out: Path, cache: Path) -> Path:
    """Hear the clips that are not in the cache, then train, or go on with a run that was cut off.

    Args:
        config: The run.
        start: Weights to begin with, which teach as well.
        out: Folder for checkpoint and weights.
        cache: Folder of all takes.

    Returns:
        Path of the weights, float16 safetensors.

    Raises:
        InvalidInput: The weights hear with a pretrained speech encoder, which nothing here trains.
        EngineMissing: A voice is not installed.
    """
    teacher, _ = load_weights(start)
    if teacher.speech_encoder is not None:
        raise InvalidInput(
            f"{start.name} hears with a pretrained speech encoder, and only our own can be "
            "taught rooms; start with weights that were trained without one",
            reason="SPEECH_ENCODER_IS_FROZEN",
            field="start",
        )
    out.mkdir(parents=True, exist_ok=True)
    keep_config(config, out)
    heard = collect(config, cache)
    clips = np.random.default_rng(0).permutation(len(heard))
    num_held_out = max(1, len(clips) // _HELD_OUT)
    testing, training = clips[:num_held_out], clips[num_held_out:]
    test = draw_pairs(
        heard, testing, config, _TEST_BATCHES * config.batch_size, np.random.default_rng(5)
    )
    run = _Run(config, teacher, load_checkpoint(out / "checkpoint.pt"))
    started = time.monotonic()
    for step in range(run.first, config.num_steps):
        rng = np.random.default_rng((config.seed, step))
        run.step(step, draw_pairs(heard, training, config, config.batch_size, rng))
        if (step + 1) % TELL_STEPS == 0:
            pace_s = (time.monotonic() - started) / (step + 1 - run.first)
            logger.info("step %d, %.2f s: held out %s", step + 1, pace_s, run.test(test))
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.num_steps:
            run.save(step + 1, out)
    return out / WEIGHTS


def differences(
    teacher: MotionDiT, pupil: MotionDiT, pairs: Pairs
) -> tuple[Tensor, Tensor, Tensor]:
    """Compare what two networks read of the same voices.

    Args:
        teacher: Hears them close by.
        pupil: Hears them badly.
        pairs: The voices.

    Returns:
        Mean square of the code's difference by that of the code; divergence of the names, nats;
        mean square of the mouth's difference, latent units. Gradients are the pupil's alone.
    """
    width = teacher.config.audio_width
    with torch.no_grad():
        told, told_mouth, told_names = teacher.read_audio(pairs.well, pairs.look)
    heard, mouth, names = pupil.read_audio(pairs.badly, pairs.look)
    told_code = told[..., :width]
    code = (heard[..., :width] - told_code).square().mean() / told_code.square().mean()
    chances = told_names.softmax(dim=-1)
    apart = chances * (chances.clamp_min(_FEWEST).log() - F.log_softmax(names, dim=-1))
    return code, apart.sum(dim=-1).mean(), (mouth - told_mouth).square().mean()


class _Run:
    """Pupil, optimiser and moving average."""

    def __init__(self, config: RoomsConfig, teacher: MotionDiT, stored: Checkpoint | None) -> None:
        self._config, self._teacher = config, teacher.requires_grad_(False)
        self._pupil = copy.deepcopy(teacher)
        self._pupil.audio_encoder.requires_grad_(True)
        self._moving = list(self._pupil.audio_encoder.parameters())
        self._optimizer = MuonAndAdamW(self._pupil, config.learning_rate)
        self._average = {name: t.clone() for name, t in self._pupil.state_dict().items()}
        self.first = 0
        if stored is not None:
            self._pupil.load_state_dict(stored.model)
            self._optimizer.load_state_dict(stored.optimizer)
            self._average, self.first = stored.average, stored.step
            logger.info("resumed at step %d", stored.step)

    def step(self, step: int, pairs: Pairs) -> None:
        """Learn from a batch."""
        config = self._config
        share = cosine_with_warmup(step, config.num_steps, config.warmup_steps)
        self._optimizer.set_lr(config.learning_rate * share)
        self._optimizer.zero_grad()
        code, names, mouth = differences(self._teacher, self._pupil, pairs)
        (code + config.naming_share * names + mouth).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._moving, _CLIP)
        self._optimizer.step()
        follow(self._average, self._pupil.state_dict(), step, config.average_decay)

    @torch.no_grad()
    def test(self, pairs: Pairs) -> str:
        """What the pupil, not its average, is off on clips that it does not learn from."""
        code, names, mouth = differences(self._teacher, self._pupil, pairs)
        return f"code {float(code):.3f} names {float(names):.3f} mouth {float(mouth):.3f}"

    def save(self, step: int, out: Path) -> None:
        """Write checkpoint and weights."""
        optimizer = self._optimizer.state_dict()
        state = Checkpoint(step, self._pupil.state_dict(), self._average, optimizer)
        save_checkpoint(state, out / "checkpoint.pt")
        save_weights(self._average, self._pupil.config, out / WEIGHTS)
