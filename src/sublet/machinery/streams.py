"""WebSocket frames and the channels that Kubernetes lays over them; bytes in, events out, no I/O.

SPDY/3.1, the other framing of exec, attach and port-forward, is in ``spdy``. A port-forward over the WebSocket protocol
``SPDY/3.1+portforward.k8s.io`` carries SPDY bytes in binary messages. Source: RFC 6455; apimachinery's remotecommand
and portforward constants; reference/kubernetes-api.md B.13.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

# Channels of remotecommand.
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255

REMOTE_COMMAND_WEBSOCKET = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
"""Best first. Only v5 can say that standard input has ended (:data:`CLOSE`)."""
REMOTE_COMMAND_SPDY = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
PORT_FORWARD_SPDY = "portforward.k8s.io"
PORT_FORWARD_TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD_WEBSOCKET = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
MESSAGE_LIMIT = 32 * 1024 * 1024


class WebSocketError(ValueError):
    """The peer broke the protocol; close with :attr:`code`."""

    def __init__(self, message: str, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class Message(Struct, frozen=True):
    data: bytes
    text: bool = False


class Ping(Struct, frozen=True):
    data: bytes


class Pong(Struct, frozen=True):
    data: bytes


class Closed(Struct, frozen=True):
    """The peer closes; answer with :meth:`WebSocket.close` unless we closed first."""

    code: int
    reason: str


Event = Message | Ping | Pong | Closed


def accept_key(key: str) -> str:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def choose_protocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """The first of the offered protocols that is supported: the client's order counts."""
    return next((protocol for protocol in offered if protocol in supported), None)


class WebSocket:
    """One end of a connection after the handshake.

    A client masks what it sends: ``mask`` gives four random bytes per frame. A server has none.
    """

    def __init__(self, *, mask: Callable[[], bytes] | None = None, limit: int = MESSAGE_LIMIT) -> None:
        self._mask = mask
        self._limit = limit
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind = 0
        self.closed = False
        """The peer has closed: it sends nothing more."""

    # -- sending --

    def send(self, data: bytes | str) -> bytes:
        """One message: text for ``str``, binary for ``bytes``."""
        if isinstance(data, str):
            return self._frame(_TEXT, data.encode())
        return self._frame(_BINARY, data)

    def ping(self, data: bytes = b"") -> bytes:
        return self._frame(_PING, data)

    def pong(self, data: bytes) -> bytes:
        return self._frame(_PONG, data)

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        text = reason.encode()[:123].decode(errors="ignore").encode()
        return self._frame(_CLOSE, struct.pack(">H", code) + text)

    def _frame(self, kind: int, data: bytes) -> bytes:
        masked = 0x80 if self._mask else 0
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 0x80 | kind, masked | size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | kind, masked | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, masked | 127, size)
        if self._mask is None:
            return head + data
        key = self._mask()
        return head + key + _masked(data, key)

    # -- receiving --

    def feed(self, data: bytes) -> list[Event]:
        """What the bytes complete. Raises :class:`WebSocketError`."""
        self._buffer += data
        events: list[Event] = []
        while not self.closed:
            frame = self._next()
            if frame is None:
                break
            event = self._event(*frame)
            if event is not None:
                events.append(event)
        return events

    def _next(self) -> tuple[bool, int, bytes] | None:
        """(final, kind, data) of the next whole frame."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        size, at = second & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < 2 + width:
                return None
            size = int.from_bytes(buffer[2 : 2 + width], "big")
            at += width
        self._check(first, second, size)
        key = b""
        if second & 0x80:
            key = bytes(buffer[at : at + 4])
            at += 4
        if len(buffer) < at + size:
            return None
        data = bytes(buffer[at : at + size])
        del buffer[: at + size]
        return bool(first & 0x80), first & 0x0F, _masked(data, key) if key else data

    def _check(self, first: int, second: int, size: int) -> None:
        if first & 0x70:
            raise WebSocketError("a WebSocket frame uses an extension that was not agreed on")
        if bool(second & 0x80) == (self._mask is not None):
            raise WebSocketError("a WebSocket frame is masked by the server or not masked by the client")
        if first & 0x08 and (size > 125 or not first & 0x80):
            raise WebSocketError("a WebSocket control frame is too long or in parts")
        if size + sum(map(len, self._parts)) > self._limit:
            raise WebSocketError(f"a WebSocket message is longer than {self._limit} bytes", 1009)

    def _event(self, final: bool, kind: int, data: bytes) -> Event | None:
        match kind:
            case 9:
                return Ping(data)
            case 10:
                return Pong(data)
            case 8:
                self.closed = True
                code = struct.unpack_from(">H", data)[0] if len(data) >= 2 else 1005
                return Closed(code, data[2:].decode(errors="replace"))
            case 0 | 1 | 2:
                return self._message(final, kind, data)
        raise WebSocketError(f"a WebSocket frame has the unknown kind {kind}")

    def _message(self, final: bool, kind: int, data: bytes) -> Message | None:
        if (kind == _CONTINUATION) != bool(self._kind):
            raise WebSocketError("the parts of a WebSocket message are out of order")
        self._kind = self._kind or kind
        self._parts.append(data)
        if not final:
            return None
        message = Message(b"".join(self._parts), self._kind == _TEXT)
        self._parts, self._kind = [], 0
        return message


def _masked(data: bytes, key: bytes) -> bytes:
    size = len(data)
    if not size:
        return data
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


# -- channels --


def is_base64(protocol: str) -> bool:
    return "base64" in protocol


def pack_channel(protocol: str, channel: int, data: bytes) -> bytes | str:
    """A message for :meth:`WebSocket.send`: the channel's byte and the data, or their text form."""
    if is_base64(protocol):
        return f"{channel}{base64.b64encode(data).decode()}"
    return bytes((channel,)) + data


def unpack_channel(protocol: str, message: Message) -> tuple[int, bytes]:
    """(channel, data) of a message. Raises :class:`WebSocketError`."""
    data = message.data
    if not data:
        raise WebSocketError("a channel message has no channel")
    if not is_base64(protocol):
        return data[0], data[1:]
    try:
        return int(data[:1]), base64.b64decode(data[1:], validate=True)
    except (ValueError, binascii.Error):
        raise WebSocketError("a channel message is not base64") from None


def close_channel(protocol: str, channel: int) -> bytes | None:
    """The message that ends one channel; None where the protocol has none (all before v5)."""
    return bytes((CLOSE, channel)) if protocol.startswith("v5.") else None


def port_of(data: bytes) -> int:
    """The port that the first message on each channel of a WebSocket port-forward tells (little endian)."""
    if len(data) < 2:
        raise WebSocketError("the first message of a forwarded port must be its number")
    return int(struct.unpack_from("<H", data)[0])


def port_data(port: int) -> bytes:
    return struct.pack("<H", port)


def terminal_size(data: bytes) -> tuple[int, int] | None:
    """(columns, rows) of a message on the resize channel; None when it is not one."""
    try:
        size = json.loads(data)
        return int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return None


def exit_status(code: int) -> dict[str, Any]:
    """The Status object that ends a remote command, sent on the error channel from v4 on."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
