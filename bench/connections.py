"""Measures what one open connection costs the server, part by part; writes results/connections.json.

    python bench/connections.py [--connections 2000]

An API server over the memory store listens without TLS and with it, in a process of its own for each line of the table;
everybody may do everything, so that each line asks the same. The bytes are the process's resident memory: what the
kernel keeps of a socket is not among them.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop
from _measuring import Connection, Measures, end, environment, report, resident_mb

from sublet.apiserver.api import APIServer
from sublet.apiserver.server import HTTPServer, tls_context
from sublet.apiserver.settings import APIServerSettings
from sublet.client.credentials import ssl_context
from sublet.client.exchange import Request, Response, User
from sublet.client.kubeconfig import ClusterAccess
from sublet.pki.authority import SERVER, Authority
from sublet.store.open import open_store

_SECRETS = "/api/v1/namespaces/kube-system/secrets"
_WATCH = f"{_SECRETS}?watch=true&allowWatchBookmarks=true"


@dataclass(frozen=True)
class Part:
    """A line of the table: what each connection is and does."""

    label: str
    scheme: str
    certificate: bool = False
    asks: str = ""
    target: str = ""


PARTS = (
    Part("TCP, nothing asked", "http"),
    Part("TCP, one LIST answered", "http", asks=_SECRETS),
    Part("TCP, a watch", "http", asks=_WATCH),
    Part("TLS, nothing asked", "https"),
    Part("TLS with a client certificate, nothing asked", "https", certificate=True),
    Part("TLS with a client certificate, one LIST answered", "https", certificate=True, asks=_SECRETS),
    Part("TLS with a client certificate, a watch", "https", certificate=True, asks=_WATCH, target="30"),
)


class _Everybody:
    """Lets everybody do everything."""

    def __init__(self, api: APIServer) -> None:
        self._api = api

    async def handle(self, request: Request) -> Response:
        request.user = User("admin", ("system:masters",))
        return await self._api.handle(request)


async def serve(directory: Path, scheme: str) -> None:
    """Until SIGTERM; the port is printed."""
    store = await open_store("memory://")
    api = APIServer(APIServerSettings(), store)
    await api.start()
    context = None
    if scheme == "https":
        context = tls_context(directory / "server.crt", directory / "server.key", [directory / "ca.crt"])
    server = HTTPServer(_Everybody(api), ssl_context=context)
    await server.start()
    print(server.port, flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(1)
    await api.stop()
    await store.close()


def _serving(scheme: str, directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--serve", scheme, "--directory", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())


async def measure(part: Part, authority: Authority, directory: Path, count: int) -> float:
    """Kilobytes for each connection."""
    process = _serving(part.scheme, directory)
    try:
        assert process.stdout is not None
        url = f"{part.scheme}://127.0.0.1:{int(process.stdout.readline())}"
        client = authority.issue("admin", ("system:masters",))
        access = ClusterAccess(
            server=url,
            ca_data=authority.cert_pem,
            client_cert=client.cert_pem if part.certificate else b"",
            client_key=client.key_pem if part.certificate else b"",
        )
        context = ssl_context(access)
        warm = [await _opened(access, context, part) for _ in range(50)]
        before = resident_mb(process.pid)
        held = []
        for _ in range(0, count, 20):
            held += await asyncio.gather(*(_opened(access, context, part) for _ in range(20)))
        await asyncio.sleep(1)
        found = (resident_mb(process.pid) - before) / len(held) * 1024
        for connection in (*warm, *held):
            connection.close()
        return found
    finally:
        await asyncio.to_thread(end, process)


async def _opened(access: ClusterAccess, context: ssl.SSLContext | None, part: Part) -> Connection:
    connection = await Connection(access, context).open()
    if part.asks == _WATCH:
        connection.send("GET", part.asks)
        await connection.read_some()
    elif part.asks:
        await connection.ask("GET", part.asks)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--serve", choices=["http", "https"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.directory, options.serve))
        return
    authority = Authority.create("bench")
    measures: Measures = {}
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as scratch:
        directory = Path(scratch)
        server = authority.issue("server", ips=["127.0.0.1"], usages=(SERVER,))
        (directory / "server.crt").write_bytes(server.cert_pem)
        (directory / "server.key").write_bytes(server.key_pem)
        (directory / "ca.crt").write_bytes(authority.cert_pem)
        for part in PARTS:
            found = uvloop.run(measure(part, authority, directory, options.connections))
            measures[part.label] = (found, "KB", part.target)
    report("connections", measures)


if __name__ == "__main__":
    main()
