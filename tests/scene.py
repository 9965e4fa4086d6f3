"""Work of all sorts at once, in two namespaces: what tests of faults disturb."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from invariants import phase, settled
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import AlreadyExists, NotFound, StatusError

NODES = 4
"""Named hollow-0 and so on."""
PODS, DEPLOYMENTS, JOBS = resource("pods"), resource("deployments.apps"), resource("jobs.batch")


async def insist(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Asks until there is an answer: what a user does while the server is away. A repeated create is no error."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except (AlreadyExists, NotFound):
                return None
            except StatusError:
                await asyncio.sleep(0.05)


def template(image: str, app: str, **metadata: Any) -> Any:
    container = {"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}}
    return {"metadata": {"labels": {"app": app}, **metadata}, "spec": {"containers": [container]}}


class Scene:
    """The objects of one round, in two namespaces of its own; one of them is doomed."""

    def __init__(self, client: Client, number: int, chance: random.Random) -> None:
        self._client = client
        self.kept, self.doomed = f"kept-{number}", f"doomed-{number}"
        self._drained = f"hollow-{chance.randrange(NODES)}"

    async def make(self, plural: str, namespace: str, name: str, spec: Any, **more: Any) -> None:
        kind = resource(plural)
        made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, **more}
        if spec is not None:
            made["spec"] = spec
        await insist(lambda: self._client.create(kind, made, namespace))

    async def prepare(self) -> None:
        for namespace in (self.kept, self.doomed):
            await self.make("namespaces", "", namespace, None)
            selector = {"matchLabels": {"app": "web"}}
            web = {"replicas": 6, "selector": selector, "template": template("web:1", "web")}
            await self.make("deployments.apps", namespace, "web", web)
            await self.make(
                "services", namespace, "web", {"selector": {"app": "web"}, "ports": [{"port": 80}]}
            )
            budget = {"minAvailable": 4, "selector": selector}
            await self.make("poddisruptionbudgets.policy", namespace, "web", budget)
            selector = {"matchLabels": {"app": "db"}}
            db = {
                "replicas": 3,
                "serviceName": "db",
                "selector": selector,
                "template": template("db:1", "db"),
            }
            await self.make("statefulsets.apps", namespace, "db", db)
            selector = {"matchLabels": {"app": "agent"}}
            agent = {"selector": selector, "template": template("agent:1", "agent")}
            await self.make("daemonsets.apps", namespace, "agent", agent)
            hard = {"pods": "40", "configmaps": "20", "requests.cpu": "10"}
            await self.make("resourcequotas", namespace, "q", {"hard": hard})
            for number in range(5):
                await self.make("configmaps", namespace, f"c-{number}", None)

    async def act(self) -> None:
        """A rollout, a Job, a drain and the deletion of a namespace, all at once."""
        await asyncio.gather(self._roll_out(), self._run_job(), self._drain(), self._doom())

    async def _roll_out(self) -> None:
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
        await insist(lambda: self._client.patch(DEPLOYMENTS, "web", patch, self.kept, kind="strategic"))
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "db:2"}]}}}}
        kind = resource("statefulsets.apps")
        await insist(lambda: self._client.patch(kind, "db", patch, self.kept, kind="strategic"))

    async def _run_job(self) -> None:
        work = template("work:1", "work", annotations={"sublet.dev/hollow-run-seconds": "0.1"})
        work["spec"]["restartPolicy"] = "Never"
        job = {"completions": 8, "parallelism": 3, "completionMode": "Indexed", "template": work}
        await self.make("jobs.batch", self.kept, "indexed", job)
        await self.make("jobs.batch", self.kept, "counted", {**job, "completionMode": "NonIndexed"})

    async def _doom(self) -> None:
        await insist(lambda: self._client.delete(resource("namespaces"), self.doomed))

    async def _drain(self) -> None:
        """As ``kubectl drain --ignore-daemonsets``: refused evictions are asked for again, for a while."""
        nodes = resource("nodes")
        cordon = {"spec": {"unschedulable": True}}
        await insist(lambda: self._client.patch(nodes, self._drained, cordon))
        async with asyncio.timeout(60):
            while pods := await self._evictable():
                for pod in pods:
                    with suppress(StatusError):
                        await self._evict(pod)
                await asyncio.sleep(0.2)

    async def _evict(self, pod: Any) -> None:
        metadata = {"name": objects.name(pod), "namespace": objects.namespace(pod)}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        await self._client.create(PODS, eviction, name=metadata["name"], subresource="eviction")

    async def _evictable(self) -> list[Any]:
        selector = f"spec.nodeName={self._drained}"
        found = await insist(lambda: self._client.list(PODS, self.kept, field_selector=selector))
        return [
            pod
            for pod in found["items"]
            if (objects.controller_of(pod) or {}).get("kind") != "DaemonSet"
            and phase(pod) not in ("Succeeded", "Failed")
        ]

    async def check(self) -> None:
        """What was asked for is there, the whole of it."""
        await insist(
            lambda: self._client.patch(resource("nodes"), self._drained, {"spec": {"unschedulable": False}})
        )
        world = await settled(self._client, 60.0)
        assert self.doomed not in [objects.name(each) for each in world.of("namespaces")]
        pods = [pod for pod in world.of("pods") if objects.namespace(pod) == self.kept]
        images = {pod["spec"]["containers"][0]["image"] for pod in pods if phase(pod) == "Running"}
        assert images == {"web:2", "db:2", "agent:1"}
        for name in ("indexed", "counted"):
            job = await self._client.get(JOBS, name, self.kept)
            assert objects.is_true(job, "Complete")
            assert job["status"]["succeeded"] == 8
            assert not job["status"].get("failed")
        await self._client.delete(resource("namespaces"), self.kept)
