"""What each step of a run is given: samples to train on and to test on, and batches of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from parlante.training.device import Hardware
from parlante.training.face.batches import NUM_ARRAYS, RegionBatch, draw_batch, held_out_rows
from parlante.training.face.cache import REGIONS, RegionData
from parlante.training.face.config import FaceTrainingConfig
from parlante.training.prefetch import Arrays, drawn

__all__ = ["Batches", "FaceData", "Split", "feed", "held_by_gpu", "split_data"]

logger = logging.getLogger(__name__)

MAX_HELD_BYTES: Final = 16 * 2**30  # of pairs that a GPU holds; more are drawn by the processor

Batches = dict[str, RegionBatch]


@dataclass(frozen=True, slots=True, eq=False)
class FaceData:
    """What a run draws from.

    Attributes:
        main: Regions of synthetic heads or videos, or of both.
        photos: Regions of photos; None without any.
    """

    main: Sequence[Mapping[str, RegionData]]
    photos: Mapping[str, RegionData] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One source of one region: samples to train and to test on, and its share of a batch."""

    data: RegionData
    training: npt.NDArray[np.int64]
    testing: npt.NDArray[np.int64]
    share: float


def split_data(config: FaceTrainingConfig, data: FaceData) -> dict[str, list[Split]]:
    """Hold out a part of the main sources; photos are only trained on."""
    photo_share = config.photo_share if data.photos is not None else 0.0
    splits: dict[str, list[Split]] = {}
    for name in REGIONS:
        total = sum(len(source[name]) for source in data.main)
        parts = []
        for source in data.main:
            region = source[name]
            is_test = held_out_rows(region, config.held_out)
            rows = np.arange(len(region))
            share = (1.0 - photo_share) * len(region) / total
            parts.append(Split(region, rows[~is_test], rows[is_test], share))
        if data.photos is not None:
            region = data.photos[name]
            rows = np.arange(len(region))
            parts.append(Split(region, rows, rows[:0], photo_share))
        splits[name] = parts
    return splits


@contextmanager
def feed(
    config: FaceTrainingConfig,
    splits: Mapping[str, list[Split]],
    steps: range,
    hardware: Hardware,
) -> Iterator[Iterator[Batches]]:
    """Have the batches of all steps drawn, and the hardware prepared.

    A GPU that can hold all pairs draws batches by itself, which takes it a millisecond; else
    processes draw them ahead, which are forked before a GPU is used.
    """
    names = [name for name in REGIONS if name != "frame" or config.model.frame is not None]
    chosen = {name: splits[name] for name in names}
    if _fits([split.data for parts in chosen.values() for split in parts], hardware.device):
        hardware.prepare()
        logger.info("the GPU holds the pairs")
        held = {
            name: [replace(part, data=part.data.held_by(hardware.device)) for part in parts]
            for name, parts in chosen.items()
        }
        yield map(functools.partial(_draw, config, held), steps)
        return
    draw = functools.partial(_draw_arrays, config, chosen)
    with drawn(draw, steps, hardware.num_workers) as arrays:
        hardware.prepare()
        yield (_unpacked(names, each, hardware.device) for each in arrays)


def can_hold(device: torch.device) -> bool:
    """Whether a device has memory of its own: a processor reads pairs where they are."""
    return device.type == "cuda"


def _fits(regions: Iterable[RegionData], device: torch.device) -> bool:
    return can_hold(device) and sum(region.num_bytes for region in regions) <= MAX_HELD_BYTES


def held_by_gpu(
    regions: Mapping[str, RegionData], device: torch.device
) -> Mapping[str, RegionData]:
    """The same regions in the memory of a GPU; as they are for a processor, or if too large."""
    if not _fits(regions.values(), device):
        return regions
    return {name: region.held_by(device) for name, region in regions.items()}


def _draw(config: FaceTrainingConfig, splits: Mapping[str, list[Split]], step: int) -> Batches:
    sizes = {"mouth": config.mouth_batch, "eyes": config.eye_batch, "frame": config.frame_batch}
    batches = {}
    for name, parts in splits.items():
        rng = np.random.default_rng((config.seed, 1 + REGIONS.index(name), step))
        split = parts[int(rng.choice(len(parts), p=[part.share for part in parts]))]
        batches[name] = draw_batch(split.data, name, split.training, sizes[name], rng)
    return batches


def _draw_arrays(
    config: FaceTrainingConfig, splits: Mapping[str, list[Split]], step: int
) -> Arrays:
    """Batches one after the other, as they pass between processes."""
    return sum((batch.to_arrays() for batch in _draw(config, splits, step).values()), ())


def _unpacked(names: Sequence[str], arrays: Arrays, device: torch.device) -> Batches:
    return {
        name: RegionBatch.of(arrays[index * NUM_ARRAYS : (index + 1) * NUM_ARRAYS], device)
        for index, name in enumerate(names)
    }
