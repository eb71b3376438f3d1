"""The encoder port over a fleet: each avatar has its favourite replicas, any other will do."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from parlante.errors import NotFound, Overloaded, Unavailable
from parlante.fleet.placement import no_slot
from parlante.fleet.pool import MAX_ATTEMPTS, ReplicaPool
from parlante.rpc.remote import RemoteEncoder
from parlante.types import AvatarInfo, AvatarLatents, FaceSelection

__all__ = ["FleetEncoder"]

T = TypeVar("T")

_STAGE: Final = "encoder"


class FleetEncoder:
    """Implements `parlante.ports.Encoder` over a pool.

    The replicas share a store, so that each can answer for every avatar. All calls may be repeated:
    avatars are made of content.

    Args:
        pool: The encoder replicas.
    """

    def __init__(self, pool: ReplicaPool) -> None:
        self._pool = pool

    async def create(
        self, image: bytes, *, name: str = "", selection: FaceSelection | None = None
    ) -> AvatarInfo:
        """Encode a portrait, or find it; see `parlante.ports.Encoder.create`."""
        # The same picture goes to the same replica, where one computation serves all.
        key = hashlib.sha256(image).hexdigest()
        return await self._ask(key, lambda one: one.create(image, name=name, selection=selection))

    async def get(self, name: str) -> AvatarInfo:
        """Look an avatar up; see `parlante.ports.Encoder.get`."""
        return await self._ask(name, lambda one: one.get(name))

    async def list(
        self, *, page_size: int = 50, page_token: str = ""
    ) -> tuple[list[AvatarInfo], str]:
        """List avatars; see `parlante.ports.Encoder.list`."""
        return await self._ask("", lambda one: one.list(page_size=page_size, page_token=page_token))

    async def delete(self, name: str) -> None:
        """Forget an avatar; see `parlante.ports.Encoder.delete`."""
        await self._ask(name, lambda one: one.delete(name))

    async def latents(self, key: str) -> AvatarLatents:
        """Fetch latents; see `parlante.ports.Encoder.latents`.

        One that does not know them is no proof: replicas without a common store know what they
        made themselves.
        """
        return await self._ask(key, lambda one: one.latents(key), also=NotFound)

    async def _ask(
        self,
        key: str,
        call: Callable[[RemoteEncoder], Awaitable[T]],
        *,
        also: type[Exception] | tuple[()] = (),
    ) -> T:
        """Ask replica after replica until one answers."""
        refusals: list[Overloaded] = []
        missing: Exception | None = None
        await self._pool.wait_until_open()
        for replica in self._pool.ordered(key)[:MAX_ATTEMPTS]:
            try:
                return await call(RemoteEncoder(replica.channel))
            except Overloaded as error:
                refusals.append(error)
            except Unavailable:
                replica.suspect()
            except also as error:
                missing = error
        if missing is not None:
            raise missing
        if refusals:
            raise no_slot(_STAGE, refusals)
        raise Unavailable(
            "the encoder stage is out of reach; try again in a second",
            reason="STAGE_UNAVAILABLE",
            metadata={"stage": _STAGE},
            retry_after_ms=1000,
        )
