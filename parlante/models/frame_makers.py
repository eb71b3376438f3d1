"""Where the rows of a batch are drawn: on threads of the CPU, or all at once on a device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.frame_look import FrameLook
from parlante.triton.layout import FrameRow, RowResult, RowStatus
from parlante.triton.regions import Slot
from parlante.types import MOTION_DIM, AvatarLatents, Uint8Array

if TYPE_CHECKING:
    from parlante.models.torch_avatar import TorchAvatar
    from parlante.models.torch_decoder import Square, TorchDecoder

__all__ = ["DeviceFrames", "DeviceLost", "FrameMaker", "HeldAvatar", "HostFrames"]

logger = logging.getLogger(__name__)


class HeldAvatar(Protocol):
    """An avatar as a maker keeps it."""

    @property
    def num_bytes(self) -> int:
        """Memory of the larger arrays."""
        ...

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its frames."""
        ...

    @property
    def is_clear(self) -> bool:
        """True for frames with alpha instead of a background."""
        ...


A = TypeVar("A", bound=HeldAvatar)


class FrameMaker(Protocol[A]):
    """Prepares avatars and draws rows of them."""

    def warm_up(self) -> None:
        """Do what a first frame would have to wait for."""
        ...

    def prepare(self, latents: AvatarLatents, look: FrameLook) -> A:
        """Do what is the same for all frames; called beside the batches, on another thread."""
        ...

    def make(
        self, rows: Sequence[FrameRow], avatars: Sequence[A], slots: Sequence[Slot | None]
    ) -> list[RowResult]:
        """Draw rows; each has its own result.

        Args:
            rows: At least one.
            avatars: Of the rows.
            slots: Where pixels go; None = to a new array.
        """
        ...


class HostFrames:
    """Draws each row on a thread of its own.

    Args:
        decoder: What draws.
        threads: To run on.
    """

    def __init__(self, decoder: Decoder, threads: Executor) -> None:
        self._decoder = decoder
        self._threads = threads

    def warm_up(self) -> None:
        """Compile the pixel loops, or load them from their cache."""
        self._decoder.warm_up()

    def prepare(self, latents: AvatarLatents, look: FrameLook) -> PreparedAvatar:
        """Prepare an avatar."""
        return self._decoder.prepare(latents, look)

    def make(
        self,
        rows: Sequence[FrameRow],
        avatars: Sequence[PreparedAvatar],
        slots: Sequence[Slot | None],
    ) -> list[RowResult]:
        """Draw rows."""
        if len(rows) == 1:  # without the way to another thread and back
            return [self._make(rows[0], avatars[0], slots[0])]
        return list(self._threads.map(self._make, rows, avatars, slots))

    def _make(self, row: FrameRow, avatar: PreparedAvatar, slot: Slot | None) -> RowResult:
        if not _can_be_made(row, avatar):
            return RowResult(status=RowStatus.BAD_MOTION)
        try:
            pixels = self._decoder.render(avatar, row.motion, None if slot is None else slot.pixels)
            return _told(row, pixels, slot)
        except Exception:  # the boundary of a row: the others of the batch go on
            logger.exception("a frame failed")
            return RowResult(status=RowStatus.FAILED)


class DeviceLost(Exception):
    """A device is of no more use to its process, which should end and be started anew."""


class DeviceFrames:
    """Draws all rows at once on a device; pictures are encoded on threads of the CPU.

    Args:
        decoder: What draws.
        threads: To finish and encode frames on.
    """

    def __init__(self, decoder: TorchDecoder, threads: Executor) -> None:
        self._decoder = decoder
        self._threads = threads

    def warm_up(self) -> None:
        """Load kernels and make memory of the device ready."""
        self._decoder.warm_up()

    def prepare(self, latents: AvatarLatents, look: FrameLook) -> TorchAvatar:
        """Prepare an avatar and send it to the device."""
        return self._decoder.prepare(latents, look)

    def make(
        self,
        rows: Sequence[FrameRow],
        avatars: Sequence[TorchAvatar],
        slots: Sequence[Slot | None],
    ) -> list[RowResult]:
        """Draw rows; raises `DeviceLost`."""
        results = [RowResult(status=RowStatus.BAD_MOTION)] * len(rows)
        good = [index for index, row in enumerate(rows) if _can_be_made(row, avatars[index])]
        squares = self._draw([(avatars[index], rows[index]) for index in good])
        chosen = ([rows[index] for index in good], squares, [slots[index] for index in good])
        told = list(self._threads.map(_finished, *chosen))
        for index, result in zip(good, told, strict=True):
            results[index] = result
        return results

    def _draw(self, wanted: list[tuple[TorchAvatar, FrameRow]]) -> list[Square | None]:
        if not wanted:
            return []
        try:
            return [*self._decoder.squares(*zip(*((a, r.motion) for a, r in wanted), strict=True))]
        except Exception:  # the boundary of a batch
            logger.exception("a batch of %s frames failed", len(wanted))
        if not self._decoder.is_usable():
            raise DeviceLost("the device makes no more frames in this process")
        if len(wanted) == 1:
            return [None]
        # What is wrong with one row, or too much for the device at once, harms no other.
        return [self._draw([one])[0] for one in wanted]


def _can_be_made(row: FrameRow, avatar: HeldAvatar) -> bool:
    in_range = 0 <= row.jpeg_quality <= 100 and row.motion.shape == (MOTION_DIM,)
    is_clear_jpeg = avatar.is_clear and row.jpeg_quality > 0
    return in_range and not is_clear_jpeg and bool(np.isfinite(row.motion).all())


def _finished(row: FrameRow, square: Square | None, slot: Slot | None) -> RowResult:
    """Do what is left for each frame."""
    if square is None:
        return RowResult(status=RowStatus.FAILED)
    try:
        pixels = square.finish()
        if slot is not None:
            slot.pixels[:] = pixels
            pixels = slot.pixels
        return _told(row, pixels, slot)
    except Exception:  # the boundary of a row
        logger.exception("a frame could not be finished")
        return RowResult(status=RowStatus.FAILED)


def _told(row: FrameRow, pixels: Uint8Array, slot: Slot | None) -> RowResult:
    if slot is not None:
        return RowResult(status=RowStatus.OK, pixels=pixels, offset=slot.offset)
    if not row.jpeg_quality:
        return RowResult(status=RowStatus.OK, pixels=pixels)
    picture = JpegEncoder(quality=row.jpeg_quality).encode(pixels)
    return RowResult(status=RowStatus.OK, jpeg=picture.data)
