"""The HTTP server: listens on TLS, plain TCP or a Unix socket and speaks HTTP/1.1 to an application."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path

from msgspec import Struct

from sublet.apiserver import clientcerts
from sublet.apiserver.headerrules import HeaderRules
from sublet.apiserver.metrics import heading
from sublet.apiserver.protocol import HTTPProtocol
from sublet.apiserver.tls import Choose, TLSListener
from sublet.client.exchange import Application

_SWEEP_SECONDS = 2.0
_LINGER_SECONDS = 0.2
_PACE_SECONDS = 0.02
_STREAMS_PER_SECOND = 200.0
_NAMES_LIMIT = 512
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds of silence before probing, seconds between probes, probes without answer."""


class ListenError(Exception):
    """The server cannot listen where it was told; the message names the address and the way out."""


class HTTPServer:
    """Serves one application at one address.

    ``port`` 0 takes a free one (see :attr:`port` after :meth:`start`); ``path`` listens on a Unix socket instead.
    Without ``ssl_context`` it speaks plain HTTP: for local use only, since tokens travel in the clear.
    """

    def __init__(
        self,
        application: Application,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        choose: Choose | None = None,
        path: Path | None = None,
        backlog: int = 1024,
        listed_headers: Iterable[str] = (),
        listed_prefixes: Iterable[str] = (),
    ) -> None:
        """``choose``: a context by the name that a client asks for. ``listed_headers`` and ``listed_prefixes``, in lower case: further headers whose values a proxy repeats."""
        self.application = application
        self.host = host
        self.port = port
        self.path = path
        self.connections: set[HTTPProtocol] = set()
        self.refused = 0
        """Connections that sent what is no acceptable HTTP request."""
        self.ending = False
        """Whether connections end with their next answer."""
        self.names: dict[bytes, str] = {}
        self.header_rules = HeaderRules(listed_headers, listed_prefixes)
        self.loop: asyncio.AbstractEventLoop
        self._ssl = ssl_context
        self._choose = choose
        self._tls: TLSListener | None = None
        self._backlog = backlog
        self._server: asyncio.AbstractServer | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._date_at = 0
        self._date_line = ""

    async def start(self) -> None:
        """Listens. Raises :class:`ListenError`."""
        self.loop = asyncio.get_running_loop()
        connection: Callable[[], asyncio.Protocol] = self._connection
        if self._ssl is not None:
            connection = self._tls = TLSListener(self._ssl, self._connection, self._choose)
        try:
            if self.path is not None:
                self._server = await self.loop.create_unix_server(
                    connection, str(self.path), backlog=self._backlog
                )
                self.path.chmod(0o600)
            else:
                self._server = await self.loop.create_server(
                    connection, sock=await self._bind(), backlog=self._backlog
                )
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise ListenError(self._explain(error)) from error
        self._sweeper = self.loop.create_task(self._sweep())

    def _connection(self) -> HTTPProtocol:
        return HTTPProtocol(self)

    async def _bind(self) -> socket.socket:
        """The listening socket; connections inherit its keep-alive, by which vanished watchers are found out."""
        found = await self.loop.getaddrinfo(
            self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE.items():
                if hasattr(socket, option):
                    listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            listening.setblocking(False)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
        return listening

    def _explain(self, error: OSError) -> str:
        where = str(self.path) if self.path else f"{self.host}:{self.port}"
        if error.errno == errno.EADDRINUSE:
            if self.path:
                return f"cannot listen on {where}: it exists; another process may use it, else remove it"
            return (
                f"cannot listen on {where}: port {self.port} is in use by another process; "
                "stop that process or choose another port"
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"cannot listen on {where}: permission denied; choose a port above 1023 or run as root"
        if isinstance(error, socket.gaierror):
            return f"cannot listen on {where}: {self.host!r} is no known host name or address"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"cannot listen on {where}: {self.host} is not an address of this machine"
        return f"cannot listen on {where}: {error.strerror or error}"

    async def stop(self, grace: float = 5.0, *, streams: float = 0.0) -> None:
        """Stops listening. Streams and upgraded connections end in good order, at once or (``streams``) over so many
        seconds, lest all their clients come back in one moment; requests get ``grace`` seconds for their answers."""
        if self._server is None:
            return
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for connection in tuple(self.connections):
            if not connection.lasting:
                connection.end()
        deadline = self.loop.time() + grace
        await self._end_lasting(streams)
        self._emptied = self.loop.create_future()
        while self.connections and self.loop.time() < deadline:
            await asyncio.wait((self._emptied,), timeout=_LINGER_SECONDS)
            for connection in tuple(self.connections):
                if connection.idle:
                    connection.abort()  # its peer does not answer the end of TLS, and nothing is owed to it
        for connection in tuple(self.connections):
            connection.abort()
        self._server = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    async def _end_lasting(self, seconds: float) -> None:
        """At least 200 in a second, as upstream."""
        lasting = [connection for connection in self.connections if connection.lasting]
        pace = max(_STREAMS_PER_SECOND, len(lasting) / seconds) if seconds > 0 else float("inf")
        begun = self.loop.time()
        for index, connection in enumerate(lasting):
            if (ahead := begun + index / pace - self.loop.time()) > _PACE_SECONDS:
                await asyncio.sleep(ahead)
            connection.end()

    def refer(self, application: Application) -> None:
        """Has another application answer from now on, each time on a connection that ends with the answer."""
        self.application = application
        self.ending = True
        for connection in self.connections:
            connection.ending = True

    async def answered(self, seconds: float) -> bool:
        """Waits until no request is owed its answer, streams aside; False where some still is after ``seconds``."""
        deadline = self.loop.time() + seconds
        while any(not each.idle and not each.lasting for each in self.connections):
            if self.loop.time() >= deadline:
                return False
            await asyncio.sleep(_PACE_SECONDS)
        return True

    def renew(self, certificate: Path, key: Path) -> None:
        """Serves a renewed certificate to new connections. Raises ``OSError``, ``ssl.SSLError``."""
        if self._ssl is not None:
            self._ssl.load_cert_chain(certificate, key)

    def use(self, context: ssl.SSLContext) -> None:
        """Serves new connections with another context."""
        self._ssl = context
        if self._tls is not None:
            self._tls.use(context)

    async def _sweep(self) -> None:
        """Disconnects peers that let their deadline pass (one timer for all connections)."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.loop.time()
            for connection in tuple(self.connections):
                if 0.0 < connection.deadline < now:
                    connection.overdue()

    def lost(self, connection: HTTPProtocol) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def name(self, name: bytes) -> str:
        """A header's name in lower case; the usual ones are kept."""
        key = name.decode("latin-1").lower()
        if len(self.names) < _NAMES_LIMIT:
            self.names[name] = key
        return key

    def metric_lines(self) -> Iterator[str]:
        """Handshakes that failed, in Prometheus' text format."""
        name = "apiserver_tls_handshake_errors_total"
        what = "[ALPHA] Number of requests dropped with 'TLS handshake error from' error"
        yield from heading(name, what, "counter")
        yield f"{name} {0 if self._tls is None else self._tls.failed}"

    def date_line(self) -> str:
        now = int(time.time())
        if now != self._date_at:
            self._date_at = now
            self._date_line = f"Date: {formatdate(now, usegmt=True)}\r\n"
        return self._date_line


class TLSChoice(Struct, frozen=True):
    """What a server speaks."""

    only_13: bool = False
    """TLS 1.3 only; else 1.2 too."""
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names of TLS 1.2's; empty: the library's choice."""


def tls_context(
    certificate: Path, key: Path, client_authorities: Iterable[Path] = (), choice: TLSChoice | None = None
) -> ssl.SSLContext:
    """A server's TLS context: TLS 1.2 or later. With authorities, clients are asked for a certificate.

    Any certificate is taken, and verified with the request (see :mod:`sublet.apiserver.clientcerts`); the authorities
    are those that count where Python's OpenSSL insists on verifying itself. :meth:`HTTPServer.renew` changes the
    server's own certificate.
    """
    choice = choice or TLSChoice()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if choice.only_13 else ssl.TLSVersion.TLSv1_2
    if choice.ciphers:
        context.set_ciphers(":".join(choice.ciphers))
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    authorities = tuple(client_authorities)
    for authority in authorities:
        context.load_verify_locations(authority)
    if authorities:
        clientcerts.accept_any(context)
    return context
