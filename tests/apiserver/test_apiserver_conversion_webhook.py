"""Custom resources whose versions a webhook converts: on write, on read, in lists and watches."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from apiserver_webhook_server import WebhookServer, webhooks

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import User
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import BadRequest, Invalid, NotFound, StatusError
from sublet.store.interface import Store

__all__ = ["webhooks"]
DEFINITIONS = resource("customresourcedefinitions.apiextensions.k8s.io")
V1 = Resource("example.com", "v1", "sites", "Site", True)
V2 = Resource("example.com", "v2", "sites", "Site", True)
MERGE = "application/merge-patch+json"


def convert(review: Any) -> Any:
    """v1 has ``host`` and ``port``, v2 has ``hostPort``."""
    wanted = review["request"]["desiredAPIVersion"]
    return {"result": {"status": "Success"}, "convertedObjects": [
        converted(obj, wanted) for obj in review["request"]["objects"]
    ]}  # fmt: skip


def converted(obj: Object, wanted: str) -> Object:
    new = copy.deepcopy(obj)
    new["apiVersion"] = wanted
    spec = new.get("spec") or {}
    if wanted.endswith("/v2"):
        new["spec"] = {"hostPort": f"{spec.pop('host', '')}:{spec.pop('port', '')}"}
    else:
        host, _, port = spec.pop("hostPort", ":").partition(":")
        new["spec"] = {"host": host, "port": port}
    return new


def definition(config: Object, storage: str = "v1") -> Object:
    fields: dict[str, Any] = {
        "v1": {
            "host": {"type": "string"},
            "port": {"type": "string"},
            "scheme": {"type": "string", "default": "http"},
        },
        "v2": {
            "hostPort": {"type": "string", "pattern": "^[^:]*:[0-9]*$"},
            "tier": {"type": "string", "default": "web"},
        },
    }  # fmt: skip
    return {
        "metadata": {"name": "sites.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "sites", "kind": "Site"},
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
            },
            "versions": [
                {
                    "name": name, "served": True, "storage": name == storage, "subresources": {"status": {}},
                    "selectableFields": [{"jsonPath": ".spec.hostPort" if name == "v2" else ".spec.host"}],
                    "additionalPrinterColumns": [
                        {"name": "Where", "type": "string",
                         "jsonPath": ".spec.hostPort" if name == "v2" else ".spec.host"}
                    ],
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": properties},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    }}},
                }
                for name, properties in fields.items()
            ],
        },
    }  # fmt: skip


def site(version: str = "v1", name: str = "a", **spec: str) -> Object:
    return {
        "apiVersion": f"example.com/{version}", "kind": "Site",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec,
    }  # fmt: skip


async def establish(client: Client, obj: Object) -> Object:
    made = await client.create(DEFINITIONS, obj)
    for _ in range(200):
        found = await client.get(DEFINITIONS, made["metadata"]["name"])
        conditions = (found.get("status") or {}).get("conditions") or ()
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("the definition was not established")


async def restore(client: Client, storage: str) -> None:
    """Makes another version the stored one."""
    found = await client.get(DEFINITIONS, "sites.example.com")
    for version in found["spec"]["versions"]:
        version["storage"] = version["name"] == storage
    await client.update(DEFINITIONS, found)


@pytest.fixture
async def sites(client: Client, webhooks: WebhookServer) -> AsyncIterator[WebhookServer]:
    """A definition stored in v1 and served in both versions."""
    await establish(client, definition(webhooks.on("/convert", convert)))
    yield webhooks


async def test_a_read_in_another_version_asks_the_webhook(client: Client, sites: WebhookServer) -> None:
    made = await client.create(V1, site(host="localhost", port="80"))
    assert not sites.asked
    found = await client.get(V2, "a", "default")
    assert found["apiVersion"] == "example.com/v2"
    assert found["spec"] == {"hostPort": "localhost:80"}  # no default of v2
    assert {**found["metadata"], "managedFields": 0} == {**made["metadata"], "managedFields": 0}
    path, review = sites.asked[0]
    assert path == "/convert?timeout=30s"
    assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert review["request"]["desiredAPIVersion"] == "example.com/v2"
    assert review["request"]["objects"] == [made]


async def test_what_was_converted_once_is_not_converted_again(client: Client, sites: WebhookServer) -> None:
    await client.create(V1, site(host="localhost", port="80"))
    for _ in range(3):
        await client.get(V2, "a", "default")
    assert len(sites.asked) == 1


async def test_a_write_in_another_version_is_stored_converted(client: Client, sites: WebhookServer) -> None:
    made = await client.create(V2, site("v2", hostPort="localhost:80"))
    assert (made["apiVersion"], made["spec"]["hostPort"]) == ("example.com/v2", "localhost:80")
    found = await client.get(V1, "a", "default")
    assert found["spec"] == {"host": "localhost", "port": "80", "scheme": "http"}
    changed = await client.patch(V2, "a", {"spec": {"hostPort": "example:81"}}, "default")
    assert changed["spec"]["hostPort"] == "example:81"
    assert (await client.get(V1, "a", "default"))["spec"]["host"] == "example"
    managed = changed["metadata"]["managedFields"][0]
    assert managed["apiVersion"] == "example.com/v2"
    assert "f:hostPort" in managed["fieldsV1"]["f:spec"]


async def test_status_and_apply_work_in_another_version(client: Client, sites: WebhookServer) -> None:
    applied = site("v2", hostPort="localhost:80")
    await client.patch(V2, "a", applied, "default", kind="apply", field_manager="me")
    again = await client.patch(V2, "a", applied, "default", kind="apply", field_manager="me")
    assert again["spec"]["hostPort"] == "localhost:80"
    found = await client.get(V2, "a", "default")
    written = await client.update_status(V2, {**found, "status": {"ready": True}})
    assert written["status"] == {"ready": True}
    assert (await client.get(V1, "a", "default"))["status"] == {"ready": True}


async def test_a_list_is_converted_in_one_call(client: Client, sites: WebhookServer) -> None:
    for name in "abc":
        await client.create(V1, site(name=name, host=name, port="80"))
    found = await client.list(V2, "default")
    assert [item["spec"]["hostPort"] for item in found["items"]] == ["a:80", "b:80", "c:80"]
    assert {item["apiVersion"] for item in found["items"]} == {"example.com/v2"}
    assert len(sites.asked) == 1


async def test_objects_stored_in_an_older_version_are_served_in_all(
    client: Client, sites: WebhookServer
) -> None:
    """As the conformance test does: a list of objects that were stored in different versions."""
    await client.create(V1, site(name="old", host="old", port="1"))
    await restore(client, "v2")
    await client.create(V2, site("v2", "new", hostPort="new:2"))
    for version, field, values in ((V1, "host", ["new", "old"]), (V2, "hostPort", ["new:2", "old:1"])):
        found = await client.list(version, "default")
        assert [item["spec"][field] for item in found["items"]] == values
        for item in found["items"]:
            assert item["apiVersion"] == version.api_version
            one = await client.get(version, item["metadata"]["name"], "default")
            assert one["spec"] == item["spec"]
    changed = await client.patch(V1, "old", {"spec": {"port": "3"}}, "default")
    assert changed["spec"]["port"] == "3"
    assert (await client.get(V2, "old", "default"))["spec"]["hostPort"] == "old:3"
    await client.delete(V2, "old", "default")


async def test_values_of_an_older_version_are_rewritten_in_the_background(
    api: APIServer, client: Client, sites: WebhookServer
) -> None:
    await client.create(V1, site(host="old", port="1"))
    await restore(client, "v2")
    assert await api._duties.rewrite() == 1
    sites.asked.clear()
    assert (await client.get(V2, "a", "default"))["spec"]["hostPort"] == "old:1"
    assert not sites.asked


async def test_a_watch_shows_objects_in_its_version(client: Client, sites: WebhookServer) -> None:
    await client.create(V1, site(name="first", host="first", port="1"))
    seen = []
    begun = asyncio.Event()

    async def watch() -> None:
        async for event in client.watch(V2, "default"):
            if event.type == "BOOKMARK":
                continue
            seen.append((event.type, event.object["apiVersion"], event.object["spec"]["hostPort"]))
            begun.set()
            if event.type == "DELETED":
                return

    async with asyncio.timeout(10):
        watching = asyncio.create_task(watch())
        await begun.wait()
        await client.patch(V1, "first", {"spec": {"port": "2"}}, "default")
        await client.delete(V1, "first", "default")
        await watching
    assert seen == [
        ("ADDED", "example.com/v2", "first:1"),
        ("MODIFIED", "example.com/v2", "first:2"),
        ("DELETED", "example.com/v2", "first:2"),
    ]


async def test_fields_are_selected_by_as_the_version_asked_for_has_them(
    client: Client, sites: WebhookServer
) -> None:
    for name in "ab":
        await client.create(V1, site(name=name, host=name, port="80"))
    found = await client.list(V2, "default", field_selector="spec.hostPort=b:80")
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
    found = await client.list(V1, "default", field_selector="spec.host=a")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    with pytest.raises(BadRequest, match=r"field label not supported: spec\.host$"):
        await client.list(V2, "default", field_selector="spec.host=a")


async def test_a_table_shows_the_columns_of_its_version(api: APIServer, client: Client, sites: Any) -> None:
    import json

    from sublet.client.exchange import Request

    await client.create(V1, site(host="localhost", port="80"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    request = Request(
        "GET", "/apis/example.com/v2/namespaces/default/sites", headers={"accept": accept},
        user=User("admin", ("system:masters",)),
    )  # fmt: skip
    response = await api.handle(request)
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["rows"][0]["cells"] == ["a", "localhost:80"]


async def test_the_rules_of_the_version_that_is_written_hold(client: Client, sites: WebhookServer) -> None:
    """As upstream, whose handlers never look at the stored version's rules."""
    await restore(client, "v2")
    made = await client.create(V1, site(host="a", port="not a number"))
    assert made["spec"]["port"] == "not a number"
    await restore(client, "v1")
    with pytest.raises(Invalid, match=r"spec\.hostPort in body should match"):
        await client.create(V2, site("v2", name="b", hostPort="b:not a number"))
    with pytest.raises(Invalid, match=r"spec\.hostPort in body should match"):
        await client.patch(V2, "a", {"spec": {"hostPort": "b:other"}}, "default")


async def test_a_write_in_another_version_is_converted_to_the_stored_one_once(
    client: Client, sites: WebhookServer
) -> None:
    asked: list[str] = []

    def noted(review: Any) -> Any:
        asked.append(review["request"]["desiredAPIVersion"])
        return convert(review)

    sites.on("/convert", noted)
    with pytest.raises(Invalid):
        await client.create(V2, site("v2", hostPort="b:not a number"))
    await client.create(V2, site("v2", hostPort="b:80"))
    assert asked == ["example.com/v1", "example.com/v1", "example.com/v2"]  # the last one for the answer


def other_name(review: Any) -> Any:
    answer = convert(review)
    answer["convertedObjects"][0]["metadata"]["name"] = "other"
    return answer


def labelled(labels: Any) -> Any:
    def respond(review: Any) -> Any:
        answer = convert(review)
        answer["convertedObjects"][0]["metadata"]["labels"] = labels
        return answer

    return respond


def too_few(review: Any) -> Any:
    return {**convert(review), "convertedObjects": []}


def unconverted(review: Any) -> Any:
    return {**convert(review), "convertedObjects": review["request"]["objects"]}


def refused(_review: Any) -> Any:
    return {"result": {"status": "Failure", "message": "I cannot"}}


WHAT = "conversion webhook for example.com/v1, Kind=Site"


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (refused, f"{WHAT} failed: I cannot"),
        (too_few, f"{WHAT} returned 0 objects, expected 1"),
        (
            other_name,
            f"{WHAT} returned invalid object: must have the same name: a != other",
        ),
        (
            unconverted,
            f"{WHAT} returned invalid object at index 0: invalid groupVersion "
            "(expected example.com/v2, received example.com/v1)",
        ),
        (
            labelled({"a": 1}),
            f"{WHAT} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
        (
            labelled(["a"]),
            f"{WHAT} returned invalid metadata: invalid metadata.labels of type []interface {{}} in converted object",
        ),
        (
            labelled({"a": "x y"}),
            f"{WHAT} returned invalid metadata: metadata.labels: Invalid value: \"x y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            lambda _r: web.Response(status=404),
            f"{WHAT} failed: the server could not find the requested resource",
        ),
    ],
)
async def test_a_conversion_that_fails_is_an_error_that_says_why(
    client: Client, sites: WebhookServer, respond: Any, message: str
) -> None:
    await client.create(V1, site(host="localhost", port="80"))
    sites.on("/convert", respond)
    for ask in (client.get(V2, "a", "default"), client.list(V2, "default")):
        with pytest.raises(StatusError) as failed:
            await ask
        assert (failed.value.code, failed.value.message) == (500, message)
    assert (await client.get(V1, "a", "default"))["spec"]["host"] == "localhost"
    sites.on("/convert", convert)
    assert (await client.get(V2, "a", "default"))["spec"]["hostPort"] == "localhost:80"


def of_other_version(review: Any) -> Any:
    return web.json_response(
        {**review, "apiVersion": "apiextensions.k8s.io/v1beta1", "response": convert(review)}
    )


def untyped(review: Any) -> Any:
    return web.json_response({"response": convert(review)})


@pytest.mark.parametrize(
    ("versions", "respond", "message"),
    [
        (["v1"], of_other_version, f"{WHAT} failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1beta1, Kind=ConversionReview"),
        (["v1"], untyped, f"{WHAT} failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind="),
        (["v1beta1", "v1"], untyped, ""),  # of v1beta1 neither type nor uid was ever looked at
        (["v2", "v1beta1"], of_other_version, ""),
    ],
)  # fmt: skip
async def test_reviews_come_back_in_the_version_they_were_sent_in(
    client: Client, webhooks: WebhookServer, versions: list[str], respond: Any, message: str
) -> None:
    made = definition(webhooks.on("/convert", respond))
    made["spec"]["conversion"]["webhook"]["conversionReviewVersions"] = versions
    await establish(client, made)
    await client.create(V1, site(host="localhost", port="80"))
    if not message:
        assert (await client.get(V2, "a", "default"))["spec"]["hostPort"] == "localhost:80"
        return
    with pytest.raises(StatusError) as failed:
        await client.get(V2, "a", "default")
    assert (failed.value.code, failed.value.message) == (500, message)


async def test_a_webhook_may_change_labels_and_annotations_and_no_other_metadata(
    client: Client, sites: WebhookServer
) -> None:
    def marking(review: Any) -> Any:
        answer = convert(review)
        metadata = answer["convertedObjects"][0]["metadata"]
        metadata["annotations"] = {"converted": "yes"}
        metadata["finalizers"] = ["example.com/stuck"]
        metadata["ownerReferences"] = []
        return answer

    sites.on("/convert", marking)
    await client.create(V1, site(host="localhost", port="80"))
    metadata = (await client.get(V2, "a", "default"))["metadata"]
    assert metadata["annotations"] == {"converted": "yes"}
    assert "finalizers" not in metadata
    assert metadata["labels"] == {"app": "a"}


async def test_metadata_alone_needs_no_conversion(api: APIServer, client: Client, sites: Any) -> None:
    """So garbage collection and the end of a namespace do not hang on a webhook that is gone."""
    await client.create(V1, site(host="localhost", port="80"))
    from sublet.client.exchange import Request

    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    request = Request(
        "GET", "/apis/example.com/v2/namespaces/default/sites", headers={"accept": accept},
        user=User("admin", ("system:masters",)),
    )  # fmt: skip
    assert (await api.handle(request)).status == 200
    assert not sites.asked


async def test_many_readers_of_one_object_cost_one_conversion(client: Client, sites: WebhookServer) -> None:
    async def slowly(review: Any) -> Any:
        await asyncio.sleep(0.05)
        return convert(review)

    sites.on("/convert", slowly)
    await client.create(V1, site(host="localhost", port="80"))
    await asyncio.gather(*(client.get(V2, "a", "default") for _ in range(20)))
    assert len(sites.asked) == 1


async def test_conversion_survives_a_restart(client: Client, sites: WebhookServer, store: Store) -> None:
    """A second server over the same store knows in which version each value was written."""
    from sublet.apiserver.settings import APIServerSettings

    await client.create(V1, site(host="old", port="1"))
    await restore(client, "v2")
    other = APIServer(APIServerSettings(), store)
    await other.start()
    try:
        second = other.client_as(User("admin", ("system:masters",)), "t")
        assert (await second.get(V2, "a", "default"))["spec"]["hostPort"] == "old:1"
    finally:
        await other.stop()


async def test_who_converts_must_be_verifiable_before_a_definition_is_served(
    client: Client, webhooks: WebhookServer
) -> None:
    config = webhooks.on("/convert", convert)
    await client.create(DEFINITIONS, definition({**config, "caBundle": "Cg=="}))

    async def awaited(value: str) -> tuple[str, str]:
        async with asyncio.timeout(10):
            while True:
                found = await client.get(DEFINITIONS, "sites.example.com")
                for condition in found["status"]["conditions"] or ():
                    if (condition["type"], condition["status"]) == ("Established", value):
                        return condition["reason"], condition["message"]
                await asyncio.sleep(0.01)

    assert await awaited("False") == ("InvalidCABundle", "The conversion webhook CABundle is invalid")
    with pytest.raises(NotFound):
        await client.list(V1, "default")
    change = {"spec": {"conversion": {"webhook": {"clientConfig": config}}}}
    await client.patch(DEFINITIONS, "sites.example.com", change)
    assert (await awaited("True"))[0] == "InitialNamesAccepted"
    assert (await client.list(V1, "default"))["items"] == []
