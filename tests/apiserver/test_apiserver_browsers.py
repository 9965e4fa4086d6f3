"""What browsers are told, where it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, Response, User
from sublet.store.interface import Store

ADMIN = User("admin", ("system:masters", "system:authenticated"))


async def ask(api: APIServer, method: str = "GET", user: User | None = ADMIN, **headers: str) -> Response:
    return await api.handle(Request(method, "/version", "", headers, user=user, remote="192.0.2.1:1"))


@pytest.fixture
async def browsed(store: Store) -> AsyncIterator[APIServer]:
    api = APIServer(
        APIServerSettings(
            cors_allowed_origins=[r"//a\.example\.com(:|$)"],
            strict_transport_security=["max-age=31536000", "includeSubDomains"],
        ),
        store,
    )
    await api.start()
    yield api
    await api.stop()


async def test_a_page_of_an_allowed_origin_may_read_the_answer(browsed: APIServer) -> None:
    response = await ask(browsed, origin="https://a.example.com:8443")
    assert response.status == 200
    assert response.header("Access-Control-Allow-Origin") == "https://a.example.com:8443"
    assert response.header("Access-Control-Allow-Methods") == "POST, GET, OPTIONS, PUT, DELETE, PATCH"
    assert response.header("Access-Control-Allow-Credentials") == "true"


async def test_a_browser_that_asks_first_needs_no_credentials(browsed: APIServer) -> None:
    response = await ask(browsed, "OPTIONS", None, origin="https://a.example.com")
    assert (response.status, response.body) == (204, b"")
    assert "Authorization" in response.header("Access-Control-Allow-Headers")


@pytest.mark.parametrize("origin", ["https://b.example.com", "https://a.example.com.evil.org", ""])
async def test_others_get_no_leave(browsed: APIServer, origin: str) -> None:
    assert not (await ask(browsed, origin=origin)).header("Access-Control-Allow-Origin")


async def test_every_answer_says_to_keep_to_tls(browsed: APIServer, api: APIServer) -> None:
    for user, status in ((ADMIN, 200), (User("nobody"), 403)):
        response = await ask(browsed, user=user)
        assert response.status == status
        assert response.header("Strict-Transport-Security") == "max-age=31536000; includeSubDomains"
    assert not (await ask(api)).header("Strict-Transport-Security")
