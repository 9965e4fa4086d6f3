"""Paths of the ``proxy`` subresource, and what the answers of proxied servers become below it (reference B.13).

Source: apimachinery's util/proxy (upgradeaware.go, transport.go) and util/net (port_split.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct

_PATH = re.compile(
    r"/api/v1/(?:namespaces/[^/]+/)?(?P<plural>pods|services|nodes)/(?P<name>[^/]+)/proxy(?P<rest>/.*)?"
).fullmatch
_ATTRIBUTE = re.compile(r"""(?P<head>\s(?P<name>[a-zA-Z]+)\s*=\s*)(?P<value>"[^"]*"|'[^']*'|[^\s"'>]+)""")
_LINKS = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",), "base": ("href",),
    "blockquote": ("cite",), "body": ("background",), "button": ("formaction",), "command": ("icon",), "del": ("cite",),
    "embed": ("src",), "form": ("action",), "frame": ("longdesc", "src"), "head": ("profile",), "html": ("manifest",),
    "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"), "input": ("src", "usemap", "formaction"),
    "ins": ("cite",), "link": ("href",), "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",),
    "script": ("src",), "source": ("src",), "video": ("poster", "src"),
}  # fmt: skip
"""Which attributes of which elements hold a link."""


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


def rewritten(page: str, link: Callable[[str], str]) -> str:
    """A page of HTML with ``link`` applied to every link in its elements, everything else as it was."""
    tags = _Tags()
    tags.feed(page)
    tags.close()
    starts = [0]
    for line in page.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    made: list[str] = []
    done = 0
    for row, column, name, text in tags.found:
        at = starts[row - 1] + column
        if at < done or not page.startswith(text, at):
            continue
        made += (page[done:at], _with_links(text, _LINKS[name], link))
        done = at + len(text)
    return "".join(made) + page[done:]


def _with_links(tag: str, attributes: tuple[str, ...], link: Callable[[str], str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match["name"].lower() not in attributes:
            return match[0]
        value = match["value"]
        plain = unescape(value[1:-1] if value[0] in "\"'" else value)
        changed = link(plain)
        return match[0] if changed == plain else f'{match["head"]}"{escape(changed)}"'

    return _ATTRIBUTE.sub(replace, tag)


class _Tags(HTMLParser):
    """Where the elements with links begin."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[tuple[int, int, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _LINKS and (text := self.get_starttag_text()):
            line, column = self.getpos()
            self.found.append((line, column, tag, text))
