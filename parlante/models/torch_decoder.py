"""The decoder for a device: frames of many avatars at once, in plain tensor operations.

The same pictures as `parlante.models.decoder` makes one by one on a CPU (docs/adr/0018): shapes of
frames come from its code, and every pixel loop has its counterpart here. Axes: B frames of a batch,
S their edge.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch

from parlante.models.decoder import Decoder
from parlante.models.decoder_latents import mean_face_latents
from parlante.models.frame_geometry import FrameGeometry, geometry_from_motion
from parlante.models.frame_look import FrameLook
from parlante.models.torch_avatar import Arena, TorchAvatar, send_avatar
from parlante.models.torch_drawing import draw_batch
from parlante.models.torch_kernels import PLAIN, fused
from parlante.models.torch_pixels import to_host
from parlante.models.torch_plan import plan_batch
from parlante.models.torch_regions import DrawnBatch
from parlante.models.torch_retouch import TorchRetouch
from parlante.types import MOTION_DIM, AvatarLatents, Float32Array, Uint8Array

__all__ = ["Square", "TorchDecoder", "shape_of"]

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

logger = logging.getLogger(__name__)

_PLAIN_LOOK: Final = FrameLook()
MAX_FUSED_STEP: Final = 1  # level of 255 between fused pixel work and what it was made from
# One row is compiled by itself, as torch does it; a few may share numbers with other sizes of
# tensors, by chance, and many do not.
WARM_UP_ROWS: Final = (1, 8)


class Square(NamedTuple):
    """A frame as it comes from the device.

    Attributes:
        avatar: Whose it is.
        pixels: uint8 [S, S, 3].
        matte: uint8 [S, S], of frames with alpha.
    """

    avatar: TorchAvatar
    pixels: Uint8Array
    matte: Uint8Array | None

    def finish(self) -> Uint8Array:
        """Put it where it belongs: beside its alpha, or into the whole picture."""
        stage = self.avatar.avatar.stage
        if stage is not None:
            return stage.paste(self.pixels)
        return self.pixels if self.matte is None else np.dstack([self.pixels, self.matte])


class TorchDecoder:
    """Renders batches on a device; `render` belongs to one thread.

    Args:
        device: As torch names it: ``cuda:0``, or ``cpu`` to compare.
        retouch: Network that retouches what was drawn; None leaves frames as drawn.
        fuse: Backend of `torch.compile` that fuses the pixel work, which takes a minute or more at
            the first frames (`warm_up` has them made); None runs it as it is.
    """

    def __init__(
        self,
        device: torch.device | str,
        retouch: FaceRetouch | None = None,
        *,
        fuse: str | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._kernels = PLAIN if fuse is None else fused(fuse)
        self._decoder = Decoder(retouch)
        self._retouch = None if retouch is None else TorchRetouch(retouch, self._device)
        self._arena = Arena()

    def prepare(self, latents: AvatarLatents, look: FrameLook = _PLAIN_LOOK) -> TorchAvatar:
        """Do the work that is the same for all frames of an avatar, and send it to the device.

        May be called from another thread. Raises as `Decoder.prepare`.
        """
        return send_avatar(self._decoder.prepare(latents, look), self._device)

    def warm_up(self) -> None:
        """Have frames made, so that kernels are loaded and the device's memory has grown.

        Fused pixel work that cannot be compiled here, or makes other frames, is given up.
        """
        avatar = self.prepare(mean_face_latents())
        motion = np.full(MOTION_DIM, 0.1, np.float32)
        for num in WARM_UP_ROWS:
            avatars, motions = [avatar] * num, [motion] * num
            if self._kernels is not PLAIN and not self._fused_agrees(avatars, motions):
                self._kernels = PLAIN
            self.render(avatars, motions)

    def _fused_agrees(self, avatars: list[TorchAvatar], motions: list[Float32Array]) -> bool:
        try:
            made = self.render(avatars, motions)
        except Exception:  # of any kind: there are many ways to have no compiler
            logger.exception("pixel work cannot be fused here, and runs as it is")
            return False
        fused, self._kernels = self._kernels, PLAIN
        right = self.render(avatars, motions)
        self._kernels = fused
        step = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(made, right, strict=True))
        if step > MAX_FUSED_STEP:
            logger.error("fused pixel work is off by %s levels, and runs as it is", step)
        return step <= MAX_FUSED_STEP

    def is_usable(self) -> bool:
        """Tell whether the device still works: some errors of a GPU spoil it for its process."""
        if self._device.type != "cuda":
            return True
        try:
            torch.cuda.synchronize(self._device)
        except RuntimeError:
            return False
        return True

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
        return [square.finish() for square in self.squares(avatars, motions)]

    def squares(
        self, avatars: Sequence[TorchAvatar], motions: Sequence[Float32Array]
    ) -> list[Square]:
        """As `render`, without what is left to do for each frame on the host."""
        out: dict[int, Square] = {}
        sizes = [avatar.avatar.size_px for avatar in avatars]
        for size in sorted(set(sizes)):
            rows = [row for row, own in enumerate(sizes) if own == size]
            made = self._squares([avatars[row] for row in rows], [motions[row] for row in rows])
            out.update(zip(rows, made, strict=True))
        return [out[row] for row in range(len(avatars))]

    def _squares(self, avatars: list[TorchAvatar], motions: list[Float32Array]) -> list[Square]:
        shapes = [shape_of(*pair) for pair in zip(avatars, motions, strict=True)]
        drawn = self.draw(avatars, shapes)
        clear = [row for row, avatar in enumerate(avatars) if avatar.is_clear]
        mattes = dict(zip(clear, to_host(drawn.matte[clear]), strict=True)) if clear else {}
        frames = to_host(drawn.pixels)
        return [
            Square(avatar, frame, mattes.get(row))
            for row, (avatar, frame) in enumerate(zip(avatars, frames, strict=True))
        ]

    # Not inference mode: texels of one avatar, made outside of it, and texels joined within it
    # would be tensors of two kinds, for which compilers make code twice.
    @torch.no_grad()
    def draw(self, avatars: Sequence[TorchAvatar], shapes: Sequence[FrameGeometry]) -> DrawnBatch:
        """Draw the squares of frames of one size, on the device, with their retouching."""
        self._arena.hold(avatars)
        texels = self._arena.texels
        plan = plan_batch(avatars, shapes, self._arena, self._device)
        num, size = len(avatars), avatars[0].avatar.size_px
        drawn = draw_batch(self._kernels, texels, plan, (num, size, size))
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
