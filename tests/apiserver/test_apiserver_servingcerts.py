"""Certificates of one's own that the server shows, by the name that a client asks for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509

from sublet.apiserver.server import HTTPServer, tls_context
from sublet.apiserver.servingcerts import LOOPBACK, Pair, ServingCertificates, ServingFiles
from sublet.client.exchange import Request, Response
from sublet.pki.authority import SERVER, Authority
from sublet.pki.files import PKIError


class Files:
    """Certificates on disk, each with its name as subject."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = Authority.create("somebody's")

    def pair(self, name: str, dns: Sequence[str] = (), names: tuple[str, ...] = ()) -> Pair:
        issued = self.ca.issue(name, dns=list(dns), usages=(SERVER,))
        found = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key", names)
        found.certificate.write_bytes(issued.cert_pem)
        found.key.write_bytes(issued.key_pem)
        return found


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Server:
    def __init__(self, files: Files, stated: ServingFiles) -> None:
        own = files.pair("own", ["localhost"])
        self.certificates = ServingCertificates(stated, own, tls_context)
        self.http = HTTPServer(self, ssl_context=self.certificates.context, choose=self.certificates.choose)

    async def handle(self, _request: Request) -> Response:
        return Response(200, [], b"")

    async def shown(self, name: str | None) -> str:
        """The subject of the certificate that who asks for a name is shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.http.port, ssl=context, server_hostname=name or ""
        )
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        subject = x509.load_der_x509_certificate(certificate).subject
        return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


@pytest.fixture
async def started() -> AsyncIterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        await server.http.stop(0.1)


async def serve(files: Files, started: list[Server], stated: ServingFiles) -> Server:
    server = Server(files, stated)
    await server.http.start()
    started.append(server)
    return server


async def test_a_certificate_is_chosen_by_the_name_asked_for(files: Files, started: list[Server]) -> None:
    server = await serve(
        files,
        started,
        ServingFiles(
            files.pair("default"),
            (
                files.pair("wild", ["*.example.com"]),
                files.pair("stated", ["else.example.org"], ("a.example.com", "*.example.net", "127.0.0.1")),
                files.pair("later", ["b.example.org", "*.example.com"]),
                files.pair("common.example.info"),
            ),
        ),
    )
    expected = {
        "nobody.example.edu": "default",
        "x.example.com": "wild",
        "x.y.example.com": "default",
        "A.Example.com": "stated",
        "b.example.net": "stated",
        "else.example.org": "default",
        "b.example.org": "later",
        "common.example.info": "common.example.info",
        LOOPBACK: "own",
        None: "stated",
    }
    assert {name: await server.shown(name) for name in expected} == expected


async def test_without_a_default_the_servers_own_is_shown(files: Files, started: list[Server]) -> None:
    server = await serve(files, started, ServingFiles(None, (files.pair("named", ["a.example.com"]),)))
    assert [await server.shown(each) for each in (None, "a.example.com", "b.example.com")] == [
        "own", "named", "own",
    ]  # fmt: skip


async def test_changed_files_are_served_to_new_connections(files: Files, started: list[Server]) -> None:
    default, named = files.pair("default"), files.pair("named", ["a.example.com"])
    server = await serve(files, started, ServingFiles(default, (named,)))
    assert not await server.certificates.look(server.http.use)
    for old, new in ((default, files.pair("default2")), (named, files.pair("named2", ["b.example.com"]))):
        old.certificate.write_bytes(new.certificate.read_bytes())
        old.key.write_bytes(new.key.read_bytes())
    assert await server.certificates.look(server.http.use)
    shown = [await server.shown(each) for each in (None, "a.example.com", "b.example.com")]
    assert shown == ["default2", "default2", "named2"]


async def test_changed_files_that_do_not_fit_together_are_not_taken(
    files: Files, started: list[Server]
) -> None:
    default = files.pair("default")
    server = await serve(files, started, ServingFiles(default))
    default.key.write_bytes(files.pair("other").key.read_bytes())
    assert not await server.certificates.look(server.http.use)
    assert await server.shown(None) == "default"
    other = files.pair("other")
    default.certificate.write_bytes(other.certificate.read_bytes())
    default.key.write_bytes(other.key.read_bytes())
    assert await server.certificates.look(server.http.use)
    assert await server.shown(None) == "other"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda pair: pair.key.unlink(), r"open .*default.key: no such file or directory"),
        (
            lambda pair: pair.certificate.write_text("no PEM"),
            "tls: failed to find any PEM data in certificate",
        ),
        (lambda pair: pair.key.write_text("no PEM"), "tls: failed to parse certificate or private key"),
    ],
)
def test_files_that_cannot_be_are_refused(files: Files, spoil: object, why: str) -> None:
    pair = files.pair("default")
    spoil(pair)  # type: ignore[operator]
    with pytest.raises(PKIError, match=why):
        Server(files, ServingFiles(pair))


def test_a_key_of_another_certificate_is_refused(files: Files) -> None:
    pair, other = files.pair("default"), files.pair("other")
    with pytest.raises(PKIError, match="tls: private key does not match public key"):
        Server(files, ServingFiles(Pair(pair.certificate, other.key)))
