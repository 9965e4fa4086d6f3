"""What all tests share."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from sublet.apiserver.api import APIServer
    from sublet.client.client import Client


# How long an example takes depends on what else the machine does; that is no property of the code.
settings.register_profile("sublet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sublet")


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of randomised tests; SUBLET_SEED repeats a run."""
    return int(os.environ.get("SUBLET_SEED") or random.SystemRandom().randrange(1 << 30))


@pytest.fixture
def rng(seed: int) -> random.Random:
    print(f"SUBLET_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
async def api() -> AsyncIterator[APIServer]:
    """A real API server in this process over the memory store; it notices when a cached object is changed."""
    from sublet.apiserver.api import APIServer
    from sublet.apiserver.settings import APIServerSettings
    from sublet.store.open import open_store

    store = await open_store("memory://")
    server = APIServer(APIServerSettings(), store, detect_mutation=True)
    await server.start()
    yield server
    await server.stop()
    await store.close()


@pytest.fixture
def client(api: APIServer) -> Client:
    """An administrator's client of it."""
    from sublet.client.exchange import User

    return api.client_as(User("admin", ("system:masters", "system:authenticated")), "test")
