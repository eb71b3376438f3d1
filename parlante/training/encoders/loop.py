"""The training loop of the encoders: resumable, and reproducible from its config.

Every step draws from generators seeded by (seed, step), so a resumed run continues exactly as an
unbroken one.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from parlante.models.face_codes import FaceCodes, FaceCodesNet, ShapeNet
from parlante.models.face_codes_weights import save_face_codes
from parlante.training.checkpoint import Checkpoint, follow, moved, save_checkpoint
from parlante.training.clock import Clock
from parlante.training.device import Hardware, send
from parlante.training.encoders.batches import HeadData, draw_crops, plain_batch, to_input
from parlante.training.encoders.config import EncodersConfig, read_encoders_config
from parlante.training.encoders.losses import Truth, encoders_loss
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.precision import products
from parlante.training.prefetch import Arrays, drawn
from parlante.training.run_config import keep_config, stored_run

__all__ = ["WEIGHTS", "train_encoders"]

logger = logging.getLogger(__name__)

WEIGHTS: Final = "encoders.safetensors"
TELL_STEPS: Final = 50
MAX_TEST_PICTURES: Final = 400
_TEST_BATCH: Final = 50
_LEAST_SIDE: Final = 24  # of kernels that Muon moves


class _Learner(nn.Module):
    """What is trained: the encoders, and what puts landmarks together from their codes."""

    def __init__(self, config: EncodersConfig) -> None:
        super().__init__()
        self.codes = FaceCodesNet(config.model)
        self.shapes = ShapeNet(config.model)


def train_encoders(
    config: EncodersConfig, data: HeadData, out: Path, hardware: Hardware | None = None
) -> Path:
    """Train, or go on with a run that was cut off.

    Args:
        config: The run.
        data: Pictures of all heads.
        out: Folder for checkpoint and weights.
        hardware: What it runs on; None takes the CPU.

    Returns:
        Path of the weights, float16 safetensors.

    Raises:
        InvalidInput: The folder holds a run of another size.
    """
    hardware = hardware or Hardware()
    out.mkdir(parents=True, exist_ok=True)
    stored = stored_run(out, config.model, lambda path: read_encoders_config(path).model)
    keep_config(config, out)
    training, testing = _split(config, data)
    steps = range(0 if stored is None else stored.step, config.num_steps)
    path, reports, started = out / WEIGHTS, [], time.monotonic()
    clock = Clock(config.num_steps, config.max_minutes)
    # First of all, as processes are to be forked before a GPU is used.
    draw = functools.partial(_draw, config, data, training)
    with drawn(draw, steps, hardware.num_workers) as batches:
        hardware.prepare()
        learner, optimizer, average = _begin(config, data, stored, hardware)
        weights = learner.state_dict()  # the tensors themselves, which steps change
        for step, arrays in zip(steps, batches, strict=True):
            place = clock.place(step)
            optimizer.set_lr(_rate(config, step, place))
            reports.append(_step(learner, optimizer, config, arrays, step, hardware))
            follow(average, weights, step, config.average_decay)
            if (step + 1) % TELL_STEPS == 0:
                _tell(step + 1, reports, (time.monotonic() - started) / (step + 1 - steps.start))
                reports.clear()
            is_last = place + 1 >= config.num_steps
            if (step + 1) % config.checkpoint_steps == 0 or is_last:
                state = Checkpoint(step + 1, weights, average, optimizer.state_dict())
                save_checkpoint(state, out / "checkpoint.pt")
                _save(average, config, path)
                result = _test(config, average, data, testing, hardware)
                logger.info("step %d held out: %s", step + 1, result)
            if is_last:
                break
    if not path.exists():
        _save(average, config, path)
    return path


def _begin(
    config: EncodersConfig, data: HeadData, stored: Checkpoint | None, hardware: Hardware
) -> tuple[_Learner, MuonAndAdamW, dict[str, Tensor]]:
    """Make what is trained, how, and its moving average, on their device."""
    torch.manual_seed(config.seed)
    learner = _Learner(config)
    _begin_at_means(learner, data)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner.to(hardware.device)
    average = {name: tensor.detach().clone() for name, tensor in learner.state_dict().items()}
    optimizer = MuonAndAdamW(
        learner, config.learning_rate, least_side=_LEAST_SIDE, weight_decay=config.weight_decay
    )
    if stored is not None:
        learner.load_state_dict(stored.model)
        optimizer.load_state_dict(stored.optimizer)
        average = moved(stored.average, hardware.device)
        logger.info("resumed at step %d", stored.step)
    return learner, optimizer, average


def _save(average: dict[str, Tensor], config: EncodersConfig, path: Path) -> None:
    save_face_codes(moved(_part(average, "codes"), "cpu"), config.model, path)


def _part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}


def _split(
    config: EncodersConfig, data: HeadData
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Heads to train on, and pictures of the others."""
    heads = np.unique(data.head)
    is_test = heads % config.held_out == config.held_out - 1
    testing = np.flatnonzero(np.isin(data.head, heads[is_test]))
    return heads[~is_test], testing[:MAX_TEST_PICTURES]


def _begin_at_means(learner: _Learner, data: HeadData) -> None:
    """Let outputs begin at the means of what they are to be."""
    with torch.no_grad():
        for layer, values in (
            (learner.codes.measures, data.measures),
            (learner.codes.channels, data.channels),
            (learner.shapes.layers[-1], data.shape.reshape(len(data), -1)),
        ):
            layer.weight.mul_(0.1)  # type: ignore[operator]
            layer.bias.copy_(torch.from_numpy(values.mean(axis=0)))  # type: ignore[operator]


def _draw(
    config: EncodersConfig, data: HeadData, heads: npt.NDArray[np.int64], step: int
) -> Arrays:
    """What a step takes: crops as bytes, and the fields of `Truth`."""
    rng = np.random.default_rng([config.seed, step])
    crops, truth = draw_crops(data, heads, config.heads_per_batch, rng)
    return (crops, *(getattr(truth, name).numpy() for name in Truth.__slots__))


def _rate(config: EncodersConfig, step: int, place: int) -> float:
    """The rate of learning: rises by steps, however slow the first ones are, then falls."""
    place = step if step < config.warmup_steps else place
    return config.learning_rate * cosine_with_warmup(place, config.num_steps, config.warmup_steps)


def _step(
    learner: _Learner,
    optimizer: MuonAndAdamW,
    config: EncodersConfig,
    arrays: Arrays,
    step: int,
    hardware: Hardware,
) -> dict[str, float]:
    """One step; gives the parts of its loss."""
    optimizer.zero_grad()
    crops, *labels = send(arrays, hardware.device)
    truth = Truth(**dict(zip(Truth.__slots__, labels, strict=True)))
    fast = products(hardware.device, config.bfloat16)
    with fast:
        codes = learner.codes(to_input(crops))
    loss, parts = encoders_loss(_whole(codes), truth, learner.shapes, config.losses)
    total = float(loss.detach())
    if not math.isfinite(total):
        raise FloatingPointError(f"the loss of step {step} is {total}")
    loss.backward()  # type: ignore[no-untyped-call]
    with fast:  # for Muon's products, a third of a step's time otherwise
        optimizer.step()
    return parts


def _whole(codes: FaceCodes) -> FaceCodes:
    """In float32."""
    return FaceCodes(*(getattr(codes, name).float() for name in FaceCodes.__slots__))


def _tell(step: int, reports: list[dict[str, float]], seconds: float) -> None:
    means = {name: np.mean([report[name] for report in reports]) for name in reports[0]}
    text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
    logger.info("step %d, %.2f s a step: %s", step, seconds, text)


@torch.no_grad()
def _test(
    config: EncodersConfig,
    average: dict[str, Tensor],
    data: HeadData,
    rows: npt.NDArray[np.int64],
    hardware: Hardware,
) -> str:
    """Errors on heads that are held out, as they are."""
    net = FaceCodesNet(config.model).to(hardware.device).eval()
    net.load_state_dict(_part(average, "codes"))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    errors: dict[str, list[Tensor]] = {}
    for start in range(0, len(rows), _TEST_BATCH):
        crops, truth = plain_batch(data, rows[start : start + _TEST_BATCH])
        with products(hardware.device, config.bfloat16):
            codes = _whole(net(crops.to(hardware.device)))
        read = FaceCodes(*(getattr(codes, name).cpu() for name in FaceCodes.__slots__))
        for name, error in _errors(read, truth).items():
            errors.setdefault(name, []).append(error)
    means = {name: torch.cat(parts).mean(0) for name, parts in errors.items()}
    return " ".join(f"{name} {[round(float(v), 3) for v in m]}" for name, m in means.items())


def _errors(codes: FaceCodes, truth: Truth) -> dict[str, Tensor]:
    """Mean absolute errors by picture: angles in degrees, the others in hundredths."""
    eyes = truth.seen_eyes[:, None]
    degrees = 180.0 / math.pi
    return {
        "pose": (codes.pose - truth.pose).abs() * degrees,
        "gaze": (codes.gaze - truth.gaze).abs() * eyes * degrees,
        "channels": (codes.channels - truth.channels).abs().mean(1, keepdim=True) * 100.0,
        "measures": (codes.measures - truth.measures).abs().mean(1, keepdim=True) * 100.0,
    }
