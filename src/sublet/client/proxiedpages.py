"""Links in the pages of proxied servers (reference B.13).

Source: apimachinery's util/proxy (transport.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser

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
