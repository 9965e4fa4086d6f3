"""Requests without a limit of their own share one timer; each of them still ends when its time is over."""

from __future__ import annotations

import asyncio

import pytest

from sublet.apiserver.filters.timeout import RequestTimeout
from sublet.apiserver.requestinfo import parse
from sublet.client.exchange import Request, Response
from sublet.machinery.status import Timeout


def request(query: str = "") -> Request:
    asked = Request("GET", "/api/v1/pods", query)
    asked.context["info"] = parse(asked)
    return asked


async def forever(_request: Request) -> Response:
    await asyncio.sleep(60)
    return Response(200)


async def at_once(_request: Request) -> Response:
    return Response(200)


async def test_each_request_ends_at_the_limit_and_its_task_goes_on() -> None:
    guard = RequestTimeout(limit=0.05, sweep=0.01)

    async def ask() -> str:
        try:
            await guard(request(), forever)
        except Timeout as error:
            await asyncio.sleep(0)
            return error.message
        return ""

    found = await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(3))), 5)
    assert found == ["Timeout: request did not complete within the allotted timeout"] * 3


async def test_a_request_within_a_request_ends_with_it() -> None:
    guard = RequestTimeout(limit=0.05, sweep=0.01)

    async def outer(_request: Request) -> Response:
        await asyncio.sleep(0.03)
        return await guard(request(), forever)

    with pytest.raises(Timeout):
        await asyncio.wait_for(guard(request(), outer), 5)


async def test_a_client_that_goes_away_is_no_timeout() -> None:
    guard = RequestTimeout(limit=5, sweep=0.01)
    task = asyncio.ensure_future(guard(request(), forever))
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_watch_takes_as_long_as_it_likes() -> None:
    guard = RequestTimeout(limit=0.02, sweep=0.01)

    async def slow(_request: Request) -> Response:
        await asyncio.sleep(0.1)
        return Response(200)

    assert (await guard(request("watch=true"), slow)).status == 200


async def test_the_timer_rests_while_there_is_no_request() -> None:
    guard = RequestTimeout(limit=5, sweep=0.01)
    assert (await guard(request(), at_once)).status == 200
    assert guard._timer is not None
    await asyncio.sleep(0.05)
    assert guard._timer is None
