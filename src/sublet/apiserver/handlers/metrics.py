"""``/metrics`` in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def handle(_request: Request, info: RequestInfo, api: APIServer) -> Response:
    if info.path.strip("/") != "metrics" or info.verb not in ("get", "head"):
        return not_served()
    return Response(200, [("Content-Type", _TYPE)], api.metrics.text().encode())
