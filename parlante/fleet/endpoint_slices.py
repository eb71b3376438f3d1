"""The replicas of a Kubernetes Service: EndpointSlices, listed and then watched.

A watch alone keeps ghosts: what is deleted while it is cut off is never told. So every connection
begins with a list that replaces all that was known, the watch goes on from the list's version, and
both are begun again now and then, after an error with a growing pause. While the API server is
away what was known last stays: its absence must not end a session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from parlante.aio import cancel_and_wait
from parlante.errors import FailedPrecondition
from parlante.fleet.endpoints import Endpoint, EndpointSet, KubernetesTarget

__all__ = ["EndpointSliceDiscovery", "endpoints_of", "find_configuration", "own_namespace"]

logger = logging.getLogger(__name__)

# The server ends a watch after this; then everything is listed anew.
WATCH_S: Final = 300
LIST_TIMEOUT_S: Final = 10.0
# Bookmarks come about every minute; a watch that brings nothing for longer proves itself by a list.
SILENCE_S: Final = 120.0
MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
PAGE_SIZE: Final = 500
MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_FAULTS: Final = (client.ApiException, aiohttp.ClientError, OSError, TimeoutError, ValueError)


class _Stale(Exception):
    """The watch cannot go on; list again."""


def own_namespace() -> str:
    """Give the namespace this process runs in, "default" outside of a cluster."""
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return "default"


class EndpointSliceDiscovery:
    """Keeps the endpoints of one port of one Service.

    Needs the right to get, list and watch ``endpointslices`` of that namespace, nothing else.

    Args:
        target: Service, namespace and port.
        configuration: How the API server is reached; None takes the pod's service account, or
            else the user's kubeconfig.
        watch_s: Length of a watch.
        min_backoff_s: Pause after the first fault; doubles up to `max_backoff_s`, with jitter.
        max_backoff_s: The longest pause.

    Attributes:
        num_lists: How often everything was listed.
    """

    def __init__(
        self,
        target: KubernetesTarget,
        *,
        configuration: client.Configuration | None = None,
        watch_s: int = WATCH_S,
        min_backoff_s: float = MIN_BACKOFF_S,
        max_backoff_s: float = MAX_BACKOFF_S,
    ) -> None:
        self.known = EndpointSet()
        self.num_lists = 0
        self._target = target
        self._namespace = target.namespace or own_namespace()
        self._configuration = configuration
        self._watch_s = watch_s
        self._min_backoff_s = min_backoff_s
        self._max_backoff_s = max_backoff_s
        self._slices: dict[str, Mapping[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to list and watch in the background.

        Raises:
            FailedPrecondition: NO_CLUSTER, there is neither a service account nor a kubeconfig.
        """
        configuration = self._configuration or await find_configuration()
        self._task = asyncio.create_task(self._run(configuration), name="endpoint-slices")

    async def aclose(self) -> None:
        """Stop; what was known stays."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _run(self, configuration: client.Configuration) -> None:
        backoff_s = self._min_backoff_s
        async with client.ApiClient(configuration) as connection:
            api = client.DiscoveryV1Api(connection)
            while True:
                num_before = self.num_lists
                try:
                    version = await self._list(api)
                    await self._watch(api, version)
                    continue  # the server ended the watch in time
                except _Stale:
                    pass
                except _FAULTS as error:
                    extra = {"service": self._target.service, "error": _short(error)}
                    logger.warning("endpoints cannot be watched; trying again", extra=extra)
                    self.known.fault = f"API server: {_short(error)}"
                if self.num_lists > num_before:  # it did answer
                    backoff_s = self._min_backoff_s
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(self._max_backoff_s, backoff_s * 2)

    async def _list(self, api: Any) -> str:
        """List all slices in pages, replace what is known, and give the version of the list."""
        slices: dict[str, Mapping[str, Any]] = {}
        token, version = "", ""
        while True:
            response = await api.list_namespaced_endpoint_slice_without_preload_content(
                self._namespace,
                label_selector=self._selector,
                limit=PAGE_SIZE,
                _request_timeout=LIST_TIMEOUT_S,
                **({"_continue": token} if token else {}),
            )
            page = json.loads(await _body(response))
            slices.update({item["metadata"]["name"]: item for item in page.get("items") or ()})
            version = version or str(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self.num_lists += 1
        self.known.fault = ""
        self._slices = slices
        self._publish()
        return version

    async def _watch(self, api: Any, version: str) -> None:
        """Apply events until the server ends the watch."""
        response = await api.list_namespaced_endpoint_slice_without_preload_content(
            self._namespace,
            label_selector=self._selector,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=version,
            timeout_seconds=self._watch_s,
            _request_timeout=float(self._watch_s + 30),
        )
        try:
            await _check(response)
            buffer = b""
            while True:
                async with asyncio.timeout(SILENCE_S):
                    chunk = await response.content.readany()
                if not chunk:
                    return
                buffer += chunk
                if len(buffer) > MAX_EVENT_BYTES:
                    raise _Stale
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    if line.strip():
                        self._apply(json.loads(line))
                self._publish()
        finally:
            response.close()

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        match kind:
            case "ADDED" | "MODIFIED":
                self._slices[item["metadata"]["name"]] = item
            case "DELETED":
                self._slices.pop(item["metadata"]["name"], None)
            case "BOOKMARK":
                pass
            case _:  # ERROR, of which 410 Gone is the usual one
                raise _Stale

    def _publish(self) -> None:
        found = {
            endpoint.address: endpoint
            for item in self._slices.values()
            for endpoint in endpoints_of(item, self._target.port)
        }
        self.known.put(frozenset(found.values()))

    @property
    def _selector(self) -> str:
        return f"kubernetes.io/service-name={self._target.service}"


def endpoints_of(item: Mapping[str, Any], port: str) -> list[Endpoint]:
    """Read the endpoints of a slice that serve; those that end are draining.

    Args:
        item: An EndpointSlice, as JSON.
        port: Number or name of the port.
    """
    numbers = [
        entry["port"]
        for entry in item.get("ports") or ()
        if entry.get("port") and port in (entry.get("name"), str(entry["port"]))
    ]
    if not numbers:
        return []
    found = []
    for entry in item.get("endpoints") or ():
        conditions = entry.get("conditions") or {}
        ready = conditions.get("ready") is not False
        # "serving" is "ready" without the rule that what ends is never ready. What is ready and
        # does not serve is of a Service that publishes addresses which are not ready.
        serving = conditions.get("serving", ready) is not False
        terminating = conditions.get("terminating") is True
        if not (serving or ready) or not entry.get("addresses"):
            continue
        host = entry["addresses"][0]
        found.append(
            Endpoint(
                address=f"[{host}]:{numbers[0]}" if ":" in host else f"{host}:{numbers[0]}",
                name=(entry.get("targetRef") or {}).get("name", ""),
                zone=entry.get("zone") or "",
                node=entry.get("nodeName") or "",
                draining=terminating or not ready,
            )
        )
    return found


async def find_configuration() -> client.Configuration:
    """Find how the API server is reached; raises `FailedPrecondition` NO_CLUSTER."""
    configuration = client.Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            await load_kube_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise FailedPrecondition(
                "k8s:/// targets need a pod's service account or a kubeconfig; there is neither; "
                "name the replicas, or use dns:///",
                reason="NO_CLUSTER",
            ) from error
    return configuration


async def _check(response: Any) -> None:
    if response.status == 410:
        response.close()
        raise _Stale
    if response.status != 200:
        text = (await response.content.read(2048)).decode(errors="replace")
        response.close()
        raise client.ApiException(status=response.status, reason=text[:200])


async def _body(response: Any) -> bytes:
    await _check(response)
    body: bytes = await response.read()
    return body


def _short(error: Exception) -> str:
    if isinstance(error, client.ApiException):
        return f"{error.status} {str(error.reason)[:120]}"
    return f"{type(error).__name__} {str(error)[:120]}"
