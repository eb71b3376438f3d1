"""The training loop of the face network: resumable, and reproducible from its config.

Every step draws from generators seeded by (seed, step), so a resumed run continues exactly as an
unbroken one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.face_features import PartNet, load_part_net, save_part_net
from parlante.models.face_net import FaceNet
from parlante.models.face_weights import save_face_net
from parlante.training.checkpoint import Checkpoint, follow, moved, save_checkpoint
from parlante.training.clock import Clock
from parlante.training.device import Hardware
from parlante.training.face.batches import RegionBatch, draw_batch, take_batch
from parlante.training.face.cache import RegionData
from parlante.training.face.config import FaceTrainingConfig, read_face_config
from parlante.training.face.feed import FaceData, Split, feed, held_by_gpu, split_data
from parlante.training.face.judges import Judges
from parlante.training.face.losses import region_loss
from parlante.training.face.sources import NO_LABEL
from parlante.training.face.steps import FaceSteps, Reports, region_nets
from parlante.training.muon import MuonAndAdamW
from parlante.training.precision import products
from parlante.training.run_config import keep_config, stored_run

__all__ = ["FEATURES", "FaceData", "train_face"]

logger = logging.getLogger(__name__)

FEATURES: Final = "features.safetensors"  # the network of likeness, in a run's folder
JUDGES: Final = "judges.pt"
TEST_SAMPLES: Final = 48
_LEAST_SIDE: Final = 24  # of kernels that Muon moves


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
    splits = split_data(config, data)
    stored = stored_run(out, config.model, lambda path: read_face_config(path).model)
    keep_config(config, out)
    steps = range(0 if stored is None else stored.step, config.num_steps)
    path = out / "face.safetensors"
    clock = Clock(config.num_steps, config.max_minutes)
    # First of all, as processes are to be forked before a GPU is used.
    with feed(config, splits, steps, hardware) as batches:
        torch.manual_seed(config.seed)
        part_net = _part_net(config, data, out / FEATURES, parts, hardware.device)
        net, optimizer, average = _begin(config, start, stored, hardware.device)
        weights = net.state_dict()  # the tensors themselves, which steps change
        judges = _judges(config, out / JUDGES, hardware.device)
        run = FaceSteps(net, optimizer, config, hardware, parts=part_net, judges=judges)
        started = time.monotonic()
        for step, batch in zip(steps, batches, strict=True):
            place = clock.place(step)
            run.take(step, place, batch)
            follow(average, weights, step, config.average_decay)
            is_last = step + 1 == config.num_steps or place + 1 >= config.num_steps
            if (step + 1) % 50 == 0:
                rate_s = (time.monotonic() - started) / (step + 1 - steps.start)
                _tell(step + 1, run.reports, rate_s)
            if (step + 1) % config.checkpoint_steps == 0 or is_last:
                state = Checkpoint(step + 1, net.state_dict(), average, optimizer.state_dict())
                save_checkpoint(state, out / "checkpoint.pt")
                if judges is not None:
                    judges.save(out / JUDGES)
                save_face_net(moved(average, "cpu"), config.model, path)
                result = _test(config, average, splits, hardware.device)
                logger.info("step %d held out: %s", step + 1, result)
            if is_last:
                break
    if not path.exists():
        save_face_net(moved(average, "cpu"), config.model, path)
    return path


def _judges(config: FaceTrainingConfig, path: Path, device: torch.device) -> Judges | None:
    if config.losses.truth <= 0.0:
        return None
    judges = Judges(device, config.judge_rate)
    judges.load(path)
    return judges


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


def _tell(step: int, reports: Reports, rate_s: float) -> None:
    parts = []
    for name, values in reports.items():
        if not values:
            continue
        parts.append(f"{name} {_levels(values)}")
        values.clear()
    logger.info("step %d error %s, %.2f s per step", step, ", ".join(parts), rate_s)


@torch.no_grad()
def _test(
    config: FaceTrainingConfig,
    average: Mapping[str, Tensor],
    splits: Mapping[str, list[Split]],
    device: torch.device,
) -> str:
    """Error before and after on samples that are not trained on, levels of 255."""
    net = FaceNet(config.model).to(device)
    net.load_state_dict(average)
    parts = []
    for name, region_net in region_nets(net).items():
        values = []
        for split in splits[name]:
            step = max(1, len(split.testing) // TEST_SAMPLES)
            for rows in np.array_split(split.testing[::step], 6):
                if len(rows):
                    batch = RegionBatch.of(take_batch(split.data, rows).to_arrays(), device)
                    _, report = region_loss(region_net, batch, None, config.losses)
                    values.append(report)
        parts.append(f"{name} {_levels(values)}")
    return ", ".join(parts)


def _levels(reports: list[Tensor]) -> str:
    """Mean error before and after; a GPU is waited for here, and not in every step."""
    before, after = (torch.stack(reports).mean(0) * 255.0).tolist()
    return f"{before:.2f} -> {after:.2f}"


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
    names = ("mouth", "eyes")
    sources = [held_by_gpu({name: each[name] for name in names}, device) for each in sources]
    for step in range(config.part_steps):
        for index, name in enumerate(names):
            rng = np.random.default_rng((config.seed, 11 + index, step))
            source = sources[int(rng.integers(len(sources)))][name]
            batch = draw_batch(source, name, np.arange(len(source)), 12, rng, twins=0.0)
            if batch.answer.device != device:
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
