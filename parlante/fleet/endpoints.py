"""Who is there: the replicas of a stage, from a list, DNS or Kubernetes, behind one interface.

A target names them: ``HOST:PORT``, several of those joined by commas, ``dns:///NAME:PORT`` for
every address of a name, or ``k8s:///SERVICE.NAMESPACE:PORT`` for the EndpointSlices of a Service,
where PORT is a number or the name of a port.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from parlante.aio import cancel_and_wait
from parlante.errors import InvalidInput

__all__ = [
    "Discovery",
    "DnsDiscovery",
    "Endpoint",
    "EndpointSet",
    "StaticDiscovery",
    "open_discovery",
]

logger = logging.getLogger(__name__)

DNS_INTERVAL_S: Final = 5.0
_KUBERNETES: Final = re.compile(
    r"k8s:///(?P<service>[a-z0-9-]{1,63})(\.(?P<namespace>[a-z0-9-]{1,63}))?:(?P<port>[a-z0-9-]{1,63})"
)
_DNS: Final = re.compile(r"dns:///(?P<host>[A-Za-z0-9._-]{1,253}):(?P<port>\d{1,5})")
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """One replica.

    Attributes:
        address: ``HOST:PORT``.
        name: Name of the replica; "" if it has none.
        zone: Zone it runs in; "" if that is not known.
        node: Machine it runs on; "" if that is not known.
        draining: True when it takes no new streams but still serves those it has.
    """

    address: str
    name: str = ""
    zone: str = ""
    node: str = ""
    draining: bool = False


class EndpointSet:
    """The endpoints that are known now, and a way to wait for others; one event loop.

    Attributes:
        fault: Why they may be out of date or missing; "" while the source answers.
    """

    def __init__(self, endpoints: frozenset[Endpoint] = frozenset()) -> None:
        self.fault = ""
        self._endpoints = endpoints
        self._changed = asyncio.Event()

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """What is known now."""
        return self._endpoints

    @property
    def changed(self) -> asyncio.Event:
        """Set when what is known changes next; take it before reading `endpoints`."""
        return self._changed

    def put(self, endpoints: frozenset[Endpoint]) -> None:
        """Replace what is known."""
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            self._changed.set()
            self._changed = asyncio.Event()


class Discovery(Protocol):
    """Keeps an `EndpointSet` up to date between `start` and `aclose`."""

    @property
    def known(self) -> EndpointSet:
        """The endpoints."""
        ...

    async def start(self) -> None:
        """Begin; what is known may still be empty afterwards."""
        ...

    async def aclose(self) -> None:
        """Stop; what was known stays."""
        ...


class StaticDiscovery:
    """A fixed list.

    Args:
        addresses: ``HOST:PORT`` of each replica.
    """

    def __init__(self, *addresses: str) -> None:
        self.known = EndpointSet(frozenset(Endpoint(address=address) for address in addresses))

    async def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        """Nothing to stop."""


Resolve = Callable[[str, int], Awaitable[frozenset[str]]]


async def _resolve(host: str, port: int) -> frozenset[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    hosts = {str(sockaddr[0]) for _, _, _, _, sockaddr in found}
    return frozenset(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)


class DnsDiscovery:
    """Every address of a name, asked for again and again: gRPC itself never looks for new ones.

    A name that does not resolve changes nothing: a resolver that is away must not end sessions.

    Args:
        host: Name, for example of a headless Service.
        port: Port of every replica.
        interval_s: Time between two questions.
        resolve: Asks; raises OSError when there is no answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        interval_s: float = DNS_INTERVAL_S,
        resolve: Resolve = _resolve,
    ) -> None:
        self.known = EndpointSet()
        self._host = host
        self._port = port
        self._interval_s = interval_s
        self._resolve = resolve
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, then in the background."""
        await self._ask()
        self._task = asyncio.create_task(self._run(), name="dns-discovery")

    async def aclose(self) -> None:
        """Ask no more."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.8, 1.2))
            await self._ask()

    async def _ask(self) -> None:
        try:
            addresses = await self._resolve(self._host, self._port)
        except OSError as error:
            extra = {"host": self._host, "error": str(error)}
            logger.warning("no answer from DNS; keeping what is known", extra=extra)
            self.known.fault = f"DNS: {error.strerror or error}"
            return
        self.known.fault = ""
        self.known.put(frozenset(Endpoint(address=address) for address in addresses))


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesTarget:
    """A Service's port; an empty namespace is the process's own."""

    service: str
    namespace: str
    port: str

    @classmethod
    def parse(cls, target: str) -> Self:
        """Read ``k8s:///SERVICE[.NAMESPACE]:PORT``; raises `InvalidInput`."""
        match = _KUBERNETES.fullmatch(target)
        if match is None:
            raise _bad_target(target)
        return cls(service=match["service"], namespace=match["namespace"] or "", port=match["port"])


def open_discovery(target: str) -> Discovery:
    """Make the discovery of a target; see the module.

    Raises:
        InvalidInput: BAD_SETTING, the target is none of these.
    """
    if target.startswith("k8s:"):
        # Imported here: the client is large, and a fleet need not run on Kubernetes.
        from parlante.fleet.endpoint_slices import EndpointSliceDiscovery

        return EndpointSliceDiscovery(KubernetesTarget.parse(target))
    if target.startswith("dns:"):
        match = _DNS.fullmatch(target)
        if match is None:
            raise _bad_target(target)
        return DnsDiscovery(match["host"], int(match["port"]))
    addresses = [address.strip() for address in target.split(",")]
    if not all(_ADDRESS.fullmatch(address) for address in addresses):
        raise _bad_target(target)
    return StaticDiscovery(*addresses)


def check_target(target: str) -> None:
    """Raise `InvalidInput` BAD_SETTING unless `open_discovery` knows the target."""
    if target.startswith("k8s:"):
        KubernetesTarget.parse(target)
    else:
        open_discovery(target)


def _bad_target(target: str) -> InvalidInput:
    return InvalidInput(
        "a target is HOST:PORT, several of those with commas, dns:///NAME:PORT or "
        f"k8s:///SERVICE.NAMESPACE:PORT; got {target[:120]!r}",
        reason="BAD_SETTING",
        field="target",
    )
