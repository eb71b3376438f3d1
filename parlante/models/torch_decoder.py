"""The decoder for a device: frames of many avatars at once, in plain tensor operations.

The same pictures as `parlante.models.decoder` makes one by one on a CPU (docs/adr/0018): shapes of
frames come from its code, and every pixel loop has its counterpart here. Axes: B frames of a batch,
S their edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from parlante.models.decoder import Decoder, mean_face_latents
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

__all__ = ["TorchDecoder"]

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

_PLAIN_LOOK: Final = FrameLook()
# One row is compiled by itself, as torch does it; a few may share numbers with other sizes of
# tensors, by chance, and many do not.
WARM_UP_ROWS: Final = (1, 8)


class TorchDecoder:
    """Renders batches on a device; `render` belongs to one thread.

    Args:
        device: As torch names it: ``cuda:0``, or ``cpu`` to compare.
        retouch: Network that retouches what was drawn; None leaves frames as drawn.
        fuse: Backend of `torch.compile` that fuses the pixel work, which takes a minute or more at
            the first frames; None runs it as it is.
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
        """Have frames made, so that kernels are loaded and the device's memory has grown."""
        avatar = self.prepare(mean_face_latents())
        motion = np.full(MOTION_DIM, 0.1, np.float32)
        for num in WARM_UP_ROWS:
            self.render([avatar] * num, [motion] * num)

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


def _finished(avatar: TorchAvatar, frame: Uint8Array, matte: Uint8Array | None) -> Uint8Array:
    """Put a square where it belongs: with its alpha, or into the whole picture."""
    stage = avatar.avatar.stage
    if stage is not None:
        return stage.paste(frame)
    return frame if matte is None else np.dstack([frame, matte])
