"""The agent's endpoint: who may use it, what it refuses so that clients fall back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sublet.client import tunnel
from sublet.client.credentials import ssl_context
from sublet.client.exchange import Request, Response
from sublet.client.kubeconfig import ClusterAccess
from sublet.machinery.clock import SystemClock
from sublet.machinery.status import BadRequest
from sublet.node.cri import CRI
from sublet.node.httpserver import HTTPServer
from sublet.node.runtime import RuntimeView
from sublet.node.server import NodeServer, server_context
from sublet.node.serving import serving_pair
from sublet.node.settings import NodeSettings
from sublet.node.streaming import supported_protocols
from sublet.pki.authority import Authority, KeyPair

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"containers": [{"name": "c"}]}
}  # fmt: skip


class Pods:
    def pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        return POD if (namespace, name) == ("d", "p") else None

    def all_pods(self) -> list[dict[str, Any]]:
        return [POD]

    def health(self) -> str:
        return ""


@pytest.fixture
def authority() -> Authority:
    return Authority.create("kubernetes")


@pytest.fixture
async def endpoint(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    settings = NodeSettings("n", tmp_path, "/none", "127.0.0.1", client_ca=authority.cert_pem)
    cri = CRI("/none.sock")
    application = NodeServer(settings, cri, RuntimeView(cri), Pods(), SystemClock(), lambda: "m 1\n")
    pair = serving_pair(settings, SystemClock())
    server = HTTPServer(application, server_context(settings, *pair), "127.0.0.1", 0)
    port = await server.start()
    yield f"https://127.0.0.1:{port}"
    await server.stop()
    await cri.close()


async def ask(
    url: str, path: str, pair: KeyPair | None = None, method: str = "GET", **headers: str
) -> Response:
    access = ClusterAccess(url, insecure=True)
    if pair is not None:
        access = ClusterAccess(url, insecure=True, client_cert=pair.cert_pem, client_key=pair.key_pem)
    path, _, query = path.partition("?")
    request = Request(method, path, query, headers)
    response = await tunnel.send(url, request, path, (), ssl_context(access))
    response.body = await tunnel.whole(response)
    return response


async def test_health_is_for_everyone_and_nothing_else(endpoint: str) -> None:
    assert (await ask(endpoint, "/healthz")).body == b"ok"
    for path in ("/pods", "/metrics", "/containerLogs/d/p/c", "/exec/d/p/c"):
        assert (await ask(endpoint, path)).status == 401


async def test_only_the_api_servers_certificate_is_let_in(endpoint: str, authority: Authority) -> None:
    assert (
        await ask(endpoint, "/pods", authority.issue("system:node:other", ("system:nodes",)))
    ).status == 403
    found = await ask(endpoint, "/pods", authority.issue("kube-apiserver-kubelet-client"))
    assert found.status == 200
    assert isinstance(found.body, bytes)
    assert b'"PodList"' in found.body
    assert (await ask(endpoint, "/metrics", authority.issue("any", ("system:masters",)))).body == b"m 1\n"


async def test_a_certificate_of_another_authority_is_refused(endpoint: str) -> None:
    stranger = Authority.create("kubernetes").issue("kube-apiserver-kubelet-client")
    with pytest.raises((ssl.SSLError, ConnectionError, tunnel.ServiceUnavailable)):
        await ask(endpoint, "/pods", stranger)


async def test_unknown_pods_containers_and_paths_are_told(endpoint: str, authority: Authority) -> None:
    mine = authority.issue("kube-apiserver-kubelet-client")
    assert (await ask(endpoint, "/containerLogs/d/none/c", mine)).status == 404
    assert (await ask(endpoint, "/containerLogs/d/p/none", mine)).status == 400
    assert (await ask(endpoint, "/what", mine)).status == 404


async def test_a_request_that_is_no_http_is_refused(endpoint: str) -> None:
    context = ssl_context(ClusterAccess(endpoint, insecure=True))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(endpoint.rpartition(":")[2]), ssl=context)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()


def upgrade(**headers: str) -> Request:
    return Request("GET", "/", "", {name.replace("_", "-"): value for name, value in headers.items()})


def test_protocols_the_runtime_does_not_speak_are_refused() -> None:
    """Clients such as kubectl fall back to SPDY upon an error."""
    for protocols in ("v6.channel.k8s.io", "graphql-ws"):
        with pytest.raises(BadRequest, match="not spoken here"):
            supported_protocols(upgrade(upgrade="websocket", sec_websocket_protocol=protocols))
    with pytest.raises(BadRequest, match="Upgrade request required"):
        supported_protocols(upgrade())
    with pytest.raises(BadRequest):
        supported_protocols(upgrade(upgrade="h2c"))


def test_only_spoken_protocols_are_offered_to_the_runtime() -> None:
    headers = supported_protocols(
        upgrade(
            upgrade="websocket",
            sec_websocket_protocol="v5.channel.k8s.io, v4.channel.k8s.io",
            authorization="x",
        )
    )
    assert dict(headers)["sec-websocket-protocol"] == "v4.channel.k8s.io"
    assert "authorization" not in dict(headers)
    spdy = supported_protocols(
        upgrade(upgrade="SPDY/3.1", x_stream_protocol_version="v4.channel.k8s.io\nv3.channel.k8s.io")
    )
    assert [v for k, v in spdy if k == "x-stream-protocol-version"] == [
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
    ]


def test_the_serving_certificate_is_kept_until_the_address_changes(tmp_path: Path) -> None:
    settings = NodeSettings("n", tmp_path, "/none", "127.0.0.1")
    first = serving_pair(settings, SystemClock())[0].read_bytes()
    certificate, key = serving_pair(settings, SystemClock())
    assert certificate.read_bytes() == first
    assert key.stat().st_mode & 0o777 == 0o600
    moved = NodeSettings("n", tmp_path, "/none", "127.0.0.2")
    assert serving_pair(moved, SystemClock())[0].read_bytes() != first
