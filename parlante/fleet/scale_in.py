"""Takes replicas out of a stage: cordoned and emptied first, and only then the number is lowered.

An autoscaler that lowers a number itself has the ReplicaSet delete a pod in the same moment; nobody
can empty it ahead, and with scale-down disabled an autoscaler's ``status.desiredReplicas`` never
falls, so there is nothing to follow (docs/adr/0016). So autoscalers only raise the number, and this
lowers it: when what is used has fitted into one replica less for a while, the emptiest is noted in
the Lease, cordoned, emptied, given the lowest deletion cost, and then the number is lowered by one,
unless someone has changed it meanwhile. If nobody runs this, nothing is ever taken away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from kubernetes.aio import client

from parlante.errors import ParlanteError
from parlante.fleet.leader_lease import LeaderLease
from parlante.fleet.operator import Operator, Report, removal_order

__all__ = ["Policy", "ScaleIn", "fits_without"]

logger = logging.getLogger(__name__)

_API_FAULTS: Final = (client.ApiException, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When a stage has a replica too many.

    Attributes:
        deployment: Name of the Deployment whose number is lowered.
        min_replicas: The number is never lower; that of the autoscaler.
        max_share: Share of the slots that may be in use once a replica is gone. Below what
            autoscalers aim at (about 0.6), or they would raise the number again.
        quiet_s: It must have been so for this long; also the time between two removals.
        give_up_s: A replica that is not empty by then is used again.
    """

    deployment: str
    min_replicas: int = 2
    max_share: float = 0.5
    quiet_s: float = 300.0
    give_up_s: float = 600.0


class ScaleIn:
    """Lowers the number of one stage's replicas, one by one.

    Args:
        stage: Its name.
        policy: When.
        operator: Speaks to replicas.
        api: AppsV1Api.
        namespace: Of the Deployment.
        lease: Of the leader; keeps the name of the pod that is on its way out.
        mark: Gives a pod the lowest deletion cost of all; False when that did not work.
        now_s: Monotonic time, seconds.
    """

    def __init__(
        self,
        stage: str,
        policy: Policy,
        *,
        operator: Operator,
        api: Any,
        namespace: str,
        lease: LeaderLease,
        mark: Callable[[str], Awaitable[bool]],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._policy = policy
        self._operator = operator
        self._api = api
        self._namespace = namespace
        self._lease = lease
        self._mark = mark
        self._now_s = now_s
        self._quiet_since_s: float | None = None
        self._emptying_since_s: float | None = None

    @property
    def leaving(self) -> str:
        """Name of the pod that is on its way out; "" while there is none."""
        return self._lease.notes.get(self._stage, "")

    async def look(self, reports: list[Report]) -> None:
        """Take the next step, given what the replicas say of themselves."""
        try:
            if self.leaving:
                await self._go_on(reports)
            else:
                await self._consider(reports)
        except (*_API_FAULTS, ParlanteError) as error:  # the next look tries again
            extra = {"stage": self._stage, "error": type(error).__name__}
            logger.warning("scale-in held up", extra=extra)

    async def _consider(self, reports: list[Report]) -> None:
        """Choose the replica to take out, if there has been one too many for long enough."""
        now_s = self._now_s()
        order = [report for report in _in_order(reports) if not _is_cordoned(report)]
        if not order or not fits_without(order[0], reports, self._policy.max_share):
            self._quiet_since_s = None
            return
        self._quiet_since_s = now_s if self._quiet_since_s is None else self._quiet_since_s
        if now_s - self._quiet_since_s < self._policy.quiet_s:
            return
        # A rollout, or replicas that come up or go: what is there is not what is wanted.
        num_wanted = (await self._scale()).spec.replicas or 0
        if num_wanted != len(reports) or num_wanted <= self._policy.min_replicas:
            return
        pod = order[0].endpoint.name
        # Noted first: whoever leads next must know whose cordon it is.
        if await self._lease.note(self._stage, pod):
            self._emptying_since_s = now_s
            await self._empty(order[0])

    async def _go_on(self, reports: list[Report]) -> None:
        """Wait until the replica is empty, lower the number, and forget it once it is gone."""
        now_s = self._now_s()
        leaving = next((r for r in reports if r.endpoint.name == self.leaving), None)
        if leaving is None:
            await self._forget()
            return
        if leaving.load is None or leaving.load.draining or leaving.endpoint.draining:
            return
        if self._emptying_since_s is None:  # another led until now
            self._emptying_since_s = now_s
        if not leaving.load.cordoned:
            await self._empty(leaving)
            return
        is_stuck = now_s - self._emptying_since_s > self._policy.give_up_s
        if is_stuck or not fits_without(leaving, reports, self._policy.max_share):
            await self._keep(leaving)
        elif leaving.load.held_count + leaving.load.leased_count == 0:
            await self._lower(leaving, len(reports))

    async def _lower(self, leaving: Report, num_there: int) -> None:
        scale = await self._scale()
        num_wanted = scale.spec.replicas or 0
        if num_wanted < num_there:  # lowered already; it is about to go
            return
        if num_wanted <= self._policy.min_replicas:
            await self._keep(leaving)
            return
        if num_wanted != num_there or not await self._mark(leaving.endpoint.name):
            return
        scale.spec.replicas = num_wanted - 1
        # With the version that was read: a number that someone has changed is not lowered.
        await self._api.replace_namespaced_deployment_scale(
            self._policy.deployment, self._namespace, scale
        )
        extra = {"stage": self._stage, "pod": leaving.endpoint.name, "replicas": num_wanted - 1}
        logger.info("number of replicas lowered", extra=extra)

    async def _empty(self, report: Report) -> None:
        await self._operator.begin_emptying(report.endpoint.address)
        extra = {"stage": self._stage, "pod": report.endpoint.name}
        logger.info("replica is emptied for a scale-in", extra=extra)

    async def _keep(self, report: Report) -> None:
        """Use the replica again: it is needed, or does not get empty."""
        await self._operator.cordon(report.endpoint.address, False)
        extra = {"stage": self._stage, "pod": report.endpoint.name}
        logger.info("scale-in given up; replica is used again", extra=extra)
        await self._forget()

    async def _forget(self) -> None:
        self._quiet_since_s = self._emptying_since_s = None
        await self._lease.note(self._stage, "")

    async def _scale(self) -> Any:
        return await self._api.read_namespaced_deployment_scale(
            self._policy.deployment, self._namespace
        )


def fits_without(out: Report, reports: list[Report], max_share: float) -> bool:
    """Tell whether a stage could do without one replica; False unless all others serve.

    Args:
        out: The replica to do without.
        reports: Of all replicas.
        max_share: Share of the slots of the rest that may be in use then.
    """
    rest = [report for report in reports if report is not out]
    loads = [report.load for report in (out, *rest) if report.load is not None]
    if len(loads) != len(rest) + 1 or not rest:
        return False
    usable = [load for load in loads[1:] if load.serving and not load.cordoned]
    if len(usable) != sum(not load.cordoned for load in loads[1:]):
        return False
    num_used = sum(load.held_count + load.leased_count for load in loads)
    return num_used <= max_share * sum(load.slot_count for load in usable)


def _in_order(reports: list[Report]) -> list[Report]:
    """Give those that have a pod and answer, the emptiest first."""
    by_name = {report.endpoint.name: report for report in reports}
    return [by_name[name] for name in removal_order(reports)]


def _is_cordoned(report: Report) -> bool:
    return report.load is not None and report.load.cordoned
