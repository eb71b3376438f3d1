"""The training loop of the motion model: resumable, and reproducible from its config.

Every step draws from generators seeded by (seed, step), so a resumed run continues exactly as an
unbroken one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parlante.diffusion.schedule import add_noise, draw_times
from parlante.errors import InvalidInput
from parlante.models.motion_dit import (
    BLOCK_FRAMES,
    NUM_GROUPS,
    MotionDiT,
    MotionDiTConfig,
)
from parlante.models.motion_space import MOUTH_SLICE
from parlante.models.motion_weights import load_matching, save_weights
from parlante.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from parlante.training.batches import Batch, draw_batch
from parlante.training.checkpoint import (
    Checkpoint,
    follow,
    load_checkpoint,
    save_checkpoint,
)
from parlante.training.corpus import Corpus, CorpusConfig
from parlante.training.losses import denoising_loss, naming_loss, reading_loss
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.precision import runs_in_bfloat16

logger = logging.getLogger(__name__)


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
        naming_share: Weight of naming visemes from sound, a training aid.
        average_decay: Of the moving average of weights that is served.
        drop_condition: Probability of dropping each condition but the past.
        hide_past: Probability that a sequence's blocks see no past.
        past_noise: Upper end of the noise added to the past, so that errors do not add up.
        checkpoint_steps: How often state is written.
        seed: Of everything after the corpus.
        bfloat16: Whether matrix products run in bfloat16; None: where the processor has it. There
            it is 1.5 to 2 times faster, elsewhere ten times slower.

    Raises:
        InvalidInput: The speech encoder is not frozen.
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
    naming_share: float = 0.3
    average_decay: float = 0.998
    drop_condition: float = 0.1
    hide_past: float = 0.15
    past_noise: float = 0.3
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

    @property
    def runs_in_bfloat16(self) -> bool:
        """What `bfloat16` means on this machine."""
        return runs_in_bfloat16(self.bfloat16)

    def load_speech_encoder(self) -> SpeechEncoder | None:
        """Load the encoder that the run needs, if it needs one."""
        return None if self.speech_encoder is None else SpeechEncoder.load(self.speech_encoder)


def train(
    config: TrainingConfig,
    corpus: Corpus,
    out: Path,
    start: Path | None = None,
    speech_encoder: SpeechEncoder | None = None,
) -> Path:
    """Train, or go on with a run that was cut off.

    Args:
        config: The run.
        corpus: Its data; the last thirtieth of the clips is held out.
        out: Folder for checkpoint and weights.
        start: Weights to begin with instead of random ones; parts of another shape begin anew.
        speech_encoder: The one that has heard the corpus, if one has.

    Returns:
        Path of the weights, float16 safetensors.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = MotionDiT(config.model, speech_encoder)
    if start is not None:
        load_matching(model, start)
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizer = MuonAndAdamW(model, config.learning_rate)
    first = 0
    if (stored := load_checkpoint(out / "checkpoint.pt")) is not None:
        model.load_state_dict(stored.model)
        optimizer.load_state_dict(stored.optimizer)
        average, first = stored.average, stored.step
        logger.info("resumed at step %d", first)
    held_out = max(1, corpus.num_clips // 30)
    training = range(corpus.num_clips - held_out)
    testing = range(corpus.num_clips - held_out, corpus.num_clips)
    started = time.monotonic()
    for step in range(first, config.num_steps):
        loss = _train_step(model, optimizer, config, corpus, training, step)
        follow(average, model.state_dict(), step, config.average_decay)
        if (step + 1) % 50 == 0:
            rate = (time.monotonic() - started) / (step + 1 - first)
            logger.info("step %d loss %.4f, %.2f s per step", step + 1, loss, rate)
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.num_steps:
            state = Checkpoint(
                step + 1,
                model.state_dict(),
                average,
                optimizer.state_dict(),
            )
            save_checkpoint(state, out / "checkpoint.pt")
            heard_by = None if speech_encoder is None else speech_encoder.config
            save_weights(average, config.model, out / "motion.safetensors", heard_by)
            result = _test(
                MotionDiT(config.model, speech_encoder), average, config, corpus, testing
            )
            logger.info("step %d held out: %s", step + 1, result)
    return out / "motion.safetensors"


def _train_step(
    model: MotionDiT,
    optimizer: MuonAndAdamW,
    config: TrainingConfig,
    corpus: Corpus,
    clips: range,
    step: int,
) -> float:
    rng = np.random.default_rng((config.seed, 1, step))
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    batch = draw_batch(corpus, clips, config.batch_size, config.num_frames, rng)
    optimizer.set_lr(config.learning_rate * _schedule(step, config))
    if step < config.reading_steps:
        loss = _reading_loss(model, batch, config)
    else:
        loss, _ = _losses(model, batch, config, generator)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _schedule(step: int, config: TrainingConfig) -> float:
    """Share of the peak rate: it rises and falls for the reading, and anew for the whole."""
    reading = config.reading_steps
    if step < reading:
        return cosine_with_warmup(step, reading, config.warmup_steps)
    return cosine_with_warmup(step - reading, config.num_steps - reading, config.warmup_steps)


def _reading_loss(model: MotionDiT, batch: Batch, config: TrainingConfig) -> Tensor:
    """Loss of the audio encoder alone."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.runs_in_bfloat16):
        _, mouth, scores = model.read_audio(batch.features, batch.look)
    naming = naming_loss(scores.float(), batch.visemes)
    return reading_loss(mouth.float(), batch.latents) + config.naming_share * naming


def _losses(
    model: MotionDiT, batch: Batch, config: TrainingConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Total loss, and the mouth as read from sound [B, T, 9]."""
    B, T, _ = batch.latents.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def normal() -> Tensor:
        return torch.randn(batch.latents.shape, generator=generator)

    keep = (uniform(B, NUM_GROUPS) >= config.drop_condition).float()
    levels = draw_times((B, T // BLOCK_FRAMES, 1), generator).repeat_interleave(BLOCK_FRAMES, dim=1)
    # One sequence in four keeps a spotless past, as the first frames of a session do.
    roughness = config.past_noise * (uniform(B, 1, 1) * 1.33 - 0.33).clamp(min=0.0)
    past = batch.latents + roughness * normal()
    noised = add_noise(batch.latents, normal(), levels)
    see_past = uniform(B) >= config.hide_past
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.runs_in_bfloat16):
        speech, mouth, scores = model.read_audio(batch.features, batch.look)
        conditions = model.condition(speech, batch.controls, keep)
        predicted = model(past, noised, levels, conditions, see_past)
    denoising = denoising_loss(predicted.float(), batch.latents, levels)
    reading = reading_loss(mouth.float(), batch.latents)
    naming = config.naming_share * naming_loss(scores.float(), batch.visemes)
    return denoising + reading + naming, mouth


@torch.no_grad()
def _test(
    model: MotionDiT,
    average: dict[str, Tensor],
    config: TrainingConfig,
    corpus: Corpus,
    clips: range,
) -> str:
    """Loss and correlation of the mouth read from sound, on clips not trained on."""
    model.load_state_dict(average)
    model.eval()
    rng = np.random.default_rng((config.seed, 2))
    generator = torch.Generator().manual_seed(config.seed)
    batch = draw_batch(corpus, clips, 4 * config.batch_size, config.num_frames, rng)
    loss, mouth = _losses(model, batch, config, generator)
    truth = batch.latents[..., MOUTH_SLICE].reshape(-1, mouth.shape[-1])
    read = mouth.float().reshape(-1, mouth.shape[-1])
    pairs = zip(read.T, truth.T, strict=True)
    correlations = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
    return f"loss {float(loss):.4f}, mouth correlation " + " ".join(
        f"{value:.2f}" for value in correlations
    )
