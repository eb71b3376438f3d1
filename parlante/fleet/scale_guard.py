"""Lets a scale-in take the emptiest replica, by the deletion cost of pods.

An autoscaler lowers a number, and the ReplicaSet chooses who goes: the pod with the lowest
deletion cost. The guard gives the lowest to the replica with the fewest streams. That pod's
SIGTERM then hands its streams over, which takes seconds. Costs are patched on change only and not
more than once a minute for each pod, as Kubernetes asks; one guard of several leads, by a Lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from kubernetes.aio import client

from parlante.fleet.endpoints import Discovery
from parlante.fleet.operator import Operator, removal_order

__all__ = ["LEASE_NAME", "LeaderLease", "ScaleGuard", "lead"]

logger = logging.getLogger(__name__)

LEASE_NAME: Final = "parlante-scale-guard"
INTERVAL_S: Final = 5.0
LEASE_S: Final = 20
MIN_PATCH_INTERVAL_S: Final = 60.0
COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO: Final = "-100"
OTHERS: Final = "0"


def _utc() -> datetime:
    return datetime.now(UTC)


class ScaleGuard:
    """Marks pods of some stages.

    Args:
        api: CoreV1Api.
        namespace: Of the pods.
        operator: Asks the replicas.
        stages: Discoveries, which run, by stage.
        min_patch_interval_s: Time between two patches of a pod.
    """

    def __init__(
        self,
        api: Any,
        namespace: str,
        operator: Operator,
        stages: Mapping[str, Discovery],
        *,
        min_patch_interval_s: float = MIN_PATCH_INTERVAL_S,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._operator = operator
        self._stages = stages
        self._min_patch_interval_s = min_patch_interval_s
        self._costs: dict[str, str] = {}
        self._patched_s: dict[str, float] = {}

    async def look(self) -> None:
        """Bring the costs of all stages up to date."""
        for stage, discovery in self._stages.items():
            order = removal_order(await self._operator.reports(discovery))
            for rank, pod in enumerate(order):
                await self._set_cost(stage, pod, FIRST_TO_GO if rank == 0 else OTHERS)

    async def _set_cost(self, stage: str, pod: str, cost: str) -> None:
        now_s = time.monotonic()
        last_s = self._patched_s.get(pod)
        if self._costs.get(pod, OTHERS) == cost:
            return
        if last_s is not None and now_s - last_s < self._min_patch_interval_s:
            return
        body = {"metadata": {"annotations": {COST_ANNOTATION: cost}}}
        try:
            await self._api.patch_namespaced_pod(pod, self._namespace, body)
        except client.ApiException as error:  # gone by now, most likely
            extra = {"pod": pod, "status": error.status}
            logger.warning("deletion cost not set", extra=extra)
            return
        self._costs[pod], self._patched_s[pod] = cost, now_s
        logger.info("deletion cost set", extra={"stage": stage, "pod": pod, "cost": cost})


class LeaderLease:
    """A Lease that one process holds at a time; optimistic locking decides.

    The client's own election cannot be used: its lock of version 37 fails its own type checks.

    Args:
        api: CoordinationV1Api.
        namespace: Of the Lease.
        identity: Of this process.
        now: Wall time in UTC; processes agree on it to within some seconds.
    """

    def __init__(
        self, api: Any, namespace: str, identity: str, *, now: Callable[[], datetime] = _utc
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._now = now

    async def take(self) -> bool:
        """Take or renew the Lease; False while another holds it, or the API server is away."""
        try:
            return await self._try_take()
        except client.ApiException as error:
            if error.status not in (404, 409):
                logger.warning("lease not to be had", extra={"status": error.status})
        except (aiohttp.ClientError, OSError) as error:
            logger.warning("lease not to be had", extra={"error": type(error).__name__})
        return False

    async def _try_take(self) -> bool:
        now = self._now()
        try:
            lease = await self._api.read_namespaced_lease(LEASE_NAME, self._namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise
            lease = client.V1Lease(
                metadata=client.V1ObjectMeta(name=LEASE_NAME), spec=client.V1LeaseSpec()
            )
            self._claim(lease.spec, now)
            await self._api.create_namespaced_lease(self._namespace, lease)
            return True
        spec = lease.spec
        renewed = spec.renew_time or datetime.min.replace(tzinfo=UTC)
        is_over = now - renewed > timedelta(seconds=LEASE_S)
        if spec.holder_identity not in (self._identity, None, "") and not is_over:
            return False
        self._claim(spec, now)
        await self._api.replace_namespaced_lease(LEASE_NAME, self._namespace, lease)
        return True

    def _claim(self, spec: Any, now: datetime) -> None:
        if spec.holder_identity != self._identity:
            spec.holder_identity, spec.acquire_time = self._identity, now
        spec.renew_time, spec.lease_duration_seconds = now, LEASE_S


async def lead(lease: LeaderLease, guard: ScaleGuard) -> None:
    """Run the guard while this process leads, until cancelled."""
    while True:
        if await lease.take():
            await guard.look()
        await asyncio.sleep(INTERVAL_S)
