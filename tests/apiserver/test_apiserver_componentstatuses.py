"""What ``kubectl get componentstatuses`` shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.health import Unhealthy
from sublet.client.exchange import Request, Response, User

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PATH = "/api/v1/componentstatuses"


async def ask(api: APIServer, path: str, query: str = "", accept: str = "application/json") -> Response:
    return await api.handle(Request("GET", path, query, {"accept": accept}, user=ADMIN, remote="192.0.2.1:1"))


async def shown(api: APIServer, path: str, query: str = "", accept: str = "application/json") -> Any:
    body = (await ask(api, path, query, accept)).body
    assert isinstance(body, bytes)
    return json.loads(body)


@pytest.fixture
def parts(api: APIServer) -> APIServer:
    """A server that was told of a controller manager that is well and a scheduler that is not."""

    async def well() -> None:
        return None

    async def unwell() -> None:
        raise Unhealthy("kube-scheduler failed: out of luck")

    api.health.parts = {"controller-manager": well, "scheduler": unwell, **api.health.parts}
    return api


async def test_every_part_is_asked_and_says_why_it_is_not_well(parts: APIServer) -> None:
    response = await ask(parts, PATH)
    assert response.header("Warning") == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    found = await shown(parts, PATH)
    assert (found["kind"], found["apiVersion"]) == ("ComponentStatusList", "v1")
    assert {each["metadata"]["name"]: each["conditions"] for each in found["items"]} == {
        "controller-manager": [{"type": "Healthy", "status": "True", "message": "ok"}],
        "scheduler": [{"type": "Healthy", "status": "False", "error": "kube-scheduler failed: out of luck"}],
        "etcd-0": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }


async def test_the_table_is_kubectls(parts: APIServer) -> None:
    table = await shown(parts, PATH, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [row["cells"] for row in table["rows"]] == [
        ["controller-manager", "Healthy", "ok", ""],
        ["scheduler", "Unhealthy", "", "kube-scheduler failed: out of luck"],
        ["etcd-0", "Healthy", "ok", ""],
    ]


async def test_one_is_shown_alone_and_none_that_there_is_not(parts: APIServer) -> None:
    one = await shown(parts, f"{PATH}/etcd-0")
    assert (one["kind"], one["metadata"]["name"]) == ("ComponentStatus", "etcd-0")
    missing = await shown(parts, f"{PATH}/cloud")
    assert (missing["code"], missing["message"]) == (500, "Component not found: cloud")


async def test_selectors_choose_among_them(parts: APIServer) -> None:
    found = await shown(parts, PATH, "fieldSelector=metadata.name%3Dscheduler")
    assert [each["metadata"]["name"] for each in found["items"]] == ["scheduler"]
    assert (await shown(parts, PATH, "labelSelector=a%3Db"))["items"] == []
