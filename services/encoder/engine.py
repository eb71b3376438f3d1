"""The encoder stage as plain Python: portrait -> named, content-addressed avatar."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

from parlante import telemetry
from parlante.errors import NotFound, Overloaded, Unavailable
from parlante.media.image import decode_image
from parlante.models.portrait_encoder import PortraitEncoder, bundle_digest, content_key
from parlante.types import AvatarInfo, AvatarLatents, FaceSelection, Uint8Array
from services.encoder.cache import LatentCache
from services.encoder.entries import AvatarRepository, check_name, is_content_key
from services.encoder.store import AvatarStore

__all__ = ["EncoderEngine", "EncoderStats", "LatentMaker"]

DEFAULT_MEMORY_BYTES: Final = 256 << 20
DEFAULT_MAX_PENDING: Final = 32
FIRST_GUESS_ENCODE_MS: Final = 400.0
AUTO_NAME_KEY_DIGITS: Final = 12

_T = TypeVar("_T")


class LatentMaker(Protocol):
    """What the engine needs of a model; `PortraitEncoder` is the real one."""

    def encode(self, rgb: Uint8Array, selection: FaceSelection) -> AvatarLatents:
        """Make the latents of upright pixels, uint8 [H, W, 3]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderStats:
    """Counts since the start.

    Attributes:
        num_encoded: Portraits that were computed.
        num_memory_hits: Requests served from memory.
        num_disk_hits: Requests served from disk.
        num_refused: Requests turned away for load.
    """

    num_encoded: int = 0
    num_memory_hits: int = 0
    num_disk_hits: int = 0
    num_refused: int = 0


@dataclass(frozen=True, slots=True)
class _Encoded:
    latents: AvatarLatents
    width_px: int
    height_px: int
    from_cache: bool


class EncoderEngine:
    """Implements the port `Encoder` over a model, a memory cache and a store.

    Portraits are encoded one at a time in one worker thread: that bounds memory, and the second
    of two equal pictures finds the latents of the first. Two more threads look pictures up and
    use the disk, so that what is known never waits for an encode. Uploads of the same bytes share
    one computation; a caller that goes away does not stop it.

    Use `open`, then `aclose`, or ``async with``.
    """

    def __init__(
        self,
        store: AvatarRepository,
        make_maker: Callable[[], LatentMaker],
        digest: str,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        max_pending: int = DEFAULT_MAX_PENDING,
        preload: bool = True,
    ) -> None:
        self._store = store
        self._make_maker = make_maker
        self._maker: LatentMaker | None = None
        self._digest = digest
        self._cache = LatentCache(memory_bytes)
        self._max_pending = max_pending
        self._preload = preload
        self._flights: dict[tuple[bytes, FaceSelection], asyncio.Task[_Encoded]] = {}
        self._encode_thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._disk_threads = ThreadPoolExecutor(2, thread_name_prefix="encoder-disk")
        self._names_lock = threading.Lock()
        self._stats_lock = threading.Lock()
        self._mean_encode_ms = FIRST_GUESS_ENCODE_MS
        self._stats = EncoderStats()
        self._closed = False

    @classmethod
    def open(
        cls,
        store: Path | AvatarRepository,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        max_pending: int = DEFAULT_MAX_PENDING,
        tracker_dir: Path | None = None,
        preload: bool = True,
    ) -> Self:
        """Make an engine over a store; cheap, the networks are loaded by `warm_up` or on demand.

        Args:
            store: Where the avatars are; a folder is made if absent.
            memory_bytes: Bound on the latents held in memory.
            max_pending: Different portraits that may wait or be encoded at once.
            tracker_dir: Folder of the tracker's files; the default is the user's cache.
            preload: False loads no networks at the start; portraits that are known need none.

        Raises:
            Unavailable: The folder cannot be made.
        """
        return cls(
            AvatarStore(store) if isinstance(store, Path) else store,
            lambda: PortraitEncoder(tracker_dir),
            bundle_digest(),
            memory_bytes=memory_bytes,
            max_pending=max_pending,
            preload=preload,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    @property
    def digest(self) -> str:
        """Digest of the model bundle whose latents this engine makes."""
        return self._digest

    @property
    def stats(self) -> EncoderStats:
        """Counts since the start."""
        return self._stats

    async def warm_up(self) -> None:
        """Load the networks, unless told to wait for the first portrait that is not known.

        Raises:
            FailedPrecondition: The tracker's files are missing (``TRACKER_FILES_MISSING``).
        """
        if not self._preload:
            return
        await self._run(self._encode_thread, self._load_maker)

    async def aclose(self) -> None:
        """Refuse new work, wait for what runs, free the threads; may be called twice."""
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await asyncio.to_thread(self._encode_thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._disk_threads.shutdown, cancel_futures=True)

    # --- the port ---

    async def create(
        self, image: bytes, *, name: str = "", selection: FaceSelection | None = None
    ) -> AvatarInfo:
        """Encode a portrait, or find it, and give it a name; see `parlante.ports.Encoder`.

        Raises:
            PortraitRejected: The picture is no usable portrait; `reason` says why.
            InvalidInput: The name is malformed.
            AlreadyExists: The name belongs to another portrait.
            Overloaded: Too many portraits wait; carries `retry_after_ms`.
            FailedPrecondition: The tracker's files are missing.
            Unavailable: The engine is closed or the store refuses to write.
        """
        if name:
            check_name(name)
        chosen = selection or FaceSelection()
        encoded = await self._share_encode(image, chosen)
        key = encoded.latents.key
        info = AvatarInfo(
            name=name or f"avatar-{key[:AUTO_NAME_KEY_DIGITS]}",
            key=key,
            bundle_digest=self._digest,
            created_unix_ms=time.time_ns() // 1_000_000,
            source_width_px=encoded.width_px,
            source_height_px=encoded.height_px,
            latent_bytes=encoded.latents.num_bytes,
            framing=chosen.framing,
        )
        holder = await self._run(self._disk_threads, lambda: self._bind(info, encoded.latents))
        return replace(holder, from_cache=encoded.from_cache)

    async def get(self, name: str) -> AvatarInfo:
        """Look an avatar up by name; raises `NotFound`."""
        return await self._run(self._disk_threads, lambda: self._store.load_info(name))

    async def list(
        self, *, page_size: int = 50, page_token: str = ""
    ) -> tuple[list[AvatarInfo], str]:
        """List avatars by name; gives a page and the token of the next ("" at the end)."""
        return await self._run(
            self._disk_threads,
            lambda: self._store.list_infos(page_size=page_size, page_token=page_token),
        )

    async def delete(self, name: str) -> None:
        """Forget a name, and its latents when no other name uses them; raises `NotFound`."""
        await self._run(self._disk_threads, lambda: self._unbind(name))

    async def latents(self, key: str) -> AvatarLatents:
        """Give the latents of a content key; raises `NotFound`."""
        found = self._cache.get(key)
        if found is not None:
            self._count(num_memory_hits=1)
            return found
        if is_content_key(key):
            found = await self._run(self._disk_threads, lambda: self._find(key))
        if found is None:
            raise NotFound(
                f"there are no latents of key {key[:64]!r}; create the avatar again",
                reason="LATENTS_NOT_FOUND",
                field="key",
            )
        return found

    # --- on the event loop ---

    async def _share_encode(self, image: bytes, selection: FaceSelection) -> _Encoded:
        """Join the computation of these bytes, or start it."""
        digest = await self._run(self._disk_threads, lambda: hashlib.sha256(image).digest())
        flight = self._flights.get((digest, selection))
        if flight is None:
            self._admit()
            flight = asyncio.create_task(self._fly(image, selection))
            self._flights[digest, selection] = flight
            flight.add_done_callback(lambda done: self._land((digest, selection), done))
        try:
            # The shield: whoever stops waiting does not stop the others' computation.
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                raise _closed() from None
            raise

    def _admit(self) -> None:
        if len(self._flights) < self._max_pending:
            return
        self._count(num_refused=1)
        raise Overloaded(
            f"at most {self._max_pending} portraits may wait for the encoder; all places are "
            "taken; try again later",
            reason="ENCODER_OVERLOADED",
            retry_after_ms=round(self._mean_encode_ms * self._max_pending / 2),
        )

    def _land(
        self, flight_key: tuple[bytes, FaceSelection], flight: asyncio.Task[_Encoded]
    ) -> None:
        self._flights.pop(flight_key, None)
        if not flight.cancelled():
            flight.exception()  # retrieved, as all who waited may have gone

    async def _fly(self, image: bytes, selection: FaceSelection) -> _Encoded:
        # The look-up has its own thread: a known portrait does not wait for others' encodes.
        found = await self._run(self._disk_threads, lambda: self._look_up(image, selection))
        if found is not None:
            return found
        return await self._run(self._encode_thread, lambda: self._compute(image, selection))

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise _closed()
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    # --- in the worker threads ---

    def _look_up(self, image: bytes, selection: FaceSelection) -> _Encoded | None:
        rgb = decode_image(image)
        latents = self._find(content_key(rgb, selection, self._digest))
        if latents is None:
            return None
        return _Encoded(latents, rgb.shape[1], rgb.shape[0], from_cache=True)

    def _compute(self, image: bytes, selection: FaceSelection) -> _Encoded:
        """Encode; decodes again, as waiting pixels would take far more memory than bytes."""
        maker = self._load_maker()
        rgb = decode_image(image)
        latents = self._find(content_key(rgb, selection, self._digest))
        if latents is not None:  # another file with the same pixels came first
            return _Encoded(latents, rgb.shape[1], rgb.shape[0], from_cache=True)
        started_s = time.perf_counter()
        latents = maker.encode(rgb, selection)
        encode_s = time.perf_counter() - started_s
        self._mean_encode_ms += 0.2 * (encode_s * 1e3 - self._mean_encode_ms)
        self._count(num_encoded=1)
        telemetry.metrics().latent_cache_misses.add(1)
        telemetry.metrics().stage_duration.record(encode_s, {telemetry.ATTRIBUTE_STAGE: "encoder"})
        self._cache.put(latents)
        return _Encoded(latents, rgb.shape[1], rgb.shape[0], from_cache=False)

    def _load_maker(self) -> LatentMaker:
        if self._maker is None:
            self._maker = self._make_maker()
        return self._maker

    def _find(self, key: str) -> AvatarLatents | None:
        """Look in memory, then on disk."""
        latents = self._cache.get(key)
        if latents is not None:
            self._count(num_memory_hits=1)
            return latents
        latents = self._store.load_latents(key)
        if latents is not None:
            self._count(num_disk_hits=1)
            self._cache.put(latents)
        return latents

    def _bind(self, info: AvatarInfo, latents: AvatarLatents) -> AvatarInfo:
        """Name the latents; they go to disk with their first name and leave with their last."""
        with self._names_lock:
            holder = self._store.bind(info)
            if not self._store.has_latents(info.key):
                self._store.save_latents(latents)
            return holder

    def _unbind(self, name: str) -> None:
        with self._names_lock:
            key, removed = self._store.unbind(name)
            if removed:
                self._cache.remove(key)

    def _count(self, **added: int) -> None:
        with self._stats_lock:
            num_hits = added.get("num_memory_hits", 0) + added.get("num_disk_hits", 0)
            if num_hits:
                telemetry.metrics().latent_cache_hits.add(num_hits)
            counts = {field: getattr(self._stats, field) + n for field, n in added.items()}
            self._stats = replace(self._stats, **counts)


def _closed() -> Unavailable:
    return Unavailable(
        "the encoder is shutting down; try another replica, or again in a moment",
        reason="ENCODER_CLOSED",
        retry_after_ms=1000,
    )
