"""A key management service of the tests' own: gRPC on a unix socket, keys in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from sublet.machinery import wire


def _fields(data: bytes) -> dict[int, bytes]:
    return {number: content for number, _, _, content in wire.fields(data)}


class Plugin:
    """Says, and does, what its attributes say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version, self.healthz, self.key_id = "v2", "ok", "key-1"
        self.annotations: dict[str, bytes] = {"version.example.com": b"1"}
        self.encrypt_key_id = ""
        """Where it is not that of its state."""
        self.delay = 0.0
        self.calls: list[str] = []
        self._secrets: dict[tuple[bytes, str], bytes] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(getattr(self, f"_{name.lower()}"))
            for name in ("Status", "Encrypt", "Decrypt")
        }
        generic = grpc.method_handlers_generic_handler("v2.KeyManagementService", handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def _status(self, _request: bytes, _context: object) -> bytes:
        await self._called("Status")
        texts = ((1, self.version), (2, self.healthz), (3, self.key_id))
        return b"".join(wire.string_field(number, text) for number, text in texts)

    async def _encrypt(self, request: bytes, _context: object) -> bytes:
        await self._called("Encrypt")
        found = _fields(request)
        assert found[2]
        sealed, key_id = os.urandom(16), self.encrypt_key_id or self.key_id
        self._secrets[sealed, key_id] = found[1]
        entries = (
            wire.string_field(1, key) + wire.bytes_field(2, value) for key, value in self.annotations.items()
        )
        answer = wire.bytes_field(1, sealed) + wire.string_field(2, key_id)
        return answer + b"".join(wire.bytes_field(3, entry) for entry in entries)

    async def _decrypt(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await self._called("Decrypt")
        found = _fields(request)
        plain = self._secrets.get((found[1], found[3].decode()))
        if plain is None or len(found[4]) < len(b"version.example.com"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such key")
        return wire.bytes_field(1, plain or b"")

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(self.delay)


@asynccontextmanager
async def plugin(path: Path) -> AsyncIterator[Plugin]:
    made = Plugin(path)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
