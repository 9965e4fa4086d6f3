"""Which headers of a request may come twice, how long the body is that they announce (nothing may be ambiguous), and
the head of a response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import unquote

from sublet.machinery.status import BadRequest

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_BY_NEWLINE = frozenset(("impersonate-group", "x-remote-group", "x-stream-protocol-version"))
_BY_NEWLINE_PREFIXES = ("impersonate-extra-", "x-remote-extra-")
_ONCE = frozenset((
    "authorization", "content-length", "host", "impersonate-uid", "impersonate-user", "transfer-encoding",
    "x-remote-uid", "x-remote-user",
))  # fmt: skip
"""Headers of which a second one could only be meant to deceive."""


class HeaderRules:
    """How repeated headers are taken. ``listed`` and ``prefixes``, in lower case: further ones that are lists."""

    def __init__(self, listed: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        self._listed = _BY_NEWLINE | frozenset(listed)
        self._prefixes = (*_BY_NEWLINE_PREFIXES, *prefixes)

    def joined(self, key: str, before: str, text: str) -> str:
        """The value of a header that came again: by newline where values may hold commas. Raises ``BadRequest``."""
        if key in _ONCE:
            raise BadRequest(f"repeated {key} header")
        newline = key in self._listed or key.startswith(self._prefixes)
        return before + ("\n" if newline else ", ") + text


def utf8(value: str) -> str:
    """A header's value as clients mean it: its bytes are UTF-8, though HTTP itself reads them as Latin-1."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def unescaped(key: str) -> str:
    """What the rest of a header's name stands for: percent-encoded, or as it is where anything is no such code."""
    return key if _no_code(key) else unquote(key)


_no_code = re.compile("%(?![0-9a-fA-F]{2})").search


def body_length(version: str, headers: Mapping[str, str]) -> int:
    """The stated length of the body, 0 where it is chunked or there is none. Raises ``BadRequest``."""
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"HTTP/{version} is not spoken here")
    if "transfer-encoding" in headers:
        if version == "1.0":
            raise BadRequest("Transfer-Encoding is not for HTTP/1.0")
        if "content-length" in headers:
            raise BadRequest("both Content-Length and Transfer-Encoding are given")
        if headers["transfer-encoding"].strip().lower() != "chunked":
            raise BadRequest("unsupported Transfer-Encoding")
        return 0
    length = headers.get("content-length")
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 19:
        raise BadRequest("bad Content-Length")
    return int(length)


def response_head(
    status: int, headers: Sequence[tuple[str, str]], date_line: str, keep: bool, length: int | None
) -> bytes:
    """The bytes before a response's body; ``length`` None says nothing of the body's length."""
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"]
    dated = False
    for name, value in headers:
        dated = dated or name == "Date"
        if "\n" in value or "\r" in value:
            value = value.replace("\r", " ").replace("\n", " ")
        lines.append(f"{name}: {value}\r\n")
    if not dated:  # what was proxied brings its own
        lines.append(date_line)
    if length is not None:
        lines.append(f"Content-Length: {length}\r\n")
    lines.append("\r\n" if keep or status == 101 else "Connection: close\r\n\r\n")
    return "".join(lines).encode("latin-1", "replace")
