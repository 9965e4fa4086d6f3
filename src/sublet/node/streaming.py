"""Handing exec, attach and port-forward over to the runtime's streaming endpoint, byte by byte.

The runtime (containerd's CRI) speaks SPDY/3.1 and the ``v4.channel.k8s.io`` family over WebSocket. What it does not speak is translated (``remotecommand``, ``tunnelled``) or refused with an HTTP error, upon
which clients fall back to SPDY.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from sublet.client.exchange import Request, Response
from sublet.client.tunnel import answer
from sublet.machinery.status import BadRequest, ServiceUnavailable

_WEBSOCKET_PROTOCOLS = (
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
_PASSED = ("upgrade", "connection", "x-stream-protocol-version", "sec-websocket-key", "sec-websocket-version",
           "sec-websocket-extensions", "origin", "content-length", "user-agent")  # fmt: skip
_HEAD_LIMIT = 64 << 10


def supported_protocols(request: Request) -> list[tuple[str, str]]:
    """The headers to pass on, offering only what the runtime speaks. Raises :class:`BadRequest`."""
    upgrade = request.headers.get("upgrade", "").lower()
    if not upgrade:
        raise BadRequest("Upgrade request required")
    headers = []
    for name in _PASSED:
        value = request.headers.get(name)
        if value is not None:
            headers += [(name, part) for part in value.split("\n")]
    if upgrade == "websocket":
        offered = [
            p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",") if p.strip()
        ]
        chosen = [p for p in offered if p in _WEBSOCKET_PROTOCOLS]
        if offered and not chosen:
            raise BadRequest(
                f"unable to upgrade: websocket protocols {', '.join(offered)} are not spoken here; "
                f"use SPDY/3.1 or one of {', '.join(_WEBSOCKET_PROTOCOLS)}"
            )
        if chosen:
            headers.append(("sec-websocket-protocol", ", ".join(chosen)))
    elif upgrade != "spdy/3.1":
        raise BadRequest(f"unable to upgrade: {upgrade!r} is not spoken here; use SPDY/3.1 or websocket")
    return headers


async def splice_to(url: str, request: Request, headers: list[tuple[str, str]]) -> Response:
    """Sends the request to the runtime's URL; its answer, with bytes passed both ways after a 101."""
    target = urlsplit(url)
    secure = ssl.create_default_context() if target.scheme == "https" else None
    if secure is not None:
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
    port = target.port or (443 if secure else 80)
    try:
        reader, writer = await asyncio.open_connection(target.hostname, port, ssl=secure, limit=_HEAD_LIMIT)
    except OSError as error:
        raise ServiceUnavailable(f"the container runtime's streaming endpoint: {error.strerror}") from None
    path = target.path + (f"?{target.query}" if target.query else "")
    lines = [f"{request.method} {path} HTTP/1.1", f"host: {target.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body)
    try:
        return await answer(reader, writer)
    except BaseException:
        writer.close()
        raise
