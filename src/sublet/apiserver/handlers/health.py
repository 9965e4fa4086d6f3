"""``/healthz``, ``/livez`` and ``/readyz``, each check also below it (B.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sublet.apiserver.dispatch import not_served
from sublet.apiserver.requestinfo import RequestInfo
from sublet.client.exchange import Request, Response
from sublet.machinery.status import MethodNotAllowed

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer

_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]


async def handle(_request: Request, info: RequestInfo, api: APIServer) -> Response:
    """``ok``, or 500 with the list of checks; the reason is told by who is asked for one check alone."""
    if info.verb not in ("get", "head"):
        raise MethodNotAllowed(f"{info.verb} is not supported on {info.path}")
    health = api.health
    endpoint, _, single = info.path.strip("/").partition("/")
    chosen = health.checks(endpoint)
    if single:
        if single not in chosen:
            return not_served()
        why = await health.failed(endpoint, single, chosen[single])
        return _text(500, f"internal server error: {why}\n") if why else _text(200, "ok")
    excluded = [name for value in info.params.get("exclude", ()) for name in value.split(",") if name]
    run = [name for name in chosen if name not in excluded]
    failures = dict(
        zip(run, await asyncio.gather(*(health.failed(endpoint, n, chosen[n]) for n in run)), strict=True)
    )
    lines = [_line(name, failures) for name in chosen]
    if unknown := [name for name in excluded if name not in chosen]:
        quoted = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if any(failures.values()):
        return _text(500, "\n".join((*lines, f"{endpoint} check failed\n")))
    if "verbose" in info.params:
        return _text(200, "\n".join((*lines, f"{endpoint} check passed\n")))
    return _text(200, "ok")


def _line(name: str, failures: dict[str, str]) -> str:
    if name not in failures:
        return f"[+]{name} excluded: ok"
    return f"[-]{name} failed: reason withheld" if failures[name] else f"[+]{name} ok"


def _text(status: int, text: str) -> Response:
    return Response(status, list(_HEADERS), text.encode())
