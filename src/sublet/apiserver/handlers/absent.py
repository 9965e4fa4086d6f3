"""``/logs``: who asks is told why it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import pages
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer


async def handle(_request: Request, info: RequestInfo, _api: APIServer) -> Response:
    """Raises ``NotFound`` with the reason."""
    pages.refuse(info.path)
    return not_served()
