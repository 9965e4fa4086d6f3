"""One request and its response as values: what clients ask and what the API server's application answers.

Both transports speak it: the HTTP server turns bytes on a socket into a :class:`Request`; the in-process transport
makes one directly. So an in-process request passes the same chain as any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

IN_PROCESS = "in-process"
"""The ``remote`` of requests that came through no socket."""


class User(Struct, frozen=True):
    """Who asks, once authenticated."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Connection(Protocol):
    """A connection taken over after an upgrade: plain bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the peer's end of stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Sends; waits while the peer's buffer is full."""
        ...

    def write_eof(self) -> None:
        """Half-close where the transport can (not over TLS); otherwise nothing."""
        ...

    async def close(self) -> None: ...


Upgrade = Callable[[Connection], Awaitable[None]]
"""Called once the 101 response is sent; the connection is its own until it returns, then it is closed."""

Headers = Sequence[tuple[str, str]]


class Request(Struct):
    """One request.

    ``path`` is still percent-encoded and has no query; ``query`` is raw, without ``?``.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; repeated headers are joined by ``", "`` (``impersonate-group`` and
    ``x-remote-group`` and ``x-stream-protocol-version`` by newlines, since their values may hold commas)."""
    body: bytes = b""
    user: User | None = None
    """Set by the in-process transport and by the authentication filter; never from the wire."""
    peer_certificate: bytes | None = None
    """DER of the TLS client certificate. The peer holds its key; who issued it is still to be verified."""
    peer_intermediates: tuple[bytes, ...] = ()
    """DER of the further certificates that the peer sent with it."""
    remote: str = ""
    """``host:port`` of the peer."""
    upgradable: bool = False
    """Whether the transport can hand the connection over (:attr:`Response.upgrade`)."""
    context: dict[str, Any] = field(default_factory=dict)
    """What filters found out for those after them; keys are documented in ``apiserver/chain.py``."""


class Response(Struct):
    """One response. ``body`` is all bytes, or a stream of chunks (closed with ``aclose()`` if the peer goes)."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""
    upgrade: Upgrade | None = None
    """With status 101: who takes the connection over."""

    def header(self, name: str) -> str:
        """The first value of a header, or ``""``."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return ""


class Application(Protocol):
    """What answers requests: the API server without its socket."""

    async def handle(self, request: Request) -> Response: ...


class Transport(Protocol):
    """What carries a client's requests: HTTP to any API server, or a call into our own."""

    async def request(self, request: Request) -> Response:
        """The whole response; ``body`` is bytes. Raises ``ServiceUnavailable`` when unreachable."""
        ...

    async def stream(self, request: Request) -> Response:
        """The response with ``body`` as an iterator of chunks (any sizes)."""
        ...

    async def close(self) -> None: ...
