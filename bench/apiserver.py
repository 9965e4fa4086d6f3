"""Measures a whole control plane over TLS; prints the table of design.md section 1 and writes results/apiserver.json.

    python bench/apiserver.py [--seconds 5] [--connections 32] [--watches 100]

The control plane runs as ``sublet run`` in a process of its own, the load in this one; both share the machine, so
the figures are what two cores give to server and client together. Compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import uvloop
from _measuring import (
    PATH,
    PROTOBUF,
    Connection,
    Measures,
    Server,
    Step,
    config_map,
    many_keys,
    percentile,
    rate,
    report,
)


async def throughput(server: Server, options: argparse.Namespace) -> Measures:
    access, connections, seconds = server.access, options.connections, options.seconds
    measures: Measures = {}

    async def create(connection: Connection, worker: int, count: int) -> None:
        await connection.ask("POST", PATH, config_map(f"c-{worker}-{count}"))

    per_second, taken = await rate(access, connections, seconds, create)
    measures["durable create"] = (per_second, "/s", "2,000")
    measures["durable create p99"] = (percentile(taken, 0.99) * 1000, "ms", "")

    async def get(connection: Connection, worker: int, _count: int) -> None:
        await connection.ask("GET", f"{PATH}/c-{worker}-0")

    measures["GET"] = ((await rate(access, connections, seconds, get))[0], "/s", "6,000")

    async def put(connection: Connection, worker: int, count: int) -> None:
        body = json.loads(config_map(f"c-{worker}-0"))
        body["data"]["n"] = str(count)
        await connection.ask("PUT", f"{PATH}/c-{worker}-0", json.dumps(body).encode())

    measures["durable update"] = ((await rate(access, connections, seconds, put))[0], "/s", "2,000")

    async def update(connection: Connection, worker: int, count: int) -> None:
        patch = json.dumps({"data": {"n": str(count)}}).encode()
        await connection.ask("PATCH", f"{PATH}/c-{worker}-0", patch, "application/merge-patch+json")

    measures["merge patch"] = ((await rate(access, connections, seconds, update))[0], "/s", "")

    async def apply(connection: Connection, worker: int, count: int) -> None:
        body = json.loads(config_map(f"a-{worker}"))
        body["data"]["n"] = str(count)
        path = f"{PATH}/a-{worker}?fieldManager=bench&force=true"
        await connection.ask("PATCH", path, json.dumps(body).encode(), "application/apply-patch+yaml")

    measures["server-side apply"] = ((await rate(access, connections, seconds, apply))[0], "/s", "")

    for label, query, accept in (
        ("LIST of 500", "limit=500", "application/json"),
        ("LIST of 500, protobuf", "limit=500", PROTOBUF),
        ("LIST of 500, metadata", "limit=500", f"{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
    ):

        async def list_page(
            connection: Connection, _worker: int, _count: int, query: str = query, accept: str = accept
        ) -> None:
            await connection.ask("GET", f"{PATH}?{query}", accept=accept)

        measures[label] = ((await rate(access, connections, seconds, list_page))[0], "/s", "300")
    return measures | await with_managed_fields(server, options)


async def with_managed_fields(server: Server, options: argparse.Namespace) -> Measures:
    """Objects of sixty fields each, which their managers own one by one."""

    async def create(connection: Connection, worker: int, count: int) -> None:
        await connection.ask("POST", PATH, many_keys(f"m-{worker}-{count}"))

    async def patch(connection: Connection, worker: int, count: int) -> None:
        body = json.dumps({"data": {"some-key-001": str(count)}}).encode()
        await connection.ask("PATCH", f"{PATH}/m-{worker}-0", body, "application/merge-patch+json")

    async def apply(connection: Connection, worker: int, count: int) -> None:
        body = json.loads(many_keys(f"n-{worker}"))
        body["data"]["some-key-001"] = str(count)
        path = f"{PATH}/n-{worker}?fieldManager=bench&force=true"
        await connection.ask("PATCH", path, json.dumps(body).encode(), "application/apply-patch+yaml")

    measures: Measures = {}
    steps: dict[str, Step] = {"create": create, "merge patch": patch, "server-side apply": apply}
    for label, step in steps.items():
        per_second = (await rate(server.access, options.connections, options.seconds, step))[0]
        measures[f"{label}, 60 managed fields"] = (per_second, "/s", "")
    return measures


async def saturated_write(server: Server, options: argparse.Namespace) -> Measures:
    """One durable write at a time while GETs keep the server's loop busy."""
    access = server.access
    busy = [await Connection(access).open() for _ in range(options.connections)]
    done = asyncio.Event()

    async def read(connection: Connection) -> None:
        while not done.is_set():
            await connection.ask("GET", f"{PATH}/c-0-0")

    readers = [asyncio.ensure_future(read(connection)) for connection in busy]
    writer = await Connection(access).open()
    taken = []
    for number in range(300):
        began = time.perf_counter()
        await writer.ask("POST", PATH, config_map(f"s-{number}"))
        taken.append(time.perf_counter() - began)
    done.set()
    await asyncio.gather(*readers)
    return {
        "durable write under load p50": (statistics.median(taken) * 1000, "ms", ""),
        "durable write under load p99": (percentile(taken, 0.99) * 1000, "ms", "15"),
    }


async def watches(server: Server, options: argparse.Namespace) -> Measures:
    before = server.resident_mb()
    held = []
    for _ in range(options.watches):
        connection = await Connection(server.access).open()
        connection.send("GET", "/api/v1/namespaces/kube-system/secrets?watch=true&allowWatchBookmarks=true")
        held.append(connection)
    await asyncio.sleep(2)
    after = server.resident_mb()
    used = server.cpu_seconds()
    await asyncio.sleep(options.idle)
    millicores = (server.cpu_seconds() - used) / options.idle * 1000
    for connection in held:
        connection.close()
    return {
        "memory of an idle control plane": (before, "MB", ""),
        f"memory with {options.watches} open TLS watches": (after, "MB", "80"),
        "one of these, with what the first one loads": ((after - before) / options.watches * 1024, "KB", ""),
        "idle CPU": (millicores, "millicores", "5"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--watches", type=int, default=100)
    parser.add_argument("--idle", type=float, default=10, help="seconds over which idle CPU is taken")
    options = parser.parse_args()
    measures: Measures = {}
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        compiling = Server(Path(scratch) / "compiling")
        compiling.wait_ready()
        compiling.stop()
        cold = Server(Path(scratch) / "cold")
        measures["cold start to ready"] = (cold.wait_ready(), "s", "1")
        cold.stop()
        warm = Server(Path(scratch) / "cold")
        measures["start on an existing store"] = (warm.wait_ready(), "s", "0.3")
        time.sleep(3)  # controllers settle
        measures |= uvloop.run(watches(warm, options))
        measures |= uvloop.run(throughput(warm, options))
        measures |= uvloop.run(saturated_write(warm, options))
        warm.stop()
    report("apiserver", measures)


if __name__ == "__main__":
    main()
