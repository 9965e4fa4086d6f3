"""What the benchmarks share: a control plane in a process of its own, a client as thin as can be, and the table."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from sublet.client.credentials import ssl_context
from sublet.client.kubeconfig import ClusterAccess, load

Measures = dict[str, tuple[float, str, str]]
"""Label -> value, unit, target."""


SUBLET = (sys.executable, "-m", "sublet.cli.main")


def environment(**more: str) -> dict[str, str]:
    """Compiled modules are kept, as in an installation: the first start makes them, later ones read them."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | more


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has gone")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used: what it costs, whatever else runs beside it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Server:
    """``sublet run`` in a directory; ``program`` is what stands for ``sublet``."""

    def __init__(self, data_dir: Path, *more: str, program: Sequence[str] = SUBLET) -> None:
        self.data_dir = data_dir
        self.started = time.perf_counter()
        self.log = data_dir / "log"
        data_dir.mkdir(exist_ok=True)
        command = [*program, "run", "--data-dir", str(data_dir), "--port", "0", *more]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())

    def wait_ready(self) -> float:
        """Seconds from the start of the process until it says it is ready."""
        while b"is ready" not in self.log.read_bytes():
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.002)
        return time.perf_counter() - self.started

    @functools.cached_property
    def access(self) -> ClusterAccess:
        return load(self.data_dir / "kubeconfig.yaml")

    @functools.cached_property
    def context(self) -> ssl.SSLContext | None:
        """For those who open many connections."""
        return ssl_context(self.access)

    def resident_mb(self) -> float:
        return resident_mb(self.process.pid)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        end(self.process)


class Connection:
    """One keep-alive HTTP/1.1 connection; as little of a client as can be, so that the server is what is measured."""

    def __init__(self, access: ClusterAccess, context: ssl.SSLContext | None = None) -> None:
        """``context``: one made of the access before; to make it takes far longer than to connect."""
        host, _, port = access.server.partition("://")[2].rpartition(":")
        self._host, self._port = host, int(port)
        self._ssl = context or ssl_context(access)

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(
            self._host,
            self._port,
            ssl=self._ssl,
            server_hostname=self._host if self._ssl else None,
            limit=16 << 20,
        )
        return self

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAccept: {accept}\r\nUser-Agent: bench/1\r\n"
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
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        self.send(method, path, body, content_type, accept)
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


def many_keys(name: str, keys: int = 60) -> bytes:
    """A ConfigMap whose managedFields weigh about as much as its data: 1.5 KB each."""
    data = {f"some-key-{number:03d}": "x" * 10 for number in range(keys)}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    ).encode()


PROTOBUF = "application/vnd.kubernetes.protobuf"
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


def percentile(samples: Sequence[float], share: float) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def report(name: str, measures: Measures) -> None:
    """Prints the table and writes results/<name>.json."""
    width = max(len(label) for label in measures)
    print(f"{'':<{width}}{'measured':>12} {'':<11}{'target':>8}")
    for label, (number, unit, target) in measures.items():
        print(f"{label:<{width}}{number:>12,.{0 if number >= 1000 else 1}f} {unit:<11}{target:>8}")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    found = {label: {"value": n, "unit": u, "target": t} for label, (n, u, t) in measures.items()}
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
