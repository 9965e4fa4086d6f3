"""The whole application behind real TLS sockets."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_front import Front, MovableClock, front
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sublet.apiserver.server import HTTPServer, tls_context
from sublet.client.exchange import Connection, Request, Response
from sublet.pki.authority import SERVER, Authority, KeyPair, read_key

__all__ = ["front"]

Answer = tuple[int, dict[str, str], bytes]


class Served:
    """An API server at a port, and ways to call it."""

    def __init__(self, front: Front, server: HTTPServer, directory: Path) -> None:
        self.front = front
        self.server = server
        self._directory = directory

    def context(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.front.ca.cert_pem.decode())
        if pair is not None:
            path = self._directory / "client.pem"
            path.write_bytes(pair.cert_pem + pair.key_pem)
            context.load_cert_chain(path)
        return context

    async def open(self, pair: KeyPair | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port, ssl=self.context(pair))

    async def get(self, path: str, pair: KeyPair | None = None, headers: str = "") -> Answer:
        reader, writer = await self.open(pair)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        if not head:
            raise ConnectionError("closed without an answer")
        status, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        return int(status.split()[1]), headers, body


def intermediate(root: Authority, *, authority: bool = True) -> Authority:
    """One whose certificate ``root`` signed; ``authority`` False: that says it may not issue any."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "between")]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(read_key(root.key_pem, "root"), hashes.SHA256())
    )
    return Authority(certificate, key)


@pytest.fixture
async def served(front: Front, tmp_path: Path) -> AsyncIterator[Served]:
    pair = front.ca.issue("kube-apiserver", ips=["127.0.0.1"], usages=(SERVER,))
    certificate, key = tmp_path / "apiserver.crt", tmp_path / "apiserver.key"
    certificate.write_bytes(pair.cert_pem)
    key.write_bytes(pair.key_pem)
    authorities = []
    for name, authority in (("ca", front.ca), ("front-proxy-ca", front.front_proxy)):
        authorities.append(tmp_path / f"{name}.crt")
        authorities[-1].write_bytes(authority.cert_pem)
    server = HTTPServer(front.api, ssl_context=tls_context(certificate, key, authorities))
    await server.start()
    yield Served(front, server, tmp_path)
    await server.stop(1)


async def test_without_a_certificate_one_is_anonymous(served: Served) -> None:
    assert (await served.get("/readyz"))[0] == 200
    status, _, body = await served.get("/api/v1/pods")
    assert status == 403
    assert "system:anonymous" in json.loads(body)["message"]


async def test_a_client_certificate_is_who_one_is(served: Served) -> None:
    admin = served.front.ca.issue("admin", ("system:masters",))
    status, headers, body = await served.get("/api/v1/namespaces/default", admin)
    assert status == 200
    assert json.loads(body)["metadata"]["name"] == "default"
    assert headers["connection"] == "close"


async def test_a_certificate_of_a_stranger_is_answered_401(served: Served) -> None:
    stranger = Authority.create("kubernetes").issue("admin", ("system:masters",))
    for path in ("/api/v1/pods", "/healthz"):
        status, _, body = await served.get(path, stranger)
        assert (status, json.loads(body)["reason"]) == (401, "Unauthorized")


async def test_an_expired_certificate_is_answered_401(served: Served) -> None:
    past = MovableClock()
    past.ahead = -10 * 86400
    ca = served.front.ca
    before = Authority(ca.certificate, read_key(ca.key_pem, "ca"), past)
    status, _, body = await served.get("/api/v1/pods", before.issue("jane", ("system:masters",), days=1))
    assert (status, json.loads(body)["message"]) == (401, "Unauthorized")


async def test_a_servers_certificate_is_none_for_clients(served: Served) -> None:
    server = served.front.ca.issue("jane", ("system:masters",), usages=(SERVER,))
    assert (await served.get("/api/v1/pods", server))[0] == 401


async def test_a_strangers_certificate_does_no_harm_beside_a_good_token(served: Served) -> None:
    stranger = Authority.create("kubernetes").issue("admin", ("system:masters",))
    headers = "Authorization: Bearer static-secret\r\n"
    status, _, body = await served.get("/api/v1/pods", stranger, headers)
    assert status == 403
    assert 'User "carol"' in json.loads(body)["message"]


async def test_an_intermediate_authority_that_comes_along_is_believed(served: Served) -> None:
    between = intermediate(served.front.ca)
    pair = between.issue("jane", ("system:masters",))
    assert (await served.get("/api/v1/pods", pair))[0] == 401
    whole = KeyPair(pair.cert_pem + between.cert_pem, pair.key_pem)
    assert (await served.get("/api/v1/pods", whole))[0] == 200


async def test_a_certificate_that_is_no_authoritys_issues_nothing(served: Served) -> None:
    forger = intermediate(served.front.ca, authority=False)
    pair = forger.issue("admin", ("system:masters",))
    whole = KeyPair(pair.cert_pem + forger.cert_pem, pair.key_pem)
    assert (await served.get("/api/v1/pods", whole))[0] == 401


async def test_a_watch_over_tls_delivers_events_and_ends_cleanly_when_the_server_stops(
    served: Served,
) -> None:
    admin = served.front.ca.issue("admin", ("system:masters",))
    reader, writer = await served.open(admin)
    writer.write(b"GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    await served.front.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
    line = await asyncio.wait_for(reader.readuntil(b'"name":"c"'), 5)
    assert b'"type":"ADDED"' in line
    stopping = asyncio.create_task(served.server.stop(3))
    rest = await asyncio.wait_for(reader.read(), 5)
    assert rest.endswith(b"\r\n0\r\n\r\n")
    writer.close()
    await stopping


async def test_a_renewed_certificate_is_served_to_new_connections(served: Served, tmp_path: Path) -> None:
    pair = served.front.ca.issue("renewed", ips=["127.0.0.1"], usages=(SERVER,))
    (tmp_path / "new.crt").write_bytes(pair.cert_pem)
    (tmp_path / "new.key").write_bytes(pair.key_pem)
    served.server.renew(tmp_path / "new.crt", tmp_path / "new.key")
    _, writer = await served.open()
    certificate = writer.get_extra_info("peercert")
    assert certificate["subject"] == ((("commonName", "renewed"),),)
    writer.close()


async def test_exec_over_tls_hands_the_connection_to_the_pods_node(served: Served) -> None:
    class Echo:
        """Stands for the node: answers the upgrade and says everything back."""

        async def connect(self, _pod: Any, subresource: str, request: Request) -> Response:
            assert (subresource, request.query) == ("exec", "container=c&command=sh")
            assert request.upgradable

            async def carry(connection: Connection) -> None:
                while data := await connection.read():
                    await connection.write(data)

            return Response(101, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")], upgrade=carry)

    front = served.front
    await front.account("default")
    pods = "/api/v1/namespaces/default/pods"
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    await front.create(pods, {"metadata": {"name": "p"}, "spec": spec})
    front.api.pod_streams = Echo()
    reader, writer = await served.open(front.ca.issue("admin", ("system:masters",)))
    head = "Host: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"
    writer.write(f"POST {pods}/p/exec?command=sh HTTP/1.1\r\n{head}".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    sent = bytes(range(256)) * 4096
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent
    writer.close()


async def test_many_clients_at_once_are_all_answered(served: Served) -> None:
    answers = await asyncio.gather(*(served.get("/healthz") for _ in range(40)))
    assert {status for status, _, _ in answers} == {200}
