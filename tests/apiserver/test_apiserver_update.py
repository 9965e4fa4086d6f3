from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.client.exchange import Response, User
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.machinery.kind import Object
from sublet.machinery.status import BadRequest, Conflict, Forbidden, Invalid, NotFound, UnsupportedMediaType

MAPS, LEASES, DEPLOYMENTS, PODS = (
    resource("configmaps"), resource("leases.coordination.k8s.io"), resource("deployments.apps"), resource("pods"),
)  # fmt: skip
MAKE = Callable[..., Object]


async def test_a_put_replaces_what_it_has_seen(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    changed = await client.update(MAPS, {**made, "data": {"b": "2"}})
    assert changed["data"] == {"b": "2"}
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def test_a_put_of_an_old_version_conflicts(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    await client.update(MAPS, {**made, "data": {}})
    with pytest.raises(
        Conflict, match=r"the object has been modified; please apply your changes to the latest"
    ):
        await client.update(MAPS, {**made, "data": {"a": "3"}})


async def test_a_put_without_version_replaces_whatever_is_there(
    client: Client, make_config_map: MAKE
) -> None:
    await client.create(MAPS, make_config_map(a="1"))
    assert (await client.update(MAPS, make_config_map(a="2")))["data"] == {"a": "2"}


async def test_a_put_without_version_is_invalid_where_the_kind_forbids_it(client: Client) -> None:
    lease: Object = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "a"}}
    await client.create(LEASES, lease)
    with pytest.raises(
        Invalid,
        match=r'^leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified',
    ):
        await client.update(LEASES, lease)


async def test_a_put_creates_only_where_the_kind_allows_it(client: Client, make_config_map: MAKE) -> None:
    lease: Object = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "a"}}
    assert (await client.update(LEASES, lease))["metadata"]["uid"]
    with pytest.raises(NotFound, match=r'configmaps "settings" not found'):
        await client.update(MAPS, make_config_map())


async def test_an_update_that_changes_nothing_writes_nothing(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    assert await client.update(MAPS, made) == made


async def test_the_name_must_be_that_of_the_path(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    body = b'{"metadata":{"name":"other"}}'
    response = await client.raw("PUT", "/api/v1/namespaces/default/configmaps/settings", body=body)
    assert response.status == 400
    assert b"the name of the object (other) does not match the name on the URL (settings)" in response.body


async def test_another_uid_conflicts(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map())
    made["metadata"]["uid"] = "another"
    with pytest.raises(
        Conflict,
        match=r"Key: /registry/configmaps/default/settings, ResourceVersion: 0, AdditionalErrorMsg: "
        r"Precondition failed: UID in precondition: another, UID in object meta: ",
    ):
        await client.update(MAPS, made)


@pytest.mark.parametrize("below", ["", "/status"])
async def test_a_uid_of_what_is_gone_conflicts_too(
    client: Client, read: Callable[[Response], Any], below: str
) -> None:
    gone = {"metadata": {"name": "gone", "uid": "u"}}
    path = f"/api/v1/namespaces/default/pods/gone{below}"
    answer = await client.raw("PUT", path, body=codec.encode_json(gone))
    assert answer.status == 409
    assert "Precondition failed: UID in precondition: u, UID in object meta: " in read(answer)["message"]


async def test_times_and_uid_are_restored(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map())
    changed = make_config_map(a="1")
    changed["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z"
    after = (await client.update(MAPS, changed))["metadata"]
    assert (after["uid"], after["creationTimestamp"]) == (
        made["metadata"]["uid"],
        made["metadata"]["creationTimestamp"],
    )


def deployment() -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


async def test_generation_counts_changes_of_the_spec_alone(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    labelled = await client.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"x": "y"}}}, "default")
    scaled = await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, "default")
    status = await client.patch(
        DEPLOYMENTS, "web", {"status": {"replicas": 3}}, "default", subresource="status"
    )
    assert [o["metadata"]["generation"] for o in (labelled, scaled, status)] == [1, 2, 2]


async def test_the_main_endpoint_leaves_the_status_alone(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    await client.patch(DEPLOYMENTS, "web", {"status": {"replicas": 3}}, "default", subresource="status")
    after = await client.patch(
        DEPLOYMENTS, "web", {"status": {"replicas": 9}, "spec": {"replicas": 2}}, "default"
    )
    assert (after["status"]["replicas"], after["spec"]["replicas"]) == (3, 2)


async def test_the_status_endpoint_leaves_the_spec_alone(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    after = await client.patch(
        DEPLOYMENTS,
        "web",
        {"status": {"replicas": 1}, "spec": {"replicas": 7}},
        "default",
        subresource="status",
    )
    assert (after["status"]["replicas"], after["spec"]["replicas"]) == (1, 1)


async def test_status_writes_are_managed_apart(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    after = await client.patch(
        DEPLOYMENTS, "web", {"status": {"replicas": 1}}, "default", subresource="status"
    )
    assert [e.get("subresource", "") for e in after["metadata"]["managedFields"]] == ["", "status"]


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", {"data": {"a": None, "b": "2"}}),
        ("strategic", {"data": {"a": None, "b": "2"}}),
        ("json", [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]),
    ],
)
async def test_every_patch_type_changes_the_object(
    client: Client, make_config_map: MAKE, kind: str, patch: Object
) -> None:
    await client.create(MAPS, make_config_map(a="1"))
    assert (await client.patch(MAPS, "settings", patch, "default", kind=kind))["data"] == {"b": "2"}


async def test_concurrent_patches_all_stand(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map(a="1"))
    await asyncio.gather(
        *(client.patch(MAPS, "settings", {"data": {f"k{i}": "x"}}, "default") for i in range(4))
    )
    assert len((await client.get(MAPS, "settings", "default"))["data"]) == 5


async def test_a_patch_that_names_an_old_version_conflicts(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    await client.patch(MAPS, "settings", {"data": {"a": "2"}}, "default")
    patch = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    with pytest.raises(Conflict):
        await client.patch(MAPS, "settings", patch, "default")


async def test_a_patch_of_nothing_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.patch(MAPS, "settings", {}, "default")


async def test_a_json_patch_that_does_not_apply_is_invalid(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    with pytest.raises(Invalid):
        await client.patch(MAPS, "settings", [{"op": "remove", "path": "/data/zz"}], "default", kind="json")


async def test_an_unknown_patch_type_names_the_known_ones(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    path = "/api/v1/namespaces/default/configmaps/settings"
    response = await client.raw("PATCH", path, body=b"{}", headers={"content-type": "application/json"})
    assert response.status == UnsupportedMediaType.code
    assert b"application/strategic-merge-patch+json" in response.body


def applied(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}


async def apply(client: Client, manager: str, force: bool = False, **data: str) -> Object:
    return await client.patch(
        MAPS, "settings", applied(**data), "default", kind="apply", field_manager=manager, force=force
    )


async def test_apply_creates_and_owns(client: Client) -> None:
    made = await apply(client, "me", a="1")
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("me", "Apply")


async def test_apply_conflicts_with_another_manager_unless_forced(client: Client) -> None:
    await apply(client, "me", a="1")
    with pytest.raises(Conflict, match=r'conflict with "me"') as refused:
        await apply(client, "you", a="2")
    assert [(c.reason, c.field) for c in refused.value.causes] == [("FieldManagerConflict", ".data.a")]
    assert (await apply(client, "you", force=True, a="2"))["data"] == {"a": "2"}


async def test_apply_removes_what_its_manager_no_longer_states(client: Client) -> None:
    await apply(client, "me", a="1", b="2")
    assert (await apply(client, "me", a="1"))["data"] == {"a": "1"}


async def test_applying_the_same_again_writes_nothing(client: Client) -> None:
    assert await apply(client, "me", a="1") == await apply(client, "me", a="1")


async def test_apply_needs_a_field_manager(client: Client) -> None:
    with pytest.raises(Invalid, match=r"fieldManager: Required value: is required for apply patch"):
        await client.patch(MAPS, "settings", applied(), "default", kind="apply")


async def test_apply_needs_the_version_of_the_path(client: Client) -> None:
    body = applied() | {"apiVersion": "v2"}
    with pytest.raises(BadRequest, match=r"^invalid object type: /v2, Kind=ConfigMap$"):
        await client.patch(MAPS, "settings", body, "default", kind="apply", field_manager="me")


async def test_a_dry_run_patch_stores_nothing(client: Client, make_config_map: MAKE) -> None:
    made = await client.create(MAPS, make_config_map(a="1"))
    shown = await client.patch(MAPS, "settings", {"data": {"a": "2"}}, "default", dry_run=True)
    assert shown["data"] == {"a": "2"}
    assert await client.get(MAPS, "settings", "default") == made


async def test_a_write_in_a_namespace_that_goes_is_forbidden(client: Client, make_config_map: MAKE) -> None:
    await client.create(resource("namespaces"), {"metadata": {"name": "going"}})
    await client.delete(resource("namespaces"), "going")
    with pytest.raises(Forbidden) as refused:
        await client.create(MAPS, make_config_map(namespace="going"))
    assert refused.value.causes[0].reason == "NamespaceTerminating"


@pytest.mark.parametrize(
    ("kind", "patch", "why"),
    [
        (
            "strategic",
            {"spec": {"replicas": "x"}},
            'Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32',
        ),
        (
            "strategic",
            {"metadata": {"labels": {"a": 5}}},
            'Invalid value: "map[metadata:map[labels:map[a:5]]]": cannot convert int64 to string',
        ),
        (
            "strategic",
            {"spec": {"template": []}},
            'Invalid value: "map[spec:map[template:[]]]": cannot restore struct from: slice',
        ),
        (
            "merge",
            {"spec": {"replicas": "x"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "json",
            [{"op": "add", "path": "/spec/paused", "value": "x"}],
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        ("merge", {"kind": "Bogus"}, 'no kind "Bogus" is registered for version "apps/v1"'),
    ],
)
async def test_a_patch_that_leaves_no_object_of_the_kind_is_invalid(
    client: Client, kind: Any, patch: Any, why: str
) -> None:
    await client.create(DEPLOYMENTS, deployment())
    with pytest.raises(Invalid) as caught:
        await client.patch(DEPLOYMENTS, "web", patch, "default", kind=kind)
    assert caught.value.message.startswith(' "" is invalid: patch: Invalid value: "')
    assert why in caught.value.message
    assert [cause.field for cause in caught.value.causes] == ["patch"]


async def test_a_strategic_patch_leaves_the_type_alone(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    patched = await client.patch(DEPLOYMENTS, "web", {"kind": "Bogus"}, "default", kind="strategic")
    assert patched["kind"] == "Deployment"


async def test_a_json_patch_may_take_the_kind_which_the_url_says_again(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    patched = await client.patch(
        DEPLOYMENTS, "web", [{"op": "remove", "path": "/kind"}], "default", kind="json"
    )
    assert patched["kind"] == "Deployment"
    with pytest.raises(Invalid, match=r"json parse error: .* into Go struct field .kind of type string"):
        await client.patch(
            DEPLOYMENTS, "web", [{"op": "replace", "path": "/kind", "value": 5}], "default", kind="json"
        )


@pytest.mark.parametrize(
    ("media", "body", "found"),
    [
        (
            "merge-patch",
            b'{"spec":{"foo":1,"paused":true,"paused":false}}',
            'duplicate field "spec.paused", unknown field "spec.foo"',
        ),
        (
            "strategic-merge-patch",
            b'{"spec":{"foo":1,"paused":true,"paused":false}}',
            'duplicate field "spec.paused", unknown field "spec.foo"',
        ),
        (
            "json-patch",
            b'[{"op":"add","path":"/spec/foo","value":1,"bar":2}]',
            'json patch unknown field "[0].bar", unknown field "spec.foo"',
        ),
        (
            "json-patch",
            b'[{"op":"test","path":"/kind","value":"Deployment","bar":2},{"op":"test","path":"/x","path":"/kind","value":"Deployment"}]',
            'json patch unknown field "[0].bar", json patch duplicate field "[1].path"',
        ),
    ],
)
async def test_strict_patches_are_invalid_and_others_warn(
    client: Client, media: str, body: bytes, found: str
) -> None:
    await client.create(DEPLOYMENTS, deployment())
    path, headers = DEPLOYMENTS.path("default", "web"), {"content-type": f"application/{media}+json"}
    response = await client.raw("PATCH", path, query="fieldValidation=Strict", body=body, headers=headers)
    status = codec.decode_json(response.body)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"].endswith(f": strict decoding error: {found}")
    response = await client.raw("PATCH", path, body=body, headers=headers)
    warned = [value for name, value in response.headers if name == "Warning"]
    assert response.status == 200
    assert warned == [f'299 - "{text}"' for text in found.replace('"', '\\"').split(", ")]


async def test_a_patch_cannot_change_the_uid(client: Client, make_config_map: MAKE) -> None:
    await client.create(MAPS, make_config_map())
    with pytest.raises(Invalid, match=r'metadata.uid: Invalid value: "other": field is immutable'):
        await client.patch(MAPS, "settings", {"metadata": {"uid": "other"}}, "default", kind="merge")


async def test_what_is_applied_with_a_uid_is_not_created(client: Client) -> None:
    body = applied() | {"metadata": {"name": "settings", "uid": "u"}}
    with pytest.raises(Conflict, match=r"uid mismatch: the provided object specified uid u, and no existing"):
        await client.patch(MAPS, "settings", body, "default", kind="apply", field_manager="me")


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        (
            "fieldManager=a%0Ab",
            ['fieldManager: Invalid value: "a\\nb": invalid character U+000A (at position 1)'],
        ),
        (f"fieldManager={'%C3%A9' * 65}", ["fieldManager: Too long: may not be more than 128 bytes"]),
        (
            "force=true&dryRun=some&fieldValidation=Loud",
            [
                "force: Forbidden: may not be specified for non-apply patch",
                'dryRun: Unsupported value: ["some"]: supported values: "All"',
                'fieldValidation: Unsupported value: "Loud": supported values: "", "Ignore", "Strict", "Warn"',
            ],
        ),
    ],
)
async def test_options_that_make_no_sense_are_invalid_in_upstreams_order(
    client: Client, make_config_map: MAKE, query: str, errors: list[str]
) -> None:
    await client.create(MAPS, make_config_map())
    headers = {"content-type": "application/merge-patch+json"}
    path = MAPS.path("default", "settings")
    response = await client.raw("PATCH", path, query=query, body=b"{}", headers=headers)
    status = codec.decode_json(response.body)
    assert (status["code"], status["details"]["kind"]) == (422, "PatchOptions")
    assert [f"{cause['field']}: {cause['message']}" for cause in status["details"]["causes"]] == errors


async def test_a_manager_is_named_after_the_user_agent(api: APIServer, make_config_map: MAKE) -> None:
    client = api.client_as(User("admin", ("system:masters",)), "my\ttool/1.0 (linux)")
    made = await client.create(MAPS, make_config_map(a="1"))
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["mytool"]


async def test_who_creates_an_object_owns_nothing_of_its_status(client: Client) -> None:
    made = await client.create(DEPLOYMENTS, {**deployment(), "status": {"replicas": 3}})
    assert [sorted(entry["fieldsV1"]) for entry in made["metadata"]["managedFields"]] == [["f:spec"]]


async def test_the_status_of_a_deployment_does_not_bring_labels(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment())
    change = {"metadata": {"labels": {"x": "y"}, "annotations": {"a": "b"}}, "status": {"replicas": 1}}
    after = await client.patch(DEPLOYMENTS, "web", change, "default", kind="merge", subresource="status")
    assert "labels" not in after["metadata"]
    assert after["metadata"]["annotations"] == {"a": "b"}
    assert after["status"]["replicas"] == 1


_LATER = "2033-05-18T03:33:20Z"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"deletionTimestamp": _LATER}, f'metadata.deletionTimestamp: Invalid value: "{_LATER}": field is'),
        (
            {"deletionGracePeriodSeconds": 30},
            "metadata.deletionGracePeriodSeconds: Invalid value: 30: field is",
        ),
    ],
)
async def test_only_a_deletion_begins_a_deletion(
    client: Client, make_config_map: MAKE, changed: Object, why: str
) -> None:
    wanted = make_config_map()
    wanted["metadata"]["finalizers"] = ["example.com/hold"]
    made = await client.create(MAPS, wanted | {"metadata": wanted["metadata"] | changed})
    assert not changed.keys() & made["metadata"].keys()
    assert list(made["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]) == ["f:finalizers"]
    with pytest.raises(Invalid, match=why):
        await client.patch(MAPS, "settings", {"metadata": changed}, "default")
    with pytest.raises(Invalid, match=why):
        await client.update(MAPS, made | {"metadata": made["metadata"] | changed})


async def test_a_deletion_that_has_begun_is_not_taken_back(client: Client, make_config_map: MAKE) -> None:
    wanted = make_config_map()
    wanted["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(MAPS, wanted)
    marked = (await client.delete(MAPS, "settings", "default"))["metadata"]
    patch = {"metadata": {"deletionTimestamp": _LATER, "deletionGracePeriodSeconds": None}}
    left = (await client.patch(MAPS, "settings", patch, "default"))["metadata"]
    assert (left["deletionTimestamp"], left["deletionGracePeriodSeconds"]) == (marked["deletionTimestamp"], 0)
    with pytest.raises(Invalid, match=r"deletionGracePeriodSeconds: Invalid value: 40: field is immutable"):
        await client.patch(MAPS, "settings", {"metadata": {"deletionGracePeriodSeconds": 40}}, "default")


@pytest.mark.parametrize("version", ["", "/", "foo/", "a/b/c"])
async def test_an_owner_has_a_version(client: Client, make_config_map: MAKE, version: str) -> None:
    wanted = make_config_map()
    owner = {"apiVersion": version, "kind": "Pod", "name": "name", "uid": "1"}
    wanted["metadata"]["ownerReferences"] = [owner]
    why = f'metadata.ownerReferences.apiVersion: Invalid value: "{version}": version must not be empty'
    with pytest.raises(Invalid, match=why):
        await client.create(MAPS, wanted)
