"""Batches of crops with their labels.

Axis letters: N pictures of all heads, B of a batch, L landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models import face_mesh
from parlante.models.face_codes import READ_CHANNELS, READ_MEASURES, SHAPE_LANDMARKS
from parlante.models.face_coefficients import measure_face, rotation_matrix
from parlante.training.encoders.augment import Move, draw_move, make_move, moved, spoil
from parlante.training.encoders.losses import Truth
from parlante.training.encoders.shards import Head
from parlante.training.videos.measures import LIPS_AND_BROWS, shape_of
from parlante.types import ARKIT_CHANNELS, Float32Array, Uint8Array

__all__ = ["HeadData", "collect", "draw_batch", "labels", "plain_batch"]

# Lids that are shut by this much begin to hide the gaze, and hide it wholly.
LIDS_HIDE: Final = (0.35, 0.8)
MAX_REST: Final = 0.3  # the sum of all channels of a face at rest
_COLUMNS: Final = [ARKIT_CHANNELS.index(name) for name in READ_CHANNELS]
_BLINKS: Final = [READ_CHANNELS.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
_OPPOSITES: Final = (("Left", "Right"), ("Right", "Left"), ("left", "right"), ("right", "left"))
_MIRROR_LANDMARKS: Final = np.concatenate(
    [face_mesh.mirror_indices(), [473, 474, 475, 476, 477, 468, 469, 470, 471, 472]]
)


def _mirrored(names: Sequence[str]) -> list[int]:
    """Where each name's other side is."""
    out = []
    for name in names:
        other = name
        for side, opposite in _OPPOSITES:
            if name.endswith(side):
                other = name.removesuffix(side) + opposite
            elif f"_{side}_" in name:
                other = name.replace(side, opposite)
        out.append(list(names).index(other))
    return out


_MIRROR_CHANNELS: Final = _mirrored(READ_CHANNELS)
_MIRROR_MEASURES: Final = _mirrored(READ_MEASURES)


@dataclass(frozen=True, slots=True, eq=False)
class HeadData:
    """Pictures of all heads and what they show.

    Attributes:
        images: By head, uint8 [F, 192, 192, 3].
        head: int64 [N], index of each picture's head.
        frame: int64 [N], which of the head's.
        angles: float32 [N, 3], relative to the stored crop.
        gaze: float32 [N, 2].
        channels: float32 [N, C].
        measures: float32 [N, K].
        shape: float32 [N, L, 3], turned to the front, IOD.
    """

    images: Sequence[Uint8Array]
    head: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    angles: Float32Array
    gaze: Float32Array
    channels: Float32Array
    measures: Float32Array
    shape: Float32Array

    def __len__(self) -> int:
        return len(self.head)


def collect(heads: Sequence[Head]) -> HeadData:
    """Put heads together and measure their landmarks."""
    angles, shapes, measures = [], [], []
    for head in heads:
        relative = head.angles.copy()
        relative[:, 2] -= head.crop_roll
        angles.append(relative)
        for points, turn in zip(head.landmarks, relative, strict=True):
            face = turned_to_front(points, turn)
            shapes.append(face[list(SHAPE_LANDMARKS)])
            measures.append(_measures(points, face))
    return HeadData(
        images=[head.images for head in heads],
        head=np.repeat(np.arange(len(heads)), [len(head.images) for head in heads]),
        frame=np.concatenate([np.arange(len(head.images)) for head in heads]),
        angles=np.concatenate(angles),
        gaze=np.concatenate([head.gaze for head in heads]),
        channels=np.concatenate([head.arkit[:, _COLUMNS] for head in heads]),
        measures=np.stack(measures),
        shape=np.stack(shapes),
    )


def turned_to_front(points: Float32Array, turn: Float32Array) -> Float32Array:
    """Landmarks with a known turn taken out: float32 [478, 3], IOD, origin between the eyes."""
    right, left = points[list(face_mesh.OUTER_EYE_CORNERS)].astype(np.float64)
    about = points - 0.5 * (right + left)
    rotation = rotation_matrix(*(float(angle) for angle in turn))
    return np.asarray(about @ rotation / np.linalg.norm(left - right), np.float32)


def _measures(points: Float32Array, face: Float32Array) -> Float32Array:
    """In the order of `READ_MEASURES`."""
    whole = measure_face(points)
    lids = (whole.eye_ratio_left, whole.eye_ratio_right)
    values = dict(zip(LIPS_AND_BROWS, shape_of(face.astype(np.float64)), strict=True))
    values |= dict(zip(READ_MEASURES[:2], lids, strict=True))
    return np.array([values[name] for name in READ_MEASURES], np.float32)


def draw_batch(
    data: HeadData, heads: npt.NDArray[np.int64], num_heads: int, rng: np.random.Generator
) -> tuple[Tensor, Truth]:
    """Draw two pictures each of some heads, changed at random.

    Args:
        data: All pictures.
        heads: Indices of those that may be drawn.
        num_heads: H; fewer heads are drawn several times.
        rng: Source of chance.

    Returns:
        Crops [2 H, 3, 160, 160] in [0, 1]: one picture of each head, then the others; and labels.
    """
    crops, truth = draw_crops(data, heads, num_heads, rng)
    return to_input(torch.from_numpy(crops)), truth


def draw_crops(
    data: HeadData, heads: npt.NDArray[np.int64], num_heads: int, rng: np.random.Generator
) -> tuple[Uint8Array, Truth]:
    """Draw what `draw_batch` does, with crops as bytes, [2 H, 160, 160, 3]."""
    chosen = rng.choice(heads, num_heads, replace=len(heads) < num_heads)
    rows = np.empty((2, num_heads), np.int64)
    for column, head in enumerate(chosen):
        own = np.flatnonzero(data.head == head)
        rows[:, column] = rng.choice(own, 2, replace=False)
    mirrors = rng.random(num_heads) < 0.5
    moves = [draw_move(rng, is_mirrored=bool(mirror)) for mirror in np.tile(mirrors, 2)]
    crops = [
        spoil(_cut(data, int(row), move), rng)
        for row, move in zip(rows.ravel(), moves, strict=True)
    ]
    return np.stack(crops), labels(data, rows.ravel(), moves)


def plain_batch(data: HeadData, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Truth]:
    """Pictures as they are."""
    moves = [make_move()] * len(rows)
    crops = [_cut(data, int(row), move) for row, move in zip(rows, moves, strict=True)]
    return to_input(torch.from_numpy(np.stack(crops))), labels(data, rows, moves)


def to_input(crops: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] -> float32 [B, 3, S, S] in [0, 1]."""
    return crops.permute(0, 3, 1, 2).float() / 255.0


def _cut(data: HeadData, row: int, move: Move) -> Uint8Array:
    return moved(data.images[data.head[row]][data.frame[row]], move)


def labels(data: HeadData, rows: npt.NDArray[np.int64], moves: Sequence[Move]) -> Truth:
    """What crops show that were cut by these moves."""
    pose, gaze = data.angles[rows].copy(), data.gaze[rows].copy()
    channels, measures = data.channels[rows].copy(), data.measures[rows].copy()
    shape = data.shape[rows].copy()
    mirror = np.array([move.is_mirrored for move in moves])
    pose[mirror] *= (-1.0, 1.0, -1.0)
    gaze[mirror] *= (-1.0, 1.0)
    channels[mirror] = channels[mirror][:, _MIRROR_CHANNELS]
    measures[mirror] = measures[mirror][:, _MIRROR_MEASURES]
    shape[mirror] = shape[mirror][:, _MIRROR_SHAPE] * (-1.0, 1.0, 1.0)
    pose[:, 2] += [move.turn_rad for move in moves]
    low, high = LIDS_HIDE
    shut = channels[:, _BLINKS].min(axis=1)
    values = {
        "pose": pose,
        "gaze": gaze,
        "seen_eyes": np.clip((high - shut) / (high - low), 0.0, 1.0),
        "channels": channels,
        "measures": measures,
        "shape": shape,
        "is_rest": (channels.sum(axis=1) < MAX_REST).astype(np.float32),
    }
    return Truth(**{k: torch.from_numpy(v.astype(np.float32)) for k, v in values.items()})


_MIRROR_SHAPE: Final = [
    SHAPE_LANDMARKS.index(int(_MIRROR_LANDMARKS[point])) for point in SHAPE_LANDMARKS
]
