from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import Response
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Expired, Invalid, Timeout

MAPS, PODS = resource("configmaps"), resource("pods")
MAKE = Callable[..., Object]
PATH = "/api/v1/namespaces/default/configmaps"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


def names(listed: Object) -> list[str]:
    return [objects.name(item) for item in listed["items"]]


@pytest.fixture
async def five(client: Client, make_config_map: MAKE) -> list[str]:
    wanted = ["a", "b", "c", "d", "e"]
    for name in wanted:
        await client.create(MAPS, make_config_map(name, x=name))
    return wanted


async def test_objects_come_in_order_of_namespace_and_name(
    client: Client, make_config_map: MAKE, five: list[str]
) -> None:
    await client.create(MAPS, make_config_map("0", "kube-public"))
    assert names(await client.list(MAPS, "default")) == five
    assert names(await client.list(MAPS))[:6] == [*five, "0"]


async def test_items_of_built_in_kinds_carry_no_type(
    client: Client, five: list[str], read: Callable[[Response], Any]
) -> None:
    listed = read(await client.raw("GET", PATH))
    assert listed["kind"] == "ConfigMapList"
    assert "kind" not in listed["items"][0]


async def test_pages_show_one_moment(client: Client, make_config_map: MAKE, five: list[str]) -> None:
    first = await client.list(MAPS, "default", limit=2)
    assert first["metadata"]["remainingItemCount"] == 3
    await client.create(MAPS, make_config_map("bb"))
    second = await client.list(MAPS, "default", limit=2, continue_token=first["metadata"]["continue"])
    third = await client.list(MAPS, "default", limit=2, continue_token=second["metadata"]["continue"])
    assert names(first) + names(second) + names(third) == five
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]
    assert "continue" not in third["metadata"]


async def test_a_page_too_old_offers_a_token_to_go_on_with(
    api: APIServer, client: Client, make_config_map: MAKE, five: list[str]
) -> None:
    first = await client.list(MAPS, "default", limit=2)
    await client.create(MAPS, make_config_map("dd"))
    await api.store.compact(await api.store.current_revision())
    with pytest.raises(Expired, match=r"The provided continue parameter is too old") as refused:
        await client.list(MAPS, "default", limit=2, continue_token=first["metadata"]["continue"])
    rest = await client.list(MAPS, "default", continue_token=refused.value.continue_token)
    assert names(rest) == ["c", "d", "dd", "e"]


@pytest.mark.parametrize("token", ["nonsense", base64.b64encode(b'{"v":"other"}').decode(), "e30"])
async def test_a_bad_token_is_refused(client: Client, token: str) -> None:
    with pytest.raises(BadRequest, match=r"continue key is not valid"):
        await client.list(MAPS, "default", continue_token=token)


async def test_a_selector_narrows_pages_without_counting(client: Client, make_config_map: MAKE) -> None:
    for index in range(6):
        wanted = make_config_map(f"m{index}")
        wanted["metadata"]["labels"] = {"odd": str(index % 2)}
        await client.create(MAPS, wanted)
    first = await client.list(MAPS, "default", label_selector="odd=1", limit=2)
    rest = await client.list(
        MAPS, "default", label_selector="odd=1", limit=2, continue_token=first["metadata"]["continue"]
    )
    assert names(first) + names(rest) == ["m1", "m3", "m5"]
    assert "remainingItemCount" not in first["metadata"]


async def test_fields_select(client: Client, default_account: None, make_pod: MAKE) -> None:
    await client.create(PODS, make_pod("one", nodeName="n1"))
    await client.create(PODS, make_pod("two"))
    assert names(await client.list(PODS, field_selector="spec.nodeName=n1")) == ["one"]
    assert names(await client.list(PODS, field_selector="spec.nodeName!=n1")) == ["two"]
    assert names(await client.list(PODS, "default", field_selector="metadata.name=two")) == ["two"]


async def test_an_unknown_field_is_refused(client: Client) -> None:
    with pytest.raises(BadRequest, match=r"field label not supported: spec.color"):
        await client.list(PODS, field_selector="spec.color=red")
    with pytest.raises(BadRequest, match=r'^"spec.color" is not a known field selector: only'):
        await client.list(resource("deployments.apps"), field_selector="spec.color=red")


async def test_an_exact_version_shows_the_past(client: Client, five: list[str]) -> None:
    then = (await client.get(MAPS, "b", "default"))["metadata"]["resourceVersion"]
    query = f"resourceVersion={then}&resourceVersionMatch=Exact"
    listed = codec.decode_json((await client.raw("GET", PATH, query=query)).body)
    assert names(listed) == ["a", "b"]
    assert listed["metadata"]["resourceVersion"] == then


@pytest.mark.parametrize(
    "query",
    [
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Other&resourceVersion=1",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "sendInitialEvents=true",
    ],
)
async def test_options_that_make_no_sense_are_invalid(client: Client, query: str) -> None:
    response = await client.raw("GET", PATH, query=query)
    assert response.status == Invalid.code
    assert b"ListOptions.meta.k8s.io" in response.body


async def test_a_version_from_the_future_times_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sublet.apiserver.reading.FUTURE_WAIT", 0.05)
    with pytest.raises(Timeout, match=r"Too large resource version: 999999, current: ") as refused:
        await client.list(MAPS, "default", resource_version="999999")
    assert refused.value.causes[0].reason == "ResourceVersionTooLarge"


async def test_a_table_has_a_row_per_object(
    client: Client, five: list[str], read: Callable[[Response], Any]
) -> None:
    table = read(await client.raw("GET", PATH, headers=TABLE))
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert table["columnDefinitions"][0]["name"] == "Name"
    assert [row["cells"][0] for row in table["rows"]] == five
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_include_object_decides_what_rows_carry(
    client: Client, five: list[str], read: Callable[[Response], Any]
) -> None:
    whole = read(await client.raw("GET", PATH, query="includeObject=Object", headers=TABLE))
    none = read(await client.raw("GET", PATH, query="includeObject=None", headers=TABLE))
    assert whole["rows"][0]["object"]["data"] == {"x": "a"}
    assert "object" not in none["rows"][0]


async def test_metadata_alone(client: Client, five: list[str], read: Callable[[Response], Any]) -> None:
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = read(await client.raw("GET", PATH, headers={"accept": accept}))
    assert listed["kind"] == "PartialObjectMetadataList"
    assert listed["items"][0]["kind"] == "PartialObjectMetadata"
    assert "data" not in listed["items"][0]


async def test_protobuf_carries_the_same_objects(client: Client, five: list[str]) -> None:
    from sublet.kinds import protobuf

    response = await client.raw("GET", PATH, headers={"accept": "application/vnd.kubernetes.protobuf"})
    assert response.header("content-type") == "application/vnd.kubernetes.protobuf"
    assert isinstance(response.body, bytes)
    listed = protobuf.codec().decode_object(response.body)
    assert [item["data"] for item in listed["items"]] == [{"x": name} for name in five]


async def test_another_served_version_shows_the_same_objects(client: Client) -> None:
    scaler: Object = {
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 3,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
            ],
        },
    }  # fmt: skip
    await client.create(resource("horizontalpodautoscalers.autoscaling", "v2"), scaler)
    old = await client.get(resource("horizontalpodautoscalers.autoscaling", "v1"), "h", "default")
    assert (old["apiVersion"], old["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)
