"""A connection after its upgrade: plain bytes both ways with back-pressure (``client.exchange.Connection``)."""

from __future__ import annotations

import asyncio
import contextlib

_HIGH = 256 * 1024
"""Unread bytes above which the peer is not read from."""


class UpgradedConnection:
    """Wraps the transport that an HTTP connection gave up."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._paused = False
        self._reading = True
        self._eof = False

    # -- what the protocol reports --

    def feed(self, data: bytes) -> None:
        self._received.append(data)
        self._size += len(data)
        if self._size > _HIGH and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake_reader()

    def feed_eof(self) -> None:
        self._eof = True
        self._wake_reader()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)
        self._writers.clear()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- the Connection protocol --

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the peer's end of stream."""
        while not self._received and not self._eof:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received.clear()
        self._size = 0
        if not self._reading and not self._eof:
            self._reading = True
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Raises ``ConnectionResetError`` when the peer is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._transport.write(data)
        while self._paused and not self._transport.is_closing():
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            await waiter

    def write_eof(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()

    async def close(self) -> None:
        self._transport.close()
