"""The HTTP transport over TLS against our own server: who is believed, and who asks."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest
from msgspec import structs

from sublet.apiserver.api import APIServer
from sublet.apiserver.authentication.build import AuthenticationSettings
from sublet.apiserver.server import HTTPServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.http import HTTPTransport
from sublet.client.informer import Informer
from sublet.client.kubeconfig import ClusterAccess, KubeconfigError
from sublet.kinds.resources import resource
from sublet.machinery.status import ServiceUnavailable
from sublet.pki.authority import SERVER, Authority
from sublet.store.open import open_store

REVIEWS = resource("selfsubjectreviews.authentication.k8s.io")


@pytest.fixture
async def access(tmp_path):
    """An administrator's access to a running server whose certificate is for ``api.test`` only."""
    authority = Authority.create("test")
    server = authority.issue("server", dns=["api.test"], usages=[SERVER])
    (tmp_path / "pair.pem").write_bytes(server.cert_pem + server.key_pem)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    store = await open_store("memory://")
    authentication = AuthenticationSettings(client_ca=authority.cert_pem)
    api = APIServer(APIServerSettings(authentication=authentication), store)
    await api.start()
    http = HTTPServer(api, ssl_context=context)
    await http.start()
    admin = authority.issue("jane", ["system:masters"])
    yield ClusterAccess(
        f"https://127.0.0.1:{http.port}", authority.cert_pem, admin.cert_pem, admin.key_pem,
        tls_server_name="api.test",
    )  # fmt: skip
    await http.stop()
    await api.stop()
    await store.close()


@contextlib.asynccontextmanager
async def client_of(access):
    client = Client(HTTPTransport(access), "test")
    try:
        yield client
    finally:
        await client.close()


async def test_a_client_certificate_says_who_asks(access):
    async with client_of(access) as client:
        review = await client.create(REVIEWS, {"spec": {}})
    assert review["status"]["userInfo"]["username"] == "jane"


async def test_the_name_in_the_servers_certificate_must_be_the_one_that_was_asked_for(access):
    async with client_of(structs.replace(access, tls_server_name="")) as client:
        with pytest.raises(ServiceUnavailable, match=r"cannot be reached: .*certificate verify failed"):
            await client.create(REVIEWS, {"spec": {}})


async def test_a_server_of_another_authority_is_not_believed(access):
    other = Authority.create("other").cert_pem
    async with client_of(structs.replace(access, ca_data=other)) as client:
        with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
            await client.create(REVIEWS, {"spec": {}})


async def test_insecure_believes_any_server(access):
    anyone = structs.replace(access, ca_data=b"", tls_server_name="", insecure=True)
    async with client_of(anyone) as client:
        assert (await client.create(REVIEWS, {"spec": {}}))["status"]["userInfo"]["username"] == "jane"


async def test_a_key_that_is_not_the_certificates_is_named_as_unusable(access):
    stranger = Authority.create("x").issue("x").key_pem
    async with client_of(structs.replace(access, client_key=stranger)) as client:
        with pytest.raises(KubeconfigError, match=r"certificates for https://127\.0\.0\.1:.* cannot be used"):
            await client.create(REVIEWS, {"spec": {}})


async def test_an_informer_follows_over_https(access):
    maps = resource("configmaps")
    async with client_of(access) as client:
        informer = Informer(client, maps, "default")
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced(), 5)
        await client.create(maps, {"metadata": {"name": "a"}}, "default")
        async with asyncio.timeout(5):
            while informer.get("default", "a") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
