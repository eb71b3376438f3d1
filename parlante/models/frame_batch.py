"""Batches of frames of many avatars: what the model server runs for each request.

An avatar is prepared once, beside the batches and not within one: preparing takes as long as some
dozen frames, and the other avatars of a batch would wait for it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from parlante.errors import FailedPrecondition
from parlante.media.frame_encoding import JpegEncoder
from parlante.models.decoder import Decoder, PreparedAvatar, mean_face_latents
from parlante.triton.layout import PROBE_KEY, FrameRow, RowResult, RowStatus
from parlante.types import MOTION_DIM, AvatarLatents

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceRetouch

__all__ = ["BatchDecoder"]

logger = logging.getLogger(__name__)

MAX_AVATARS: Final = 64
MAX_AVATAR_BYTES: Final = 512 * 1024 * 1024
_MAX_REFUSED: Final = 256

Fetch = Callable[[str], AvatarLatents | None]


class BatchDecoder:
    """Decodes batches; `decode` belongs to one thread.

    Args:
        fetch: Gives the latents of a key, None if it has none; called on the thread of `decode`.
        num_threads: Rows of a batch that are decoded at once, >= 1.
        max_avatars: Prepared avatars to keep; the least recently used go first.
        max_avatar_bytes: Bound on their memory.
        retouch: Network that retouches frames, as of a renderer that decodes in process.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        num_threads: int,
        max_avatars: int = MAX_AVATARS,
        max_avatar_bytes: int = MAX_AVATAR_BYTES,
        retouch: FaceRetouch | None = None,
    ) -> None:
        self._fetch = fetch
        self._decoder = Decoder(retouch)
        self._shelf = _Shelf(max_avatars, max_avatar_bytes)
        # A frame is one thread's work; OpenCV's own threads would only fight over the cores.
        self._rows = ThreadPoolExecutor(
            num_threads, "rows", initializer=cv2.setNumThreads, initargs=(1,)
        )
        self._preparing = ThreadPoolExecutor(1, "prepare")
        self._pending: dict[str, Future[PreparedAvatar]] = {}
        self._refused: OrderedDict[str, None] = OrderedDict()
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
        """Compile the pixel loops, or load them, and prepare the avatar of probes."""
        self._decoder.warm_up()
        self._shelf.keep(PROBE_KEY, self._decoder.prepare(mean_face_latents()))

    def close(self) -> None:
        """End the threads."""
        self._rows.shutdown()
        self._preparing.shutdown(cancel_futures=True)

    def decode(self, rows: Sequence[FrameRow]) -> list[RowResult]:
        """Decode rows; each has its own result, so that one bad row harms no other."""
        avatars = {key: self._avatar(key) for key in dict.fromkeys(row.avatar_key for row in rows)}
        if len(rows) == 1:  # without the way to another thread and back
            return [self._decode_row(rows[0], avatars[rows[0].avatar_key])]
        return list(
            self._rows.map(lambda row: self._decode_row(row, avatars[row.avatar_key]), rows)
        )

    def _decode_row(self, row: FrameRow, avatar: PreparedAvatar | RowStatus) -> RowResult:
        if isinstance(avatar, RowStatus):
            return RowResult(status=avatar)
        in_range = 0 <= row.jpeg_quality <= 100 and row.motion.shape == (MOTION_DIM,)
        if not in_range or not np.isfinite(row.motion).all():
            return RowResult(status=RowStatus.BAD_MOTION)
        try:
            pixels = self._decoder.render(avatar, row.motion)
            if not row.jpeg_quality:
                return RowResult(status=RowStatus.OK, pixels=pixels)
            picture = JpegEncoder(quality=row.jpeg_quality).encode(pixels)
        except Exception:  # the boundary of a row: the others of the batch go on
            logger.exception("a frame failed")
            return RowResult(status=RowStatus.FAILED)
        return RowResult(status=RowStatus.OK, jpeg=picture.data)

    def _avatar(self, key: str) -> PreparedAvatar | RowStatus:
        avatar = self._shelf.find(key)
        if avatar is not None:
            return avatar
        pending = self._pending.get(key)
        if pending is not None:
            return self._collect(key, pending)
        if key in self._refused:
            return RowStatus.AVATAR_REFUSED
        self.num_misses += 1
        try:
            latents = self._fetch(key)
        except FailedPrecondition:
            return self._refuse(key)
        if latents is None:
            return RowStatus.AVATAR_MISSING
        self._pending[key] = self._preparing.submit(self._decoder.prepare, latents)
        return RowStatus.AVATAR_PREPARING

    def _collect(self, key: str, pending: Future[PreparedAvatar]) -> PreparedAvatar | RowStatus:
        if not pending.done():
            return RowStatus.AVATAR_PREPARING
        del self._pending[key]
        try:
            avatar = pending.result()
        except FailedPrecondition:
            return self._refuse(key)
        except Exception:  # the boundary of a preparation, as of a row
            logger.exception("an avatar could not be prepared")
            return RowStatus.FAILED
        self._shelf.keep(key, avatar)
        return avatar

    def _refuse(self, key: str) -> RowStatus:
        """Remember that latents are of no use; under one key they never change."""
        self._refused[key] = None
        if len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)
        return RowStatus.AVATAR_REFUSED


class _Shelf:
    """Prepared avatars, least recently used go first; the probe's stays."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, PreparedAvatar] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> PreparedAvatar | None:
        avatar = self._entries.get(key)
        if avatar is not None:
            self._entries.move_to_end(key)
        return avatar

    def keep(self, key: str, avatar: PreparedAvatar) -> None:
        self._entries[key] = avatar
        self.num_bytes += avatar.num_bytes
        while len(self._entries) > 2 and self._is_over():
            oldest = next(name for name in self._entries if name not in (PROBE_KEY, key))
            self.num_bytes -= self._entries.pop(oldest).num_bytes

    def _is_over(self) -> bool:
        return len(self._entries) > self._max_entries or self.num_bytes > self._max_bytes
