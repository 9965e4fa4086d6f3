"""A real API server in this process, and an administrator's client of it."""

from __future__ import annotations

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import User
from sublet.store.open import open_store


@pytest.fixture
async def api():
    store = await open_store("memory://")
    server = APIServer(APIServerSettings(), store, detect_mutation=True)
    await server.start()
    yield server
    await server.stop()
    await store.close()


@pytest.fixture
def client(api):
    return api.client_as(User("admin", ("system:masters", "system:authenticated")), "test")
