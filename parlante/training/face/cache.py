"""Pairs on disk: arrays in files that are mapped into memory, so that a step costs no rendering.

A cache is made once for its sources and settings and never changed; a run that was cut off while
making it goes on with the next subject.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.face_regions import FaceRegions, Region
from parlante.training.face.pairs import Answer, Pair

__all__ = ["RegionData", "is_made", "join_shards", "mark", "open_cache", "write_shard"]

JOINED: Final = "joined"
REGIONS: Final = ("mouth", "eyes", "frame")
_FIELDS: Final = ("rgb", "maps", "allow", "condition", "answer", "labels")
_LOOK_FIELDS: Final = ("look_rgb", "look_maps")


@dataclass(frozen=True, slots=True, eq=False)
class RegionData:
    """One region of N samples; eyes have two samples per pair.

    Attributes:
        arrays: rgb uint8 [N, S, S, 3]; maps float16 [N, K, G, G]; allow uint8 [N, 2, G, G];
            condition float32 [N, D]; answer uint8 [N, S, S, 3]; labels uint8 [N, S, S];
            look_rgb uint8 [P, S, S, 3] and look_maps float16 [P, K, G, G] of the portraits.
            Tensors where a device holds them.
        portrait: int64 [N], which portrait a sample has.
        twin: int64 [N], a sample with the same answer, or -1.
        subject: int64 [N], whom a sample shows.
        view: int64 [N], which of the subject's pictures is the answer.
    """

    arrays: Mapping[str, npt.NDArray[Any] | Tensor]
    portrait: npt.NDArray[np.int64]
    twin: npt.NDArray[np.int64]
    subject: npt.NDArray[np.int64]
    view: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.portrait)

    @property
    def num_bytes(self) -> int:
        """Memory that `held_by` needs."""
        return sum(array.nbytes for array in self.arrays.values())

    def held_by(self, device: torch.device) -> RegionData:
        """The same in the memory of a device, which then draws batches without a copy."""
        held = {name: torch.from_numpy(np.array(a)).to(device) for name, a in self.arrays.items()}
        return replace(self, arrays=held)


def write_shard(pairs: Iterable[Pair], folder: Path) -> int:
    """Write the pairs of one subject; gives their number.

    Args:
        pairs: In order; pairs of one portrait follow each other.
        folder: Of the shard, which must not be there.
    """
    samples: dict[str, list[tuple[Region, Answer]]] = {name: [] for name in REGIONS}
    looks: dict[str, list[Region]] = {name: [] for name in REGIONS}
    portraits: list[int] = []
    twins: list[int] = []
    views: list[int] = []
    last: Any = None
    for pair in pairs:
        if pair.portrait is not last:
            last = pair.portrait
            looks["mouth"].append(last.mouth)
            looks["eyes"] += last.eyes
            looks["frame"].append(_whole(last))
        twins.append(len(twins) - 1 if pair.twin >= 0 else -1)
        views.append(pair.view)
        portraits.append(len(looks["mouth"]) - 1)
        mouth, right, left, frame = pair.answers
        samples["mouth"].append((pair.regions.mouth, mouth))
        samples["eyes"] += zip(pair.regions.eyes, (right, left), strict=True)
        samples["frame"].append((_whole(pair.regions), frame))
    if not portraits:
        return 0
    part = folder.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for name in REGIONS:
        for key, array in _arrays(samples[name], looks[name]).items():
            np.save(part / f"{name}_{key}.npy", array)
    np.save(part / "portrait.npy", np.array(portraits, np.int64))
    np.save(part / "twin.npy", np.array(twins, np.int64))
    np.save(part / "view.npy", np.array(views, np.int64))
    part.rename(folder)
    return len(portraits)


def _whole(regions: FaceRegions) -> Region:
    if regions.frame is None:
        raise ValueError("pairs must be cut with their frame")
    return regions.frame


def _arrays(
    samples: list[tuple[Region, Answer]], looks: list[Region]
) -> dict[str, npt.NDArray[Any]]:
    allow = np.stack([region.allow for region, _ in samples])
    return {
        "rgb": np.stack([region.rgb for region, _ in samples]),
        "maps": np.stack([region.maps for region, _ in samples]).astype(np.float16),
        "allow": np.rint(allow * 255.0).astype(np.uint8),
        "condition": np.stack([region.condition for region, _ in samples]),
        "answer": np.stack([answer.rgb for _, answer in samples]),
        "labels": np.stack([answer.labels for _, answer in samples]),
        "look_rgb": np.stack([look.rgb for look in looks]),
        "look_maps": np.stack([look.maps for look in looks]).astype(np.float16),
    }


def join_shards(folder: Path) -> None:
    """Join all shards of a folder into one, and remove them.

    One file per array: hundreds of shards would need thousands of open files.
    """
    shards = sorted(p for p in folder.iterdir() if p.is_dir() and p.suffix != ".part")
    joined = folder / JOINED
    counts: dict[str, list[int]] = {}
    for name in _array_names():
        heads = [np.load(shard / f"{name}.npy", mmap_mode="r") for shard in shards]
        counts[name] = [len(head) for head in heads]
        shape = (sum(counts[name]), *heads[0].shape[1:])
        part = joined.with_suffix(".part") / f"{name}.npy"
        part.parent.mkdir(exist_ok=True)
        out = np.lib.format.open_memmap(part, mode="w+", dtype=heads[0].dtype, shape=shape)
        start = 0
        for head in heads:
            out[start : start + len(head)] = head
            start += len(head)
        out.flush()
        del out, heads
    _join_indexes(shards, counts, joined.with_suffix(".part"))
    joined.with_suffix(".part").rename(joined)
    for shard in shards:
        shutil.rmtree(shard)


def _join_indexes(shards: list[Path], counts: Mapping[str, list[int]], out: Path) -> None:
    pairs = np.cumsum([0, *counts["frame_rgb"]])
    looks = np.cumsum([0, *counts["frame_look_rgb"]])
    portrait, twin, subject, view = [], [], [], []
    for index, shard in enumerate(shards):
        own = np.load(shard / "twin.npy")
        portrait.append(np.load(shard / "portrait.npy") + looks[index])
        twin.append(np.where(own >= 0, own + pairs[index], -1))
        subject.append(np.full(len(own), index, np.int64))
        view.append(np.load(shard / "view.npy"))
    np.save(out / "portrait.npy", np.concatenate(portrait))
    np.save(out / "twin.npy", np.concatenate(twin))
    np.save(out / "subject.npy", np.concatenate(subject))
    np.save(out / "view.npy", np.concatenate(view))


def _array_names() -> list[str]:
    return [f"{name}_{key}" for name in REGIONS for key in (*_FIELDS, *_LOOK_FIELDS)]


def open_cache(folder: Path) -> dict[str, RegionData]:
    """Open a joined cache by region, without reading it."""
    joined = folder / JOINED
    names = ("portrait", "twin", "subject", "view")
    portrait, twin, subject, view = (np.load(joined / f"{name}.npy") for name in names)
    regions: dict[str, RegionData] = {}
    for name in REGIONS:
        arrays = {
            key: np.load(joined / f"{name}_{key}.npy", mmap_mode="r")
            for key in (*_FIELDS, *_LOOK_FIELDS)
        }
        if name == "eyes":
            both = np.arange(2)
            eye_twin = np.where(twin[:, None] >= 0, 2 * twin[:, None] + both, -1)
            eye_portrait = 2 * portrait[:, None] + both
            regions[name] = RegionData(
                arrays, eye_portrait.ravel(), eye_twin.ravel(), subject.repeat(2), view.repeat(2)
            )
        else:
            regions[name] = RegionData(arrays, portrait, twin, subject, view)
    return regions


def is_made(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder holds a cache of these settings.

    Raises:
        ValueError: It holds one of others.
    """
    path = folder / "cache.json"
    if not path.exists():
        return False
    stored = json.loads(path.read_text("utf-8"))
    if stored.get("settings") != settings:
        raise ValueError("it was made with other settings")
    return bool(stored.get("complete"))


def mark(folder: Path, settings: Mapping[str, Any], *, complete: bool) -> None:
    """Note what a cache is made of, and whether all of it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"settings": settings, "complete": complete}, indent=1)
    (folder / "cache.json").write_text(text + "\n", "utf-8")
