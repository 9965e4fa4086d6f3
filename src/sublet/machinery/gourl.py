"""URLs as Go's programs read them, with what they say of those that are none.

Source: Go's net/url package (Parse, ParseRequestURI). Python's own parser takes and refuses other texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

from sublet.machinery.status import quoted

_SCHEME = re.compile(r"[A-Za-z0-9+.\-]*:")
_NAMED = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_PORT = re.compile(r":?\d*\Z")
_HOST = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"%\u0080-\U0010ffff]*")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*\Z")
_ENCODED_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]%/]*\Z")
_KEPT_IN_PATH = "-_.~$&+,/:;=@"


class UnreadableURLError(ValueError):
    """``str()`` is Go's text: ``parse "TEXT": REASON``."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"parse {quoted(text)}: {reason}")


class URL(Struct, frozen=True):
    """The parts of a URL; ``host`` may hold a port."""

    text: str
    scheme: str = ""
    opaque: str = ""
    user: str = ""
    host: str = ""
    path: str = ""
    """As written."""
    raw_query: str = ""
    fragment: str = ""

    @property
    def hostname(self) -> str:
        host, _ = _split_port(self.host)
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @property
    def port(self) -> str:
        return _split_port(self.host)[1]

    @property
    def escaped_path(self) -> str:
        """The path with escapes for what may not stand in one."""
        if _ENCODED_PATH.match(self.path):
            return self.path
        return quote_from_bytes(unquote_to_bytes(self.path), safe=_KEPT_IN_PATH)

    def query(self) -> Mapping[str, list[str]]:
        """Values by key; parts that cannot be read are left out."""
        found: dict[str, list[str]] = {}
        for part in self.raw_query.split("&"):
            key, _, value = part.partition("=")
            if not part or ";" in part or _BAD_ESCAPE.search(part):
                continue
            found.setdefault(_plain(key), []).append(_plain(value))
        return found


def parse(text: str) -> URL:
    """Any URL, also a relative one. Raises :class:`UnreadableURLError`."""
    before, _, fragment = text.partition("#")
    found = _parse(text, before, request=False)
    if _BAD_ESCAPE.search(fragment):
        raise _bad_escape(text, fragment)
    return URL(
        text, found.scheme, found.opaque, found.user, found.host, found.path, found.raw_query, fragment
    )


def parse_request(text: str) -> URL:
    """An absolute URL or an absolute path, as requests state them. Raises :class:`UnreadableURLError`."""
    return _parse(text, text, request=True)


def _parse(text: str, rest: str, *, request: bool) -> URL:
    if _CONTROL.search(rest):
        raise UnreadableURLError(text, "net/url: invalid control character in URL")
    if not rest and request:
        raise UnreadableURLError(text, "empty url")
    if rest == "*":
        return URL(text, path="*")
    scheme, rest = _scheme(text, rest)
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return URL(text, scheme, opaque=rest, raw_query=query)
        if request:
            raise UnreadableURLError(text, "invalid URI for request")
        if ":" in rest.partition("/")[0]:
            raise UnreadableURLError(text, "first path segment in URL cannot contain colon")
    user = host = ""
    if rest.startswith("//") and (scheme or (not request and not rest.startswith("///"))):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, host = _authority(text, authority)
    if _BAD_ESCAPE.search(rest):
        raise _bad_escape(text, rest)
    return URL(text, scheme, "", user, host, rest, query)


def _scheme(text: str, rest: str) -> tuple[str, str]:
    match = _SCHEME.match(rest)
    if match is None:
        return "", rest
    name = match.group()[:-1]
    if not name:
        raise UnreadableURLError(text, "missing protocol scheme")
    return (name.lower(), rest[match.end() :]) if _NAMED.match(name) else ("", rest)


def _authority(text: str, authority: str) -> tuple[str, str]:
    user, at, host = authority.rpartition("@")
    _check_host(text, host)
    if at and not _USER.match(user):
        raise UnreadableURLError(text, "net/url: invalid userinfo")
    if _BAD_ESCAPE.search(user):
        raise _bad_escape(text, user)
    return user, host


def _check_host(text: str, host: str) -> None:
    port = ""
    if "[" in host:
        closing = host.rfind("]")
        if closing < 0:
            raise UnreadableURLError(text, "missing ']' in host")
        port = host[closing + 1 :]
        if port and not port.startswith(":"):
            raise UnreadableURLError(text, f"invalid port {quoted(port)} after host")
    elif ":" in host:
        port = host[host.rindex(":") :]
    if not _PORT.match(port):
        raise UnreadableURLError(text, f"invalid port {quoted(port)} after host")
    escape = re.search(r"%(?!25|[89a-fA-F][0-9a-fA-F]).{0,2}", host, re.DOTALL)
    if escape is not None:
        raise UnreadableURLError(text, f"invalid URL escape {quoted(escape.group())}")
    good = _HOST.match(host)
    end = good.end() if good else 0
    if end < len(host):
        raise UnreadableURLError(text, f"invalid character {quoted(host[end])} in host name")


def _bad_escape(text: str, part: str) -> UnreadableURLError:
    found = _BAD_ESCAPE.search(part)
    return UnreadableURLError(text, f"invalid URL escape {quoted(found.group() if found else '')}")


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isascii() and (port.isdigit() or not port) else (host, "")


def _plain(part: str) -> str:
    return unquote_to_bytes(part.replace("+", " ")).decode("utf-8", "replace")
