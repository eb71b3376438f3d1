"""Retouching of frames by a `FaceNet`, on the thread that draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.face_net import FaceInput, FaceLook, FaceNet, Look, RegionInput
from parlante.models.face_regions import (
    FRAME_PX,
    DrawnFrame,
    FaceRegions,
    Region,
    cut_regions,
)
from parlante.models.face_weights import load_face_net, weights_of
from parlante.models.frame_geometry import FrameGeometry
from parlante.models.region_maps import add_change
from parlante.types import Float32Array, Uint8Array

if TYPE_CHECKING:
    from parlante.models.decoder import PreparedAvatar

LEAST_ALLOWED: Final = 1e-3  # a region that may be changed by less is left out


@dataclass(frozen=True, slots=True, eq=False)
class FaceAppearance:
    """What the network made of one portrait; opaque to all but `FaceRetouch`."""

    look: FaceLook

    @property
    def num_bytes(self) -> int:
        """Memory of the features."""
        return sum(t.nbytes for part in self.look if part is not None for t in part)


def open_retouch(choice: str) -> FaceRetouch | None:
    """Make the retouching that a setting names.

    Args:
        choice: ``none``; ``nano`` or ``base``, the packaged weights of that size; or the path of
            a weights file.

    Returns:
        None when frames are to stay as the warp draws them.

    Raises:
        FailedPrecondition: The weights are missing or of another release.
    """
    if choice == "none":
        return None
    return FaceRetouch(*load_face_net(weights_of(choice)))


class FaceRetouch:
    """Applies a network to frames; safe for use from several threads.

    Args:
        net: The network, in evaluation mode.
        digest: Hex SHA-256 of its weights.

    Attributes:
        net: The network.
        needs_frame: Whether it looks at the frame as a whole.
    """

    def __init__(self, net: FaceNet, digest: str = "") -> None:
        self.net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.digest = digest
        self.needs_frame = net.frame is not None

    @torch.inference_mode()
    def prepare(self, avatar: PreparedAvatar, geometry: FrameGeometry) -> FaceAppearance:
        """Look at the portrait.

        Args:
            avatar: The avatar.
            geometry: Of the portrait itself, lips where the photo has them.
        """
        drawn = portrait_frame(avatar)
        regions = cut_regions(avatar, geometry, drawn, with_frame=self.needs_frame)
        return FaceAppearance(self.net.look(stack([regions])))

    @torch.inference_mode()
    def apply(self, look: FaceAppearance, regions: FaceRegions, pixels: Uint8Array) -> None:
        """Retouch one frame in place.

        Args:
            look: Of the avatar.
            regions: Cut from the frame.
            pixels: uint8 [512, 512, 3].
        """
        torch.set_num_threads(1)  # of this thread; a frame is one thread's work
        changes: list[tuple[Region, Float32Array]] = []
        net, kept = self.net, look.look
        frame = regions.frame
        can_frame = frame is not None and _is_allowed(frame)
        if can_frame and frame is not None and net.frame is not None and kept.frame is not None:
            changes.append((frame, _run(net.frame, [frame], kept.frame)[0]))
        chosen = [index for index, eye in enumerate(regions.eyes) if _is_allowed(eye)]
        if chosen:
            eyes = [regions.eyes[index] for index in chosen]
            own = Look(*(part[chosen] for part in kept.eyes))
            changes += zip(eyes, _run(net.eye, eyes, own), strict=True)
        if _is_allowed(regions.mouth):
            changes.append((regions.mouth, _run(net.mouth, [regions.mouth], kept.mouth)[0]))
        for region, change in changes:
            lay_change(region, change, pixels)


def portrait_frame(avatar: PreparedAvatar) -> DrawnFrame:
    """The portrait as if it had been drawn."""
    size = avatar.image.shape[0]
    dx, dy = avatar.canvas_offset
    place = np.arange(size, dtype=np.float32)
    x = np.ascontiguousarray(np.broadcast_to(place + np.float32(dx), (size, size)))
    y = np.ascontiguousarray(np.broadcast_to((place + np.float32(dy))[:, None], (size, size)))
    left, top = int(dx), int(dy)
    matte = np.ascontiguousarray(avatar.canvas[top : top + size, left : left + size, 3])
    return DrawnFrame(pixels=avatar.image, maps=(x, y), matte=matte)


def stack(regions: Sequence[FaceRegions]) -> FaceInput:
    """Bring regions of B frames into the form that the network takes."""
    eyes = [eye for each in regions for eye in each.eyes]
    frames = [each.frame for each in regions if each.frame is not None]
    return FaceInput(
        stack_region([each.mouth for each in regions]),
        stack_region(eyes),
        stack_region(frames) if frames else None,
    )


def stack_region(regions: Sequence[Region]) -> RegionInput:
    """Bring B crops of one kind into the form that the network takes."""
    # [B, S, S, 3] seen as [B, 3, S, S]: the layout that convolutions like best.
    rgb = torch.from_numpy(np.stack([region.rgb for region in regions])).permute(0, 3, 1, 2)
    return RegionInput(
        rgb.float().div_(255.0),
        _batch([region.maps for region in regions]),
        _batch([region.allow for region in regions]),
        _batch([region.condition for region in regions]),
    )


def _batch(arrays: Sequence[npt.NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _run(net: torch.nn.Module, regions: Sequence[Region], look: Look) -> Float32Array:
    change, _, _ = net(stack_region(regions), look)
    levels = change.mul_(255.0).permute(0, 2, 3, 1).contiguous()
    return np.asarray(levels.numpy(), np.float32)


def _is_allowed(region: Region) -> bool:
    return float(region.allow.max()) > LEAST_ALLOWED


def lay_change(region: Region, change: Float32Array, pixels: Uint8Array) -> None:
    """Add a region's change to the frame, in place.

    Args:
        region: Where it was cut.
        change: float32 [S, S, 3], levels of 255.
        pixels: uint8 [H, W, 3].
    """
    side = change.shape[0]
    height, width = pixels.shape[:2]
    if side == FRAME_PX:
        full = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
        add_change(np.asarray(full, np.float32), 0, 0, pixels)
        return
    x0, y0, x1, y1 = reach_of(region.to_frame, side, (width, height)).tolist()
    if x1 <= x0 or y1 <= y0:
        return
    to_box = region.to_frame.copy()
    to_box[:, 2] -= (x0, y0)
    laid = cv2.warpAffine(
        change, to_box, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    add_change(np.asarray(laid, np.float32), x0, y0, pixels)


def reach_of(
    to_frame: npt.NDArray[np.float64], side: int, size: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """The part of a frame that a crop may change.

    Args:
        to_frame: float64 [2, 3], frame px of crop px.
        side: Of the crop, px.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom, px; may be empty.
    """
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], np.float64)
    placed = corners @ to_frame.T
    low = np.clip(np.floor(placed.min(0)).astype(int), 0, size)
    high = np.clip(np.ceil(placed.max(0)).astype(int) + 1, 0, size)
    return np.concatenate([low, high])
