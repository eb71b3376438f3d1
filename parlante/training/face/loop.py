"""The training loop of the face network: resumable, and reproducible from its config.

Every step draws from generators seeded by (seed, step), so a resumed run continues exactly as an
unbroken one.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.face_features import PartNet, load_part_net, save_part_net
from parlante.models.face_net import FaceNet, RegionNet
from parlante.models.face_weights import save_face_net
from parlante.training.checkpoint import Checkpoint, follow, moved, save_checkpoint
from parlante.training.device import Hardware
from parlante.training.face.batches import (
    NUM_ARRAYS,
    RegionBatch,
    draw_batch,
    held_out_rows,
    take_batch,
)
from parlante.training.face.cache import REGIONS, RegionData
from parlante.training.face.config import FaceTrainingConfig, read_face_config
from parlante.training.face.losses import region_loss
from parlante.training.face.sources import NO_LABEL
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.precision import products, runs_in_bfloat16
from parlante.training.prefetch import Arrays, drawn
from parlante.training.run_config import stored_run

__all__ = ["FEATURES", "FaceData", "train_face"]

logger = logging.getLogger(__name__)

FEATURES: Final = "features.safetensors"  # the network of likeness, in a run's folder
TEST_SAMPLES: Final = 48
_LEAST_SIDE: Final = 24  # of kernels that Muon moves


@dataclass(frozen=True, slots=True, eq=False)
class FaceData:
    """What a run draws from.

    Attributes:
        main: Regions of synthetic heads or videos, or of both.
        photos: Regions of photos; None without any.
    """

    main: Sequence[Mapping[str, RegionData]]
    photos: Mapping[str, RegionData] | None = None


def train_face(
    config: FaceTrainingConfig,
    data: FaceData,
    out: Path,
    *,
    start: Mapping[str, Tensor] | None = None,
    parts: Path | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Train, or go on with a run that was cut off.

    Args:
        config: The run.
        data: Pairs.
        out: Folder for checkpoint and weights.
        start: Weights to begin with; None begins with random ones.
        parts: Weights of the network that sees likeness; None trains one where parts are
            labelled, and else leaves likeness out.
        hardware: What it runs on; None takes the CPU.

    Returns:
        Path of the weights, float16 safetensors.

    Raises:
        InvalidInput: There are too few pictures, or the folder holds a run of another size.
    """
    hardware = hardware or Hardware()
    out.mkdir(parents=True, exist_ok=True)
    splits = _splits(config, data)
    stored = stored_run(out, config.model, lambda path: read_face_config(path).model)
    (out / "config.json").write_text(config.to_json(), "utf-8")
    steps = range(0 if stored is None else stored.step, config.num_steps)
    path = out / "face.safetensors"
    reports: dict[str, list[tuple[float, float]]] = {name: [] for name in REGIONS}
    # First of all, as processes are to be forked before a GPU is used.
    draw = functools.partial(_draw, config, splits)
    with drawn(draw, steps, hardware.num_workers) as batches:
        hardware.prepare()
        torch.manual_seed(config.seed)
        part_net = _part_net(config, data, out / FEATURES, parts, hardware.device)
        net, optimizer, average = _begin(config, start, stored, hardware.device)
        started = time.monotonic()
        for step, arrays in zip(steps, batches, strict=True):
            likeness = part_net if step % config.likeness_every == 0 else None
            _step(net, optimizer, config, arrays, likeness, step, reports)
            follow(average, net.state_dict(), step, config.average_decay)
            if (step + 1) % 50 == 0:
                rate_s = (time.monotonic() - started) / (step + 1 - steps.start)
                _tell(step + 1, reports, rate_s)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.num_steps:
                state = Checkpoint(step + 1, net.state_dict(), average, optimizer.state_dict())
                save_checkpoint(state, out / "checkpoint.pt")
                save_face_net(moved(average, "cpu"), config.model, path)
                result = _test(config, average, splits, hardware.device)
                logger.info("step %d held out: %s", step + 1, result)
    if not path.exists():
        save_face_net(moved(average, "cpu"), config.model, path)
    return path


def _begin(
    config: FaceTrainingConfig,
    start: Mapping[str, Tensor] | None,
    stored: Checkpoint | None,
    device: torch.device,
) -> tuple[FaceNet, MuonAndAdamW, dict[str, Tensor]]:
    """Make the network, its optimiser and its moving average, on their device."""
    net = FaceNet(config.model)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        net.load_state_dict(start)
    net.to(device)
    average = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    optimizer = MuonAndAdamW(
        net, config.learning_rate, least_side=_LEAST_SIDE, weight_decay=config.weight_decay
    )
    if stored is not None:
        net.load_state_dict(stored.model)
        optimizer.load_state_dict(stored.optimizer)
        average = moved(stored.average, device)
        logger.info("resumed at step %d", stored.step)
    return net, optimizer, average


# --- data ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """One source of one region: samples to train and to test on, and its share of a batch."""

    data: RegionData
    training: npt.NDArray[np.int64]
    testing: npt.NDArray[np.int64]
    share: float


def _splits(config: FaceTrainingConfig, data: FaceData) -> dict[str, list[_Split]]:
    """Hold out a part of the main sources; photos are only trained on."""
    photo_share = config.photo_share if data.photos is not None else 0.0
    splits: dict[str, list[_Split]] = {}
    for name in REGIONS:
        total = sum(len(source[name]) for source in data.main)
        parts = []
        for source in data.main:
            region = source[name]
            is_test = held_out_rows(region, config.held_out)
            rows = np.arange(len(region))
            share = (1.0 - photo_share) * len(region) / total
            parts.append(_Split(region, rows[~is_test], rows[is_test], share))
        if data.photos is not None:
            region = data.photos[name]
            rows = np.arange(len(region))
            parts.append(_Split(region, rows, rows[:0], photo_share))
        splits[name] = parts
    return splits


# --- steps ---------------------------------------------------------------------------------


def _draw(config: FaceTrainingConfig, splits: dict[str, list[_Split]], step: int) -> Arrays:
    """What a step takes: batches of the regions that there are, one after the other."""
    sizes = {"mouth": config.mouth_batch, "eyes": config.eye_batch, "frame": config.frame_batch}
    arrays: Arrays = ()
    for name in REGIONS if config.model.frame is not None else REGIONS[:2]:
        rng = np.random.default_rng((config.seed, 1 + REGIONS.index(name), step))
        chosen = splits[name]
        split = chosen[int(rng.choice(len(chosen), p=[part.share for part in chosen]))]
        batch = draw_batch(split.data, name, split.training, sizes[name], rng)
        arrays += batch.to_arrays()
    return arrays


def _step(
    net: FaceNet,
    optimizer: MuonAndAdamW,
    config: FaceTrainingConfig,
    arrays: Arrays,
    part_net: PartNet | None,
    step: int,
    reports: dict[str, list[tuple[float, float]]],
) -> None:
    share = cosine_with_warmup(step, config.num_steps, config.warmup_steps)
    optimizer.set_lr(config.learning_rate * share)
    optimizer.zero_grad()
    device = next(net.parameters()).device
    bfloat16 = runs_in_bfloat16(config.bfloat16, device.type)
    for index, (name, region_net) in enumerate(_region_nets(net).items()):
        batch = RegionBatch.of(arrays[index * NUM_ARRAYS : (index + 1) * NUM_ARRAYS], device)
        seen_by = None if name == "frame" else part_net
        loss, report = region_loss(region_net, batch, seen_by, config.losses, bfloat16=bfloat16)
        loss.backward()  # type: ignore[no-untyped-call]
        reports[name].append((report["before"], report["after"]))
        torch.nn.utils.clip_grad_norm_(region_net.parameters(), 1.0)
    optimizer.step()


def _region_nets(net: FaceNet) -> dict[str, RegionNet]:
    """The networks that there are, by region."""
    nets = {"mouth": net.mouth, "eyes": net.eye}
    return nets if net.frame is None else nets | {"frame": net.frame}


def _tell(step: int, reports: dict[str, list[tuple[float, float]]], rate_s: float) -> None:
    parts = []
    for name, values in reports.items():
        if not values:
            continue
        before, after = np.mean(values, axis=0) * 255.0
        parts.append(f"{name} {before:.2f} -> {after:.2f}")
        values.clear()
    logger.info("step %d error %s, %.2f s per step", step, ", ".join(parts), rate_s)


@torch.no_grad()
def _test(
    config: FaceTrainingConfig,
    average: Mapping[str, Tensor],
    splits: dict[str, list[_Split]],
    device: torch.device,
) -> str:
    """Error before and after on samples that are not trained on, levels of 255."""
    net = FaceNet(config.model).to(device)
    net.load_state_dict(average)
    parts = []
    for name, region_net in _region_nets(net).items():
        values = []
        for split in splits[name]:
            step = max(1, len(split.testing) // TEST_SAMPLES)
            for rows in np.array_split(split.testing[::step], 6):
                if len(rows):
                    batch = RegionBatch.of(take_batch(split.data, rows).to_arrays(), device)
                    _, report = region_loss(region_net, batch, None, config.losses)
                    values.append((report["before"], report["after"]))
        before, after = np.mean(values, axis=0) * 255.0
        parts.append(f"{name} {before:.2f} -> {after:.2f}")
    return ", ".join(parts)


# --- likeness ------------------------------------------------------------------------------


def _part_net(
    config: FaceTrainingConfig,
    data: FaceData,
    path: Path,
    given: Path | None,
    device: torch.device,
) -> PartNet | None:
    """The network that sees likeness: the given one, that of the run before, or a new one."""
    if given is not None:
        return load_part_net(given).to(device)
    if not path.exists():
        labelled = [source for source in data.main if _is_labelled(source)]
        if not labelled:
            logger.info("no picture has labelled parts: likeness is left out of the loss")
            return None
        save_part_net(_train_parts(config, labelled, device), path)
    return load_part_net(path).to(device)


def _is_labelled(source: Mapping[str, RegionData]) -> bool:
    """Whether a source's first picture says where parts are; then all of it does."""
    return bool((source["mouth"].arrays["labels"][0] != NO_LABEL).any())


def _train_parts(
    config: FaceTrainingConfig, sources: Sequence[Mapping[str, RegionData]], device: torch.device
) -> PartNet:
    """Train it on its device; gives it on the CPU."""
    net = PartNet().to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for step in range(config.part_steps):
        for index, name in enumerate(("mouth", "eyes")):
            rng = np.random.default_rng((config.seed, 11 + index, step))
            source = sources[int(rng.integers(len(sources)))][name]
            batch = draw_batch(source, name, np.arange(len(source)), 12, rng, twins=0.0)
            batch = RegionBatch.of(batch.to_arrays(), device)
            with products(device, config.bfloat16):
                scores = net(batch.answer)
            labels = batch.labels[:, ::2, ::2].long()
            loss = F.cross_entropy(scores.float(), labels, ignore_index=NO_LABEL)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if (step + 1) % 100 == 0:
            logger.info("parts: step %d loss %.3f", step + 1, float(loss.detach()))
    return net.cpu()
