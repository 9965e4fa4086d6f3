"""Paths of the ``proxy`` subresource, and what links become below it (reference B.13).

Source: apimachinery's util/proxy (upgradeaware.go, transport.go) and util/net (port_split.go).
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct

_PATH = re.compile(
    r"/api/v1/(?:namespaces/[^/]+/)?(?P<plural>pods|services|nodes)/(?P<name>[^/]+)/proxy(?P<rest>/.*)?"
).fullmatch


class ProxyPath(Struct, frozen=True):
    """``PREFIX/REST`` where PREFIX is ``/api/v1/…/[SCHEME:]NAME[:PORT]/proxy``. ``rest`` is as it came, or ``""``."""

    prefix: str
    plural: str
    scheme: str
    name: str
    port: str
    rest: str

    @property
    def target(self) -> str:
        """The path at the target: ``rest`` without ``.``, ``..`` and doubled slashes, at least ``/``."""
        kept: list[str] = []
        for segment in self.rest.split("/"):
            plain = unquote(segment)
            if plain == "..":
                del kept[-1:]
            elif plain not in ("", "."):
                kept.append(segment)
        path = "/" + "/".join(kept)
        return path + "/" if kept and self.rest.endswith("/") else path


def split(path: str) -> ProxyPath | None:
    """The parts of a path that is still percent-encoded; None where it is none, or its name makes no sense."""
    found = _PATH(path)
    if found is None:
        return None
    match unquote(found["name"]).split(":"):
        case [name]:
            scheme, port = "", ""
        case [name, port]:
            scheme = ""
        case [scheme, name, port]:
            pass
        case _:
            return None
    if scheme not in ("", "http", "https") or not name:
        return None
    rest = found["rest"] or ""
    return ProxyPath(path.removesuffix(rest), found["plural"], scheme, name, port, rest)


def relocated(link: str, prefix: str, hosts: tuple[str, ...]) -> str:
    """A link of a proxied page, so that following it stays below the proxy.

    Links to other hosts than ``hosts`` and relative ones stay; so do those that have the prefix already.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return link
    path = parts.path if parts.path.startswith(prefix) else prefix + re.sub(r"//+", "/", parts.path)
    return urlunsplit(("", "", path, parts.query, parts.fragment))
