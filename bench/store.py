"""Measures the data store and the watch cache; prints a table and writes bench/results/store.json.

    python bench/store.py [--objects 10000 100000] [--folder DIR] [--only NAME ...]

Figures of shared machines swing: compare within one run. Every durable figure includes the disk's sync.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sublet.apiserver.watchcache import CachedEvent, WatchCaches
from sublet.store.drivers.sqlite import SQLiteStore

TAG = b"s1 0.1.0 1.36\n"
PREFIX = "/registry/core/configmaps/"
Measures = dict[str, tuple[float, str]]


def value(name: str, size: int = 2500) -> bytes:
    """A stored object of about ``size`` bytes."""
    head = {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name[:2]}},
        "data": {"text": ""},
    }
    head["data"]["text"] = "x" * (size - len(json.dumps(head)))  # type: ignore[index]
    return TAG + json.dumps(head).encode()


def percentile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


async def creates(folder: Path, writers: int, count: int) -> Measures:
    """Acknowledged durable creates per second, and how long one took."""
    store = await SQLiteStore.open(folder / "state.db")
    caches = WatchCaches(store)
    await caches.start()
    body, took, turns = value("x"), [], iter(range(count))

    async def write() -> None:
        for n in turns:
            began = time.perf_counter()
            await store.create(f"{PREFIX}default/cm-{n}", body)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    seconds = time.perf_counter() - began
    await caches.stop()
    await store.close()
    name = f"create, {writers} writer{'s' * (writers > 1)}"
    return {
        name: (count / seconds, "/s"),
        f"{name}, p50": (percentile(took, 0.5) * 1e3, "ms"),
        f"{name}, p99": (percentile(took, 0.99) * 1e3, "ms"),
    }


async def saturated(folder: Path, interval: float | None) -> Measures:
    """One durable write at a time while the loop is never idle: two tasks compute for 0.2 ms a turn."""
    before = sys.getswitchinterval()
    if interval is not None:
        sys.setswitchinterval(interval)
    store = await SQLiteStore.open(folder / "state.db")
    body, took, running = value("x"), [], True

    async def compute() -> None:
        while running:
            end = time.perf_counter() + 0.0002
            while time.perf_counter() < end:
                sum(range(50))
            await asyncio.sleep(0)

    busy = [asyncio.create_task(compute()) for _ in range(2)]
    for n in range(400):
        began = time.perf_counter()
        await store.create(f"{PREFIX}default/cm-{n}", body)
        took.append(time.perf_counter() - began)
    running = False
    await asyncio.gather(*busy)
    await store.close()
    sys.setswitchinterval(before)
    label = "write under a saturated loop" + (f", switch interval {interval * 1e3:g} ms" if interval else "")
    return {
        f"{label}, p50": (percentile(took, 0.5) * 1e3, "ms"),
        f"{label}, p99": (percentile(took, 0.99) * 1e3, "ms"),
    }


def line(event: CachedEvent) -> bytes:
    kind = {"create": b"ADDED", "update": b"MODIFIED", "delete": b"DELETED"}[event.type]
    return b'{"type":"' + kind + b'","object":' + event.entry.value[len(TAG) :] + b"}\n"


async def fan_out(folder: Path, watchers: int, count: int) -> Measures:
    """Events of 2.5 KB delivered to watchers, each event encoded once; and from commit to the last watcher."""
    store = await SQLiteStore.open(folder / "state.db")
    caches = WatchCaches(store)
    await caches.start()
    cache = caches.cache(PREFIX)
    delivered, sent = 0, 0
    acknowledged: dict[int, float] = {}
    late: list[float] = []

    async def follow() -> None:
        nonlocal delivered, sent
        seen = 0
        with cache.watch(caches.revision) as watcher:
            while seen < count:
                for event in await watcher.next(60):
                    sent += len(event.once("line", line))
                    seen += 1
                    delivered += 1

    following = [asyncio.create_task(follow()) for _ in range(watchers)]
    await asyncio.sleep(0)
    turns = iter(range(count))

    async def write() -> None:
        for n in turns:
            await store.create(f"{PREFIX}default/cm-{n}", value(f"cm-{n}"))

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(32)), *following)
    seconds = time.perf_counter() - began
    watcher = cache.watch(caches.revision)
    for n in range(200):
        began = time.perf_counter()
        acknowledged[await store.create(f"{PREFIX}default/late-{n}", b"")] = time.perf_counter()
        await watcher.next(5)
        late.append(time.perf_counter() - began)
    await caches.stop()
    await store.close()
    return {
        f"events to {watchers} watchers": (delivered / seconds, "/s"),
        f"creates seen by {watchers} watchers": (count / seconds, "/s"),
        "write to its event at a watcher, p50": (percentile(late, 0.5) * 1e3, "ms"),
        "write to its event at a watcher, p99": (percentile(late, 0.99) * 1e3, "ms"),
    }


async def idle_watchers(folder: Path, watchers: int) -> Measures:
    """What a watcher that waits with a time-out costs in memory, and what idling costs in CPU."""
    store = await SQLiteStore.open(folder / "state.db")
    caches = WatchCaches(store)
    await caches.start()
    cache = caches.cache(PREFIX)
    gc.collect()
    before = resident()
    tasks = [asyncio.create_task(cache.watch(0).next(60)) for _ in range(watchers)]
    await asyncio.sleep(0.1)
    gc.collect()
    each = (resident() - before) / watchers
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    began = time.process_time()
    await asyncio.sleep(5)
    idle = (time.process_time() - began) / 5 * 1e3
    await caches.stop()
    await store.close()
    return {"memory of an idle watcher": (each / 1e3, "KB"), "idle CPU": (idle, "millicores")}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory(folder: Path, count: int) -> Measures:
    """Memory and time of opening a store of ``count`` objects, in a process of its own."""
    store = await SQLiteStore.open(folder / "state.db")
    for start in range(0, count, 1000):
        rows = range(start, min(count, start + 1000))
        await asyncio.gather(*(store.create(f"{PREFIX}default/cm-{n}", value(f"cm-{n}")) for n in rows))
    await store.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--open", str(folder / "state.db"), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    found = json.loads(output)
    return {
        f"open {count:,} objects": (found["seconds"] * 1e3, "ms"),
        f"memory with {count:,} objects": (found["bytes"] / 1e6, "MB"),
        f"memory per object beyond its bytes ({count:,})": (
            (found["bytes"] - found["empty"]) / count - len(value("cm-00000")),
            "B",
        ),
        f"file of {count:,} objects": ((folder / "state.db").stat().st_size / 1e6, "MB"),
        f"list of 500 from the cache ({count:,})": (found["list"] * 1e6, "µs"),
    }


async def opened(path: Path) -> None:
    """The measured process of ``memory``."""
    empty = resident()
    began = time.perf_counter()
    store = await SQLiteStore.open(path)
    caches = WatchCaches(store)
    await caches.start()
    seconds = time.perf_counter() - began
    await asyncio.sleep(0.2)
    gc.collect()
    cache = caches.cache(PREFIX)
    taken = []
    for _ in range(50):
        at = time.perf_counter()
        cache.entries(PREFIX + "default/", start=PREFIX + "default/cm-5", limit=500)
        taken.append(time.perf_counter() - at)
    print(
        json.dumps(
            {"seconds": seconds, "bytes": resident(), "empty": empty, "list": statistics.median(taken)}
        )
    )
    await caches.stop()
    await store.close()


def benchmarks(objects: list[int]) -> dict[str, Callable[[Path], Awaitable[Measures]]]:
    found: dict[str, Callable[[Path], Awaitable[Measures]]] = {
        "many": lambda folder: creates(folder, 32, 20_000),
        "one": lambda folder: creates(folder, 1, 5_000),
        "saturated": lambda folder: saturated(folder, None),
        "saturated-1ms": lambda folder: saturated(folder, 0.001),
        "fan-out": lambda folder: fan_out(folder, 100, 5_000),
        "idle": lambda folder: idle_watchers(folder, 20_000),
    }
    for count in objects:
        found[f"memory-{count}"] = lambda folder, count=count: memory(folder, count)  # type: ignore[misc]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument(
        "--folder", type=Path, help="where the measured files go (default: a temporary folder)"
    )
    parser.add_argument("--only", nargs="*", help="names of single measurements")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    run: Callable[[Any], Any] = asyncio.run
    if options.loop == "uvloop":
        import uvloop

        run = uvloop.run
    if options.open:
        run(opened(options.open))
        return
    results: Measures = {}
    for name, benchmark in benchmarks(options.objects).items():
        if options.only and name not in options.only:
            continue
        folder = Path(tempfile.mkdtemp(prefix="sublet-bench-", dir=options.folder))
        try:
            measured = run(benchmark(folder))
        finally:
            shutil.rmtree(folder)
        for label, (number, unit) in measured.items():
            print(f"{label:<64}{number:>12,.2f} {unit}", flush=True)
        results.update(measured)
    target = Path(__file__).parent / "results" / "store.json"
    target.parent.mkdir(exist_ok=True)
    report = json.loads(target.read_text())["measures"] if options.only and target.exists() else {}
    report |= {label: {"value": number, "unit": unit} for label, (number, unit) in results.items()}
    target.write_text(json.dumps({"loop": options.loop, "measures": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
