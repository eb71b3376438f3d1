"""Latents through a cache that the fleet shares: Redis or Valkey in front of the encoder replicas.

Optional, and never the only copy: the encoders' store is the truth. Whatever is wrong with the
cache, slow, gone, full, damaged or poisoned, is a miss; a value is believed only after its
checksum and its key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
from pathlib import Path
from typing import Any, Final, Self

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from parlante import telemetry
from parlante.aio import cancel_and_wait
from parlante.errors import InvalidInput
from parlante.latent_file import DAMAGE, pack_latents, unpack_latents
from parlante.ports import LatentSource
from parlante.types import AvatarLatents

__all__ = ["RedisLatents", "SharedLatents"]

logger = logging.getLogger(__name__)

# A server with one thread, shared by all: nobody waits for one large value.
CHUNK_BYTES: Final = 1024 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
TTL_S: Final = 24 * 3600
READ_TIMEOUT_S: Final = 0.25
WRITE_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 0.1
# After a fault nobody asks for a while: a cache that is away must not slow every session down.
PAUSE_S: Final = 5.0
_MAX_WRITES: Final = 4
_HEAD: Final = struct.Struct("<II")  # bytes, chunks
_FAULTS: Final = (RedisError, OSError, TimeoutError)


class RedisLatents:
    """Packed latents in Redis or Valkey, in chunks, written once and for a day.

    Args:
        url: ``redis://[:PASSWORD@]HOST:PORT/DB`` or ``rediss://`` for TLS.
        read_timeout_s: Time for one look-up; then it is a miss.
    """

    def __init__(self, url: str, *, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._read_timeout_s = read_timeout_s
        self._asleep_until_s = 0.0
        self._client: Any = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=WRITE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the URL of a file, as it holds a password; raises `InvalidInput` BAD_SETTING."""
        try:
            return cls(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"{path} must hold a URL like redis://:PASSWORD@HOST:6379/0; it cannot be read as "
                "one",
                reason="BAD_SETTING",
                field="latent_cache_url_file",
            ) from error

    async def get(self, key: str) -> AvatarLatents | None:
        """Look latents up; None for a miss, whatever its reason."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._asleep_until_s:
            return None
        try:
            async with asyncio.timeout(self._read_timeout_s):
                content = await self._read(key)
        except _FAULTS as error:
            self._note_fault("read", error)
            return None
        if content is None:
            return None
        try:
            return await asyncio.to_thread(unpack_latents, key, content, key_required=True)
        except DAMAGE:
            logger.warning("damaged latents in the shared cache", extra={"avatar_key": key})
            await self._forget(key)
            return None

    async def put(self, latents: AvatarLatents) -> None:
        """Store latents unless they are there; faults are only logged."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._asleep_until_s or latents.num_bytes > MAX_BYTES:
            return
        content = await asyncio.to_thread(pack_latents, latents)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._write(latents.key, content)
        except _FAULTS as error:
            self._note_fault("written", error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read(self, key: str) -> bytes | None:
        head = await self._client.get(_name(key, "head"))
        if head is None or len(head) != _HEAD.size:
            return None
        num_bytes, num_chunks = _HEAD.unpack(head)
        if num_bytes > MAX_BYTES or num_chunks > MAX_BYTES // CHUNK_BYTES + 1:
            return None
        chunks = []
        for index in range(num_chunks):
            chunk = await self._client.get(_name(key, index))
            if chunk is None:  # evicted
                return None
            chunks.append(chunk)
        content = b"".join(chunks)
        return content if len(content) == num_bytes else None

    async def _write(self, key: str, content: bytes) -> None:
        if await self._client.exists(_name(key, "head")):
            return
        chunks = [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)]
        for index, chunk in enumerate(chunks):
            await self._client.set(_name(key, index), chunk, ex=TTL_S)
        # Last: what has a head is complete. Two writers write the same bytes.
        head = _HEAD.pack(len(content), len(chunks))
        await self._client.set(_name(key, "head"), head, ex=TTL_S, nx=True)

    async def _forget(self, key: str) -> None:
        try:
            async with asyncio.timeout(self._read_timeout_s):
                await self._client.delete(_name(key, "head"))
        except _FAULTS as error:
            self._note_fault("deleted", error)

    def _note_fault(self, what: str, error: Exception) -> None:
        self._asleep_until_s = asyncio.get_running_loop().time() + PAUSE_S
        extra = {"error": type(error).__name__, "pause_s": PAUSE_S}
        logger.warning("shared cache cannot be %s; going on without it", what, extra=extra)


def _name(key: str, part: int | str) -> str:
    # Hashed: the keys of portraits are nobody's business in a cache that others see.
    digest = hashlib.sha256(f"parlante latents {key}".encode()).hexdigest()
    return f"parlante:latents:{{{digest}}}:{part}"


class SharedLatents:
    """Latents from the shared cache, or else from the encoders, which also fills the cache.

    Callers at once share one look-up per key.

    Args:
        cache: The shared cache.
        source: The encoders.
    """

    def __init__(self, cache: RedisLatents, source: LatentSource) -> None:
        self._cache = cache
        self._source = source
        self._flights: dict[str, asyncio.Task[AvatarLatents]] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def latents(self, key: str) -> AvatarLatents:
        """Give the latents of a content key; raises what the encoders raise."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fetch(key), name=f"latents-{key[:12]}")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        # One caller that leaves does not take the work from the others.
        return await asyncio.shield(flight)

    async def aclose(self) -> None:
        """Stop what is under way."""
        await cancel_and_wait(*self._flights.values(), *self._writes)

    def _land(self, key: str, flight: asyncio.Task[AvatarLatents]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # retrieved, as all who waited may have gone

    async def _fetch(self, key: str) -> AvatarLatents:
        found = await self._cache.get(key)
        attributes = {"parlante.tier": "shared"}
        if found is not None:
            telemetry.metrics().latent_cache_hits.add(1, attributes)
            return found
        telemetry.metrics().latent_cache_misses.add(1, attributes)
        latents = await self._source.latents(key)
        if len(self._writes) < _MAX_WRITES:  # filling it is worth less than what it may hold up
            write = asyncio.create_task(self._cache.put(latents))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)
        return latents
