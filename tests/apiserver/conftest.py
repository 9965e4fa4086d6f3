"""A whole API server over the memory store; cached objects that anybody changes in place fail the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import Response, User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.store.interface import Store
from sublet.store.open import open_store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await open_store("memory://")
    yield opened
    await opened.close()


@pytest.fixture
async def api(store: Store) -> AsyncIterator[APIServer]:
    server = APIServer(APIServerSettings(advertise_address="10.1.2.3"), store, detect_mutation=True)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def client(api: APIServer) -> Client:
    """An administrator's client."""
    return api.client_as(User("admin", ("system:masters", "system:authenticated")), "tester/1.0")


@pytest.fixture
async def default_account(client: Client) -> None:
    """The ServiceAccount that a controller would have made in the namespace ``default``."""
    await client.create(
        resource("serviceaccounts"), {"metadata": {"name": "default", "namespace": "default"}}
    )


def config_map(name: str = "settings", namespace: str = "default", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def pod(name: str = "web", **spec: Any) -> Object:
    containers = [{"name": "main", "image": "busybox"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": containers, **spec},
    }


@pytest.fixture
def make_config_map() -> Callable[..., Object]:
    return config_map


@pytest.fixture
def make_pod() -> Callable[..., Object]:
    return pod


def decoded(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return codec.decode_json(response.body)


@pytest.fixture
def read() -> Callable[[Response], Any]:
    """A response's JSON."""
    return decoded
