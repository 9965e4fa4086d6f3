"""Sends collected warnings as headers (RFC 7234, code 299), as kubectl prints them."""

from __future__ import annotations

import re

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
            response.headers += headers(warnings)
        return response


def headers(warnings: list[str]) -> list[tuple[str, str]]:
    """One for each warning that can be sent."""
    return [("Warning", f'299 - "{_quoted(text)}"') for text in _limited(warnings)]


def _limited(warnings: list[str]) -> list[str]:
    """Each once; those with a control character in them cannot be sent and are left out."""
    texts = [text for text in dict.fromkeys(warnings) if text and not _has_control(text)]
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


_has_control = re.compile("[\x00-\x1f\x7f-\x9f]").search


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace").decode("latin-1")
