"""Batches of frames of many avatars: what the model server runs for each request.

An avatar is prepared once, beside the batches and not within one: preparing takes as long as some
dozen frames, and the other avatars of a batch would wait for it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.decoder import Decoder
from parlante.models.decoder_latents import mean_face_latents
from parlante.models.frame_look import FrameLook
from parlante.models.frame_makers import DeviceFrames, FrameMaker, HeldAvatar, HostFrames
from parlante.triton.layout import PROBE_KEY, FrameRow, RowResult, RowStatus
from parlante.triton.regions import PixelRoom, Slot
from parlante.types import AvatarLatents, Uint8Array

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

__all__ = ["AvatarSource", "BatchDecoder"]

logger = logging.getLogger(__name__)

MAX_AVATARS: Final = 64
MAX_AVATAR_BYTES: Final = 512 * 1024 * 1024
_MAX_REFUSED: Final = 256
# Avatars that wait to be prepared; whoever wants a further one asks again.
_MAX_PENDING: Final = 16


class AvatarSource(Protocol):
    """Where avatars come from; called on the thread of `BatchDecoder.decode`."""

    def latents(self, key: str) -> AvatarLatents | None:
        """Give the latents of a content key, None without any; raises `FailedPrecondition`."""
        ...

    def backdrop(self, key: str) -> Uint8Array | None:
        """Give the backdrop of a content key, None without any; raises `FailedPrecondition`."""
        ...


class BatchDecoder:
    """Decodes batches; `decode` belongs to one thread.

    Args:
        source: Where avatars come from.
        num_threads: Rows of a batch that are decoded at once, >= 1.
        max_avatars: Prepared avatars to keep; the least recently used go first.
        max_avatar_bytes: Bound on their memory.
        retouch: Network that retouches frames, as of a renderer that decodes in process.
        device: Device of torch that draws whole batches (``cuda:0``); None draws each row on a
            thread of the CPU, by loops that are faster there.
        fuse: Compile the pixel work of the device; see `TorchDecoder`.
    """

    def __init__(
        self,
        source: AvatarSource,
        *,
        num_threads: int,
        max_avatars: int = MAX_AVATARS,
        max_avatar_bytes: int = MAX_AVATAR_BYTES,
        retouch: FaceRetouch | None = None,
        device: str | None = None,
        fuse: bool = False,
    ) -> None:
        self._source = source
        self._shelf = _Shelf(max_avatars, max_avatar_bytes)
        self._rows = ThreadPoolExecutor(num_threads, "rows")
        # OpenCV lends its threads to one caller at a time: a lone row has the other cores help it
        # (3.2 -> 2.7 ms with two), and rows of a batch cost the same as without (2.2 ms each).
        cv2.setNumThreads(num_threads)
        self._maker = _maker_for(device, retouch, self._rows, fuse=fuse)
        self._preparing = ThreadPoolExecutor(1, "prepare")
        self._pending: dict[str, Future[HeldAvatar]] = {}
        self._refused: OrderedDict[str, None] = OrderedDict()
        self._failed: set[str] = set()
        self.num_misses = 0

    @property
    def num_avatars(self) -> int:
        """Prepared avatars held."""
        return len(self._shelf)

    @property
    def avatar_bytes(self) -> int:
        """Memory of the prepared avatars."""
        return self._shelf.num_bytes

    def warm_up(self) -> None:
        """Have a first frame made, and prepare the avatar of probes."""
        self._maker.warm_up()
        self._shelf.keep(PROBE_KEY, self._maker.prepare(mean_face_latents(), FrameLook()))

    def close(self) -> None:
        """End the threads."""
        self._rows.shutdown()
        self._preparing.shutdown(cancel_futures=True)

    def decode(
        self, rows: Sequence[FrameRow], rooms: Sequence[PixelRoom | None] = ()
    ) -> list[RowResult]:
        """Decode rows; each has its own result, so that one bad row harms no other.

        Args:
            rows: Of any avatars.
            rooms: Of each row, where its pixels go; rows of one call share one. Without, and where
                there is no room, pixels are new arrays.

        Raises:
            DeviceLost: The device is of no more use to this process.
        """
        self._collect()
        by_name = {row.name: row for row in rows}
        found = {name: self._avatar(row) for name, row in by_name.items()}
        avatars = [found[row.name] for row in rows]
        slots = [
            _slot(row, avatar, room)
            for row, avatar, room in zip(rows, avatars, rooms or [None] * len(rows), strict=True)
        ]
        results = [_refused(avatar) for avatar in avatars]
        ready = [n for n, avatar in enumerate(avatars) if not isinstance(avatar, RowStatus)]
        if not ready:
            return results
        held, own = [avatars[n] for n in ready], [slots[n] for n in ready]
        made = self._maker.make([rows[n] for n in ready], held, own)
        for n, result in zip(ready, made, strict=True):
            results[n] = result
        return results

    def _avatar(self, row: FrameRow) -> HeldAvatar | RowStatus:
        name = row.name
        avatar = self._shelf.find(name)
        if avatar is not None:
            return avatar
        if name in self._refused:
            return RowStatus.AVATAR_REFUSED
        if name in self._failed:
            self._failed.discard(name)  # whoever asks again has it tried again
            return RowStatus.FAILED
        if name in self._pending or len(self._pending) >= _MAX_PENDING:
            return RowStatus.AVATAR_PREPARING
        self.num_misses += 1
        try:
            found = self._find(row)
        except (FailedPrecondition, ValueError):
            return self._refuse(name)
        if isinstance(found, RowStatus):
            return found
        self._pending[name] = self._preparing.submit(self._maker.prepare, *found)
        return RowStatus.AVATAR_PREPARING

    def _find(self, row: FrameRow) -> tuple[AvatarLatents, FrameLook] | RowStatus:
        """Fetch what an avatar is made of; raises `ValueError` for a look that there is not."""
        look, backdrop_key = FrameLook.read(row.look_key) if row.look_key else (FrameLook(), "")
        latents = self._source.latents(row.avatar_key)
        if latents is None:
            return RowStatus.AVATAR_MISSING
        if not backdrop_key:
            return latents, look
        picture = self._source.backdrop(backdrop_key)
        if picture is None:
            return RowStatus.BACKDROP_MISSING
        return latents, replace(look, picture=picture)

    def _collect(self) -> None:
        """Put on the shelf what has been prepared, even if nobody asks for it any more."""
        if len(self._failed) > _MAX_REFUSED:
            self._failed.clear()
        for name in [name for name, pending in self._pending.items() if pending.done()]:
            try:
                self._shelf.keep(name, self._pending.pop(name).result())
            except (FailedPrecondition, InvalidInput):
                self._refuse(name)
            except Exception:  # the boundary of a preparation, as of a row
                logger.exception("an avatar could not be prepared")
                self._failed.add(name)

    def _refuse(self, name: str) -> RowStatus:
        """Remember what is of no use; under one name it never changes."""
        self._refused[name] = None
        if len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)
        return RowStatus.AVATAR_REFUSED


def _maker_for(
    device: str | None, retouch: FaceRetouch | None, threads: ThreadPoolExecutor, *, fuse: bool
) -> FrameMaker[Any]:
    if device is None:
        return HostFrames(Decoder(retouch), threads)
    # Imported here: torch is 150 MB of memory that the loops do not need.
    from parlante.models.torch_decoder import TorchDecoder

    decoder = TorchDecoder(device, retouch, fuse="inductor" if fuse else None)
    return DeviceFrames(decoder, threads)


def _refused(avatar: HeldAvatar | RowStatus) -> RowResult:
    """The result of a row that has no avatar; of others it is replaced by what is made."""
    return RowResult(status=avatar if isinstance(avatar, RowStatus) else RowStatus.FAILED)


def _slot(row: FrameRow, avatar: HeldAvatar | RowStatus, room: PixelRoom | None) -> Slot | None:
    if room is None or row.jpeg_quality or isinstance(avatar, RowStatus):
        return None
    return room.take(avatar.frame_shape)


class _Shelf:
    """Prepared avatars, least recently used go first; the probe's stays."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, HeldAvatar] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> HeldAvatar | None:
        avatar = self._entries.get(key)
        if avatar is not None:
            self._entries.move_to_end(key)
        return avatar

    def keep(self, key: str, avatar: HeldAvatar) -> None:
        self._entries[key] = avatar
        self.num_bytes += avatar.num_bytes
        while len(self._entries) > 2 and self._is_over():
            oldest = next(name for name in self._entries if name not in (PROBE_KEY, key))
            self.num_bytes -= self._entries.pop(oldest).num_bytes

    def _is_over(self) -> bool:
        return len(self._entries) > self._max_entries or self.num_bytes > self._max_bytes
