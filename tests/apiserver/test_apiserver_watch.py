from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client, WatchEvent, lines
from sublet.client.exchange import Request
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object
from sublet.machinery.status import Expired

MAPS, PODS = resource("configmaps"), resource("pods")
MAKE = Callable[..., Object]


async def take(events: AsyncIterator[WatchEvent], count: int) -> list[WatchEvent]:
    async with asyncio.timeout(5):
        return [await anext(events) for _ in range(count)]


def seen(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, objects.name(event.object)) for event in events]


async def frames(
    api: APIServer, path: str, query: str, count: int, accept: str = "application/json"
) -> list[Any]:
    """The first lines of a raw watch."""
    from sublet.client.exchange import User

    request = Request("GET", path, query, {"accept": accept}, user=User("admin", ("system:masters",)))
    response = await api.handle(request)
    assert response.status == 200
    assert not isinstance(response.body, bytes)
    found = []
    async with asyncio.timeout(5):
        async for line in lines(response.body):
            found.append(codec.decode_json(line))
            if len(found) == count:
                break
    await response.body.aclose()  # type: ignore[attr-defined]
    return found


async def test_without_a_version_what_is_there_comes_first(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map("a"))
    async with aclosing(client.watch(MAPS, "default")) as events:  # type: ignore[type-var]
        assert seen(await take(events, 2)) == [("ADDED", "a"), ("BOOKMARK", "")]
        await client.create(MAPS, make_config_map("b"))
        await client.patch(MAPS, "b", {"data": {"x": "1"}}, "default")
        await client.delete(MAPS, "b", "default")
        assert seen(await take(events, 3)) == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]


async def test_a_version_resumes_after_it(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map("a"))
    await client.create(MAPS, make_config_map("b"))
    version = made["metadata"]["resourceVersion"]
    async with aclosing(client.watch(MAPS, "default", resource_version=version)) as events:  # type: ignore[type-var]
        assert seen(await take(events, 1)) == [("ADDED", "b")]


async def test_a_deleted_object_bears_the_version_of_its_deletion(
    client: Client, make_config_map: MAKE
) -> None:
    made = await client.create(MAPS, make_config_map("a"))
    version = made["metadata"]["resourceVersion"]
    await client.delete(MAPS, "a", "default")
    async with aclosing(client.watch(MAPS, "default", resource_version=version)) as events:  # type: ignore[type-var]
        (event,) = await take(events, 1)
    assert event.type == "DELETED"
    assert int(event.object["metadata"]["resourceVersion"]) > int(version)


async def test_selectors_turn_changes_into_arrivals_and_departures(
    client: Client, make_config_map: MAKE
) -> None:
    start = (await client.list(MAPS))["metadata"]["resourceVersion"]
    await client.create(MAPS, make_config_map("a"))
    await client.patch(MAPS, "a", {"metadata": {"labels": {"in": "yes"}}}, "default")
    await client.patch(MAPS, "a", {"data": {"x": "1"}}, "default")
    await client.patch(MAPS, "a", {"metadata": {"labels": {"in": "no"}}}, "default")
    watch = client.watch(MAPS, "default", resource_version=start, label_selector="in=yes")
    async with aclosing(watch) as events:  # type: ignore[type-var]
        found = await take(events, 3)
    assert [event.type for event in found] == ["ADDED", "MODIFIED", "DELETED"]
    assert objects.labels(found[2].object) == {"in": "yes"}
    assert int(found[2].object["metadata"]["resourceVersion"]) > int(
        found[1].object["metadata"]["resourceVersion"]
    )


async def test_pods_of_one_node(client: Client, default_account: None, make_pod: MAKE) -> None:
    start = (await client.list(PODS))["metadata"]["resourceVersion"]
    watch = client.watch(PODS, resource_version=start, field_selector="spec.nodeName=n1")
    await client.create(PODS, make_pod("mine", nodeName="n1"))
    await client.create(PODS, make_pod("other", nodeName="n2"))
    await client.create(PODS, make_pod("late"))
    binding = {"metadata": {"name": "late"}, "target": {"kind": "Node", "name": "n1"}}
    await client.create(PODS, binding, "default", subresource="binding", name="late")
    async with aclosing(watch) as events:  # type: ignore[type-var]
        assert seen(await take(events, 2)) == [("ADDED", "mine"), ("ADDED", "late")]


async def test_a_version_too_old_is_an_error_event(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    from sublet.store.interface import Compacted

    cache = api.registry.cache(api.kinds.stored("", "configmaps"))  # type: ignore[arg-type]

    def gone(after: int, **_: Any) -> None:
        raise Compacted(after, 100)

    cache.watch = gone  # type: ignore[assignment,method-assign]
    (event,) = await frames(api, "/api/v1/configmaps", "watch=true&resourceVersion=1", 1)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    with pytest.raises(Expired):
        await take(client.watch(MAPS, resource_version="1"), 1)


async def test_initial_events_end_with_a_marked_bookmark(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    await client.create(MAPS, make_config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    added, mark = await frames(api, "/api/v1/namespaces/default/configmaps", query, 2)
    assert added["type"] == "ADDED"
    assert mark["type"] == "BOOKMARK"
    annotations = mark["object"]["metadata"]["annotations"]
    assert annotations["k8s.io/initial-events-end"] == "true"
    blueprint = base64.b64decode(annotations["kubernetes.io/initial-events-list-blueprint"])
    assert blueprint == b'{"kind":"ConfigMapList","apiVersion":"v1","metadata":{},"items":null}\n'
    assert (mark["object"]["kind"], mark["object"]["apiVersion"]) == ("ConfigMap", "v1")
    assert int(mark["object"]["metadata"]["resourceVersion"]) >= int(
        added["object"]["metadata"]["resourceVersion"]
    )


async def test_initial_events_need_their_match(client: Client) -> None:
    response = await client.raw("GET", "/api/v1/configmaps", query="watch=1&sendInitialEvents=true")
    assert response.status == 422


async def test_the_timeout_ends_the_watch_with_a_bookmark(api: APIServer) -> None:
    query = (
        "watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=1&fieldSelector=metadata.name=none"
    )
    (mark,) = await frames(api, "/api/v1/namespaces/default/configmaps", query, 5)
    assert mark["type"] == "BOOKMARK"


async def test_a_watched_table_names_its_columns_once(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    await client.create(MAPS, make_config_map("a"))
    await client.create(MAPS, make_config_map("b"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    one, two = await frames(api, "/api/v1/namespaces/default/configmaps", "watch=1", 2, accept)
    assert one["object"]["columnDefinitions"][0]["name"] == "Name"
    assert two["object"]["columnDefinitions"] is None
    assert two["object"]["rows"][0]["cells"][0] == "b"


async def test_a_protobuf_watch_is_framed_by_length(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    from sublet.client.exchange import User
    from sublet.kinds import protobuf

    await client.create(MAPS, make_config_map("a"))
    request = Request(
        "GET", "/api/v1/namespaces/default/configmaps", "watch=1",
        {"accept": "application/vnd.kubernetes.protobuf;stream=watch,application/vnd.kubernetes.protobuf"},
        user=User("admin", ("system:masters",)),
    )  # fmt: skip
    response = await api.handle(request)
    assert response.header("content-type") == "application/vnd.kubernetes.protobuf;stream=watch"
    assert not isinstance(response.body, bytes)
    chunk = await anext(response.body)
    await response.body.aclose()  # type: ignore[attr-defined]
    kind, obj = protobuf.codec().decode_watch_frame(chunk[4:])
    assert int.from_bytes(chunk[:4], "big") == len(chunk) - 4
    assert (kind, objects.name(obj)) == ("ADDED", "a")


async def test_writes_arrive_once_and_in_order(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map("a"))
    watch = client.watch(MAPS, "default", resource_version=made["metadata"]["resourceVersion"])
    async with aclosing(watch) as events:  # type: ignore[type-var]
        taking = asyncio.create_task(take(events, 300))
        for index in range(300):
            await client.patch(MAPS, "a", {"data": {"x": str(index)}}, "default")
        found = await taking
    assert [event.object["data"]["x"] for event in found] == [str(index) for index in range(300)]


async def test_a_version_not_reached_yet_is_an_error_event(
    api: APIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sublet.apiserver.reading.FUTURE_WAIT", 0.05)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999"
    (event,) = await frames(api, "/api/v1/configmaps", query, 1)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 504, "Timeout")
    assert event["object"]["message"].startswith("Timeout: Too large resource version: 999999, current: ")


async def test_a_watch_without_initial_events_begins_now(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    await client.create(MAPS, make_config_map("a"))
    query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    assert await frames(api, "/api/v1/namespaces/default/configmaps", query, 1) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "sendInitialEvents=true",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
            "provided",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1",
            "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
            'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]',
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=e30",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
        (
            "continue=e30",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
    ],
)
async def test_watch_options_that_make_no_sense_are_named(client: Client, query: str, message: str) -> None:
    response = await client.raw("GET", "/api/v1/configmaps", query=f"watch=1&{query}")
    assert isinstance(response.body, bytes)
    status = codec.decode_json(response.body)
    assert status["message"] == f'ListOptions.meta.k8s.io "" is invalid: {message}'
    assert (status["code"], status["details"]["kind"]) == (422, "ListOptions")


async def test_a_watch_from_what_is_no_number_is_invalid(client: Client) -> None:
    response = await client.raw("GET", "/api/v1/configmaps", query="watch=1&resourceVersion=abc")
    assert isinstance(response.body, bytes)
    assert codec.decode_json(response.body)["message"] == (
        'configmaps "" is invalid: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/watch/configmaps",
        "/api/v1/watch/namespaces/default/configmaps",
        "/api/v1/watch/namespaces/default/configmaps/a",
    ],
)
async def test_the_old_prefix_watches_too(
    api: APIServer, client: Client, make_config_map: MAKE, path: str
) -> None:
    made = await client.create(MAPS, make_config_map("a"))
    version = int(made["metadata"]["resourceVersion"]) - 1
    (event,) = await frames(api, path, f"resourceVersion={version}", 1)
    assert (event["type"], objects.name(event["object"])) == ("ADDED", "a")


async def test_one_name_is_watched_by_its_field(client: Client, make_config_map: MAKE) -> None:
    start = (await client.list(MAPS))["metadata"]["resourceVersion"]
    watch = client.watch(MAPS, "default", resource_version=start, field_selector="metadata.name=b")
    await client.create(MAPS, make_config_map("a"))
    await client.create(MAPS, make_config_map("b"))
    await client.delete(MAPS, "b", "default")
    async with aclosing(watch) as events:  # type: ignore[type-var]
        assert seen(await take(events, 2)) == [("ADDED", "b"), ("DELETED", "b")]


async def test_another_name_in_the_path_than_in_the_selector_is_refused(client: Client) -> None:
    path = "/api/v1/watch/namespaces/default/configmaps/a"
    response = await client.raw("GET", path, query="fieldSelector=metadata.name%3Db")
    assert response.status == 400
    assert b"fieldSelector metadata.name doesn't match requested name" in response.body  # type: ignore[operator]


@pytest.mark.parametrize("view", ["Table", "PartialObjectMetadata"])
async def test_views_have_bookmarks_of_their_own(api: APIServer, view: str) -> None:
    query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion=1"
    accept = f"application/json;as={view};v=v1;g=meta.k8s.io"
    for path in ("/api/v1/pods", "/apis/apps/v1/deployments", "/api/v1/nodes", "/api/v1/events"):
        (mark,) = await frames(api, path, query, 5, accept)
        assert (mark["type"], mark["object"]["kind"]) == ("BOOKMARK", view)


async def test_a_large_initial_state_comes_whole(
    api: APIServer, client: Client, make_config_map: MAKE
) -> None:
    wanted = [f"m{index:03d}" for index in range(200)]
    await asyncio.gather(*(client.create(MAPS, make_config_map(name)) for name in wanted))
    found = await frames(api, "/api/v1/namespaces/default/configmaps", "watch=1&resourceVersion=0", 200)
    assert [objects.name(event["object"]) for event in found] == wanted
