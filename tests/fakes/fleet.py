"""Several fake replicas, each behind a server of its own, and pools over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from parlante.fleet.endpoints import StaticDiscovery
from parlante.fleet.pool import ReplicaPool
from tests.fakes.stages import FakeStages, serve_fakes


def fake_pool(stage: str, *replicas: FakeStages) -> ReplicaPool:
    """Make a pool over replicas that are served."""
    return ReplicaPool(stage, StaticDiscovery(*(replica.target for replica in replicas)))


@asynccontextmanager
async def serve_fleet(
    num_replicas: int, make: Callable[[], FakeStages] = FakeStages
) -> AsyncIterator[list[FakeStages]]:
    """Serve replicas that share an encoder."""
    async with AsyncExitStack() as stack:
        replicas = [make() for _ in range(num_replicas)]
        for replica in replicas:
            replica.encoder = replicas[0].encoder
            await stack.enter_async_context(serve_fakes(replica))
        yield replicas
