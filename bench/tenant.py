"""Measures a tenant on a host: create, how soon each side sees the other, load, and what a delete leaves.

    python bench/tenant.py [--pods 500] [--clients 16] [--samples 200] [--changes 300]

The host is ``sublet run`` with hollow nodes, the tenant ``sublet create --driver local``: four processes with this
one. Prints the table of design.md section 1 and writes results/tenant.json. A latency counts from when the write was
answered until a watch of this process shows its effect on the other side; *whole* ones from when it was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop
from _measuring import (
    SUBLET,
    Connection,
    Measures,
    Server,
    cpu_seconds,
    end,
    environment,
    percentile,
    report,
    resident_mb,
)

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.kubeconfig import ClusterAccess, load
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

NAME = "bench"
PODS, CONFIG_MAPS = resource("pods"), resource("configmaps")
_DEADLINE = 120.0
_UNCOUNTED = ("events", "leases")
"""They come and go with whatever the host does."""


class Bench:
    """A host with hollow nodes, and the commands a user types."""

    def __init__(self, scratch: Path, nodes: int) -> None:
        self.scratch = scratch
        self.host = Server(scratch / "host")
        self.host.wait_ready()
        self.kubeconfig = scratch / "host" / "kubeconfig.yaml"
        self._environment = environment(SUBLET_HOME=str(scratch / "home"), KUBECONFIG=str(self.kubeconfig))
        with (scratch / "nodes.log").open("w") as log:
            self.nodes = subprocess.Popen(
                [*SUBLET, "node", "hollow", "--count", str(nodes), "--kubeconfig", str(self.kubeconfig)],
                stdout=log, stderr=log, env=environment(),
            )  # fmt: skip

    def sublet(self, *arguments: str) -> float:
        """Seconds that a command took, the start of its own process included."""
        began = time.perf_counter()
        done = subprocess.run(
            [*SUBLET, *arguments], capture_output=True, text=True, env=self._environment, timeout=_DEADLINE, check=False
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"sublet {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return time.perf_counter() - began

    def create(self, name: str) -> float:
        return self.sublet("create", name, "-n", name, "--driver", "local")

    def delete(self, name: str) -> float:
        return self.sublet("delete", name, "-n", name)

    @property
    def tenant(self) -> ClusterAccess:
        return load(self.scratch / "home" / "tenants" / NAME / "data" / "kubeconfig.yaml")

    def tenant_pid(self) -> int:
        """Of the tenant's control plane: the process that has its data directory on its command line."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if (
                    str(self.scratch / "home" / "tenants" / NAME / "data").encode() in words
                    and b"run" in words
                ):
                    return int(path.parent.name)
        raise RuntimeError("the tenant's process is not there")

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.sublet("delete", NAME, "-n", NAME, "--ignore-not-found")
        end(self.nodes)
        self.host.stop()


class Seen:
    """When a watch first showed what."""

    def __init__(self, say: Callable[[Object], str]) -> None:
        self.at: dict[str, float] = {}
        self._say = say
        self._waiting: dict[str, asyncio.Event] = {}

    async def follow(self, client: Client, kind: Any, namespace: str, ready: asyncio.Event) -> None:
        started = (await client.list(kind, namespace, limit=1))["metadata"]["resourceVersion"]
        ready.set()
        async for event in client.watch(kind, namespace, resource_version=started):
            if event.type in ("ADDED", "MODIFIED"):
                what = self._say(event.object)
                self.at.setdefault(what, time.perf_counter())
                if what in self._waiting:
                    self._waiting.pop(what).set()

    async def when(self, what: str) -> float:
        if what not in self.at:
            event = self._waiting.setdefault(what, asyncio.Event())
            await asyncio.wait_for(event.wait(), _DEADLINE)
        return self.at[what]


@contextlib.asynccontextmanager
async def watching(
    client: Client, kind: Any, namespace: str, say: Callable[[Object], str]
) -> AsyncIterator[Seen]:
    seen, ready = Seen(say), asyncio.Event()
    task = asyncio.ensure_future(seen.follow(client, kind, namespace, ready))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def message_of(pod: Object) -> str:
    return str((pod.get("status") or {}).get("message", ""))


def on_host(name: str) -> str:
    return f"{name}-x-default-x-{NAME}"


def pod(name: str, config_map: str = "") -> bytes:
    container: Object = {"name": "main", "image": "busybox", "command": ["sleep", "infinity"]}
    spec: Object = {"containers": [container], "terminationGracePeriodSeconds": 1}
    if config_map:
        spec["volumes"] = [{"name": "settings", "configMap": {"name": config_map}}]
        container["volumeMounts"] = [{"name": "settings", "mountPath": "/settings"}]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).encode()


def config_map(name: str) -> bytes:
    data = {"text": "x" * 2000}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    ).encode()


def latencies(label: str, answered: Sequence[float], whole: Sequence[float]) -> Measures:
    return {
        f"{label} p50": (statistics.median(answered) * 1000, "ms", "10"),
        f"{label} p99": (percentile(answered, 0.99) * 1000, "ms", "50"),
        f"{label}, whole, p50": (statistics.median(whole) * 1000, "ms", ""),
    }


async def to_host(host: Client, tenant: ClusterAccess, samples: int) -> Measures:
    """One pod at a time is created in the tenant."""
    connection = await Connection(tenant).open()
    answered, whole = [], []
    async with watching(host, PODS, NAME, name_of) as seen:
        for number in range(samples):
            sent = time.perf_counter()
            await connection.ask("POST", "/api/v1/namespaces/default/pods", pod(f"one-{number}"))
            answer = time.perf_counter()
            at = await seen.when(on_host(f"one-{number}"))
            answered.append(max(0.0, at - answer))
            whole.append(at - sent)
            await asyncio.sleep(0.02)
    connection.close()
    return latencies("tenant pod to host pod", answered, whole)


async def from_host(host: ClusterAccess, tenant: Client, changes: int) -> Measures:
    """One pod's status at a time is changed on the host."""
    connection = await Connection(host).open()
    path = f"/api/v1/namespaces/{NAME}/pods/{on_host('one-0')}/status"
    answered, whole = [], []
    async with watching(tenant, PODS, "default", message_of) as seen:
        for number in range(changes):
            patch = json.dumps({"status": {"message": f"change {number}"}}).encode()
            sent = time.perf_counter()
            await connection.ask("PATCH", path, patch, "application/merge-patch+json")
            answer = time.perf_counter()
            at = await seen.when(f"change {number}")
            answered.append(max(0.0, at - answer))
            whole.append(at - sent)
            await asyncio.sleep(0.02)
    connection.close()
    return latencies("host status to tenant", answered, whole)


async def load_of(host: Client, tenant: ClusterAccess, clients: int, pods: int) -> Measures:
    """Clients create ConfigMaps and pods that mount them as fast as they are answered."""
    connections = [await Connection(tenant).open() for _ in range(clients)]
    numbers = iter(range(pods))

    async def work(connection: Connection) -> None:
        for number in numbers:
            name = f"load-{number}"
            await connection.ask("POST", "/api/v1/namespaces/default/configmaps", config_map(name))
            await connection.ask("POST", "/api/v1/namespaces/default/pods", pod(name, name))

    began = time.perf_counter()
    async with (
        watching(host, PODS, NAME, name_of) as seen_pods,
        watching(host, CONFIG_MAPS, NAME, name_of) as seen_maps,
    ):
        began = time.perf_counter()
        await asyncio.gather(*(work(connection) for connection in connections))
        accepted = time.perf_counter() - began
        copies = [on_host(f"load-{number}") for number in range(pods)]
        times = [await seen.when(copy) for seen in (seen_pods, seen_maps) for copy in copies]
    for connection in connections:
        connection.close()
    what = f"{pods} pods + {pods} ConfigMaps"
    return {
        f"{what}: accepted": (accepted, "s", ""),
        f"{what}: all on the host": (max(times) - began, "s", "3"),
    }


async def all_running(host: Client, count: int) -> float:
    began = time.perf_counter()
    while True:
        items = (await host.list(PODS, NAME))["items"]
        if sum((item.get("status") or {}).get("phase") == "Running" for item in items) >= count:
            return time.perf_counter() - began
        if time.perf_counter() - began > _DEADLINE:
            raise RuntimeError(f"not all pods run on the host: {len(items)} are there")
        await asyncio.sleep(0.2)


async def everything(host: Client) -> set[str]:
    """The path of every object on the host, but for what comes and goes by itself."""
    found: set[str] = set()
    groups = json.loads((await host.raw("GET", "/apis")).body)["groups"]
    versions = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    for version in versions:
        answer = await host.raw("GET", version)
        for each in json.loads(answer.body)["resources"]:
            if "list" not in each["verbs"] or "/" in each["name"] or each["name"] in _UNCOUNTED:
                continue
            listed = await host.raw("GET", f"{version}/{each['name']}")
            for item in json.loads(listed.body)["items"]:
                metadata = item["metadata"]
                found.add(f"{each['name']} {metadata.get('namespace', '')}/{metadata['name']}")
    return found


async def measure(bench: Bench, options: argparse.Namespace) -> Measures:
    host = Client(HTTPTransport(bench.host.access), "bench")
    run = asyncio.to_thread
    await run(bench.create, "compiling")
    await run(bench.delete, "compiling")
    before = await everything(host)
    measures: Measures = {"create to a usable kubeconfig": (await run(bench.create, NAME), "s", "5")}
    tenant = Client(HTTPTransport(bench.tenant), "bench")
    try:
        await asyncio.sleep(3)  # the tenant's controllers settle
        measures["memory of the idle tenant"] = (resident_mb(bench.tenant_pid()), "MB", "80")
        measures |= await to_host(host, bench.tenant, options.samples)
        await all_running(host, options.samples)
        measures |= await from_host(bench.host.access, tenant, options.changes)
        processes = {"host": bench.host.process.pid, "tenant": bench.tenant_pid()}
        used = {name: cpu_seconds(pid) for name, pid in processes.items()}
        measures |= await load_of(host, bench.tenant, options.clients, options.pods)
        took = await all_running(host, options.samples + options.pods)
        measures["until they run on hollow nodes, further"] = (took, "s", "")
        for name, pid in processes.items():
            measures[f"CPU for it of the {name}'s control plane"] = (cpu_seconds(pid) - used[name], "s", "")
        measures[f"memory of the tenant with {options.samples + options.pods} pods"] = (
            resident_mb(bench.tenant_pid()),
            "MB",
            "",
        )
        measures[f"delete with {options.samples + options.pods} pods"] = (
            await run(bench.delete, NAME),
            "s",
            "3",
        )
        left = sorted(await everything(host) - before)
        measures["left on the host"] = (len(left), "objects", "0")
        for path in left[:20]:
            print("left:", path)
    finally:
        await tenant.close()
        await host.close()
    return measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=500, help="and as many ConfigMaps")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--samples", type=int, default=200, help="pods that are created one at a time")
    parser.add_argument("--changes", type=int, default=300, help="of a pod's status, one at a time")
    parser.add_argument("--nodes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        bench = Bench(Path(scratch), options.nodes)
        try:
            measures = uvloop.run(measure(bench, options))
        finally:
            bench.stop()
    report("tenant", measures)


if __name__ == "__main__":
    main()
