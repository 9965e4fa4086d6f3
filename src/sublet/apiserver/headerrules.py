"""Which headers of a request may come twice, and how long the body is that they announce: nothing may be ambiguous."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sublet.machinery.status import BadRequest

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
