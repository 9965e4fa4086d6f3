"""Asking the servers above us: UDP with retry over the next server, TCP when the answer was cut, a short cache."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sublet.machinery.clock import Clock

TIMEOUT = 2.0
CACHE_SECONDS = 30.0
CACHE_ENTRIES = 10_000


def nameservers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The ``nameserver`` lines of a resolver file; none when it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [parts[1] for line in lines if len(parts := line.split()) >= 2 and parts[0] == "nameserver"]


class _Reply(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self._query = query
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.sendto(self._query)

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if data[:2] == self._query[:2] and not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Forwarder:
    """Sends queries on as they came. ``upstreams`` are addresses, or ``address:port`` / ``[address]:port``."""

    def __init__(self, upstreams: Sequence[str], clock: Clock) -> None:
        self._upstreams = [_endpoint(text) for text in upstreams]
        self._clock = clock
        self._cache: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    async def ask(self, query: bytes) -> bytes | None:
        """The reply with the query's id; None when no server answered."""
        question = query[2:]
        cached = self._cache.get(question)
        if cached is not None and cached[0] > self._clock.monotonic():
            return query[:2] + cached[1]
        for upstream in self._upstreams:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                reply = await self._ask_one(upstream, query)
                self._remember(question, reply)
                return reply
        return None

    async def _ask_one(self, upstream: tuple[str, int], query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: _Reply(query), remote_addr=upstream)
        try:
            async with asyncio.timeout(TIMEOUT):
                reply = await protocol.reply
        finally:
            transport.close()
        truncated = len(reply) > 2 and reply[2] & 0x02
        return await self._ask_tcp(upstream, query) if truncated else reply

    async def _ask_tcp(self, upstream: tuple[str, int], query: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(*upstream)
            try:
                writer.write(struct.pack("!H", len(query)) + query)
                await writer.drain()
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                return await reader.readexactly(size)
            finally:
                writer.close()

    def _remember(self, question: bytes, reply: bytes) -> None:
        if len(reply) < 4 or reply[3] & 0x0F not in (0, 3):
            return
        self._cache[question] = (self._clock.monotonic() + CACHE_SECONDS, reply[2:])
        self._cache.move_to_end(question)
        while len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)


def _endpoint(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53
