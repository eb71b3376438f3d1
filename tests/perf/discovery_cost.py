"""What discovery and placement cost with many endpoints: python -m tests.perf.discovery_cost."""

from __future__ import annotations

import asyncio
import json
import time

from kubernetes.aio import client

from parlante.fleet.endpoint_slices import EndpointSliceDiscovery
from parlante.fleet.endpoints import KubernetesTarget
from parlante.fleet.placement import Candidate, in_order
from tests.fakes.kubernetes_api import endpoint_slice, serve_kubernetes

NUM_ENDPOINTS = 1_000
PER_SLICE = 100


async def main() -> None:
    """Measure and print JSON."""
    async with serve_kubernetes() as kubernetes:
        for start in range(0, NUM_ENDPOINTS, PER_SLICE):
            hosts = [f"10.1.{n // 250}.{n % 250}" for n in range(start, start + PER_SLICE)]
            kubernetes.put(endpoint_slice(f"m-{start}", *hosts))
        discovery = EndpointSliceDiscovery(
            KubernetesTarget.parse("k8s:///parlante-motion.avatars:grpc"),
            configuration=client.Configuration(host=kubernetes.url),
        )
        begin, cpu = time.perf_counter(), time.process_time()
        await discovery.start()
        while len(discovery.known.endpoints) < NUM_ENDPOINTS:  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.001)
        list_ms, list_cpu_ms = (
            (time.perf_counter() - begin) * 1e3,
            (time.process_time() - cpu) * 1e3,
        )
        while not kubernetes.num_watches:  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.001)
        begin = time.perf_counter()
        kubernetes.put(endpoint_slice("m-0", "10.9.9.9"))
        while len(discovery.known.endpoints) == NUM_ENDPOINTS:  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.001)
        event_ms = (time.perf_counter() - begin) * 1e3
        await discovery.aclose()
    candidates = [
        Candidate(address=f"10.1.{n // 250}.{n % 250}:50052", capacity=8, num_used=n % 8)
        for n in range(NUM_ENDPOINTS)
    ]
    begin = time.perf_counter()
    for number in range(20):
        in_order(f"avatar-{number}", candidates)
    place_ms = (time.perf_counter() - begin) * 1e3 / 20
    print(
        json.dumps(
            {
                "endpoints": NUM_ENDPOINTS,
                "first_list_ms": round(list_ms, 1),
                "first_list_cpu_ms": round(list_cpu_ms, 1),
                "event_to_known_ms": round(event_ms, 1),
                "place_one_session_ms": round(place_ms, 2),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
