"""A Kubernetes API server for EndpointSlices, Leases, Pods and the scale of Deployments.

Follows the API conventions: one growing version for all changes; lists in pages whose token keeps
the version of the first; watches that give what is newer than a version, bookmarks, an end after
``timeoutSeconds``; 410 for versions that were compacted away, as a status and as an event; 409 for
updates of an older version; ``scale`` as a view of a Deployment that carries its version. It can go
away, hang and cut its watches. Controllers are not in it; see `ReplicaSetController`.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Item = dict[str, Any]
_KINDS = {
    "endpointslices": ("EndpointSlice", "discovery.k8s.io/v1"),
    "leases": ("Lease", "coordination.k8s.io/v1"),
    "pods": ("Pod", "v1"),
    "deployments": ("Deployment", "apps/v1"),
}


def endpoint_slice(
    name: str,
    *addresses: str,
    service: str = "parlante-motion",
    port: int = 50_052,
    zone: str = "",
    draining: tuple[str, ...] = (),
) -> Item:
    """Make an EndpointSlice as its controller does."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [
            {"name": "grpc", "port": port, "protocol": "TCP"},
            {"name": "admin", "port": 9, "protocol": "TCP"},
        ],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {
                    "ready": address not in draining,
                    "serving": True,
                    "terminating": address in draining,
                },
                "targetRef": {"kind": "Pod", "name": f"pod-{address}"},
                "nodeName": "node-1",
                **({"zone": zone} if zone else {}),
            }
            for address in addresses
        ],
    }


class FakeKubernetes:
    """The server; an async context manager by `serve_kubernetes`.

    Attributes:
        requests: Path and query of every request.
        num_watches: Watches that are open now.
        fail_with: Answer everything with this status.
        hang: Answer nothing.
        expire_watches: Say of every watch's version that it is too old.
    """

    def __init__(self) -> None:
        self._version = 100
        self._compacted = 0
        self._items: dict[tuple[str, str], Item] = {}
        self._history: list[tuple[int, str, str, Item]] = []
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._cut = asyncio.Event()
        self.port = 0
        self.requests: list[str] = []
        self.patches: list[tuple[str, Item]] = []
        self.num_watches = 0
        self.fail_with = 0
        self.hang = False
        self.expire_watches = False
        self.bookmark_s = 0.05

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    # --- the cluster -----------------------------------------------------------------------

    def put(self, item: Item, resource: str = "endpointslices") -> Item:
        """Create or replace an object."""
        name = item["metadata"]["name"]
        kind = "MODIFIED" if (resource, name) in self._items else "ADDED"
        item = copy.deepcopy(item)
        self._note(kind, resource, item)
        self._items[resource, name] = item
        return item

    def delete(self, name: str, resource: str = "endpointslices") -> None:
        """Remove an object."""
        self._note("DELETED", resource, copy.deepcopy(self._items.pop((resource, name))))

    def item(self, resource: str, name: str) -> Item:
        """Give an object."""
        return self._items[resource, name]

    def compact(self) -> None:
        """Forget the history, as etcd does every five minutes."""
        self._compacted = self._version
        self._history.clear()

    def cut_watches(self) -> None:
        """Break the connection of every watch."""
        self._cut.set()
        self._cut = asyncio.Event()

    def _note(self, kind: str, resource: str, item: Item) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, kind, resource, item))
        self._changed.set()
        self._changed = asyncio.Event()

    # --- the server ------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, on the port of before if there was one."""
        app = web.Application()
        for base in (
            "/apis/discovery.k8s.io/v1/namespaces/{ns}/{resource:endpointslices}",
            "/apis/coordination.k8s.io/v1/namespaces/{ns}/{resource:leases}",
            "/api/v1/namespaces/{ns}/{resource:pods}",
            "/apis/apps/v1/namespaces/{ns}/{resource:deployments}",
        ):
            app.router.add_get(base, self._list_or_watch)
            app.router.add_post(base, self._create)
            app.router.add_get(base + "/{name}", self._get)
            app.router.add_put(base + "/{name}", self._replace)
            app.router.add_patch(base + "/{name}", self._patch)
        scale = "/apis/apps/v1/namespaces/{ns}/{resource:deployments}/{name}/scale"
        app.router.add_get(scale, self._get_scale)
        app.router.add_put(scale, self._replace_scale)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away, breaking every connection."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _admit(self, request: web.Request) -> None:
        self.requests.append(request.path_qs)
        if self.hang:
            await asyncio.sleep(3600)
        if self.fail_with:
            raise _status(self.fail_with, "made up")

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        await self._admit(request)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        resource = request.match_info["resource"]
        name, api_version = _KINDS[resource]
        names = sorted(key for kind, key in self._items if kind == resource)
        limit = int(request.query.get("limit", "0")) or len(names) + 1
        version, _, after = request.query.get("continue", f"{self._version}:").partition(":")
        if int(version) < self._compacted:
            raise _status(410, "The provided continue parameter is too old")
        page = [key for key in names if key > after][:limit]
        more = bool(page) and page[-1] != names[-1]
        items = [self._items[resource, key] for key in page]
        items = [item for item in items if _selected(item, request)]
        metadata = {"resourceVersion": version}
        if more:
            metadata["continue"] = f"{version}:{page[-1]}"
        body = {"kind": f"{name}List", "apiVersion": api_version, "metadata": metadata}
        return web.json_response({**body, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        resource = request.match_info["resource"]
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        if self.expire_watches or since < self._compacted:
            # A real server says so in the stream, with the status of the response still 200.
            await response.prepare(request)
            await response.write(_line("ERROR", _failure(410, "too old resource version")))
            return response
        loop = asyncio.get_running_loop()
        end_s = loop.time() + float(request.query.get("timeoutSeconds", "300"))
        cut = self._cut
        self.num_watches += 1
        try:
            await response.prepare(request)
            while loop.time() < end_s:
                changed = self._changed
                for version, kind, of, item in list(self._history):
                    if version > since and of == resource:
                        if _selected(item, request):
                            await response.write(_line(kind, item))
                        since = version
                waits = [asyncio.ensure_future(event.wait()) for event in (changed, cut)]
                try:
                    await asyncio.wait(
                        waits, timeout=self.bookmark_s, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    for wait in waits:
                        wait.cancel()
                if cut.is_set():
                    if request.transport is not None:
                        request.transport.abort()
                    return response
                if request.query.get("allowWatchBookmarks") == "true":
                    mark = {"kind": "EndpointSlice", "metadata": {"resourceVersion": str(since)}}
                    await response.write(_line("BOOKMARK", mark))
            return response
        except ConnectionResetError:  # the watcher has gone
            return response
        finally:
            self.num_watches -= 1

    async def _get(self, request: web.Request) -> web.Response:
        await self._admit(request)
        return web.json_response(self._find(request))

    async def _create(self, request: web.Request) -> web.Response:
        await self._admit(request)
        item, resource = await request.json(), request.match_info["resource"]
        if (resource, item["metadata"]["name"]) in self._items:
            raise _status(409, "already exists", reason="AlreadyExists")
        return web.json_response(self.put(item, resource), status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        await self._admit(request)
        item, known = await request.json(), self._find(request)
        version = item["metadata"].get("resourceVersion")
        if version not in (None, known["metadata"]["resourceVersion"]):
            raise _status(409, "the object has been modified", reason="Conflict")
        return web.json_response(self.put(item, request.match_info["resource"]))

    async def _patch(self, request: web.Request) -> web.Response:
        await self._admit(request)
        patch, known = await request.json(), copy.deepcopy(self._find(request))
        self.patches.append((request.match_info["name"], patch))
        _merge(known, patch)
        return web.json_response(self.put(known, request.match_info["resource"]))

    async def _get_scale(self, request: web.Request) -> web.Response:
        await self._admit(request)
        return web.json_response(_scale_of(self._find(request)))

    async def _replace_scale(self, request: web.Request) -> web.Response:
        await self._admit(request)
        scale, known = await request.json(), copy.deepcopy(self._find(request))
        version = scale["metadata"].get("resourceVersion")
        if version not in (None, known["metadata"]["resourceVersion"]):
            raise _status(409, "the object has been modified", reason="Conflict")
        known["spec"]["replicas"] = scale["spec"]["replicas"]
        return web.json_response(_scale_of(self.put(known, "deployments")))

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of any object."""
        return self._changed

    def _find(self, request: web.Request) -> Item:
        key = request.match_info["resource"], request.match_info["name"]
        if key not in self._items:
            raise _status(404, f"{key[1]} not found", reason="NotFound")
        return self._items[key]


class ReplicaSetController:
    """Deletes pods of a Deployment when its number falls, as the controller does it.

    Those with the lowest deletion cost go first, and of those with the same the youngest.

    Args:
        server: The API server.
        deployment: Name of the Deployment.
        pods: Names of its pods, oldest first.
        delete: Called for each pod that goes.
    """

    def __init__(
        self,
        server: FakeKubernetes,
        deployment: str,
        pods: list[str],
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        self._server = server
        self._deployment = deployment
        self._pods = pods
        self._delete = delete

    async def run(self) -> None:
        """Follow the number until cancelled."""
        while True:
            changed = self._server.changed
            wanted = self._server.item("deployments", self._deployment)["spec"]["replicas"]
            while len(self._pods) > wanted:
                pod = min(reversed(self._pods), key=self._cost)
                self._pods.remove(pod)
                self._server.delete(pod, "pods")
                await self._delete(pod)
            await changed.wait()

    def _cost(self, pod: str) -> int:
        annotations = self._server.item("pods", pod)["metadata"].get("annotations") or {}
        return int(annotations.get("controller.kubernetes.io/pod-deletion-cost", "0"))


def _scale_of(deployment: Item) -> Item:
    metadata = {key: deployment["metadata"][key] for key in ("name", "resourceVersion")}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {**metadata, "namespace": "default"},
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {"replicas": deployment["spec"]["replicas"]},
    }


@asynccontextmanager
async def serve_kubernetes() -> AsyncIterator[FakeKubernetes]:
    """Run a server until the context is left."""
    server = FakeKubernetes()
    await server.start()
    try:
        yield server
    finally:
        server.hang = False
        await server.stop()


def _selected(item: Item, request: web.Request) -> bool:
    labels = item["metadata"].get("labels") or {}
    terms = [term for term in request.query.get("labelSelector", "").split(",") if term]
    return all(labels.get(key) == value for key, _, value in (t.partition("=") for t in terms))


def _merge(target: Item, patch: Item) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _line(kind: str, item: Item) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _failure(code: int, message: str, reason: str = "Expired") -> Item:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "metadata": {},
    }


def _status(code: int, message: str, reason: str = "Expired") -> web.HTTPException:
    body = json.dumps(_failure(code, message, reason))
    error = web.HTTPException(text=body, content_type="application/json")
    error.set_status(code)
    return error
