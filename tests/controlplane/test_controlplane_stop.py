"""A control plane ends whenever it is asked to."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from sublet.client.exchange import Request
from sublet.client.http import HTTPTransport
from sublet.controlplane.assemble import Assembly, ControlPlane, Shutdown
from sublet.machinery.status import ServiceUnavailable


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 20, 40, 80])
async def test_stop_right_after_start_ends(tmp_path: Path, milliseconds: int) -> None:
    """Its controllers are then still making their first lists; none may miss that it is cancelled."""
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://"))
    await plane.start()
    await asyncio.sleep(milliseconds / 1000)
    stopping = asyncio.create_task(plane.stop())
    done, _waiting = await asyncio.wait({stopping}, timeout=20)
    assert stopping in done


async def ask(plane: ControlPlane, path: str, query: str = "") -> tuple[int, str]:
    transport = HTTPTransport(plane.access())
    try:
        response = await transport.request(Request("GET", path, query))
    finally:
        await transport.close()
    assert isinstance(response.body, bytes)
    return response.status, response.body.decode()


async def knock(plane: ControlPlane) -> bytes:
    """What somebody without credentials is answered, to the end of the connection."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", plane.port, ssl=ssl._create_unverified_context()
    )
    writer.write(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_readiness_ends_at_once_while_the_server_serves_on_for_its_delay(tmp_path: Path) -> None:
    plane = ControlPlane(
        Assembly(data_dir=tmp_path, store_url="memory://", shutdown=Shutdown(delay=1.5), controllers=False)
    )
    await plane.start()
    stopping = asyncio.create_task(plane.stop())
    await asyncio.sleep(0)
    status, text = await ask(plane, "/readyz")
    assert (status, "[-]shutdown failed: reason withheld" in text) == (500, True)
    assert await ask(plane, "/livez") == (200, "ok")
    assert (await ask(plane, "/api/v1/namespaces"))[0] == 200
    await stopping


@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_request_that_has_come_gets_its_answer(tmp_path: Path, retry_after: bool) -> None:
    """A list at a revision yet to come: upstream waits 3 seconds for it."""
    how = Shutdown(retry_after=retry_after)
    plane = ControlPlane(Assembly(data_dir=tmp_path, store_url="memory://", shutdown=how, controllers=False))
    await plane.start()
    asked = asyncio.create_task(ask(plane, "/api/v1/namespaces", "resourceVersion=999999999"))
    await asyncio.sleep(0.5)
    stopping = asyncio.create_task(plane.stop())
    await asyncio.sleep(0.1)
    if retry_after:
        assert (await knock(plane)).startswith(b"HTTP/1.1 429 ")
    else:
        with pytest.raises(ServiceUnavailable):
            await ask(plane, "/api/v1/namespaces")
    status, text = await asked
    assert (status, "Too large resource version" in text) == (504, True)
    await stopping
