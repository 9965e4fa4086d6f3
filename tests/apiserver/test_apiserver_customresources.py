from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.apiserver.settings import APIServerSettings
from sublet.client.client import Client
from sublet.client.exchange import Response
from sublet.kinds.resources import resource
from sublet.machinery import codec, objects
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import BadRequest, Conflict, Invalid, NotFound, StatusError, UnsupportedMediaType
from sublet.store.interface import Store

CRDS = resource("customresourcedefinitions.apiextensions.k8s.io")
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
BETA = Resource("example.com", "v1beta1", "widgets", "Widget", True)
SPEC: Object = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "title": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "when": {"type": "string", "format": "date-time"},
        "maybe": {"type": "string", "nullable": True},
    },
}


def definition(**changes: Any) -> Object:
    schema = {
        "type": "object",
        "properties": {
            "spec": SPEC,
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }  # fmt: skip
    spec = {
        "group": "example.com", "scope": "Namespaced", "versions": [version],
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
    }  # fmt: skip
    made: Object = {"metadata": {"name": "widgets.example.com"}, "spec": spec | changes}
    return codec.decode_json(codec.encode_json(made))  # type: ignore[no-any-return]


def widget(name: str = "w", **spec: Any) -> Object:
    return {
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "namespace": "default"},
        "spec": {"size": 3, **spec},
    }  # fmt: skip


async def established(client: Client, crd: Object) -> Object:
    await client.create(CRDS, crd)
    async with asyncio.timeout(2):
        while True:
            found = await client.get(CRDS, crd["metadata"]["name"])
            if objects.is_true(found, "Established"):
                return found
            await asyncio.sleep(0.01)


@pytest.fixture
async def served(client: Client) -> Object:
    return await established(client, definition())


async def test_a_definition_is_accepted_and_established(served: Object) -> None:
    status = served["status"]
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"), ("Established", "True", "InitialNamesAccepted"),
    ]  # fmt: skip
    assert status["storedVersions"] == ["v1"]
    assert status["acceptedNames"]["listKind"] == "WidgetList"
    assert served["spec"]["names"]["singular"] == "widget"
    (mine,) = [e for e in served["metadata"]["managedFields"] if e.get("subresource") == "status"]
    assert (mine["manager"], mine["operation"]) == ("kube-apiserver", "Update")
    assert "f:singular" in mine["fieldsV1"]["f:status"]["f:acceptedNames"]


async def test_objects_are_pruned_and_defaulted(client: Client, served: Object) -> None:
    made = await client.create(WIDGETS, widget(bogus=1, free={"any": ["thing"]}))
    assert made["spec"] == {"size": 3, "free": {"any": ["thing"]}, "color": "red"}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 11}, "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"),
        (
            {"size": "3"},
            '[spec.size: Invalid value: "string": spec.size in body must be of type integer: "string", '
            ".spec.size: Invalid value: 0: .spec.size accessor error: 3 is of the type string, expected int64]",
        ),
        ({"color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        ({"title": "ABC"}, "spec.title: Invalid value: \"ABC\": spec.title in body should match '^[a-z]+$'"),
        ({"title": "toolong"}, "spec.title: Too long: may not be more than 5 bytes"),
        (
            {"port": True},
            'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        ),
        ({"tags": ["a", "a"]}, 'spec.tags[1]: Duplicate value: "a"'),
        (
            {"when": "soon"},
            'spec.when: Invalid value: "soon": spec.when in body must be of type date-time: "soon"',
        ),
        (
            {"tags": ["a", None]},
            'spec.tags[1]: Invalid value: "null": spec.tags[1] in body must be of type string: "null"',
        ),
    ],
)
async def test_what_breaks_the_schema_is_named(
    client: Client, served: Object, spec: Object, told: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(WIDGETS, widget(**spec))
    assert refused.value.message == f'Widget.example.com "w" is invalid: {told}'


async def test_unknown_metadata_is_dropped_with_a_warning(client: Client, served: Object) -> None:
    body = widget()
    body["metadata"]["mood"] = "good"
    response = await client.raw(
        "POST", "/apis/example.com/v1/namespaces/default/widgets", body=codec.encode_json(body)
    )
    assert "mood" not in codec.decode_json(response.body)["metadata"]
    assert 'unknown field \\"metadata.mood\\"' in response.header("warning")


async def test_a_required_field_is_missed(client: Client, served: Object) -> None:
    obj = widget()
    del obj["spec"]["size"]
    with pytest.raises(Invalid, match=r"spec.size: Required value"):
        await client.create(WIDGETS, obj)


async def test_null_is_kept_only_where_it_is_allowed(client: Client, served: Object) -> None:
    made = await client.create(WIDGETS, widget(maybe=None, color=None, title=None))
    assert made["spec"] == {"size": 3, "maybe": None, "color": "red"}


async def test_unchanged_wrong_values_are_tolerated(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget(size=9))
    crd = await client.get(CRDS, "widgets.example.com")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"][
        "maximum"
    ] = 5
    await client.update(CRDS, crd)
    await asyncio.sleep(0.05)
    await client.patch(WIDGETS, "w", {"spec": {"color": "blue"}}, "default")
    with pytest.raises(Invalid):
        await client.patch(WIDGETS, "w", {"spec": {"size": 8}}, "default")


async def test_status_is_written_apart(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    after = await client.patch(
        WIDGETS, "w", {"status": {"size": 3}, "spec": {"size": 9}}, "default", subresource="status"
    )
    assert (after["status"], after["spec"]["size"], after["metadata"]["generation"]) == ({"size": 3}, 3, 1)
    after = await client.patch(WIDGETS, "w", {"status": {"size": 9}, "spec": {"size": 4}}, "default")
    assert (after["status"], after["spec"]["size"], after["metadata"]["generation"]) == ({"size": 3}, 4, 2)


async def test_scale_reads_and_writes_the_stated_paths(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    scale = await client.get(WIDGETS, "w", "default", subresource="scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 3})
    await client.patch(WIDGETS, "w", {"spec": {"replicas": 7}}, "default", subresource="scale")
    assert (await client.get(WIDGETS, "w", "default"))["spec"]["size"] == 7


async def test_tables_show_the_stated_columns(
    client: Client, served: Object, read: Callable[[Response], Any]
) -> None:
    await client.create(WIDGETS, widget())
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = read(await client.raw("GET", "/apis/example.com/v1/widgets", headers=accept))
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 3]


async def test_selectable_fields_select(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget("r"))
    await client.create(WIDGETS, widget("b", color="blue"))
    found = await client.list(WIDGETS, "default", field_selector="spec.color=blue")
    assert [objects.name(item) for item in found["items"]] == ["b"]


async def test_strategic_merge_is_not_for_custom_resources(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    with pytest.raises(UnsupportedMediaType, match=r"application/merge-patch"):
        await client.patch(WIDGETS, "w", {"spec": {}}, "default", kind="strategic")


async def test_apply_merges_by_the_schema(client: Client, served: Object) -> None:
    body = widget() | {"metadata": {"name": "w"}}
    made = await client.patch(WIDGETS, "w", body, "default", kind="apply", field_manager="me")
    assert made["spec"]["size"] == 3
    with pytest.raises(Conflict, match=r'conflict with "me"'):
        other = {**body, "spec": {"size": 4}}
        await client.patch(WIDGETS, "w", other, "default", kind="apply", field_manager="you")


async def test_a_status_without_its_own_endpoint_is_applied_like_any_field(client: Client) -> None:
    crd = definition()
    del crd["spec"]["versions"][0]["subresources"]["status"]
    await established(client, crd)
    body = widget() | {"metadata": {"name": "w"}, "status": {"phase": "Done"}}
    made = await client.patch(WIDGETS, "w", body, "default", kind="apply", field_manager="me")
    assert made["status"] == {"phase": "Done"}


async def test_several_versions_show_the_same_objects(client: Client) -> None:
    crd = definition()
    old = {
        "name": "v1beta1", "served": True, "storage": False, "deprecated": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }  # fmt: skip
    crd["spec"]["versions"].append(old)
    await established(client, crd)
    await client.create(BETA, {**widget(), "apiVersion": "example.com/v1beta1"})
    assert (await client.get(WIDGETS, "w", "default"))["apiVersion"] == "example.com/v1"
    response = await client.raw("GET", "/apis/example.com/v1beta1/namespaces/default/widgets/w")
    assert codec.decode_json(response.body)["apiVersion"] == "example.com/v1beta1"
    assert "example.com/v1beta1 Widget is deprecated" in response.header("warning")


async def test_the_rules_of_the_version_that_is_written_hold(client: Client) -> None:
    crd = definition()
    (stored,) = crd["spec"]["versions"]
    old = codec.copied({**stored, "name": "v1beta1", "storage": False})
    schema = old["schema"]["openAPIV3Schema"]
    schema["properties"]["apiVersion"] = {"type": "string", "pattern": "v1beta1$"}
    schema["properties"]["spec"]["properties"]["only"] = {"type": "string", "maxLength": 3}
    schema["properties"]["spec"]["required"] = ["only"]
    del old["selectableFields"]
    crd["spec"]["versions"].append(old)
    await established(client, crd)
    one = {**widget("one"), "apiVersion": "example.com/v1beta1", "spec": {"size": 1, "only": "abc"}}
    made = await client.create(BETA, one)
    assert made["apiVersion"] == "example.com/v1beta1"
    with pytest.raises(Invalid, match=r"spec\.only: Too long: may not be more than 3 bytes"):
        await client.create(BETA, {**one, "spec": {"size": 1, "only": "abcd"}})
    with pytest.raises(Invalid, match=r"spec\.only: Required value"):
        await client.patch(BETA, "one", {"spec": {"size": 2, "only": None}}, "default")
    await client.patch(BETA, "one", {"spec": {"size": 2, "only": "b"}}, "default")


async def test_scaling_what_states_no_replicas_states_them(client: Client, served: Object) -> None:
    versions = served["spec"]["versions"]
    versions[0]["subresources"]["scale"]["specReplicasPath"] = ".spec.copies.wanted"
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["copies"] = {
        "type": "object", "properties": {"wanted": {"type": "integer"}},
    }  # fmt: skip
    await client.update(CRDS, served)
    await client.create(WIDGETS, widget("one"))

    async def scale(**spec: Any) -> Object:
        return await client.patch(WIDGETS, "one", {"spec": spec}, "default", subresource="scale")

    with pytest.raises(BadRequest, match=r'the spec replicas field ".spec.copies.wanted" cannot be empty'):
        await scale()
    with pytest.raises(
        Invalid, match=r"spec\.copies\.wanted: Invalid value: -1: should be a non-negative integer"
    ):
        await scale(replicas=-1)
    assert (await scale(replicas=3))["spec"] == {"replicas": 3}
    assert (await client.get(WIDGETS, "one", "default"))["spec"]["copies"] == {"wanted": 3}


async def test_a_new_storage_version_is_remembered_and_reads_go_on(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    crd = await client.get(CRDS, "widgets.example.com")
    crd["spec"]["versions"].append({**crd["spec"]["versions"][0], "name": "v2"})
    crd["spec"]["versions"][0] = {**crd["spec"]["versions"][0], "storage": False}
    changed = await client.update(CRDS, crd)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    second = Resource("example.com", "v2", "widgets", "Widget", True)
    await asyncio.sleep(0.05)
    assert (await client.get(second, "w", "default"))["apiVersion"] == "example.com/v2"
    assert (await client.list(WIDGETS, "default"))["items"][0]["spec"]["size"] == 3


async def test_a_changed_default_shows_on_old_objects(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    crd = await client.get(CRDS, "widgets.example.com")
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["shape"] = {"type": "string", "default": "round"}
    await client.update(CRDS, crd)
    await asyncio.sleep(0.05)
    assert (await client.get(WIDGETS, "w", "default"))["spec"]["shape"] == "round"
    assert (await client.list(WIDGETS, "default"))["items"][0]["spec"]["shape"] == "round"


async def test_selection_goes_by_the_new_schema_at_once(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget("r"))
    assert len((await client.list(WIDGETS, "default", field_selector="spec.color=red"))["items"]) == 1
    crd = await client.get(CRDS, "widgets.example.com")
    version = crd["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["shape"] = {"type": "string", "default": "round"}
    version["selectableFields"].append({"jsonPath": ".spec.shape"})
    await client.update(CRDS, crd)
    found = await client.list(WIDGETS, "default", field_selector="spec.shape=round")
    assert [objects.name(item) for item in found["items"]] == ["r"]


async def test_a_watch_ends_when_the_schema_changes(client: Client, served: Object) -> None:
    async def watched() -> list[str]:
        events = client.watch(WIDGETS, "default")
        return [event.type async for event in events if event.type != "BOOKMARK"]

    watching = asyncio.create_task(watched())
    await client.create(WIDGETS, widget())
    await asyncio.sleep(0.1)
    crd = await client.get(CRDS, "widgets.example.com")
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["shape"] = {"type": "string"}
    await client.update(CRDS, crd)
    async with asyncio.timeout(2):
        assert await watching == ["ADDED"]


async def test_a_watch_ends_after_its_last_object_when_the_definition_goes(
    client: Client, served: Object
) -> None:
    made = await client.create(WIDGETS, widget())

    async def watched() -> list[str]:
        events = client.watch(WIDGETS, resource_version=made["metadata"]["resourceVersion"])
        return [event.type async for event in events if event.type != "BOOKMARK"]

    watching = asyncio.create_task(watched())
    await asyncio.sleep(0.1)
    await client.delete(CRDS, "widgets.example.com")
    async with asyncio.timeout(5):
        assert await watching == ["DELETED"]


async def test_fields_of_custom_objects_have_texts_of_their_own(client: Client, served: Object) -> None:
    with pytest.raises(BadRequest, match=r"^field label not supported: spec.shade$"):
        await client.list(WIDGETS, field_selector="spec.shade=red")


async def test_deletion_takes_the_objects_along(client: Client, served: Object) -> None:
    held = widget()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(WIDGETS, held)
    await client.create(WIDGETS, widget("other"))
    await client.delete(CRDS, "widgets.example.com")
    await asyncio.sleep(0.1)
    left = await client.list(WIDGETS, "default")
    assert [objects.name(item) for item in left["items"]] == ["w"]
    with pytest.raises(
        StatusError, match=r"create not allowed while custom resource definition is terminating"
    ):
        await client.create(WIDGETS, widget("late"))
    await client.patch(WIDGETS, "w", {"metadata": {"finalizers": None}}, "default")
    async with asyncio.timeout(3):
        while True:
            try:
                await client.get(CRDS, "widgets.example.com")
            except NotFound:
                break
            await asyncio.sleep(0.05)
    with pytest.raises(NotFound):
        await client.list(WIDGETS, "default")


async def test_definitions_are_served_again_after_a_restart(
    store: Store, api: APIServer, client: Client
) -> None:
    await established(client, definition())
    await client.create(WIDGETS, widget())
    await api.stop()
    again = APIServer(APIServerSettings(), store)
    await again.start()
    assert (await again.client.get(WIDGETS, "w", "default"))["spec"]["size"] == 3
    await again.stop()


async def test_names_in_use_are_not_accepted(client: Client, served: Object) -> None:
    crd = definition(names={"plural": "gadgets", "kind": "Widget"})
    crd["metadata"]["name"] = "gadgets.example.com"
    await client.create(CRDS, crd)
    await asyncio.sleep(0.1)
    found = await client.get(CRDS, "gadgets.example.com")
    accepted = objects.condition(found, "NamesAccepted") or {}
    assert (accepted["reason"], accepted["message"]) == (
        "ListKindConflict", '"WidgetList" is already in use',
    )  # fmt: skip
    assert found["status"]["acceptedNames"] == {"plural": "gadgets", "kind": ""}
    established = objects.condition(found, "Established") or {}
    assert (established["status"], established["reason"]) == ("False", "NotAccepted")
    # The names are free when the definition that has them is gone.
    await client.delete(CRDS, "widgets.example.com")
    async with asyncio.timeout(2):
        while True:
            if objects.is_true(await client.get(CRDS, "gadgets.example.com"), "Established"):
                break
            await asyncio.sleep(0.01)


async def test_a_name_that_becomes_free_is_taken_once(client: Client, served: Object) -> None:
    async def settled(name: str, status: str) -> Object:
        async with asyncio.timeout(5):
            while True:
                crd = await client.get(CRDS, name)
                if (objects.condition(crd, "NamesAccepted") or {}).get("status") == status:
                    return crd
                await asyncio.sleep(0.01)

    for plural in ("gadgets", "gizmos"):
        crd = definition(names={"plural": plural, "kind": "Gadget", "shortNames": ["wd"]})
        crd["metadata"]["name"] = f"{plural}.example.com"
        await client.create(CRDS, crd)
        await settled(f"{plural}.example.com", "False")
    await client.delete(CRDS, "widgets.example.com")
    await settled("gadgets.example.com", "True")
    await asyncio.sleep(0.1)  # time for the other one to take what it should not
    found = [await client.get(CRDS, f"{plural}.example.com") for plural in ("gadgets", "gizmos")]
    assert sum(objects.is_true(crd, "NamesAccepted") for crd in found) == 1
    assert sum(crd["status"]["acceptedNames"].get("shortNames") == ["wd"] for crd in found) == 1


def _at(path: str, value: Any) -> Object:
    crd = definition()
    target: Any = crd
    *steps, last = path.split("/")
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return crd


SCHEMA = "spec/versions/0/schema/openAPIV3Schema"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("metadata/name", "other.example.com", 'must be spec.names.plural+"."+spec.group'),
        ("spec/versions/0/storage", False, "must have exactly one version marked as storage version"),
        (
            "spec/versions/0/schema",
            None,
            '"widgets.example.com" is invalid: spec.versions[0].schema.openAPIV3Schema: Required value',
        ),
        (f"{SCHEMA}/properties/spec/type", None, "properties[spec].type: Required value"),
        (
            f"{SCHEMA}/properties/spec/properties/tags/items",
            None,
            "properties[tags].items: Required value: must be specified",
        ),
        (f"{SCHEMA}/properties/spec/properties/color/default", "green", 'Unsupported value: "green"'),
        (f"{SCHEMA}/properties/spec/properties/title/pattern", "[", "must be a valid regular expression"),
        (f"{SCHEMA}/properties/spec/anyOf", [{"type": "object"}], "must be empty to be structural"),
        ("spec/names/kind", "widgets!", "spec.names.kind: Invalid value"),
        (
            "spec/conversion",
            {"strategy": "Webhook"},
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            "spec/versions/0/additionalPrinterColumns/0/type",
            "colour",
            "must be one of boolean,date,integer,number,string",
        ),
    ],
)
async def test_a_bad_definition_is_invalid(client: Client, path: str, value: Any, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(CRDS, _at(path, value))
    assert told in refused.value.message


async def test_protected_groups_need_approval(client: Client) -> None:
    crd = definition(group="apps.k8s.io")
    crd["metadata"]["name"] = "widgets.apps.k8s.io"
    with pytest.raises(Invalid, match=r"protected groups must have approval annotation"):
        await client.create(CRDS, crd)
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    await client.create(CRDS, crd)


async def test_a_definition_says_when_it_is_on_its_way_out(client: Client, served: Object) -> None:
    held = widget()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(WIDGETS, held)
    gone = await client.delete(CRDS, "widgets.example.com")
    assert gone is not None
    terminating = objects.condition(gone, "Terminating") or {}
    assert (terminating["status"], terminating["reason"]) == ("True", "InstanceDeletionPending")
    assert gone["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert "deletionGracePeriodSeconds" not in gone["metadata"]
    async with asyncio.timeout(2):
        while True:
            found = await client.get(CRDS, "widgets.example.com")
            reason = (objects.condition(found, "Terminating") or {})["reason"]
            if reason == "InstanceDeletionInProgress":
                break
            await asyncio.sleep(0.01)


async def test_what_is_no_subresource_is_not_found_as_an_object_is(
    client: Client, read: Callable[[Response], Any]
) -> None:
    crd = definition()
    del crd["spec"]["versions"][0]["subresources"]
    await established(client, crd)
    await client.create(WIDGETS, widget())
    for name in ("status", "scale", "odd"):
        response = await client.raw("GET", f"/apis/example.com/v1/namespaces/default/widgets/w/{name}")
        assert (response.status, codec.decode_json(response.body)["message"]) == (
            404,
            'widgets.example.com "w" not found',
        )


async def test_finalizers_without_an_owner_are_warned_of(client: Client, served: Object) -> None:
    body = widget()
    body["metadata"]["finalizers"] = ["finalizer.example.com"]
    response = await client.raw(
        "POST", "/apis/example.com/v1/namespaces/default/widgets", body=codec.encode_json(body)
    )
    assert response.status == 201
    assert "prefer a domain-qualified finalizer name including a path (/)" in response.header("warning")


async def test_a_protected_definition_says_whether_it_is_approved(client: Client) -> None:
    crd = definition(group="apps.k8s.io")
    crd["metadata"] = {
        "name": "widgets.apps.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"},
    }
    found = await established(client, crd)
    condition = objects.condition(found, "KubernetesAPIApprovalPolicyConformant") or {}
    assert (condition["status"], condition["reason"]) == ("True", "ApprovedAnnotation")


async def test_a_column_that_cannot_be_read_gives_way_to_the_usual_ones(
    client: Client, read: Callable[[Response], Any]
) -> None:
    crd = definition()
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = [
        {"name": "Odd", "type": "string", "jsonPath": ".spec[?(@"}
    ]
    await established(client, crd)
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = read(await client.raw("GET", "/apis/example.com/v1/widgets", headers=accept))
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Age"]


async def test_a_scale_without_a_number_is_an_error(client: Client, served: Object) -> None:
    crd = await client.get(CRDS, "widgets.example.com")
    scale = crd["spec"]["versions"][0]["subresources"]["scale"]
    scale["specReplicasPath"] = ".spec.missing"
    await client.update(CRDS, crd)
    await client.create(WIDGETS, widget())
    with pytest.raises(StatusError, match=r'the spec replicas field ".spec.missing" does not exist'):
        await client.get(WIDGETS, "w", "default", subresource="scale")


async def test_a_patch_does_not_change_the_kind(client: Client, served: Object) -> None:
    await client.create(WIDGETS, widget())
    with pytest.raises(Invalid, match=r'"w" is invalid: kind: Invalid value: "Gadget": must be Widget$'):
        await client.patch(WIDGETS, "w", {"kind": "Gadget"}, "default")


async def test_another_kind_is_refused_though_there_is_no_name_to_tell(
    client: Client, served: Object, read: Callable[[Response], Any]
) -> None:
    body = codec.encode_json(widget() | {"kind": "Gadget", "metadata": -1})
    headers = {"content-type": "application/json"}
    answer = await client.raw(
        "POST", "/apis/example.com/v1/namespaces/default/widgets", body=body, headers=headers
    )
    assert (answer.status, read(answer)["message"]) == (
        422, 'Widget.example.com "" is invalid: kind: Invalid value: "Gadget": must be Widget',
    )  # fmt: skip


async def test_each_version_has_its_own_subresources(client: Client, read: Callable[[Response], Any]) -> None:
    """In one without them the status is written with the rest, and counts for the generation."""
    crd = definition()
    beta = {**crd["spec"]["versions"][0], "name": "v1beta1", "storage": False}
    del beta["subresources"]
    crd["spec"]["versions"].append(beta)
    await established(client, crd)
    listed = {
        version: {each["name"] for each in read(await client.raw("GET", f"/apis/example.com/{version}"))["resources"]}
        for version in ("v1", "v1beta1")
    }  # fmt: skip
    assert listed == {"v1": {"widgets", "widgets/status", "widgets/scale"}, "v1beta1": {"widgets"}}
    made = await client.create(BETA, widget() | {"apiVersion": "example.com/v1beta1", "status": {"size": 2}})
    assert (made["status"], made["metadata"]["generation"]) == ({"size": 2}, 1)
    made["status"]["size"] = 5
    made = await client.update(BETA, made)
    assert (made["status"], made["metadata"]["generation"]) == ({"size": 5}, 2)
    made = await client.get(WIDGETS, "w", "default")
    made["status"]["size"] = 6
    made = await client.update(WIDGETS, made)
    assert (made["status"], made["metadata"]["generation"]) == ({"size": 5}, 2)
    with pytest.raises(NotFound, match=r'widgets\.example\.com "w" not found'):
        await client.get(BETA, "w", "default", subresource="status")


async def test_a_definition_with_a_format_that_means_nothing_is_taken_with_a_warning(client: Client) -> None:
    crd = definition()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["address"] = {"type": "string", "format": "ip"}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **crd}
    response = await client.raw("POST", path, body=codec.encode_json(body))
    assert response.status == 201
    assert response.header("warning") == r'299 - "unrecognized format \"ip\""'


_NO_KIND = (
    "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '{0}' ({0})"
)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ("", "{}", _NO_KIND.format("{}")),
        ("", '{"kind":""}', _NO_KIND.format('{"kind":""}')),
        (
            "fieldValidation=Ignore",
            "{}",
            "Widget in version \"v1\" cannot be handled as a Widget: Object 'Kind' is missing in '{}'",
        ),
        (
            "",
            '{"kind":"Widget"}',
            "the API version in the data () does not match the expected API version (example.com/v1)",
        ),
        (
            "",
            '{"apiVersion":"a/b/c","kind":"Widget"}',
            "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in "
            '\'{"apiVersion":"a/b/c","kind":"Widget"}\' ({"apiVersion":"a/b/c","kind":" ...)',
        ),
    ],
)
@pytest.mark.parametrize(("method", "name"), [("POST", ""), ("PUT", "/w")])
async def test_custom_resources_have_to_say_what_they_are(
    client: Client, method: str, name: str, query: str, body: str, message: str
) -> None:
    path = f"/apis/example.com/v1/namespaces/default/widgets{name}"
    response = await client.raw(method, path, query=query, body=body.encode())
    assert (response.status, codec.decode_json(response.body)["message"]) == (400, message)


@pytest.mark.usefixtures("served")
async def test_a_patch_cannot_take_the_kind_of_a_custom_resource(client: Client) -> None:
    await client.create(WIDGETS, widget())
    with pytest.raises(Invalid, match=r"Object 'Kind' is missing in '\{\"apiVersion\":\"example.com/v1\""):
        await client.patch(WIDGETS, "w", [{"op": "remove", "path": "/kind"}], "default", kind="json")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (5, "number into Go value of type v1.ObjectMeta"),
        ({"name": "a", "labels": {"a": 5}}, "number into Go struct field ObjectMeta.labels of type string"),
        (
            {"name": "a", "annotations": 5},
            "number into Go struct field ObjectMeta.annotations of type map[string]string",
        ),
        (
            {"name": "a", "ownerReferences": [{"name": 5}]},
            "number into Go struct field OwnerReference.ownerReferences.name of type string",
        ),
    ],
)
async def test_the_metadata_of_a_custom_resource_is_decoded_by_itself(
    client: Client, metadata: Any, why: str
) -> None:
    body = codec.encode_json({**widget(), "metadata": metadata})
    response = await client.raw("POST", "/apis/example.com/v1/namespaces/default/widgets", body=body)
    assert (response.status, codec.decode_json(response.body)["message"]) == (
        400,
        f'Widget in version "v1" cannot be handled as a Widget: json: cannot unmarshal {why}',
    )


@pytest.mark.usefixtures("served")
async def test_custom_resources_go_by_the_verb_and_their_place(client: Client) -> None:
    root, body = "/apis/example.com/v1", codec.encode_json(widget("w"))
    inside = f"{root}/namespaces/default/widgets"

    async def ask(method: str, path: str) -> tuple[int, str]:
        patch = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
        response = await client.raw(method, path, body=body, headers=patch)
        if not response.body.startswith(b"{"):
            return response.status, response.body.decode()
        found = codec.decode_json(response.body)
        return response.status, found.get("message") or found["metadata"]["name"]

    unserved = (404, "404 page not found\n")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert await ask(method, f"{root}/widgets") == unserved, "only what reads looks into every namespace"
    assert await ask("PUT", inside) == await ask("PATCH", inside) == (400, "name must be provided")
    assert await ask("POST", f"{inside}/other") == (201, "w"), "the name in the path is not looked at"
    assert await ask("POST", f"{inside}/w/status") == (
        405, 'create is not supported on resources of kind "widgets.example.com"',
    )  # fmt: skip
    assert await ask("GET", f"{inside}/w/nothing") == (404, 'widgets.example.com "w" not found')
    assert await ask("OPTIONS", inside) == (
        405,
        ' is not supported on resources of kind "widgets.example.com"',
    )
