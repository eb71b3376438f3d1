"""The encoders of motion: one network that reads pose, gaze, dynamics and identity off a face.

A convolutional trunk sees the crop of `face_crop`. What it finds goes into codes that are kept
apart: the pose of the head, the gaze, a code of the dynamics, and a code of who it is. A small
`ShapeNet` puts landmarks together again from the codes; it is trained with the network so that
codes of different pictures can be exchanged, and is not needed to read motion.

Axis letters: B batch, C channels, K measures, L landmarks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.errors import InvalidInput
from parlante.models import face_mesh

__all__ = [
    "READ_CHANNELS",
    "READ_MEASURES",
    "SHAPE_LANDMARKS",
    "FaceCodes",
    "FaceCodesConfig",
    "FaceCodesNet",
    "ShapeNet",
]

# ARKit coefficients that synthetic heads can show.
READ_CHANNELS: Final = (
    "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight", "eyeSquintLeft",
    "eyeSquintRight", "browDownLeft", "browDownRight", "browOuterUpLeft", "browOuterUpRight",
    "browInnerUp", "noseSneerLeft", "noseSneerRight", "cheekSquintLeft", "cheekSquintRight",
    "cheekPuff", "jawLeft", "jawRight", "jawOpen", "mouthShrugLower", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthRollLower", "mouthRollUpper", "mouthFunnel", "mouthUpperUpLeft",
    "mouthUpperUpRight", "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthFrownLeft",
    "mouthFrownRight", "tongueOut",
)  # fmt: skip
# The measures of `parlante.training.videos.measures` that are lips, brows and lids.
READ_MEASURES: Final = (
    "eye_ratio_left", "eye_ratio_right", "upper_lip_y", "lower_lip_y", "chin_y", "corner_left_y",
    "corner_right_y", "mouth_width", "upper_lip_height", "lower_lip_height", "brow_inner_left",
    "brow_outer_left", "brow_inner_right", "brow_outer_right",
)  # fmt: skip
SHAPE_LANDMARKS: Final = tuple(
    sorted(
        {
            *face_mesh.OVAL, *face_mesh.INNER_LIPS, *face_mesh.OUTER_LIPS,
            *face_mesh.RIGHT_EYE_CORNERS, *face_mesh.LEFT_EYE_CORNERS,
            *face_mesh.RIGHT_UPPER_LID, *face_mesh.RIGHT_LOWER_LID,
            *face_mesh.LEFT_UPPER_LID, *face_mesh.LEFT_LOWER_LID,
            *face_mesh.RIGHT_BROW, *face_mesh.LEFT_BROW,
            face_mesh.RIGHT_IRIS[0], face_mesh.LEFT_IRIS[0], 1, 2, 4, 5, 6, 98, 168, 195, 327,
        }
    )
)  # fmt: skip
_UNSHUFFLE: Final = 4  # pixels that the first layer takes together: thin layers cost most
_LEAST_SPREAD: Final = 0.02  # noise of black pictures is not blown up
_NARROW: Final = 64  # channels of the last map, which is read with its places
_LAST_PX: Final = 5  # edge of that map
# Eyes and mouth lie in the crop always at about the same places. They are read there from a finer
# map of 20 px too: what gaze and lips move is lost in the coarse one, or takes long to be learnt.
_FINE_STAGE: Final = 1
_EYES_AT: Final = (slice(3, 10), slice(4, 16))  # rows, columns
_MOUTH_AT: Final = (slice(8, 17), slice(4, 16))
_FINE_NARROW: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceCodesConfig:
    """Size of the network.

    Attributes:
        widths: Channels at 40, 20, 10 and 5 px.
        depths: Residual blocks at each.
        hidden: Width of what is seen in the whole, half of it is that of eyes and mouth each.
        dynamics: Length of the code of the dynamics.
        identity: Length of the code of who it is.

    Raises:
        InvalidInput: A number is out of range.
    """

    widths: tuple[int, int, int, int] = (48, 96, 160, 224)
    depths: tuple[int, int, int, int] = (1, 1, 2, 1)
    hidden: int = 256
    dynamics: int = 48
    identity: int = 64

    def __post_init__(self) -> None:
        for name in ("hidden", "dynamics", "identity"):
            if getattr(self, name) < 1:
                raise _bad(name, getattr(self, name))
        for name in ("widths", "depths"):
            value = getattr(self, name)
            if len(value) != 4 or min(value) < 1:
                raise _bad(name, value)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FaceCodesConfig:
        """Read what `to_dict` gives; lists for tuples."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InvalidInput(
                f"the model of the encoders has no field {unknown[0]!r}; it has {sorted(known)}",
                reason="BAD_CONFIG",
                field="model",
            )
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def _bad(name: str, value: object) -> InvalidInput:
    return InvalidInput(
        f"{name} of the encoders' model must be positive (four numbers for widths and depths); "
        f"got {value}",
        reason="BAD_CONFIG",
        field=name,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FaceCodes:
    """What is read off B crops.

    Attributes:
        pose: [B, 3], yaw, pitch and roll relative to the crop, rad; signs as `POSE_CHANNELS`.
        gaze: [B, 2], yaw and pitch of the eyes in the head, rad.
        dynamics: [B, D], the code of expression and speech.
        identity: [B, I], unit vectors.
        channels: [B, C], the named part of the dynamics, in the order of `READ_CHANNELS`; about
            [0, 1].
        measures: [B, K], in the order of `READ_MEASURES`; lengths in IOD.
    """

    pose: Tensor
    gaze: Tensor
    dynamics: Tensor
    identity: Tensor
    channels: Tensor
    measures: Tensor


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(F.silu(self.first(x)))
        return F.silu(x + inner)


def _conv(width_in: int, width_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), nn.BatchNorm2d(width_out)
    )


class FaceCodesNet(nn.Module):
    """Crops -> codes."""

    def __init__(self, config: FaceCodesConfig) -> None:
        super().__init__()
        self.config = config
        stages: list[nn.Module] = []
        width_in = 3 * _UNSHUFFLE**2
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            first = _conv(width_in, width, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, nn.SiLU(), *(_Block(width) for _ in range(depth))))
            width_in = width
        self.stages = nn.ModuleList(stages)
        self.whole = _Places(width_in, _NARROW, _LAST_PX**2, config.hidden)
        fine, half = config.widths[_FINE_STAGE], config.hidden // 2
        self.eyes = _Places(fine, _FINE_NARROW, _size(_EYES_AT), half)
        self.mouth = _Places(fine, _FINE_NARROW, _size(_MOUTH_AT), half)
        seen = config.hidden + 2 * half
        self.pose = nn.Linear(seen, 3)
        self.gaze = nn.Linear(seen, 2)
        self.dynamics = nn.Linear(seen, config.dynamics)
        self.channels = nn.Linear(config.dynamics, len(READ_CHANNELS))
        # Who it is does not depend on where in the crop something is seen.
        self.person = nn.Linear(width_in, config.hidden)
        self.identity = nn.Linear(config.hidden, config.identity)
        # Lengths are of the person too.
        self.measures = nn.Linear(seen + config.hidden, len(READ_MEASURES))

    def forward(self, crops: Tensor) -> FaceCodes:
        """Read faces.

        Args:
            crops: [B, 3, 160, 160] in [0, 1], RGB.
        """
        # Exposure and contrast are the camera's.
        mean = crops.mean((1, 2, 3), keepdim=True)
        spread = crops.std((1, 2, 3), keepdim=True)
        x = F.pixel_unshuffle((crops - mean) / (spread + _LEAST_SPREAD), _UNSHUFFLE)
        x = x.contiguous(memory_format=torch.channels_last)
        parts: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == _FINE_STAGE:
                parts = [self.eyes(x[:, :, *_EYES_AT]), self.mouth(x[:, :, *_MOUTH_AT])]
        seen = torch.cat([self.whole(x), *parts], 1)
        person = F.silu(self.person(x.mean((2, 3))))
        dynamics = self.dynamics(seen)
        return FaceCodes(
            pose=self.pose(seen),
            gaze=self.gaze(seen),
            dynamics=dynamics,
            identity=F.normalize(self.identity(person).float(), dim=1),
            channels=self.channels(dynamics),
            measures=self.measures(torch.cat([seen, person], 1)),
        )


class _Places(nn.Module):
    """Reads a map with its places: few channels, all pixels."""

    def __init__(self, width_in: int, narrow: int, num_pixels: int, width_out: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width_in, narrow, 1)
        self.read = nn.Linear(narrow * num_pixels, width_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.read(F.silu(self.narrow(x)).flatten(1)))


def _size(place: tuple[slice, slice]) -> int:
    return int(np.prod([part.stop - part.start for part in place]))


class ShapeNet(nn.Module):
    """Codes of dynamics, gaze and identity -> the landmarks of the face turned to the front."""

    def __init__(self, config: FaceCodesConfig) -> None:
        super().__init__()
        width_in = config.dynamics + 2 + config.identity
        self.layers = nn.Sequential(
            nn.Linear(width_in, 192),
            nn.SiLU(),
            nn.Linear(192, 192),
            nn.SiLU(),
            nn.Linear(192, 3 * len(SHAPE_LANDMARKS)),
        )

    def forward(self, dynamics: Tensor, gaze: Tensor, identity: Tensor) -> Tensor:
        """Put faces together: [B, L, 3], IOD, the origin between the outer eye corners."""
        codes = torch.cat([dynamics, gaze, identity * identity.shape[1] ** 0.5], 1)
        shape: Tensor = self.layers(codes)
        return shape.reshape(len(shape), -1, 3)
