"""``/statusz`` and ``/flagz``."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import yaml

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.exchange import Request, Response, User
from sublet.store.interface import Store

ADMIN = User("admin", ("system:masters", "system:authenticated"))
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for "
    "debugging purposes only."
)


async def ask(api: APIServer, path: str, accept: str = "", user: User = ADMIN) -> Response:
    headers = {"accept": accept} if accept else {}
    return await api.handle(Request("GET", path, "", headers, user=user, remote="192.0.2.1:1"))


def body(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


@pytest.fixture
async def flagged(store: Store) -> AsyncIterator[APIServer]:
    api = APIServer(APIServerSettings(flags=lambda: {"event-ttl": "1h0m0s", "v": "0"}), store)
    await api.start()
    yield api
    await api.stop()


@pytest.mark.parametrize(
    "accept", ["", "text/plain", "*/*", "application/json;v=foo;g=config.k8s.io;as=Statusz,*/*"]
)
async def test_status_is_a_text_that_nobody_should_parse(api: APIServer, accept: str) -> None:
    response = await ask(api, "/statusz", accept)
    assert (response.status, response.header("Content-Type")) == (200, "text/plain; charset=utf-8")
    lines = body(response).split("\n")
    assert lines[:4] == ["", "kube-apiserver statusz", WARNING, ""]
    names = [re.split(r": |[:= ] ?(?=\S+)", line, maxsplit=1)[0] for line in lines[4:6]]
    assert names == ["Started", "Up"]
    assert re.search(r"^Up.* 0 hr 00 min \d\d sec$", body(response), re.M)
    assert re.search(r"^Binary version.* 1\.36\.\d+$", body(response), re.M)
    assert re.search(r"^Paths.* /flagz /healthz /livez /metrics /readyz /version$", body(response), re.M)


async def test_status_is_an_object_for_who_asks_for_its_version(api: APIServer) -> None:
    response = await ask(api, "/statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Statusz")
    found = json.loads(body(response))
    assert (found["kind"], found["apiVersion"], found["metadata"]) == (
        "Statusz", "config.k8s.io/v1beta1", {"name": "kube-apiserver"},
    )  # fmt: skip
    assert found["emulationVersion"] == "1.36" and found["uptimeSeconds"] >= 0
    assert found["paths"] == ["/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/version"]
    assert not response.header("Warning")


@pytest.mark.parametrize("page", ["Statusz", "Flagz"])
async def test_the_older_version_warns_where_it_comes_first(api: APIServer, page: str) -> None:
    old, new = (f"application/json;g=config.k8s.io;v={v};as={page}" for v in ("v1alpha1", "v1beta1"))
    response = await ask(api, f"/{page.lower()}", f"{old},{new}")
    assert json.loads(body(response))["apiVersion"] == "config.k8s.io/v1alpha1"
    text = f"This version of the {page.lower()} endpoint is deprecated. Please use a newer version."
    assert response.header("Warning") == f'299 - "{text}"'
    response = await ask(api, f"/{page.lower()}", f"{new},{old}")
    assert json.loads(body(response))["apiVersion"] == "config.k8s.io/v1beta1"
    assert not response.header("Warning")


@pytest.mark.parametrize(
    "accept", ["application/xml", "application/json", "application/json;v=v1beta1;g=config.k8s.io"]
)
async def test_what_is_neither_is_406(api: APIServer, accept: str) -> None:
    assert (await ask(api, "/statusz", accept)).status == 406
    assert (await ask(api, "/flagz", accept)).status == 406


async def test_flags_are_those_it_was_started_with(flagged: APIServer) -> None:
    shown = body(await ask(flagged, "/flagz"))
    assert shown.startswith(f"\nkube-apiserver flagz\n{WARNING}\n\n")
    assert re.search(r"^event-ttl(: |:|=| )1h0m0s$", shown, re.M)
    found = yaml.safe_load(
        body(await ask(flagged, "/flagz", "application/yaml;v=v1beta1;g=config.k8s.io;as=Flagz"))
    )
    assert found["flags"] == {"event-ttl": "1h0m0s", "v": "0"}


async def test_only_who_may_sees_them(api: APIServer) -> None:
    for page in ("/statusz", "/flagz"):
        assert (await ask(api, page, user=User("nobody", ("system:authenticated",)))).status == 403
        assert (
            await ask(api, page, user=User("m", ("system:monitoring", "system:authenticated")))
        ).status == 200


async def test_they_are_not_served_before_1_36(store: Store) -> None:
    api = APIServer(APIServerSettings(minor="1.35"), store)
    await api.start()
    try:
        for page in ("/statusz", "/flagz"):
            assert (await ask(api, page)).status == 404
        assert "/statusz" not in json.loads(body(await ask(api, "/")))["paths"]
    finally:
        await api.stop()
