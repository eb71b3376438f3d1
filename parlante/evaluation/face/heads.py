"""Held-out synthetic heads: an avatar of one picture, brought to the others, against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from parlante.evaluation.face.metrics import (
    REGIONS,
    psnr_db,
    region_masks,
    squared_error,
    ssim_map,
)
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.face_features import PartNet
from parlante.models.face_regions import EYE_PX, MOUTH_PX, Region, cut_regions
from parlante.models.face_tracker import FaceTracker
from parlante.models.frame_geometry import FrameGeometry, ShapeFitter
from parlante.training.face.pairs import Damage, latents_of_view, shape_between
from parlante.training.face.sources import Subject, read_synthetic
from parlante.types import Uint8Array

__all__ = ["HeadScores", "Sample", "judge_heads"]

LIKENESS_REGIONS: Final = ("mouth", "eyes")
MAX_SAMPLES: Final = 12  # kept to be looked at


@dataclass(slots=True, eq=False)
class _Sums:
    """Sums of one renderer over one group of people."""

    error: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0.0))
    likeness: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0.0))
    similarity: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0.0))
    pixels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0))
    frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One frame to be looked at: the portrait, the truth, and what each renderer made."""

    name: str
    portrait: Uint8Array
    truth: Uint8Array
    made: Mapping[str, Uint8Array]
    mouth: Region
    eye: Region


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadScores:
    """Scores of renderers on held-out heads.

    Attributes:
        scores: By renderer, then group of people (``all``, ``sex female``, ``tone dark``, ...),
            then region: PSNR in dB, SSIM, root mean square error in levels and, for mouth and
            eyes, how unlike they look to a network.
        num_subjects: People.
        num_frames: Frames.
        samples: Frames to be looked at.
    """

    scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
    num_subjects: int
    num_frames: int
    samples: Sequence[Sample]


def judge_heads(
    paths: Sequence[Path],
    renderers: Mapping[str, Decoder],
    parts: PartNet,
    tracker: FaceTracker,
) -> HeadScores:
    """Judge renderers on synthetic heads that none of them was trained on.

    Args:
        paths: Files of the subjects.
        renderers: By name; the first is what the others are compared with.
        parts: Sees likeness.
        tracker: Makes the portraits' mattes.
    """
    sums: dict[str, dict[str, _Sums]] = {name: {} for name in renderers}
    samples: list[Sample] = []
    num_frames = 0
    for path in paths:
        subject = read_synthetic(path)
        groups = [
            "all",
            *(f"{k} {subject.traits[k]}" for k in ("sex", "tone") if k in subject.traits),
        ]
        for sample in _frames(subject, renderers, tracker, sums, groups, parts):
            num_frames += 1
            if num_frames % max(1, 5 * len(paths) // MAX_SAMPLES) == 1:
                samples.append(sample)
    scores = {
        name: {group: _scores(total) for group, total in sorted(by_group.items())}
        for name, by_group in sums.items()
    }
    return HeadScores(
        scores=scores,
        num_subjects=len(paths),
        num_frames=num_frames,
        samples=samples[:MAX_SAMPLES],
    )


def _frames(
    subject: Subject,
    renderers: Mapping[str, Decoder],
    tracker: FaceTracker,
    sums: dict[str, dict[str, _Sums]],
    groups: list[str],
    parts: PartNet,
) -> Iterator[Sample]:
    source = subject.views[0]
    rng = np.random.default_rng(0)
    latents = latents_of_view(source, Damage(), rng, tracker, jitter=False)
    avatars = {name: decoder.prepare(latents) for name, decoder in renderers.items()}
    plain = next(iter(avatars.values()))
    fitter, bare = ShapeFitter(plain), Decoder()
    for index, target in enumerate(subject.views[1:], start=1):
        geometry = fitter.fit(shape_between(source, target, subject))
        drawn = bare.draw(plain, geometry)
        regions = cut_regions(plain, geometry, drawn)
        warped = _warp_labels(source.labels, plain, drawn.maps)
        masks = region_masks(target.labels, warped, target.landmarks)
        made: dict[str, Uint8Array] = {}
        for name, decoder in renderers.items():
            frame = _render(decoder, avatars[name], geometry)
            made[name] = frame
            error, similarity = squared_error(frame, target.rgb), ssim_map(frame, target.rgb)
            unlike = {
                "mouth": _unlike(parts, frame, target.rgb, [regions.mouth], MOUTH_PX),
                "eyes": _unlike(parts, frame, target.rgb, list(regions.eyes), EYE_PX),
            }
            for group in groups:
                total = sums[name].setdefault(group, _Sums())
                total.frames += 1
                for region, mask in masks.items():
                    total.error[region] += float(error[mask].sum())
                    total.similarity[region] += float(similarity[mask].sum())
                    total.pixels[region] += int(mask.sum())
                for region, value in unlike.items():
                    total.likeness[region] += value
        yield Sample(
            name=f"{subject.name}-{index}",
            portrait=source.rgb,
            truth=target.rgb,
            made=made,
            mouth=regions.mouth,
            eye=regions.eyes[0],
        )


def _render(decoder: Decoder, avatar: PreparedAvatar, geometry: FrameGeometry) -> Uint8Array:
    return decoder.render_posed(avatar, geometry)


def _warp_labels(
    labels: Uint8Array, avatar: PreparedAvatar, maps: tuple[np.ndarray, np.ndarray]
) -> Uint8Array:
    dx, dy = avatar.canvas_offset
    x, y = maps[0] - np.float32(dx), maps[1] - np.float32(dy)
    return np.asarray(
        cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT), np.uint8
    )


@torch.inference_mode()
def _unlike(
    parts: PartNet, frame: Uint8Array, truth: Uint8Array, regions: list[Region], size_px: int
) -> float:
    crops = [
        [
            cv2.warpAffine(
                picture, region.to_frame, (size_px, size_px),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
            )
            for region in regions
        ]
        for picture in (frame, truth)
    ]  # fmt: skip
    first, second = (
        torch.from_numpy(np.stack(crop)).permute(0, 3, 1, 2).float() / 255.0 for crop in crops
    )
    return float(parts.distance(first, second).mean())


def _scores(total: _Sums) -> dict[str, dict[str, float]]:
    table = {}
    for region in REGIONS:
        pixels = max(total.pixels[region], 1)
        error = total.error[region] / pixels
        row = {
            "psnr_db": psnr_db(error),
            "rmse": float(np.sqrt(error)),
            "ssim": total.similarity[region] / pixels,
        }
        if region in LIKENESS_REGIONS:
            row["unlike"] = total.likeness[region] / max(total.frames, 1)
        table[region] = row
    return table
