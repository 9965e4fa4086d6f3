"""Measures how fast pods come and go on hollow nodes, and how that grows; writes results/pods.json.

    python bench/pods.py [--pods 100 1000 5000] [--nodes 100]

One Deployment in a namespace of its own: created, until all its pods are reported available; then the namespace is
deleted, until nothing is left. The hollow nodes are a second process on the same two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from _measuring import SUBLET, Measures, Server, end, environment, report

from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.kinds.resources import resource
from sublet.machinery.status import NotFound

_NAMESPACE = "bench"
_TARGETS = {1000: "20"}
_IDLE_SECONDS = 15.0
NAMESPACES, DEPLOYMENTS = resource("namespaces"), resource("deployments.apps")


def deployment(pods: int) -> Any:
    container = {"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "10m"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }


async def come(client: Client, pods: int) -> float:
    """Seconds from the Deployment's creation until all its pods are available."""
    await client.create(NAMESPACES, {"metadata": {"name": _NAMESPACE}})
    began = time.perf_counter()
    await client.create(DEPLOYMENTS, deployment(pods), _NAMESPACE)
    while True:
        found = await client.get(DEPLOYMENTS, "web", _NAMESPACE)
        if (found.get("status") or {}).get("availableReplicas", 0) == pods:
            return time.perf_counter() - began
        await asyncio.sleep(0.05)


async def go(client: Client) -> float:
    """Seconds from the namespace's deletion until it is gone: it goes last."""
    began = time.perf_counter()
    await client.delete(NAMESPACES, _NAMESPACE)
    while True:
        try:
            await client.get(NAMESPACES, _NAMESPACE)
        except NotFound:
            return time.perf_counter() - began
        await asyncio.sleep(0.05)


async def registered(client: Client, nodes: int) -> None:
    while True:
        if len((await client.list(resource("nodes")))["items"]) >= nodes:
            return
        await asyncio.sleep(0.1)


def idle(server: Server) -> float:
    used = server.cpu_seconds()
    time.sleep(_IDLE_SECONDS)
    return (server.cpu_seconds() - used) / _IDLE_SECONDS * 1000


async def measure(server: Server, counts: list[int], nodes: int) -> Measures:
    client = Client(HTTPTransport(server.access), "bench")
    measures: Measures = {}
    try:
        await registered(client, nodes)
        await come(client, 50)  # whatever is loaded once
        await go(client)
        per_pod = {}
        for count in counts:
            start = server.cpu_seconds()
            came, between = await come(client, count), server.cpu_seconds()
            went = await go(client)
            per_pod[count] = (between - start) / count
            measures |= {
                f"{count:,} pods on {nodes} nodes until available": (came, "s", _TARGETS.get(count, "")),
                f"their namespace deleted until it is gone ({count:,} pods)": (
                    went, "s", _TARGETS.get(count, ""),
                ),
                f"a pod of {count:,}: come": (came / count * 1000, "ms", ""),
                f"a pod of {count:,}: go": (went / count * 1000, "ms", ""),
                f"the server's CPU while {count:,} come": (between - start, "s", ""),
                f"the server's CPU while {count:,} go": (server.cpu_seconds() - between, "s", ""),
            }  # fmt: skip
        growth = per_pod[counts[-1]] / per_pod[counts[0]]
        # CPU time, since a shared machine's clock says little.
        measures[f"CPU of a pod of {counts[-1]:,} to one of {counts[0]:,}"] = (growth, "times", "1.5")
    finally:
        await client.close()
    return measures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--nodes", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        server = Server(Path(scratch) / "data")
        server.wait_ready()
        hollow = None
        try:
            time.sleep(5)  # controllers settle
            measures: Measures = {"CPU of all controllers at rest": (idle(server), "millicores", "5")}
            kubeconfig = str(server.data_dir / "kubeconfig.yaml")
            command = [*SUBLET, "node", "hollow", "--count", str(options.nodes), "--kubeconfig", kubeconfig]
            with (Path(scratch) / "nodes.log").open("w") as log:
                hollow = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
            measures |= uvloop.run(measure(server, sorted(options.pods), options.nodes))
            measures["memory of the server afterwards"] = (server.resident_mb(), "MB", "")
        finally:
            if hollow is not None:
                end(hollow)
            server.stop()
    report("pods", measures)


if __name__ == "__main__":
    main()
