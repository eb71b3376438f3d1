"""The training loop of the motion model: resumable, and reproducible from its config.

Every step draws from generators seeded by (seed, step), so a resumed run continues exactly as an
unbroken one.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from parlante.errors import InvalidInput
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_space import MOUTH_SLICE
from parlante.models.motion_weights import load_matching, save_weights
from parlante.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from parlante.training.batches import BATCH_FIELDS, Batch, draw_arrays
from parlante.training.checkpoint import (
    Checkpoint,
    follow,
    load_checkpoint,
    moved,
    save_checkpoint,
)
from parlante.training.corpus import Corpus, CorpusConfig
from parlante.training.device import Hardware, send
from parlante.training.foresight import fit_foresight
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.objective import Noise, Objective, draw_noise
from parlante.training.precision import runs_in_bfloat16
from parlante.training.prefetch import Arrays, drawn
from parlante.training.replay import Replay
from parlante.training.run_config import bad_config

logger = logging.getLogger(__name__)

TELL_STEPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A whole run.

    Attributes:
        corpora: What to train on, joined.
        model: Size of the network.
        speech_encoder: Pretrained encoder that hears in place of our own; None trains our own.
        num_steps: Optimiser steps.
        reading_steps: How many of them, at the beginning, train only the reading of sound, which
            costs a fraction of the whole.
        batch_size: B.
        num_frames: T of a crop; a multiple of the block.
        learning_rate: Peak, reached after `warmup_steps`, then falling as a cosine.
        warmup_steps: See above; the fall begins anew after the reading steps.
        keep_reading: Whether the reading of sound stays as it is in the weights to start with; then
            there are no `reading_steps`.
        naming_share: Weight of naming visemes from sound, a training aid.
        average_decay: Of the moving average of weights that is served.
        drop_condition: Probability of dropping each condition but the past.
        hide_past: Probability that a sequence's blocks see no past.
        past_noise: Upper end of the noise added to the past, so that errors do not add up.
        past_drift: Upper end of what the past's expression and brows are off as a whole, in every
            second sequence: the controls say which mood it is, not the mood it has been. Without
            it an avatar that is to be neutral fell into a smile and kept it.
        foresight_batches: From which the map of coming lip shapes is found, after all steps.
        checkpoint_steps: How often state is written.
        seed: Of everything after the corpus.
        bfloat16: Whether matrix products run in bfloat16; None: on a GPU, and where the processor
            has it. There it is 1.5 to 2 times faster, elsewhere ten times slower.

    Raises:
        InvalidInput: The speech encoder is not frozen, or what is kept is to be trained.
    """

    corpora: tuple[CorpusConfig, ...] = (CorpusConfig(),)
    model: MotionDiTConfig = field(default_factory=MotionDiTConfig)
    speech_encoder: SpeechEncoderConfig | None = None
    num_steps: int = 5000
    reading_steps: int = 0
    batch_size: int = 16
    num_frames: int = 96
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    keep_reading: bool = False
    naming_share: float = 0.3
    average_decay: float = 0.998
    drop_condition: float = 0.1
    hide_past: float = 0.15
    past_noise: float = 0.3
    past_drift: float = 3.0
    foresight_batches: int = 80
    checkpoint_steps: int = 250
    seed: int = 0
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        if self.speech_encoder is not None and not self.speech_encoder.frozen:
            raise InvalidInput(
                "the speech encoder must be frozen: its features are made once, before training; "
                "leave frozen at true",
                reason="BAD_SPEECH_ENCODER",
                field="frozen",
            )
        if self.keep_reading and self.reading_steps:
            raise bad_config("reading_steps", "0 where keep_reading is true", self.reading_steps)

    def load_speech_encoder(self) -> SpeechEncoder | None:
        """Load the encoder that the run needs, if it needs one."""
        return None if self.speech_encoder is None else SpeechEncoder.load(self.speech_encoder)


def train(
    config: TrainingConfig,
    corpus: Corpus,
    out: Path,
    start: Path | None = None,
    speech_encoder: SpeechEncoder | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Train, or go on with a run that was cut off.

    Args:
        config: The run.
        corpus: Its data; the last thirtieth of the clips is held out.
        out: Folder for checkpoint and weights.
        start: Weights to begin with instead of random ones; parts of another shape begin anew.
        speech_encoder: The one that has heard the corpus, if one has.
        hardware: What it runs on; None takes the CPU. A run may go on on another device.

    Returns:
        Path of the weights, float16 safetensors.
    """
    hardware = hardware or Hardware()
    out.mkdir(parents=True, exist_ok=True)
    stored = load_checkpoint(out / "checkpoint.pt")
    steps = range(0 if stored is None else stored.step, config.num_steps)
    held_out = max(1, corpus.num_clips // 30)
    training = range(corpus.num_clips - held_out)
    testing = range(corpus.num_clips - held_out, corpus.num_clips)
    draw = functools.partial(draw_step, config, corpus, training)
    # First of all, as processes are to be forked before a GPU is used.
    with drawn(draw, steps, hardware.num_workers) as batches:
        hardware.prepare()
        run = Run(config, hardware, start, stored, speech_encoder)
        test = functools.partial(_test, config, draw_held_out(config, corpus, testing))
        for step, arrays in zip(steps, batches, strict=True):
            run.step(step, arrays)
            if (step + 1) % TELL_STEPS == 0:
                run.tell(step)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.num_steps:
                run.save(step, out)
                logger.info("step %d held out: %s", step + 1, test(run.averaged(), hardware))
                run.clock.start()
        run.foresee(draw_again(config, corpus, training), out)
    return out / "motion.safetensors"


class Clock:
    """How fast steps go, what is between them left out."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._num_steps, self._started_s = 0, time.monotonic()

    def count(self) -> None:
        """Count a step."""
        self._num_steps += 1

    def rate_hz(self) -> float:
        """Steps per second since the beginning."""
        return self._num_steps / max(1e-9, time.monotonic() - self._started_s)


class Run:
    """Network, optimiser and moving average of a run on its device."""

    def __init__(
        self,
        config: TrainingConfig,
        hardware: Hardware,
        start: Path | None,
        stored: Checkpoint | None,
        speech_encoder: SpeechEncoder | None,
    ) -> None:
        self._config, self._hardware, self._device = config, hardware, hardware.device
        self._speech_encoder = speech_encoder
        torch.manual_seed(config.seed)
        self._model = MotionDiT(config.model, speech_encoder)
        if start is not None:
            load_matching(self._model, start)
        if config.keep_reading:
            for part in self._model.reading_parts:
                part.requires_grad_(False)
        self._model.to(self._device)
        self._optimizer = MuonAndAdamW(self._model, config.learning_rate)
        self._weights = self._model.state_dict()  # the tensors themselves, which steps change
        self._average = {name: tensor.clone() for name, tensor in self._weights.items()}
        if stored is not None:
            self._model.load_state_dict(stored.model)
            self._optimizer.load_state_dict(stored.optimizer)
            self._average = moved(stored.average, self._device)
            logger.info("resumed at step %d", stored.step)
        objective = objective_of(self._model, config)
        self._reading_loss = hardware.fused(objective.reading)
        self._whole_loss = hardware.fused(objective.whole)
        self._replays: dict[int, Replay] = {}  # by how many tensors a batch has: one or two kinds
        self._loss = torch.zeros(())
        self.clock = Clock()

    def step(self, step: int, arrays: Arrays) -> None:
        """Take one step; does not wait for the device."""
        config = self._config
        tensors = send(arrays, self._device)
        self._optimizer.set_lr(config.learning_rate * _schedule(step, config))
        if self._hardware.fuse == "graphs":
            loss = self._replay(tensors)
        else:
            self._optimizer.zero_grad()
            loss = self._loss_of(tensors)
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        follow(self._average, self._weights, step, config.average_decay)
        self._loss = loss.detach()
        self.clock.count()

    def _loss_of(self, tensors: Sequence[Tensor]) -> Tensor:
        batch, noise = parted(tensors)
        if noise is None:
            return self._reading_loss(batch)
        return self._whole_loss(batch, noise)[0]

    def _replay(self, tensors: Sequence[Tensor]) -> Tensor:
        kind = len(tensors)
        if kind not in self._replays:
            moving = [p for p in self._model.parameters() if p.requires_grad]
            self._replays[kind] = Replay(lambda batch: (self._loss_of(batch),), moving, tensors)
        return self._replays[kind](tensors)[0]

    def tell(self, step: int) -> None:
        """Log the loss of the last step and the speed; waits for the device."""
        loss = float(self._loss)
        rate_hz = self.clock.rate_hz()
        logger.info("step %d loss %.4f, %.4g steps per second", step + 1, loss, rate_hz)
        self.clock.start()

    def save(self, step: int, out: Path) -> None:
        """Write checkpoint and weights."""
        optimizer = self._optimizer.state_dict()
        state = Checkpoint(step + 1, self._model.state_dict(), self._average, optimizer)
        save_checkpoint(state, out / "checkpoint.pt")
        self._write(out)

    def _write(self, out: Path) -> None:
        heard_by = None if self._speech_encoder is None else self._speech_encoder.config
        save_weights(self._average, self._config.model, out / "motion.safetensors", heard_by)

    def foresee(self, batches: Iterator[Arrays], out: Path) -> None:
        """Find the map of coming lip shapes for the averaged weights, and write them."""
        heard = (on_device(arrays, self._device)[0] for arrays in batches)
        self._average["shape_map"].copy_(fit_foresight(self.averaged(), heard))
        self._write(out)

    def averaged(self) -> MotionDiT:
        """A network with the averaged weights, to be tested."""
        model = MotionDiT(self._config.model, self._speech_encoder)
        model.load_state_dict(self._average)
        return model.to(self._device).eval()


def objective_of(model: MotionDiT, config: TrainingConfig) -> Objective:
    """Losses of a network on the device where it lies."""
    device_type = next(model.parameters()).device.type
    bfloat16 = runs_in_bfloat16(config.bfloat16, device_type)
    return Objective(model, config.naming_share, bfloat16=bfloat16)


def draw_step(config: TrainingConfig, corpus: Corpus, clips: range, step: int) -> Arrays:
    """What a step takes: fields of `Batch`, and those of `Noise` where it trains the whole."""
    rng = np.random.default_rng((config.seed, 1, step))
    arrays = draw_arrays(corpus, clips, config.batch_size, config.num_frames, rng)
    if step < config.reading_steps:
        return arrays
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    return arrays + draw_noise(config, config.batch_size, generator)


def draw_again(config: TrainingConfig, corpus: Corpus, clips: range) -> Iterator[Arrays]:
    """Draw what the map of coming lip shapes is found from: fields of `Batch`."""
    for index in range(config.foresight_batches):
        rng = np.random.default_rng((config.seed, 3, index))
        yield draw_arrays(corpus, clips, config.batch_size, config.num_frames, rng)


def on_device(arrays: Arrays, device: torch.device) -> tuple[Batch, Noise | None]:
    """Send what a step takes."""
    return parted(send(arrays, device))


def parted(tensors: Sequence[Tensor]) -> tuple[Batch, Noise | None]:
    """Tell what a step takes apart: batch, and the noise of one that trains the whole."""
    batch, rest = Batch(*tensors[: len(BATCH_FIELDS)]), tensors[len(BATCH_FIELDS) :]
    return batch, Noise(*rest) if rest else None


def _schedule(step: int, config: TrainingConfig) -> float:
    """Share of the peak rate: it rises and falls for the reading, and anew for the whole."""
    reading = config.reading_steps
    if step < reading:
        return cosine_with_warmup(step, reading, config.warmup_steps)
    return cosine_with_warmup(step - reading, config.num_steps - reading, config.warmup_steps)


def draw_held_out(config: TrainingConfig, corpus: Corpus, clips: range) -> Arrays:
    """Draw what a run is tested on, which is the same at every checkpoint."""
    rng = np.random.default_rng((config.seed, 2))
    size = 4 * config.batch_size
    arrays = draw_arrays(corpus, clips, size, config.num_frames, rng)
    return arrays + draw_noise(config, size, torch.Generator().manual_seed(config.seed))


@torch.no_grad()
def _test(config: TrainingConfig, held_out: Arrays, model: MotionDiT, hardware: Hardware) -> str:
    """Loss and correlation of the mouth read from sound, on clips not trained on."""
    batch, noise = on_device(held_out, hardware.device)
    assert noise is not None
    loss, mouth = objective_of(model, config).whole(batch, noise)
    truth = batch.latents[..., MOUTH_SLICE].reshape(-1, mouth.shape[-1]).cpu()
    read = mouth.float().reshape(-1, mouth.shape[-1]).cpu()
    pairs = zip(read.T, truth.T, strict=True)
    correlations = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
    return f"loss {float(loss):.4f}, mouth correlation " + " ".join(
        f"{value:.2f}" for value in correlations
    )
