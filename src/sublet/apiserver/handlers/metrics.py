"""``/metrics``, ``/metrics/slis`` and ``/metrics/resources`` in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import podresources
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def handle(_request: Request, info: RequestInfo, api: APIServer) -> Response:
    if info.verb not in ("get", "head"):
        return not_served()
    match info.path.strip("/"):
        case "metrics":
            text = await api.metrics.paced_text()
        case "metrics/slis":
            text = "\n".join(await api.health.lines()) + "\n"
        case "metrics/resources":
            text = await podresources.text(api.registry)
        case _:
            return not_served()
    return Response(200, [("Content-Type", _TYPE)], text.encode())
