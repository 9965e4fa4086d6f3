"""``/debug/api_priority_and_fairness/dump_*``: who waits, who runs, and in which queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sublet.apiserver import pages
from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_BELOW = "/debug/api_priority_and_fairness/"


async def handle(_request: Request, info: RequestInfo, api: APIServer) -> Response:
    """A table as text; 404 for anything else, with the reason where upstream has it, and where priority and fairness is off."""
    from sublet.apiserver.flowcontrol import dump

    pages.refuse(info.path)
    control = api.flow_control
    if control is None or not info.path.startswith(_BELOW):
        return not_served()
    levels = control.levels()
    match info.path.removeprefix(_BELOW):
        case "dump_priority_levels":
            text = dump.priority_levels(levels)
        case "dump_queues":
            text = dump.queues(levels)
        case "dump_requests":
            text = dump.requests(levels, api.clock, details=bool(info.param("includeRequestDetails")))
        case _:
            return not_served()
    return Response(200, [("Content-Type", "text/plain; charset=utf-8")], text.encode())
