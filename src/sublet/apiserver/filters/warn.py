"""Sends collected warnings as headers (RFC 7234, code 299), as kubectl prints them."""

from __future__ import annotations

from sublet.apiserver.chain import Proceed
from sublet.client.exchange import Request, Response

_EACH = 256
_ALL = 4096
"""As upstream: beyond this many bytes together, each is cut; and nothing above it is sent."""


class Warn:
    async def __call__(self, request: Request, proceed: Proceed) -> Response:
        response = await proceed(request)
        warnings: list[str] = request.context["warnings"]
        if warnings:
            response.headers.extend(("Warning", f'299 - "{_quoted(text)}"') for text in _limited(warnings))
        return response


def _limited(warnings: list[str]) -> list[str]:
    texts = list(dict.fromkeys(warnings))
    if sum(map(len, texts)) > _ALL:
        texts = [text[:_EACH] for text in texts]
    kept: list[str] = []
    size = 0
    for text in texts:
        size += len(text)
        if size > _ALL:
            break
        kept.append(text)
    return kept


def _quoted(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8").decode("latin-1")
