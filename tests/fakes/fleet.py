"""Several fake replicas, each behind a server of its own, and pools over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from parlante.fleet.endpoints import StaticDiscovery
from parlante.fleet.pool import ReplicaPool
from tests.fakes.stages import FakeStages, serve_fakes
from tests.fakes.wire import eventually


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


async def until_open(pool: ReplicaPool, num_replicas: int) -> None:
    """Wait until so many replicas take streams.

    A pool that has not heard of its replicas yet has none that is shut: they are counted.
    """
    await eventually(lambda: sum(replica.is_open for replica in pool.replicas) == num_replicas)
