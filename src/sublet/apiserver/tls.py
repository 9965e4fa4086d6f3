"""TLS between a plain TCP transport and an HTTP protocol, with nothing of its own for each connection but its keys.

The loop's own TLS gives every connection a read buffer and two queues, which stay as large as the largest thing that ever
passed through them. Here all connections of a listener take turns with one pair of queues: each step puts in what arrived,
has OpenSSL take all of it (what is left of a record waits inside OpenSSL), and takes out all there is to send before
anybody else is called. What cannot be sent yet waits, encrypted, in the TCP transport, whose limits hold up the writer.
docs/decisions/0014-memory-of-connections.md says why.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from sublet.apiserver import clientcerts, tlsmemory

_log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS = 10.0
_LINGER_SECONDS = 5.0
"""How long a peer may leave our end of the connection without its own."""
_STUCK_SECONDS = 60.0
"""How long it may take to take what was written before our end."""
_RECORD = 16 * 1024
"""Bytes of a TLS record at most."""
_PIECE = 64 * 1024
"""Encrypted bytes that are taken out at once."""
_PEERS_LIMIT = 64
_HEADER = 5
_LIKE_HTTP = frozenset((b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"))
"""First bytes by which upstream tells HTTP from a broken handshake."""
_SPEAK_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

_HANDSHAKE, _OPEN, _ENDING = range(3)


class Peer(Struct, frozen=True):
    """What a client showed in its handshake. It holds the certificate's key; who issued it is still to be verified."""

    certificate: bytes | None = None
    """DER."""
    intermediates: tuple[bytes, ...] = ()
    """DER of the certificates that came with it."""


NOBODY = Peer()
Choose = Callable[["str | None", str], "ssl.SSLContext | None"]
"""(name that the client asks for or None, address it came to) -> the context for it; None: the listener's own."""


def address(transport: asyncio.BaseTransport) -> str:
    """``host:port`` of the peer; ``""`` where it has none."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple) or len(peer) < 2:
        return ""
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


class TLSListener:
    """Makes the connections of one listening address, which share its context and queues.

    ``protocol`` makes what speaks inside TLS, once a handshake is over. ``choose`` may choose another context by the
    name that the client asks for and the address it came to.
    """

    __slots__ = (
        "_choose", "_peers", "_release", "context", "failed", "greeting", "incoming", "outgoing", "protocol",
    )  # fmt: skip

    def __init__(
        self, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol], choose: Choose | None = None
    ) -> None:
        self.protocol = protocol
        self.greeting: TLSConnection | None = None
        """Whose handshake goes on right now."""
        self._choose = choose
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.failed = 0
        """Connections whose handshake came to nothing: what was said was no TLS, was not wanted, or took too long."""
        self._peers: dict[Peer, Peer] = {}
        self.use(context)

    def use(self, context: ssl.SSLContext) -> None:
        """Serves new connections with a context."""
        self.context = context
        self._release = tlsmemory.releasing(context)
        if self._choose is not None:
            context.sni_callback = self._chosen

    def _chosen(self, connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        greeting = self.greeting
        if self._choose is None or greeting is None:
            return
        here = greeting.get_extra_info("sockname")
        found = self._choose(name, str(here[0]) if isinstance(here, tuple) else "")
        if found is not None:
            connection.context = found

    def __call__(self) -> TLSConnection:
        return TLSConnection(self)

    def peer(self, connection: ssl.SSLObject) -> Peer:
        """Who is at the other end; OpenSSL's own copy is given back. One value for all connections that show the
        same, while there are few."""
        certificate = connection.getpeercert(binary_form=True)
        if certificate is None:
            return NOBODY
        peer = Peer(certificate, clientcerts.intermediates(connection))
        if self._release is not None:
            self._release(connection)
        if len(self._peers) < _PEERS_LIMIT:
            return self._peers.setdefault(peer, peer)
        return self._peers.get(peer, peer)


class TLSConnection(asyncio.Protocol, asyncio.Transport):
    """One connection: the protocol of a TCP transport, and the transport of the protocol inside."""

    __slots__ = ("_first", "_inside", "_listener", "_state", "_timer", "_tls", "_transport", "peer")

    def __init__(self, listener: TLSListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._inside: asyncio.Protocol | None = None
        self._tls = listener.context.wrap_bio(listener.incoming, listener.outgoing, server_side=True)
        self._state = _HANDSHAKE
        self._timer: asyncio.TimerHandle | None = None
        self._first = b""
        """The first bytes that came, while the handshake lasts."""
        self.peer = NOBODY

    # -- the protocol of the TCP transport --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses
        self._timer = asyncio.get_running_loop().call_later(_HANDSHAKE_SECONDS, self._overdue)

    def data_received(self, data: bytes) -> None:
        if self._state == _ENDING:
            return
        queues = self._listener
        queues.incoming.write(data)
        pieces: list[bytes] = []
        try:
            closed = self._take(data, pieces)
        except ssl.SSLError as error:
            self._fail(error)
            return
        finally:
            queues.greeting = None
            if queues.incoming.pending:
                queues.incoming.read()  # of a connection that failed or was closed: it is not the next one's
            self._send()
        inside = self._inside
        if inside is None:
            if self._state == _HANDSHAKE:
                return
            inside = self._begin()
        if pieces:
            inside.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if closed and self._state == _OPEN:
            inside.eof_received()
            self.close()

    def _take(self, data: bytes, pieces: list[bytes]) -> bool:
        """Has OpenSSL take what came: adds what it says to ``pieces``; whether the peer said it is at its end.

        Raises ``ssl.SSLError``.
        """
        incoming, tls = self._listener.incoming, self._tls
        try:
            if self._state == _HANDSHAKE:
                self._first += data[: _HEADER - len(self._first)]
                self._listener.greeting = self
                tls.do_handshake()
                self._state = _OPEN
            while size := incoming.pending or tls.pending():
                piece = tls.read(min(size, _RECORD))
                if not piece:
                    return True
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return False

    def _begin(self) -> asyncio.Protocol:
        """The handshake is over: what speaks inside may begin."""
        self._first = b""
        self._stop_timer()
        self.peer = self._listener.peer(self._tls)
        inside = self._inside = self._listener.protocol()
        inside.connection_made(self)
        return inside

    def _fail(self, error: ssl.SSLError) -> None:
        """The peer hears why, where TLS has a word for it, and is disconnected."""
        where = "TLS handshake" if self._inside is None else "TLS"
        _log.info("%s error from %s: %s", where, address(self._transport), error)
        if self._first in _LIKE_HTTP:
            self._listener.outgoing.read()
            self._transport.write(_SPEAK_TLS)
        else:
            self._send()
        self._state = _ENDING
        self._leave()

    def eof_received(self) -> bool:
        """The end of TCP, wherever it comes: without the end of TLS nobody can tell what is missing."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = _ENDING
        self._stop_timer()
        inside, self._inside = self._inside, None
        if inside is None:
            self._listener.failed += 1
        else:
            inside.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inside is not None:
            self._inside.pause_writing()

    def resume_writing(self) -> None:
        if self._inside is not None:
            self._inside.resume_writing()
        if self._state == _ENDING:
            self._linger()

    # -- the transport of the protocol inside --

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state != _OPEN or not data:
            return
        write, outgoing = self._tls.write, self._listener.outgoing
        try:
            sent = write(data)
            if sent < len(data):
                rest = memoryview(data)
                while sent < len(rest):
                    if outgoing.pending >= _PIECE:
                        self._send()
                    sent += write(rest[sent:])
        except ssl.SSLError as error:
            self._fail(error)
        finally:
            self._send()

    def _send(self) -> None:
        if self._listener.outgoing.pending:
            self._transport.write(self._listener.outgoing.read())

    def close(self) -> None:
        """Sends what is written and our end of TLS and TCP, then waits for the peer's: closed at once, a socket takes
        back what its peer has not read yet where the peer is still sending."""
        if self._state == _HANDSHAKE:
            self.abort()
        if self._state == _ENDING:
            return
        self._state = _ENDING
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            answered = False  # as a rule; the peer's own end is still to come
        else:
            answered = True
        finally:
            self._send()
        if answered:
            self._transport.close()
            return
        self._leave()

    def _leave(self) -> None:
        try:
            self._transport.write_eof()
        except OSError:  # the peer has gone
            self._transport.abort()
            return
        self._transport.resume_reading()
        self._transport.set_write_buffer_limits(high=0)  # resume_writing then means that all is sent
        self._linger()

    def _linger(self) -> None:
        self._stop_timer()
        seconds = _STUCK_SECONDS if self._transport.get_write_buffer_size() else _LINGER_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def abort(self) -> None:
        self._state = _ENDING
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._state == _ENDING or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``ssl_object``, and what the TCP transport knows."""
        return self._tls if name == "ssl_object" else self._transport.get_extra_info(name, default)

    # -- time --

    def _overdue(self) -> None:
        _log.info("TLS handshake error from %s: timed out", address(self._transport))
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
