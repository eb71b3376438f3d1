"""What a batch of frames is drawn from: worked out on the host, sent to the device in one copy.

Shapes of frames cost little (0.15 ms each) and come from the code that draws one frame at a time,
so that both ways agree on where everything is. Axes: E boxes of one kind, V vertices, M triangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.decoder import PreparedAvatar
from parlante.models.decoder_mesh import flap_targets
from parlante.models.eyes import eye_box
from parlante.models.frame_geometry import (
    INNER_LIPS,
    OVAL,
    FrameGeometry,
    sharp_box,
)
from parlante.models.mouth import mouth_shape
from parlante.models.mouth_patches import MouthPatch, patch_box
from parlante.models.stiff_layer import stiff_box
from parlante.models.torch_avatar import Arena, Picture, TorchAvatar
from parlante.models.torch_eyes import eye_curves, eye_numbers
from parlante.models.torch_mouth import mouth_colours, mouth_numbers
from parlante.models.torch_pixels import Packer, Pictures, Pixels, box_pixels
from parlante.types import Float32Array

__all__ = ["BatchPlan", "Part", "plan_batch"]

_EYES: Final = (  # the subject's right and left
    (Picture.IMAGE, Picture.SKIN, Picture.WHITE, Picture.IRIS, Picture.RIM),
    (Picture.IMAGE, Picture.LEFT_SKIN, Picture.LEFT_WHITE, Picture.LEFT_IRIS, Picture.LEFT_RIM),
)
_NO_CURVES: Final[Float32Array] = np.zeros((0, 0), np.float32)
_NO_POINTS: Final[Float32Array] = np.zeros((0, 2), np.float32)


class Part(NamedTuple):
    """All boxes of one kind, on the device.

    Attributes:
        pixels: Of the boxes.
        pictures: Each of E.
        numbers: float32 [E, K].
        curves: float32 [E, C, L].
    """

    pixels: Pixels
    pictures: list[Pictures]
    numbers: Tensor
    curves: Tensor


class Warp(NamedTuple):
    """What brings pixels of pictures to where they are in the frames.

    Attributes:
        target: float32 [V, 2], px of the frames.
        source: float32 [V, 2], px of the pictures.
        triangles: int64 [M, 3].
        frame: int64 [M], of each triangle.
    """

    target: Tensor
    source: Tensor
    triangles: Tensor
    frame: Tensor


class BatchPlan(NamedTuple):
    """A batch on the device; parts that no frame has are None.

    Attributes:
        warp: Of the canvases.
        worn: Of what is drawn stiff over faces.
        canvas: Of B frames.
        background: Of B frames.
        is_clear: bool [B].
        sharp: Where faces are.
        eyes: Eyes that are not as in the photo.
        corners: Cheeks over the ends of photos' mouths.
        mouths: Insides of mouths.
        own_mouths: Mouths as photos have them.
        stiff: Where there is anything stiff.
    """

    warp: Warp
    worn: Warp | None
    canvas: Pictures
    background: Pictures
    is_clear: Tensor
    sharp: Part | None
    eyes: Part | None
    corners: Part | None
    mouths: Part | None
    own_mouths: Part | None
    stiff: Part | None


@dataclass(slots=True)
class _Boxes:
    """Boxes of one kind as they are found."""

    boxes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    pictures: list[Sequence[Picture]] = field(default_factory=list)
    numbers: list[Sequence[float]] = field(default_factory=list)
    curves: list[Float32Array] = field(default_factory=list)

    def add(
        self,
        frame: int,
        box: npt.NDArray[np.int64] | None,
        pictures: Sequence[Picture],
        numbers: Sequence[float] = (),
        curves: Float32Array = _NO_CURVES,
    ) -> None:
        if box is not None and (box[2:] > box[:2]).all():
            self._append(frame, box, pictures, numbers, curves)

    def _append(
        self,
        frame: int,
        box: npt.NDArray[np.int64],
        pictures: Sequence[Picture],
        numbers: Sequence[float],
        curves: Float32Array,
    ) -> None:
        self.boxes.append(box)
        self.frames.append(frame)
        self.pictures.append(pictures)
        self.numbers.append(numbers)
        self.curves.append(curves)

    def make_plural(self) -> None:
        """Add an empty box to a lone one: compilers make code of its own for sizes of one."""
        if len(self.boxes) == 1:
            own = self.pictures[0], self.numbers[0], self.curves[0]
            self._append(self.frames[0], np.zeros(4, np.int64), *own)

    @property
    def num_pixels(self) -> int:
        return sum(int(np.prod(box[2:] - box[:2])) for box in self.boxes)

    def pack(self, packer: Packer, tables: npt.NDArray[np.int64]) -> None:
        if self.boxes:
            packer.add(tables[np.array(self.frames)[:, None], np.array(self.pictures)])
            packer.add(np.array(self.numbers, np.float32))
            packer.add(np.array(self.curves))

    def unpack(self, sent: list[Tensor], pixels: Pixels) -> Part | None:
        if not self.boxes:
            return None
        pictures, numbers, curves = (sent.pop(0) for _ in range(3))
        placed = [Pictures(*picture.unbind(1)) for picture in pictures.unbind(1)]
        return Part(pixels, placed, numbers, curves)


class _Kinds(NamedTuple):
    sharp: _Boxes
    eyes: _Boxes
    corners: _Boxes
    mouths: _Boxes
    own_mouths: _Boxes
    stiff: _Boxes


def plan_batch(
    avatars: Sequence[TorchAvatar],
    shapes: Sequence[FrameGeometry],
    arena: Arena,
    device: torch.device,
) -> BatchPlan:
    """Put together what a batch needs.

    Args:
        avatars: Of B frames of one size.
        shapes: Of the frames.
        arena: Holds the texels of the avatars.
        device: Where to draw.
    """
    kinds = _Kinds(*(_Boxes() for _ in _Kinds._fields))
    targets, worn_targets = [], []
    for frame, (avatar, shape) in enumerate(zip(avatars, shapes, strict=True)):
        targets.append(np.concatenate([shape.posed, flap_targets(shape.posed)]))
        layer = avatar.avatar.stiff
        worn_targets.append(_NO_POINTS if layer is None else shape.posed[layer.first :])
        _plan_frame(frame, avatar.avatar, shape, kinds)
    for kind in kinds:
        kind.make_plural()
    packer = Packer()
    tables = arena.pictures(avatars)
    num_triangles = [len(avatar.triangles) for avatar in avatars]
    num_worn = [0 if avatar.worn is None else len(avatar.worn[1]) for avatar in avatars]
    _pack_warp(packer, targets, num_triangles)
    _pack_warp(packer, worn_targets, num_worn)
    packer.add(tables[:, [Picture.CANVAS, Picture.BACKGROUND]])
    packer.add(np.array([avatar.is_clear for avatar in avatars], np.int64))
    boxes = [box for kind in kinds for box in kind.boxes] or [np.zeros(4, np.int64)]
    packer.add(np.stack(boxes).astype(np.int64))
    packer.add(np.array([frame for kind in kinds for frame in kind.frames] or [0], np.int64))
    for kind in kinds:
        kind.pack(packer, tables)
    sent = packer.send(device)
    back, clear, box, box_frame, *rest = sent[6:]
    warp = _warp_of(
        sent[:3], [(avatar.source, avatar.triangles) for avatar in avatars], num_triangles
    )
    worn = None
    if any(num_worn):
        layers = [avatar.worn for avatar in avatars if avatar.worn is not None]
        worn = _warp_of(sent[3:6], layers, num_worn)
    size_px = avatars[0].avatar.size_px
    canvas, background = (Pictures(*picture.unbind(1)) for picture in back.unbind(1))
    # Pixels of all kinds in one list, of which each has its part: one kernel instead of five.
    total = sum(kind.num_pixels for kind in kinds)
    pixels = _split(box_pixels(box, box_frame, total, size_px), kinds)
    parts = (kind.unpack(rest, own) for kind, own in zip(kinds, pixels, strict=True))
    return BatchPlan(warp, worn, canvas, background, clear > 0, *parts)


def _pack_warp(packer: Packer, targets: list[Float32Array], counts: list[int]) -> None:
    starts = np.cumsum([0, *(len(target) for target in targets[:-1])])
    packer.add(np.concatenate(targets).astype(np.float32))
    packer.add(np.array(counts, np.int64))
    packer.add(starts.astype(np.int64))


def _warp_of(sent: list[Tensor], parts: Sequence[tuple[Tensor, Tensor]], counts: list[int]) -> Warp:
    """A warp from what was packed and the sources and triangles of those that have any."""
    target, count, start = sent
    index = torch.arange(len(counts), device=target.device)
    frame = index.repeat_interleave(count, output_size=sum(counts))
    triangles = torch.cat([part[1] for part in parts]) + start[frame][:, None]
    return Warp(target, torch.cat([part[0] for part in parts]), triangles, frame)


def _split(pixels: Pixels, kinds: _Kinds) -> list[Pixels]:
    """The pixels of each kind, whose owners count the boxes of that kind."""
    split, start, num_before = [], 0, 0
    for kind in kinds:
        end = start + kind.num_pixels
        own = Pixels(*(column[start:end] for column in pixels))
        split.append(own._replace(owner=own.owner - num_before))
        start, num_before = end, num_before + len(kind.boxes)
    return split


def _plan_frame(frame: int, avatar: PreparedAvatar, shape: FrameGeometry, kinds: _Kinds) -> None:
    posed, size = shape.posed, (avatar.size_px, avatar.size_px)
    box = sharp_box(posed[OVAL], avatar.mesh.iod_px * shape.pose.scale, size)
    kinds.sharp.add(frame, box, (Picture.CANVAS,), (*box.tolist(), size[0]))
    for eye, state, pictures in zip(avatar.eyes, shape.eyes, _EYES, strict=True):
        if not state.is_at_rest:
            numbers = eye_numbers(eye, state, avatar.canvas_offset)
            own = eye_box(eye, posed, size)
            kinds.eyes.add(frame, own, pictures, numbers, eye_curves(eye, state))
    for kind, name, patch, share in (
        (kinds.corners, Picture.PLAIN_CORNERS, avatar.plain_corners, shape.narrowing),
        (kinds.own_mouths, Picture.OWN_MOUTH, avatar.own_mouth, shape.own_mouth),
    ):
        placed = _patch_numbers(patch, share, avatar.canvas_offset)
        kind.add(frame, patch_box(patch, share, posed, size), (name,), placed)
    if avatar.stiff is not None:
        worn = stiff_box(avatar.stiff, posed, size)
        kinds.stiff.add(frame, worn, (Picture.STIFF,))
    if shape.own_mouth < 1.0:
        _plan_mouth(frame, avatar, shape, kinds.mouths)


def _plan_mouth(frame: int, avatar: PreparedAvatar, shape: FrameGeometry, kind: _Boxes) -> None:
    head, mouth = shape.mouth_frame, avatar.mouth
    size = (avatar.size_px, avatar.size_px)
    opening = mouth_shape(mouth, shape.posed[INNER_LIPS], head, shape.labiodental, size)
    if opening is not None:
        numbers = mouth_numbers(opening, head, shape.jaw, shape.tongue_out, mouth)
        kind.add(
            frame,
            opening.box,
            (Picture.UPPER_TEETH, Picture.LOWER_TEETH),
            (*numbers, *mouth_colours(mouth).reshape(-1).tolist()),
            np.array([opening.upper, opening.lower], np.float32),
        )


def _patch_numbers(
    patch: MouthPatch, share: float, offset: tuple[float, float]
) -> tuple[float, float, float]:
    return share, offset[0] + patch.origin[0], offset[1] + patch.origin[1]
