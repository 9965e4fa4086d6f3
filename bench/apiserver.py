"""Measures a whole control plane over TLS; prints the table of design.md section 1 and writes results/apiserver.json.

    python bench/apiserver.py [--seconds 5] [--connections 32] [--watches 100]

The control plane runs as ``sublet run`` in a process of its own, the load in this one; both share the machine, so
the figures are what two cores give to server and client together. Compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from sublet.client.credentials import ssl_context
from sublet.client.kubeconfig import ClusterAccess, load

Measures = dict[str, tuple[float, str, str]]
"""Label -> value, unit, target."""


class Server:
    """``sublet run`` in a directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.started = time.perf_counter()
        self.log = data_dir / "log"
        data_dir.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "sublet.cli.main", "run", "--data-dir", str(data_dir), "--port", "0"]
        # Compiled modules are kept, as in an installation: the first start makes them, later ones read them.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait_ready(self) -> float:
        """Seconds from the start of the process until it says it is ready."""
        while b"is ready" not in self.log.read_bytes():
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.002)
        return time.perf_counter() - self.started

    @property
    def access(self) -> ClusterAccess:
        return load(self.data_dir / "kubeconfig.yaml")

    def resident_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the server has gone")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Connection:
    """One keep-alive HTTP/1.1 connection; as little of a client as can be, so that the server is what is measured."""

    def __init__(self, access: ClusterAccess) -> None:
        host, _, port = access.server.removeprefix("https://").rpartition(":")
        self._host, self._port = host, int(port)
        context = ssl_context(access)
        assert isinstance(context, ssl.SSLContext)
        self._ssl = context

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._ssl, server_hostname=self._host, limit=16 << 20
        )
        return self

    def send(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> None:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\nUser-Agent: bench/1\r\n"
        )
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)

    async def receive(self) -> tuple[int, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ", 2)[1])
        for line in head.split("\r\n"):
            if line.lower().startswith("content-length:"):
                return status, await self._reader.readexactly(int(line.split(":")[1]))
        return status, b"".join([chunk async for chunk in self._chunks()])

    async def _chunks(self) -> Any:
        while size := int(await self._reader.readline(), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)

    async def ask(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> bytes:
        self.send(method, path, body, content_type)
        status, answer = await self.receive()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return answer

    async def read_some(self) -> bytes:
        return await self._reader.read(65536)

    def close(self) -> None:
        self._writer.close()


def config_map(name: str, size: int = 2500) -> bytes:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"text": "x" * (size - 400)},
        }
    ).encode()


PATH = "/api/v1/namespaces/default/configmaps"
Step = Callable[[Connection, int, int], Awaitable[Any]]


async def rate(
    access: ClusterAccess, connections: int, seconds: float, step: Step
) -> tuple[float, list[float]]:
    """Steps per second over all connections, and how long each took."""
    pool = [await Connection(access).open() for _ in range(connections)]
    taken: list[float] = []
    stop_at = time.perf_counter() + seconds

    async def work(number: int) -> int:
        count = 0
        while time.perf_counter() < stop_at:
            began = time.perf_counter()
            await step(pool[number], number, count)
            taken.append(time.perf_counter() - began)
            count += 1
        return count

    began = time.perf_counter()
    total = sum(await asyncio.gather(*(work(n) for n in range(connections))))
    elapsed = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return total / elapsed, taken


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

    async def list_page(connection: Connection, _worker: int, _count: int) -> None:
        await connection.ask("GET", f"{PATH}?limit=500")

    measures["LIST of 500"] = ((await rate(access, connections, seconds, list_page))[0], "/s", "300")
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
        "one idle watch": ((after - before) / options.watches * 1024, "KB", "30"),
        "idle CPU": (millicores, "millicores", "5"),
    }


def percentile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def report(measures: Measures) -> None:
    width = max(len(label) for label in measures)
    print(f"{'':<{width}}{'measured':>12} {'':<11}{'target':>8}")
    for label, (number, unit, target) in measures.items():
        print(f"{label:<{width}}{number:>12,.1f} {unit:<11}{target:>8}")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    found = {label: {"value": n, "unit": u, "target": t} for label, (n, u, t) in measures.items()}
    (folder / "apiserver.json").write_text(json.dumps(found, indent=1) + "\n")


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
    report(measures)


if __name__ == "__main__":
    main()
