"""What the encoders are trained to do: exact labels, exchanged codes, and one identity per person.

A batch holds two pictures each of H heads, first all of one, then all of the other. Axis letters:
B = 2 H pictures, C channels, K measures, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.face_codes import FaceCodes, ShapeNet

__all__ = ["LossWeights", "Truth", "encoders_loss", "rotations"]

# Errors of these sizes count the same.
POSE_SCALE_RAD: Final = 0.06
GAZE_SCALE_RAD: Final = 0.08
CHANNEL_SCALE: Final = 0.15
SHAPE_SCALE_IOD: Final = 0.03
MEASURE_SCALE_IOD: Final = 0.02  # a ratio of lids counts as a length
_BEND: Final = 0.5  # of the scale: smaller errors count by their square
_TEMPERATURE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each part counts.

    Attributes:
        pose: Angles of the head.
        gaze: Angles of the eyes, where they are open.
        channels: Named dynamics.
        measures: Lips, brows and lids.
        shape: Landmarks put together from a picture's own codes.
        exchange: Landmarks from its dynamics and gaze, and pose and identity of the other picture
            of the same head.
        identity: Two pictures of a head are known among all others of the batch.
        rest: The code of the dynamics is zero in a face at rest, whoever it is.
    """

    pose: float = 1.0
    gaze: float = 1.0
    channels: float = 1.0
    measures: float = 1.0
    shape: float = 0.5
    exchange: float = 1.0
    identity: float = 0.3
    rest: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Labels of B pictures.

    Attributes:
        pose: [B, 3], relative to the crop, rad.
        gaze: [B, 2], rad.
        seen_eyes: [B], [0, 1], how much of the eyes the lids leave.
        channels: [B, C].
        measures: [B, K].
        shape: [B, L, 3], landmarks turned to the front, IOD.
        is_rest: [B], 1 in a face at rest, else 0.
    """

    pose: Tensor
    gaze: Tensor
    seen_eyes: Tensor
    channels: Tensor
    measures: Tensor
    shape: Tensor
    is_rest: Tensor


def rotations(pose: Tensor) -> Tensor:
    """Rotation matrices [B, 3, 3] of yaw, pitch and roll; see `face_coefficients`."""
    (cy, cp, cr), (sy, sp, sr) = pose.cos().unbind(1), pose.sin().unbind(1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    about_y = torch.stack([cy, zero, -sy, zero, one, zero, sy, zero, cy], 1)
    about_x = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], 1)
    about_z = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], 1)
    turned = about_y.reshape(-1, 3, 3) @ about_x.reshape(-1, 3, 3)
    return about_z.reshape(-1, 3, 3) @ turned


def encoders_loss(
    codes: FaceCodes, truth: Truth, shapes: ShapeNet, weights: LossWeights
) -> tuple[Tensor, dict[str, float]]:
    """Add up the parts.

    Args:
        codes: What was read.
        truth: What is so.
        shapes: Puts landmarks together.
        weights: Of the parts.

    Returns:
        The loss, and its parts before they are weighted.
    """
    eyes = truth.seen_eyes[:, None]
    parts = {
        "pose": _robust(codes.pose - truth.pose, POSE_SCALE_RAD).mean(),
        "gaze": (_robust(codes.gaze - truth.gaze, GAZE_SCALE_RAD) * eyes).mean(),
        # Squared: most channels are none most of the time, and a median would stay there.
        "channels": ((codes.channels - truth.channels) / CHANNEL_SCALE).square().mean(),
        "measures": _robust(codes.measures - truth.measures, MEASURE_SCALE_IOD).mean(),
        "shape": _shape_loss(codes, truth, shapes, exchanged=False),
        "exchange": _shape_loss(codes, truth, shapes, exchanged=True),
        "identity": _identity_loss(codes.identity),
        "rest": (codes.dynamics.square().mean(1) * truth.is_rest).mean(),
    }
    total = sum(
        (getattr(weights, name) * part for name, part in parts.items()),
        start=codes.pose.new_zeros(()),
    )
    values = torch.stack([part.detach() for part in parts.values()]).tolist()
    return total, dict(zip(parts, values, strict=True))


def _robust(error: Tensor, scale: float) -> Tensor:
    scaled = error.float() / scale
    return F.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none", beta=_BEND)


def _shape_loss(codes: FaceCodes, truth: Truth, shapes: ShapeNet, *, exchanged: bool) -> Tensor:
    """Landmarks in the picture; exchanged: of this face in the pose of the head's other picture.

    No picture of that has to be drawn: the landmarks of a face turned to the front, turned again,
    are known exactly.
    """
    identity, pose, true_pose = codes.identity, codes.pose.float(), truth.pose
    if exchanged:
        identity, pose, true_pose = (_swapped(x) for x in (identity, pose, true_pose))
    made = shapes(codes.dynamics.float(), codes.gaze.float(), identity)
    there = truth.shape @ rotations(true_pose).transpose(1, 2)
    error = made @ rotations(pose).transpose(1, 2) - there
    return _robust(error, SHAPE_SCALE_IOD).mean()


def _swapped(values: Tensor) -> Tensor:
    """Of the head's other picture."""
    return values.roll(len(values) // 2, 0)


def _identity_loss(identity: Tensor) -> Tensor:
    """The other picture of a head must be the nearest (noise-contrastive, both ways)."""
    first, second = identity.chunk(2)
    likeness = first @ second.T / _TEMPERATURE
    own = torch.arange(len(first), device=identity.device)
    return 0.5 * (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own))
