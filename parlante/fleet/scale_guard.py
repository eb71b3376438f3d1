"""Sees to it that a scale-in takes a replica that nobody needs.

Two things. Of every stage it watches, the replica with the fewest streams gets the lowest deletion
cost of pods, so that whoever lowers the number (a person, a rollout back) takes that one; its
SIGTERM hands its streams over. And of the stages it may lower itself, it empties the replica before
it goes, see `parlante.fleet.scale_in`. Costs are patched on change only and not more than once a
minute for each pod, as Kubernetes asks; one guard of several leads, by a Lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from kubernetes.aio import client

from parlante.fleet.endpoints import Discovery
from parlante.fleet.leader_lease import LeaderLease
from parlante.fleet.operator import Operator, removal_order
from parlante.fleet.scale_in import Policy, ScaleIn

__all__ = ["ScaleGuard", "lead"]

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
MIN_PATCH_INTERVAL_S: Final = 60.0
COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
LEAVES_NOW: Final = "-1000"
FIRST_TO_GO: Final = "-100"
OTHERS: Final = "0"


class ScaleGuard:
    """Marks pods of some stages, and takes some out.

    Args:
        connection: To the API server.
        namespace: Of the pods and Deployments.
        operator: Asks the replicas.
        stages: Discoveries, which run, by stage.
        lease: That of the leader.
        policies: Of the stages whose number the guard lowers.
        min_patch_interval_s: Time between two patches of a pod.
    """

    def __init__(
        self,
        connection: Any,
        namespace: str,
        operator: Operator,
        stages: Mapping[str, Discovery],
        *,
        lease: LeaderLease,
        policies: Mapping[str, Policy] | None = None,
        min_patch_interval_s: float = MIN_PATCH_INTERVAL_S,
    ) -> None:
        self._pods = client.CoreV1Api(connection)
        self._namespace = namespace
        self._operator = operator
        self._stages = stages
        self._min_patch_interval_s = min_patch_interval_s
        self._costs: dict[str, str] = {}
        self._patched_s: dict[str, float] = {}
        self._scale_ins = {
            stage: ScaleIn(
                stage,
                policy,
                operator=operator,
                api=client.AppsV1Api(connection),
                namespace=namespace,
                lease=lease,
                mark=partial(self._set_cost, stage, cost=LEAVES_NOW, at_once=True),
            )
            for stage, policy in (policies or {}).items()
        }

    async def look(self) -> None:
        """Take one look at all stages, and do what is due."""
        for stage, discovery in self._stages.items():
            reports = await self._operator.reports(discovery)
            scale_in = self._scale_ins.get(stage)
            if scale_in is not None:
                await scale_in.look(reports)
            leaving = scale_in.leaving if scale_in is not None else ""
            # Its cost is set when it is empty, and not taken back by the order of the moment.
            order = [pod for pod in removal_order(reports) if pod != leaving]
            for rank, pod in enumerate(order):
                await self._set_cost(stage, pod, cost=FIRST_TO_GO if rank == 0 else OTHERS)

    async def _set_cost(self, stage: str, pod: str, *, cost: str, at_once: bool = False) -> bool:
        now_s = time.monotonic()
        last_s = self._patched_s.get(pod)
        if self._costs.get(pod, OTHERS) == cost:
            return True
        is_soon = last_s is not None and now_s - last_s < self._min_patch_interval_s
        if is_soon and not at_once:
            return False
        body = {"metadata": {"annotations": {COST_ANNOTATION: cost}}}
        try:
            await self._pods.patch_namespaced_pod(pod, self._namespace, body)
        except client.ApiException as error:  # gone by now, most likely
            extra = {"pod": pod, "status": error.status}
            logger.warning("deletion cost not set", extra=extra)
            return False
        self._costs[pod], self._patched_s[pod] = cost, now_s
        logger.info("deletion cost set", extra={"stage": stage, "pod": pod, "cost": cost})
        return True


async def lead(lease: LeaderLease, guard: ScaleGuard) -> None:
    """Run the guard while this process leads, until cancelled."""
    while True:
        if await lease.take():
            await guard.look()
        await asyncio.sleep(INTERVAL_S)
