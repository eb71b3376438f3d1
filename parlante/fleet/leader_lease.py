"""One process of several leads, by a Lease, which also keeps what its successor must know."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from kubernetes.aio import client

__all__ = ["LEASE_NAME", "LEASE_S", "LeaderLease"]

logger = logging.getLogger(__name__)

LEASE_NAME: Final = "parlante-scale-guard"
LEASE_S: Final = 20
NOTES_ANNOTATION: Final = "parlante.example/scale-in"
_MAX_NOTE_CHARS: Final = 253  # a pod's name


def _utc() -> datetime:
    return datetime.now(UTC)


class LeaderLease:
    """A Lease that one process holds at a time; optimistic locking decides.

    The client's own election cannot be used: its lock of version 37 fails its own type checks.

    Args:
        api: CoordinationV1Api.
        namespace: Of the Lease.
        identity: Of this process.
        now: Wall time in UTC; processes agree on it to within some seconds.

    Attributes:
        notes: What the leader has noted; as it was when the Lease was taken or noted last.
    """

    def __init__(
        self, api: Any, namespace: str, identity: str, *, now: Callable[[], datetime] = _utc
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._now = now
        self.notes: dict[str, str] = {}

    async def take(self) -> bool:
        """Take or renew the Lease; False while another holds it, or the API server is away."""
        return await self._update(None)

    async def note(self, key: str, value: str) -> bool:
        """Note something for whoever leads next, "" forgets it; False when that did not work."""
        return await self._update((key, value))

    async def _update(self, change: tuple[str, str] | None) -> bool:
        try:
            return await self._try_update(change)
        except client.ApiException as error:
            if error.status not in (404, 409):
                logger.warning("lease not to be had", extra={"status": error.status})
        except (aiohttp.ClientError, OSError) as error:
            logger.warning("lease not to be had", extra={"error": type(error).__name__})
        return False

    async def _try_update(self, change: tuple[str, str] | None) -> bool:
        now = self._now()
        try:
            lease = await self._api.read_namespaced_lease(LEASE_NAME, self._namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise
            lease = client.V1Lease(
                metadata=client.V1ObjectMeta(name=LEASE_NAME), spec=client.V1LeaseSpec()
            )
            self._claim(lease, now, change)
            await self._api.create_namespaced_lease(self._namespace, lease)
            return True
        spec = lease.spec
        renewed = spec.renew_time or datetime.min.replace(tzinfo=UTC)
        is_over = now - renewed > timedelta(seconds=LEASE_S)
        if spec.holder_identity not in (self._identity, None, "") and not is_over:
            return False
        if change is not None and spec.holder_identity != self._identity:
            return False  # what it knows is no longer the leader's
        notes = self._claim(lease, now, change)
        await self._api.replace_namespaced_lease(LEASE_NAME, self._namespace, lease)
        self.notes = notes
        return True

    def _claim(self, lease: Any, now: datetime, change: tuple[str, str] | None) -> dict[str, str]:
        spec = lease.spec
        if spec.holder_identity != self._identity:
            spec.holder_identity, spec.acquire_time = self._identity, now
        spec.renew_time, spec.lease_duration_seconds = now, LEASE_S
        notes = _read_notes(lease.metadata.annotations or {})
        if change is not None:
            key, value = change
            notes.pop(key, None)
            if value:
                notes[key] = value
            lease.metadata.annotations = {
                **(lease.metadata.annotations or {}),
                NOTES_ANNOTATION: json.dumps(notes, sort_keys=True),
            }
        return notes


def _read_notes(annotations: dict[str, str]) -> dict[str, str]:
    """Read what was noted; anything else is nothing."""
    try:
        notes = json.loads(annotations.get(NOTES_ANNOTATION, "{}"))
        items = notes.items()
    except (ValueError, AttributeError):
        return {}
    return {
        key: value
        for key, value in items
        if isinstance(value, str) and 0 < len(value) <= _MAX_NOTE_CHARS
    }
