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
    await client.list(MAPS, "default")  # the cache shows them now, to reads of any age too
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
    assert none["rows"][0]["object"] is None
    assert none["rows"][0]["cells"] == whole["rows"][0]["cells"]


async def test_flow_schemas_are_tabled_as_they_are_matched(
    client: Client, read: Callable[[Response], Any]
) -> None:
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    rows = read(await client.raw("GET", path, headers=TABLE))["rows"]
    assert [row["cells"][0] for row in rows[:3]] == ["exempt", "probes", "system-leader-election"]
    precedences = [row["cells"][2] for row in rows]
    assert precedences == sorted(precedences)
    assert [row["object"]["metadata"]["name"] for row in rows] == [row["cells"][0] for row in rows]


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


async def refusal(client: Client, path: str, **query: str) -> tuple[int, str]:
    from urllib.parse import urlencode

    response = await client.raw("GET", path, query=urlencode(query))
    assert isinstance(response.body, bytes)
    status = codec.decode_json(response.body)
    return response.status, status.get("message", "")


async def test_a_limit_with_a_version_shows_that_version(client: Client, five: list[str]) -> None:
    then = (await client.get(MAPS, "c", "default"))["metadata"]["resourceVersion"]
    response = await client.raw("GET", PATH, query=f"resourceVersion={then}&limit=2")
    listed = codec.decode_json(response.body)
    assert (names(listed), listed["metadata"]["remainingItemCount"]) == (["a", "b"], 1)
    assert listed["metadata"]["resourceVersion"] == then


async def test_version_zero_takes_no_limit(client: Client, five: list[str]) -> None:
    listed = codec.decode_json((await client.raw("GET", PATH, query="resourceVersion=0&limit=2")).body)
    assert names(listed) == five
    assert "continue" not in listed["metadata"]


async def test_an_empty_list_says_so(client: Client) -> None:
    listed = codec.decode_json((await client.raw("GET", PATH)).body)
    assert listed["items"] == []
    assert int(listed["metadata"]["resourceVersion"]) > 0


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"[]", "json: cannot unmarshal array into Go value of type storage.continueToken"),
        (b'{"v":1}', "json: cannot unmarshal number into Go struct field continueToken.v of type string"),
        (b'{"v":"meta.k8s.io/v1","rv":"1"}', "json: cannot unmarshal string into Go struct field continueToken.rv of type int64"),
        (b"no", "invalid character 'o' in literal null (expecting 'u')"),
    ],
)  # fmt: skip
async def test_a_token_that_go_could_not_read_is_refused_as_go_says(
    client: Client, document: bytes, why: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        await client.list(
            MAPS, "default", continue_token=base64.urlsafe_b64encode(document).rstrip(b"=").decode()
        )
    assert refused.value.message == f"invalid continue token: continue key is not valid: {why}"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("a.b", ": illegal base64 data at input byte 1"),
        ("e30", ": server does not recognize this encoded version "),
        ({"v": "meta.k8s.io/v2"}, ": server does not recognize this encoded version meta.k8s.io/v2"),
        (
            {"v": "meta.k8s.io/v1", "start": "a"},
            ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        ({"v": "meta.k8s.io/v1", "rv": 5}, ": encoded start key empty (version meta.k8s.io/v1)"),
        ({"v": "meta.k8s.io/v1", "rv": 5, "start": "../secrets/x"}, ": ../secrets/x"),
    ],
)
async def test_a_bad_token_is_refused_in_these_words(
    client: Client, token: str | dict[str, Any], why: str
) -> None:
    if isinstance(token, dict):
        token = base64.urlsafe_b64encode(codec.encode_json(token)).rstrip(b"=").decode()
    wanted = (400, f"invalid continue token: continue key is not valid{why}")
    assert await refusal(client, PATH, **{"continue": token}) == wanted


async def test_a_token_takes_no_version(client: Client, five: list[str]) -> None:
    first = await client.list(MAPS, "default", limit=2)
    token = first["metadata"]["continue"]
    wanted = (400, "specifying resource version is not allowed when using continue")
    assert await refusal(client, PATH, **{"continue": token, "resourceVersion": "5"}) == wanted


async def test_numbers_that_are_none_are_refused_in_gos_words(client: Client) -> None:
    assert await refusal(client, PATH, limit="x") == (400, 'strconv.ParseInt: parsing "x": invalid syntax')
    assert await refusal(client, PATH, limit="9" * 5000) == (
        400, f'strconv.ParseInt: parsing "{"9" * 5000}": value out of range'
    )  # fmt: skip
    assert await refusal(client, PATH, resourceVersion="-1") == (
        400,
        'invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax',
    )


async def test_a_get_looks_at_its_resource_version_only(client: Client, five: list[str]) -> None:
    response = await client.raw("GET", f"{PATH}/a", query="limit=x&resourceVersionMatch=Exact&pretty=false")
    assert response.status == 200
    status, text = await refusal(client, f"{PATH}/a", resourceVersion="x")
    assert status == 400
    assert text.startswith("invalid resource version: ")


async def test_a_get_from_the_future_times_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sublet.apiserver.reading.FUTURE_WAIT", 0.05)
    status, text = await refusal(client, f"{PATH}/a", resourceVersion="999999")
    assert (status, text.partition(", current")[0]) == (504, "Timeout: Too large resource version: 999999")


@pytest.mark.parametrize(
    ("path", "field", "text"),
    [
        ("/api/v1/nodes", "metadata.namespace", "field label not supported: metadata.namespace"),
        ("/api/v1/events", "regarding.name", "field label not supported: regarding.name"),
        (
            "/apis/events.k8s.io/v1/events",
            "involvedObject.name",
            "field label not supported: involvedObject.name",
        ),
        (
            "/apis/apps/v1/replicasets",
            "status.replicas",
            '"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("/api/v1/pods", "metadata.labels", "field label not supported: metadata.labels"),
    ],
)
async def test_which_fields_select_is_a_matter_of_the_version(
    client: Client, path: str, field: str, text: str
) -> None:
    assert await refusal(client, path, fieldSelector=f"{field}=x") == (400, text)
    assert await refusal(client, path, fieldSelector=f"{field}=x", watch="1") == (400, text)


async def test_a_namespace_selects_where_there_are_namespaces(
    client: Client, make_config_map: MAKE, five: list[str]
) -> None:
    await client.create(MAPS, make_config_map("0", "kube-public"))
    assert names(await client.list(MAPS, field_selector="metadata.namespace=kube-public")) == ["0"]
    assert await refusal(
        client, "/apis/storage.k8s.io/v1/storageclasses", fieldSelector="metadata.namespace=x"
    ) == (200, "")


async def test_both_views_of_events_select_by_their_own_words(client: Client) -> None:
    event: Object = {
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reason": "Pulled", "reportingComponent": "kubelet", "type": "Normal",
    }  # fmt: skip
    await client.create(resource("events"), event)
    old = "involvedObject.name=web,reason=Pulled,source=kubelet,type=Normal,reportingComponent=kubelet"
    new = "regarding.name=web,reason=Pulled,reportingController=kubelet,type=Normal"
    assert names(await client.list(resource("events"), field_selector=old)) == ["e"]
    assert names(await client.list(resource("events.events.k8s.io"), field_selector=new)) == ["e"]


async def test_a_deletecollection_takes_selectors(
    client: Client, default_account: None, make_pod: MAKE
) -> None:
    await client.create(PODS, make_pod("one", nodeName="n1"))
    await client.create(PODS, make_pod("two"))
    response = await client.raw(
        "DELETE",
        "/api/v1/namespaces/default/pods",
        query="fieldSelector=spec.nodeName%3D&labelSelector=app%20in%20(two,three)",
    )
    assert names(codec.decode_json(response.body)) == ["two"]
    assert names(await client.list(PODS)) == ["one"]
    refused = await client.raw("DELETE", "/api/v1/namespaces/default/pods", query="fieldSelector=a%3Db")
    assert refused.status == 400


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a in (b,!", "unable to parse requirement: found '!', expected: ',', or identifier"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
            "an integer",
        ),
    ],
)
async def test_label_selectors_that_are_none_are_refused(client: Client, selector: str, text: str) -> None:
    for watch in ({}, {"watch": "1"}):
        assert await refusal(client, PATH, labelSelector=selector, **watch) == (400, text)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        ("metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b"),
    ],
)
async def test_field_selectors_that_are_none_are_refused(client: Client, selector: str, text: str) -> None:
    assert await refusal(client, PATH, fieldSelector=selector) == (400, text)


PROTOBUF = "application/vnd.kubernetes.protobuf"


async def at_one_revision(client: Client, path: str, *forms: str, query: str = "") -> list[Response]:
    """The path in each form, all of the same revision: the server itself writes too when it starts."""
    while True:
        answers = [
            await client.raw("GET", path, query=query, headers={"accept": form})
            for form in (*forms, forms[0])
        ]
        if answers[0].body == answers[-1].body:
            return answers[:-1]


async def test_a_list_in_protobuf_is_the_list_in_json(
    client: Client, default_account: None, make_pod: MAKE, read: Callable[[Response], Any]
) -> None:
    from sublet.kinds import protobuf

    for name in ("one", "two"):
        await client.create(PODS, make_pod(name, nodeName="n1"))
    path = "/api/v1/namespaces/default/pods"
    json, first, second = await at_one_revision(
        client, path, "application/json", PROTOBUF, PROTOBUF, query="limit=1"
    )
    assert (
        first.body == second.body == protobuf.codec().encode_object(read(json))
    )  # made, and taken from what was made


async def test_metadata_alone_is_the_same_in_both_forms(
    client: Client, five: list[str], read: Callable[[Response], Any]
) -> None:
    from sublet.kinds import protobuf

    view = ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    response, encoded = await at_one_revision(client, PATH, f"application/json{view}", f"{PROTOBUF}{view}")
    assert isinstance(response.body, bytes)
    assert response.body.endswith(b"]}\n")
    listed = read(response)
    assert listed["items"] == [
        {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": (await client.get(MAPS, name, "default"))["metadata"],
        }
        for name in five
    ]
    assert encoded.body == protobuf.codec().encode_object(listed)


async def test_an_empty_list_has_all_forms(client: Client) -> None:
    from sublet.kinds import protobuf

    for view in ("", ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"):
        body = (await client.raw("GET", PATH, headers={"accept": PROTOBUF + view})).body
        assert isinstance(body, bytes)
        assert protobuf.codec().decode_object(body)["items"] == []


async def test_selections_see_what_changed(client: Client, default_account: None, make_pod: MAKE) -> None:
    wanted = {"label_selector": "app=one", "field_selector": "status.phase=Pending"}
    await client.create(PODS, make_pod("one"))
    assert names(await client.list(PODS, **wanted)) == ["one"]
    await client.patch(PODS, "one", {"metadata": {"labels": {"app": "two"}}}, "default")
    assert names(await client.list(PODS, **wanted)) == []
    await client.patch(PODS, "one", {"metadata": {"labels": {"app": "one"}}}, "default")
    await client.patch(PODS, "one", {"status": {"phase": "Running"}}, "default", subresource="status")
    assert names(await client.list(PODS, **wanted)) == []


async def test_long_lists_are_whole_and_let_others_have_their_turns(
    client: Client, make_config_map: MAKE, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sublet.apiserver.pace import Pace

    turns = 0

    async def pause(_self: Pace) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(Pace, "due", True)
    monkeypatch.setattr(Pace, "pause", pause)
    monkeypatch.setattr("sublet.apiserver.listing._SLICE", 2)
    wanted = [f"m{index}" for index in range(7)]
    for name in wanted:
        await client.create(MAPS, make_config_map(name))
    for query in ("", "labelSelector=!x"):
        for accept in ("application/json", PROTOBUF, TABLE["accept"]):
            before = turns
            response = await client.raw("GET", PATH, query=query, headers={"accept": accept})
            assert turns - before >= 4
            if accept == "application/json":
                assert names(codec.decode_json(response.body)) == wanted


@pytest.mark.parametrize(
    ("path", "view", "message"),
    [
        (PATH, "PartialObjectMetadata",
         "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"),
        (f"{PATH}/a", "PartialObjectMetadataList",
         "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"),
    ],
)  # fmt: skip
async def test_metadata_of_one_and_of_several_are_different_views(
    client: Client, five: list[str], read: Callable[[Response], Any], path: str, view: str, message: str
) -> None:
    accept = f"application/json;as={view};v=v1;g=meta.k8s.io"
    response = await client.raw("GET", path, headers={"accept": accept})
    assert (response.status, read(response)["reason"]) == (406, "NotAcceptable")
    assert read(response)["message"] == message
