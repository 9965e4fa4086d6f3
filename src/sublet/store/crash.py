"""What a durable driver must survive: ``kill -9`` of the process that writes. Checks of the conformance suite."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from typing import Any, cast

from sublet.store.conformance import collect, require
from sublet.store.open import open_store


def crash_value(key: str) -> bytes:
    """What the crash test writes to a key: long enough for several pages, and checkable byte by byte."""
    return (key.encode() + b"|") * (40 + len(key) * 7 % 400)


async def crash_writer(url: str, count: int) -> None:
    """The process to be killed: writes ``count`` values from 16 writers and prints each acknowledgement."""
    store = await open_store(url)
    start = await store.current_revision()
    print("start", start, flush=True)
    turns = iter(range(count))

    async def write() -> None:
        for n in turns:
            key = f"/crash/{start}/{n:06d}"
            revision = await store.create(key, crash_value(key))
            sys.stdout.write(f"{revision} {key}\n")
            sys.stdout.flush()

    await asyncio.gather(*(write() for _ in range(16)))
    await store.close()
    print("end", flush=True)


async def crash_round(url: str, seed: int, count: int = 10_000) -> int:
    """Kills a writing process with SIGKILL at a moment drawn from ``seed`` and checks what it left behind.

    Returns how many writes were acknowledged. The URL's data may hold earlier rounds; they must still be there.
    """
    kept = {}
    store = await open_store(url)
    for entry in (await store.list("/crash/")).entries:
        kept[entry.key] = entry.revision
    before = await store.current_revision()
    await store.close()
    lines = await asyncio.to_thread(_killed_writer, url, count, random.Random(seed))
    acknowledged = {key: int(revision) for revision, key in (line.split() for line in lines)}
    newest = max(acknowledged.values(), default=before)
    store = await open_store(url)
    try:
        current = await store.current_revision()
        require(current >= newest, f"the revision went back from {newest} to {current}")
        found = {entry.key: entry for entry in (await store.list("/crash/")).entries}
        for key, revision in {**kept, **acknowledged}.items():
            require(key in found, f"{key}, acknowledged at revision {revision}, is lost")
            require(found[key].revision == revision, f"{key} moved from revision {revision}")
        for key, entry in found.items():
            require(entry.value == crash_value(key), f"{key} is not whole")
        events = await collect(store, "/crash/", before, current)
        require([e.revision for e in events] == list(range(before + 1, current + 1)), "history has no gap")
        require(await store.create(f"/crash-next/{seed}-{current}", b"") == current + 1, "writing goes on")
    finally:
        await store.close()
    return len(acknowledged)


def _killed_writer(url: str, count: int, chance: random.Random) -> list[str]:
    """The acknowledgements of a writer that is killed some milliseconds after a random one of them."""
    command = [sys.executable, "-c", _CRASH_PROGRAM, url, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output = cast(Any, process.stdout)
        started = output.readline()
        require(started.startswith("start"), f"the writer did not start: {started!r}")
        seen = [output.readline() for _ in range(chance.randrange(count))]
        time.sleep(chance.uniform(0.0, 0.01))
        process.kill()
        seen += output.readlines()
    return [line for line in seen if line.endswith("\n") and line != "end\n"]


_CRASH_PROGRAM = """
import asyncio, sys
from sublet.store.crash import crash_writer
asyncio.run(crash_writer(sys.argv[1], int(sys.argv[2])))
"""
