"""Large answers go out compressed to those who take that."""

from __future__ import annotations

import asyncio
import zlib

from sublet.client.exchange import Request, Response

_FROM = 128 * 1024
_IN_THREAD_FROM = 256 * 1024
"""Above this, compressing would hold the loop for more than a few milliseconds."""


def is_wanted(request: Request, response: Response, size: int) -> bool:
    """Whether a body of so many bytes is to be compressed."""
    return (
        size > _FROM
        and _takes_gzip(request.headers.get("accept-encoding", ""))
        and not response.header("content-encoding")
    )


def _takes_gzip(header: str) -> bool:
    """As upstream, to whom a coding with a quality (``gzip;q=1``) is another coding."""
    return "gzip" in header and any(coding.strip() == "gzip" for coding in header.split(","))


async def compressed(loop: asyncio.AbstractEventLoop, body: bytes) -> bytes:
    if len(body) < _IN_THREAD_FROM:
        return _gzip(body)
    return await loop.run_in_executor(None, _gzip, body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()
