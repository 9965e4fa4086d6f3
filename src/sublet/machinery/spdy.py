"""SPDY/3.1 frames as Kubernetes' streaming endpoints speak them; bytes in, events out, no I/O.

Flow control is not enforced: Go's spdystream, which is at the other end, neither waits for WINDOW_UPDATE nor sends it,
so whoever waited would hang. Source: SPDY protocol draft 3.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from msgspec import Struct

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
)
_FIN, _UNIDIRECTIONAL = 1, 2
_LENGTH_LIMIT = (1 << 24) - 1
_HEADERS_LIMIT = 256 * 1024
_ID = 0x7FFFFFFF

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL, INTERNAL_ERROR = 1, 2, 3, 4, 5, 6

_WORDS = (
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
)  # fmt: skip
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(len(word).to_bytes(4, "big") + word.encode() for word in _WORDS) + _REST.encode()
"""Primes the compression of headers at both ends; its Adler-32 checksum is e3c6a7c2."""


class SPDYError(ValueError):
    """The peer broke the protocol; the connection is of no more use."""


class StreamOpened(Struct, frozen=True):
    stream: int
    headers: dict[str, str]
    """Names in lower case; several values are joined by NUL."""
    fin: bool = False
    """The peer will send no data on it."""
    unidirectional: bool = False


class StreamReplied(Struct, frozen=True):
    stream: int
    headers: dict[str, str]
    fin: bool = False


class HeadersReceived(Struct, frozen=True):
    stream: int
    headers: dict[str, str]
    fin: bool = False


class DataReceived(Struct, frozen=True):
    stream: int
    data: bytes
    fin: bool = False


class StreamReset(Struct, frozen=True):
    stream: int
    status: int


class PingReceived(Struct, frozen=True):
    id: int
    reply: bytes
    """To send back; empty when this is the answer to a ping of ours."""


class GoAwayReceived(Struct, frozen=True):
    last_stream: int
    status: int


class WindowUpdated(Struct, frozen=True):
    stream: int
    delta: int


class SettingsReceived(Struct, frozen=True):
    values: dict[int, int]


Event = (
    StreamOpened
    | StreamReplied
    | HeadersReceived
    | DataReceived
    | StreamReset
    | PingReceived
    | GoAwayReceived
    | WindowUpdated
    | SettingsReceived
)


class SPDY:
    """One end of a connection. Methods that make frames return the bytes to send, in the order of the calls."""

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._next_stream = 1 if client else 2
        self._next_ping = 1 if client else 2
        self._buffer = bytearray()
        self._compress = zlib.compressobj(zdict=DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=DICTIONARY)

    # -- sending --

    def open_stream(
        self, headers: Mapping[str, str], *, fin: bool = False, unidirectional: bool = False
    ) -> tuple[int, bytes]:
        """(the new stream's id, bytes)."""
        stream = self._next_stream
        self._next_stream += 2
        flags = (_FIN if fin else 0) | (_UNIDIRECTIONAL if unidirectional else 0)
        body = struct.pack(">IIBB", stream, 0, 0, 0) + self._packed(headers)
        return stream, _control(_SYN_STREAM, flags, body)

    def reply(self, stream: int, headers: Mapping[str, str] | None = None, *, fin: bool = False) -> bytes:
        """Accepts a stream the peer opened."""
        body = struct.pack(">I", stream) + self._packed(headers or {})
        return _control(_SYN_REPLY, _FIN if fin else 0, body)

    def headers(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        return _control(_HEADERS, _FIN if fin else 0, struct.pack(">I", stream) + self._packed(headers))

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """As many frames as it takes; ``fin`` ends our side of the stream."""
        frames = []
        for start in range(0, len(data) or 1, _LENGTH_LIMIT):
            part = data[start : start + _LENGTH_LIMIT]
            last = fin and start + _LENGTH_LIMIT >= len(data)
            frames.append(struct.pack(">II", stream, (_FIN if last else 0) << 24 | len(part)) + part)
        return b"".join(frames)

    def reset(self, stream: int, status: int = CANCEL) -> bytes:
        return _control(_RST_STREAM, 0, struct.pack(">II", stream, status))

    def ping(self) -> tuple[int, bytes]:
        """(id, bytes)."""
        number = self._next_ping
        self._next_ping += 2
        return number, _control(_PING, 0, struct.pack(">I", number))

    def go_away(self, last_stream: int = 0, status: int = 0) -> bytes:
        return _control(_GOAWAY, 0, struct.pack(">II", last_stream, status))

    def window_update(self, stream: int, delta: int) -> bytes:
        return _control(_WINDOW_UPDATE, 0, struct.pack(">II", stream, delta))

    def settings(self, values: Mapping[int, int]) -> bytes:
        body = struct.pack(">I", len(values)) + b"".join(struct.pack(">II", k, v) for k, v in values.items())
        return _control(_SETTINGS, 0, body)

    def _packed(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._compress.compress(b"".join(parts)) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    # -- receiving --

    def feed(self, data: bytes) -> list[Event]:
        """What the bytes complete. Raises :class:`SPDYError`."""
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        while len(buffer) - at >= 8:
            head, tail = struct.unpack_from(">II", buffer, at)
            length = tail & _LENGTH_LIMIT
            if len(buffer) - at - 8 < length:
                break
            body = bytes(buffer[at + 8 : at + 8 + length])
            at += 8 + length
            flags = tail >> 24
            if head >> 31:
                event = self._control(head >> 16 & 0x7FFF, head & 0xFFFF, flags, body)
                if event is not None:
                    events.append(event)
            else:
                events.append(DataReceived(head & _ID, body, bool(flags & _FIN)))
        del buffer[:at]
        return events

    def _control(self, version: int, kind: int, flags: int, body: bytes) -> Event | None:
        if version != 3:
            raise SPDYError(f"SPDY version {version} is not supported, only 3")
        try:
            return self._read(kind, flags, body)
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SPDYError(f"broken SPDY frame of type {kind}: {error}") from None

    def _read(self, kind: int, flags: int, body: bytes) -> Event | None:
        first = struct.unpack_from(">I", body)[0]
        stream, fin = first & _ID, bool(flags & _FIN)
        match kind:
            case 1:
                headers = self._unpacked(body[10:])
                return StreamOpened(stream, headers, fin, bool(flags & _UNIDIRECTIONAL))
            case 2:
                return StreamReplied(stream, self._unpacked(body[4:]), fin)
            case 8:
                return HeadersReceived(stream, self._unpacked(body[4:]), fin)
            case 3:
                return StreamReset(stream, struct.unpack_from(">I", body, 4)[0])
            case 6:
                ours = first % 2 == (1 if self._client else 0)
                return PingReceived(first, b"" if ours else _control(_PING, 0, body[:4]))
            case 7:
                return GoAwayReceived(stream, struct.unpack_from(">I", body, 4)[0])
            case 9:
                return WindowUpdated(stream, struct.unpack_from(">I", body, 4)[0] & _ID)
            case 4:
                pairs = [struct.unpack_from(">II", body, 4 + 8 * i) for i in range(first)]
                return SettingsReceived({key & 0xFFFFFF: value for key, value in pairs})
        return None  # frames of unknown types are to be ignored

    def _unpacked(self, block: bytes) -> dict[str, str]:
        data = self._decompress.decompress(block, _HEADERS_LIMIT)
        if self._decompress.unconsumed_tail:
            raise SPDYError(f"the headers of a SPDY stream are longer than {_HEADERS_LIMIT} bytes")
        count = struct.unpack_from(">I", data)[0]
        at = 4
        found: dict[str, str] = {}
        for _ in range(count):
            texts = []
            for _part in range(2):
                length = struct.unpack_from(">I", data, at)[0]
                at += 4
                if at + length > len(data):
                    raise SPDYError("the headers of a SPDY stream end early")
                texts.append(data[at : at + length].decode())
                at += length
            found[texts[0].lower()] = texts[1]
        return found


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body
