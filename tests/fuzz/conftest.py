"""A whole API server over the memory store; cached objects that anybody changes in place fail the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.store.open import open_store


@pytest.fixture
async def api() -> AsyncIterator[APIServer]:
    store = await open_store("memory://")
    server = APIServer(APIServerSettings(advertise_address="10.1.2.3"), store, detect_mutation=True)
    await server.start()
    yield server
    await server.stop()
    await store.close()
