"""The decoder for a device: frames of many avatars at once, in plain tensor operations.

The same pictures as `parlante.models.decoder` makes one by one on a CPU (docs/adr/0017): shapes of
frames come from its code, and every pixel loop has its counterpart here. Axes: B frames of a batch,
S their edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from parlante.models.decoder import Decoder, mean_face_latents
from parlante.models.frame_geometry import FrameGeometry, geometry_from_motion
from parlante.models.frame_look import FrameLook
from parlante.models.torch_avatar import Arena, TorchAvatar, send_avatar
from parlante.models.torch_canvas import blend_over, sample_cubic, sample_linear
from parlante.models.torch_eyes import EyeBatch, shade_eyes
from parlante.models.torch_mouth import MouthBatch, blend_patches, shade_mouths
from parlante.models.torch_pixels import to_host
from parlante.models.torch_plan import BatchPlan, Part, plan_batch
from parlante.models.torch_raster import raster_batch
from parlante.models.torch_regions import DrawnBatch
from parlante.models.torch_retouch import TorchRetouch
from parlante.types import MOTION_DIM, AvatarLatents, Float32Array, Uint8Array

__all__ = ["TorchDecoder"]

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

_PLAIN: Final = FrameLook()


class TorchDecoder:
    """Renders batches on a device; `render` belongs to one thread.

    Args:
        device: As torch names it: ``cuda:0``, or ``cpu`` to compare.
        retouch: Network that retouches what was drawn; None leaves frames as drawn.
    """

    def __init__(self, device: torch.device | str, retouch: FaceRetouch | None = None) -> None:
        self._device = torch.device(device)
        self._decoder = Decoder(retouch)
        self._retouch = None if retouch is None else TorchRetouch(retouch, self._device)
        self._arena = Arena()

    def prepare(self, latents: AvatarLatents, look: FrameLook = _PLAIN) -> TorchAvatar:
        """Do the work that is the same for all frames of an avatar, and send it to the device.

        May be called from another thread. Raises as `Decoder.prepare`.
        """
        return send_avatar(self._decoder.prepare(latents, look), self._device)

    def warm_up(self) -> None:
        """Have frames made, so that kernels are loaded and the device's memory has grown."""
        avatar = self.prepare(mean_face_latents())
        motion = np.full(MOTION_DIM, 0.1, np.float32)
        for num in (1, 2, 8):
            self.render([avatar] * num, [motion] * num)

    def render(
        self, avatars: Sequence[TorchAvatar], motions: Sequence[Float32Array]
    ) -> list[Uint8Array]:
        """Render one frame of each avatar.

        Args:
            avatars: From `prepare`; of any sizes, each may come more than once.
            motions: float32 [60] each, finite.

        Returns:
            As of `Decoder.render`.
        """
        out: dict[int, Uint8Array] = {}
        sizes = [avatar.avatar.size_px for avatar in avatars]
        for size in sorted(set(sizes)):
            rows = [row for row, own in enumerate(sizes) if own == size]
            frames = self._render([avatars[row] for row in rows], [motions[row] for row in rows])
            out.update(zip(rows, frames, strict=True))
        return [out[row] for row in range(len(avatars))]

    @torch.inference_mode()
    def _render(self, avatars: list[TorchAvatar], motions: list[Float32Array]) -> list[Uint8Array]:
        shapes = [shape_of(*pair) for pair in zip(avatars, motions, strict=True)]
        drawn = self.draw(avatars, shapes)
        frames = to_host(drawn.pixels)
        clear = [row for row, avatar in enumerate(avatars) if avatar.is_clear]
        mattes = to_host(drawn.matte[clear]) if clear else None
        return [
            _finished(
                avatar,
                frame,
                None if mattes is None or row not in clear else mattes[clear.index(row)],
            )
            for row, (avatar, frame) in enumerate(zip(avatars, frames, strict=True))
        ]

    def draw(self, avatars: Sequence[TorchAvatar], shapes: Sequence[FrameGeometry]) -> DrawnBatch:
        """Draw the squares of frames of one size, on the device, with their retouching."""
        self._arena.hold(avatars)
        plan = plan_batch(avatars, shapes, self._arena, self._device)
        num, size = len(avatars), avatars[0].avatar.size_px
        texels = self._arena.texels
        maps = raster_batch(
            plan.target, plan.source, plan.triangles, plan.triangle_frame, num, size
        )
        rgba = _sampled(texels, plan, maps, num)
        place = torch.arange(size * size, device=self._device)
        behind = texels[plan.background.start[:, None] + place].view(torch.uint8)
        behind = behind.view(num, -1, 4)[..., :3]
        frames = blend_over(rgba, behind, plan.is_clear).view(-1, 3)
        _draw_eyes(texels, plan.eyes, maps, frames)
        _lay_patches(texels, plan.corners, maps, frames)
        _draw_mouths(texels, plan.mouths, frames)
        _lay_patches(texels, plan.own_mouths, maps, frames)
        square = (num, size, size)
        drawn = DrawnBatch(
            pixels=frames.view(*square, 3),
            x=maps[0].view(square),
            y=maps[1].view(square),
            matte=rgba[..., 3].view(square),
        )
        if self._retouch is not None and all(avatar.look is not None for avatar in avatars):
            self._retouch.apply(drawn, avatars, shapes)
        return drawn


def shape_of(avatar: TorchAvatar, motion: Float32Array) -> FrameGeometry:
    """Shape of a frame, as `Decoder.render` has it."""
    motion = np.ascontiguousarray(motion, np.float32)
    stage = avatar.avatar.stage
    if stage is not None:
        motion = stage.tame(motion)
    return geometry_from_motion(avatar.avatar, motion)


def _finished(avatar: TorchAvatar, frame: Uint8Array, matte: Uint8Array | None) -> Uint8Array:
    """Put a square where it belongs: with its alpha, or into the whole picture."""
    stage = avatar.avatar.stage
    if stage is not None:
        return stage.paste(frame)
    return frame if matte is None else np.dstack([frame, matte])


def _sampled(texels: Tensor, plan: BatchPlan, maps: tuple[Tensor, Tensor], num: int) -> Tensor:
    """The warped persons: uint8 [B, S * S, 4]."""
    x, y = (part.view(num, -1) for part in maps)
    canvas = type(plan.canvas)(*(part[:, None] for part in plan.canvas))
    rgba = sample_linear(texels, canvas, x, y)
    if plan.sharp is not None:
        pixels = plan.sharp.pixels
        own = plan.sharp.pictures[0].of(pixels.owner)
        fine = sample_cubic(texels, own, maps[0][pixels.place], maps[1][pixels.place])
        rgba.view(-1, 4)[pixels.place] = fine
    return rgba


def _draw_eyes(
    texels: Tensor, part: Part | None, maps: tuple[Tensor, Tensor], frames: Tensor
) -> None:
    if part is None:
        return
    place = part.pixels.place
    eyes = EyeBatch(part.numbers, part.curves, *part.pictures)
    value, is_drawn = shade_eyes(texels, eyes, part.pixels, (maps[0][place], maps[1][place]))
    # Boxes of two eyes may overlap, what belongs to the eyes does not.
    frames[place[is_drawn]] = value[is_drawn]


def _lay_patches(
    texels: Tensor, part: Part | None, maps: tuple[Tensor, Tensor], frames: Tensor
) -> None:
    if part is None:
        return
    place = part.pixels.place
    own = (maps[0][place], maps[1][place])
    frames[place] = blend_patches(
        texels, part.pictures[0], part.numbers, part.pixels, own, frames[place]
    )


def _draw_mouths(texels: Tensor, part: Part | None, frames: Tensor) -> None:
    if part is None:
        return
    place = part.pixels.place
    numbers, colours = part.numbers[:, :-9], part.numbers[:, -9:].view(-1, 3, 3)
    mouths = MouthBatch(numbers, colours, part.curves, *part.pictures)
    frames[place] = shade_mouths(texels, mouths, part.pixels, frames[place])
