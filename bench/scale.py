"""Measures one control plane that holds much and is watched by many; writes results/scale.json.

    python bench/scale.py [--objects 10000 100000] [--watches 1000 5000 10000] [--watchers 100] [--changes 1000]

Objects are ConfigMaps of 2.5 KB in one namespace; each number of them is measured in a data store of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from _measuring import PATH, Connection, Measures, Server, config_map, percentile, rate, report

_CREATORS = 32
_PAGE = 500
SECRETS = "/api/v1/namespaces/kube-system/secrets"


async def fill(server: Server, count: int) -> Measures:
    """Creates the objects from 32 connections."""
    connections = [await Connection(server.access).open() for _ in range(_CREATORS)]
    before = server.resident_mb()
    numbers = iter(range(count))

    async def work(connection: Connection) -> None:
        for number in numbers:
            await connection.ask("POST", PATH, config_map(f"c-{number}"))

    began = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in connections))
    took = time.perf_counter() - began
    for connection in connections:
        connection.close()
    await asyncio.sleep(1)
    return {
        f"create {count:,}": (count / took, "/s", "2,000"),
        "memory empty": (before, "MB", ""),
        f"memory after creating {count:,}": (server.resident_mb(), "MB", ""),
    }


async def pages(connection: Connection) -> tuple[int, list[float]]:
    """How many objects all pages held, and the seconds that each took."""
    taken, total, token = [], 0, ""
    while True:
        began = time.perf_counter()
        answer = await connection.ask(
            "GET", f"{PATH}?limit={_PAGE}" + (f"&continue={token}" if token else "")
        )
        taken.append(time.perf_counter() - began)
        page = json.loads(answer)
        total += len(page["items"])
        token = page["metadata"].get("continue", "")
        if not token:
            return total, taken


async def read(server: Server, count: int) -> Measures:
    """Of the restarted control plane: the first page makes it read its objects from the store."""
    connection = await Connection(server.access).open()
    idle = server.resident_mb()
    began = time.perf_counter()
    await connection.ask("GET", f"{PATH}?limit=1")
    first = time.perf_counter() - began
    loaded = server.resident_mb()
    await pages(connection)
    found, taken = await pages(connection)
    if found != count + 1:  # kube-root-ca.crt
        raise RuntimeError(f"the pages held {found} objects, not {count + 1}")
    began = time.perf_counter()
    whole = await connection.ask("GET", PATH)
    all_at_once = time.perf_counter() - began
    connection.close()
    numbers = itertools.count()

    async def get(connection: Connection, _worker: int, _count: int) -> None:
        await connection.ask("GET", f"{PATH}/c-{next(numbers) * 7919 % count}")

    per_second, single = await rate(server.access, 1, 3, get)
    began = time.perf_counter()
    connection = await Connection(server.access).open()
    await connection.ask("GET", f"{PATH}?labelSelector=no%3Done")
    selected = time.perf_counter() - began
    connection.close()
    return {
        f"LIST by label over {count:,}": (selected * 1000, "ms", ""),
        "memory after the restart": (idle, "MB", ""),
        "first LIST after the restart": (first, "s", ""),
        f"memory with {count:,} in the cache": (loaded, "MB", ""),
        "page of 500, p50": (statistics.median(taken) * 1000, "ms", ""),
        "page of 500, p99": (percentile(taken, 0.99) * 1000, "ms", ""),
        f"all {count:,} in one LIST ({len(whole) / 1e6:,.0f} MB)": (all_at_once, "s", ""),
        "GET, one connection": (per_second, "/s", ""),
        "GET, one connection, p99": (percentile(single, 0.99) * 1000, "ms", ""),
        "memory after reading": (server.resident_mb(), "MB", ""),
    }


async def _watch(server: Server, path: str) -> Connection:
    connection = await Connection(server.access, server.context).open()
    connection.send("GET", f"{path}{'&' if '?' in path else '?'}watch=true&allowWatchBookmarks=true")
    return connection


async def idle_watches(server: Server, counts: Sequence[int]) -> Measures:
    """Watches on Secrets, that hear of nothing: each over a TLS connection of its own, with a client certificate."""
    before = server.resident_mb()
    held: list[Connection] = []
    measures: Measures = {"memory without watches": (before, "MB", "")}
    for count in counts:
        for batch in _batches(count - len(held), 20):
            held += await asyncio.gather(*(_watch(server, SECRETS) for _ in batch))
        await asyncio.sleep(3)
        after, used = server.resident_mb(), server.cpu_seconds()
        await asyncio.sleep(5)
        millicores = (server.cpu_seconds() - used) / 5 * 1000
        measures |= {
            f"memory with {count:,} idle watches": (after, "MB", ""),
            f"one idle watch of {count:,}": ((after - before) / count * 1024, "KB", "30"),
            f"CPU of {count:,} idle watches": (millicores, "millicores", "5"),
        }
    measures |= await burst(server, held, 20)
    for connection in held:
        connection.close()
    return measures


async def burst(server: Server, held: Sequence[Connection], changes: int) -> Measures:
    """All watches hear of some changes at once, and are idle again."""
    heard = [asyncio.ensure_future(_hear(connection, changes)) for connection in held]
    writer = await Connection(server.access).open()
    began, before = time.perf_counter(), server.resident_mb()
    for number in range(changes):
        secret = {"metadata": {"name": f"b-{number}"}, "data": {"text": "eHh4" * 500}}
        await writer.ask("POST", SECRETS, json.dumps(secret).encode())
    await asyncio.gather(*heard)
    took, loud = time.perf_counter() - began, server.resident_mb()
    writer.close()
    await asyncio.sleep(5)
    what = f"{changes} changes to {len(held):,} watches"
    return {
        f"{what}: all heard after": (took, "s", ""),
        f"{what}: memory before": (before, "MB", ""),
        f"{what}: memory when heard": (loud, "MB", ""),
        f"{what}: memory 5 seconds later": (server.resident_mb(), "MB", ""),
    }


async def _hear(connection: Connection, changes: int) -> None:
    count, rest = 0, b""
    while count < changes:
        data = await connection.read_some()
        if not data:
            raise RuntimeError("a watch ended early")
        count += (rest[-12:] + data).count(b'"name":"b-') - rest[-12:].count(b'"name":"b-')
        rest = data


def _batches(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


async def fan_out(server: Server, watchers: int, changes: int) -> Measures:
    """Every watcher of a namespace hears of every change that 8 connections make in it."""
    path = "/api/v1/namespaces/kube-public/configmaps"
    held = [await _watch(server, path) for _ in range(watchers)]
    await asyncio.sleep(1)
    writers = [await Connection(server.access).open() for _ in range(8)]
    numbers = iter(range(changes))
    sent: dict[str, float] = {}
    late: list[float] = []

    async def write(connection: Connection) -> None:
        for number in numbers:
            name = f"w-{number}"
            sent[name] = time.perf_counter()
            await connection.ask("POST", path, config_map(name))

    async def hear(connection: Connection, *, timed: bool) -> None:
        # Counting is all that most watchers do, so that this process does not become what is measured.
        count, rest = 0, b""
        while count < changes:
            data = await connection.read_some()
            if not data:
                raise RuntimeError("a watch ended early")
            count += (rest[-12:] + data).count(b'"name":"w-') - rest[-12:].count(b'"name":"w-')
            if timed:
                now = time.perf_counter()
                late.extend(
                    now - sent.pop(word.split(b'"', 1)[0].decode(), now)
                    for word in (rest[-24:] + data).split(b'"name":"')[1:]
                    if word.startswith(b"w-") and b'"' in word
                )
            rest = data

    began = time.perf_counter()
    hearing = [
        asyncio.ensure_future(hear(connection, timed=not number)) for number, connection in enumerate(held)
    ]
    await asyncio.gather(*(write(connection) for connection in writers))
    written = time.perf_counter() - began
    await asyncio.wait_for(asyncio.gather(*hearing), 300)
    heard = time.perf_counter() - began
    for connection in (*held, *writers):
        connection.close()
    return {
        f"{changes:,} changes written with {watchers} watchers": (written, "s", ""),
        "all heard by all": (heard, "s", ""),
        "events delivered": (watchers * changes / heard, "/s", ""),
        "write sent until one watcher heard, p50": (statistics.median(late) * 1000, "ms", ""),
        "write sent until one watcher heard, p99": (percentile(late, 0.99) * 1000, "ms", ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument(
        "--watches", type=int, nargs="*", default=[1000, 5000, 10_000], help="that hear of nothing"
    )
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--changes", type=int, default=1000)
    options = parser.parse_args()
    measures: Measures = {}
    for count in options.objects:
        measures |= holding(count)
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        server = Server(Path(scratch) / "data")
        server.wait_ready()
        time.sleep(3)  # controllers settle
        try:
            measures |= uvloop.run(idle_watches(server, sorted(options.watches)))
            measures |= uvloop.run(fan_out(server, options.watchers, options.changes))
        finally:
            server.stop()
    report("scale", measures)


def holding(count: int) -> Measures:
    """A control plane with ``count`` objects: made, started again, read."""
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        server = Server(Path(scratch) / "data")
        server.wait_ready()
        found = uvloop.run(fill(server, count))
        server.stop()
        server = Server(Path(scratch) / "data")
        found[f"start with {count:,} objects"] = (server.wait_ready(), "s", "0.3")
        time.sleep(3)  # controllers settle
        try:
            found |= uvloop.run(read(server, count))
        finally:
            server.stop()
    sized = f"({count:,} objects)"
    return {label if f"{count:,}" in label else f"{label} {sized}": value for label, value in found.items()}


if __name__ == "__main__":
    main()
