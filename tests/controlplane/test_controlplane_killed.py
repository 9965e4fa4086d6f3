"""A control plane that is killed in the middle of its work: once it is back, everything ends as it was asked for.

``sublet run`` over SQLite is one process, its hollow nodes are another. SUBLET_SOAK sets how many rounds there are,
SUBLET_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from invariants import phase, settled
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import load
from sublet.kinds.resources import resource
from sublet.machinery import objects
from sublet.machinery.status import AlreadyExists, NotFound, StatusError

NODES = 4
_SUBLET = (sys.executable, "-m", "sublet.cli.main")
_MOST_ROUNDS = 20
PODS, DEPLOYMENTS, JOBS = resource("pods"), resource("deployments.apps"), resource("jobs.batch")


class Processes:
    """The control plane, which can be killed and started again, and its nodes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = (data_dir / "log").open("ab")
        self._server: subprocess.Popen[bytes] | None = None
        self._nodes: subprocess.Popen[bytes] | None = None

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*_SUBLET, *words], stdout=self._log, stderr=self._log)

    def start_server(self) -> None:
        self._server = self._spawn("run", "--data-dir", str(self.data_dir), "--port", str(self._port))

    def start_nodes(self) -> None:
        kubeconfig = str(self.data_dir / "kubeconfig.yaml")
        self._nodes = self._spawn("node", "hollow", "--count", str(NODES), "--kubeconfig", kubeconfig)

    def kill_server(self) -> None:
        assert self._server is not None
        assert self._server.poll() is None, "it ended by itself"
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()

    def kill_nodes(self) -> None:
        assert self._nodes is not None
        self._nodes.send_signal(signal.SIGKILL)
        self._nodes.wait()

    def end(self) -> None:
        for process in (self._nodes, self._server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self._log.close()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    made = Processes(tmp_path)
    made.start_server()
    try:
        async with asyncio.timeout(30):
            while b"is ready" not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        made.start_nodes()
        yield made
    finally:
        made.end()


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


async def test_whatever_is_killed_in_the_middle_of_work_everything_ends_as_asked_for(
    processes: Processes, seed: int
) -> None:
    """The server dies once or twice in a round, at random moments; in some rounds so do the nodes."""
    rounds = min(int(os.environ.get("SUBLET_SOAK") or 2), _MOST_ROUNDS)
    client = Client(HTTPTransport(load(processes.data_dir / "kubeconfig.yaml")), "test")
    try:
        for number in range(rounds):
            chance = random.Random(seed + number)
            print(f"round {number}: SUBLET_SEED={seed + number}", flush=True)
            scene = Scene(client, number, chance)
            await scene.prepare()
            await settled(client, 60.0)
            acting = asyncio.create_task(scene.act())
            for _ in range(chance.choice((1, 1, 2))):
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                if chance.random() < 0.3:
                    processes.kill_nodes()
                    processes.start_nodes()
                processes.kill_server()
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                processes.start_server()
            await acting
            await scene.check()
    finally:
        await client.close()
