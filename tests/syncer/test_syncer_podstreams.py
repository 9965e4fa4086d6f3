"""Logs, exec and proxying of tenant pods, through two API servers over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from syncer_clusters import Cluster, Tenant, pod_spec, running_host, running_tenant

from sublet.client import tunnel
from sublet.client.exchange import Connection, Request, Response
from sublet.machinery import objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest
from sublet.syncer.podstreams import HostPodStreams, host_headers, proxied_path


class Node:
    """A node of the host: says what it was asked, and echoes upgraded connections."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def connect(self, pod: Object, subresource: str, request: Request) -> Response:
        self.asked.append(request)
        if request.headers.get("upgrade"):
            headers = [
                ("Upgrade", "SPDY/3.1"),
                ("Connection", "Upgrade"),
                ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
            ]
            return Response(101, headers, upgrade=self._echo)
        if "missing" in request.query:
            raise BadRequest(
                f"container missing is not valid for pod {objects.name(pod)} in {objects.namespace(pod)}"
            )
        return Response(
            200, [("Content-Type", "text/plain")], f"{subresource} of {objects.name(pod)}\n".encode()
        )

    async def _echo(self, connection: Connection) -> None:
        while data := await connection.read():
            await connection.write(data)


class Far:
    """The client's end of an upgraded connection."""

    def __init__(self, *sent: bytes) -> None:
        self._sent = list(sent)
        self.got = b""
        self._closed = asyncio.Event()

    async def read(self) -> bytes:
        if self._sent:
            return self._sent.pop(0)
        await self._closed.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(b"end"):
            self._closed.set()

    def write_eof(self) -> None:
        return

    async def close(self) -> None:
        self._closed.set()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Tenant, Cluster, Node]]:
    async with running_host(tmp_path / "host") as host:
        node = Node()
        host.plane.api.pod_streams = node
        async with running_tenant(host, tmp_path / "tenant") as tenant:
            tenant.plane.api.pod_streams = HostPodStreams(
                host.plane.access(), tenant.host_client, tenant.mapping
            )
            await tenant.make("pods", "web", spec=pod_spec())
            await tenant.running("web")
            yield tenant, host, node


async def ask(tenant: Tenant, what: str, query: str = "", **headers: str) -> Response:
    path = f"/api/v1/namespaces/default/pods/{what}"
    method = "POST" if "exec" in what else "GET"
    return await tunnel.forward(tenant.plane.access(), Request(method, path, query, headers))


async def test_logs_come_from_the_host(pair: Any) -> None:
    tenant, _, _ = pair
    response = await ask(tenant, "web/log", "container=main")
    assert (response.status, await tunnel.whole(response)) == (200, b"log of web-x-default-x-acme\n")


async def test_exec_passes_bytes_both_ways(pair: Any) -> None:
    tenant, _, node = pair
    response = await ask(
        tenant, "web/exec", "command=ls&container=main&stdout=true", upgrade="SPDY/3.1", connection="Upgrade"
    )
    assert response.status == 101
    far = Far(b"\x80\x03 anything", b" at all: end")
    assert response.upgrade is not None
    await asyncio.wait_for(response.upgrade(far), 5)
    assert far.got == b"\x80\x03 anything at all: end"
    assert "command=ls" in node.asked[-1].query


async def test_refusals_do_not_name_the_hosts_objects(pair: Any) -> None:
    tenant, _, _ = pair
    response = await ask(tenant, "web/log", "container=main&x=missing")
    body = (await tunnel.whole(response)).decode()
    assert response.status == 400
    assert "-x-" not in body and "sublet-acme" not in body


async def test_nothing_but_a_copy_is_reached(pair: Any) -> None:
    """A foreign pod that has the name a copy would have is not the tenant's to look into."""
    tenant, host, node = pair
    await host.make("pods", "other-x-default-x-acme", "sublet-acme", spec=pod_spec())
    await tenant.make("nodes", "somewhere", "")
    await tenant.make("pods", "other", spec=pod_spec(nodeName="somewhere"))
    asked = len(node.asked)
    response = await ask(tenant, "other/log")
    assert response.status == 503
    assert len(node.asked) == asked


async def test_proxying_names_the_copy(pair: Any) -> None:
    tenant, _, node = pair
    response = await ask(tenant, "web:8080/proxy/a/b", "q=1")
    assert response.status == 200
    assert node.asked[-1].path.endswith("/pods/web-x-default-x-acme:8080/proxy/a/b")


def test_the_path_to_proxy_keeps_scheme_port_and_rest() -> None:
    path = "/api/v1/namespaces/default/pods/https:web:443/proxy/x%20y"
    assert proxied_path(path, "web", "copy") == "/https:copy:443/proxy/x%20y"
    with pytest.raises(BadRequest):
        proxied_path(path, "other", "copy")


def test_credentials_of_the_tenant_stay_there() -> None:
    request = Request(
        "GET", "/", headers={
            "authorization": "Bearer t", "impersonate-extra-scopes": "x", "x-remote-extra-a": "b", "accept": "*/*",
            "sec-websocket-protocol": "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
        },
    )  # fmt: skip
    assert host_headers(request) == {"accept": "*/*", "sec-websocket-protocol": "v5.channel.k8s.io"}
