"""Discovery and OpenAPI documents say what clients rely on."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from typing import Any

import pytest
from apiserver_front import Front, front

from sublet.apiserver import negotiation
from sublet.apiserver.discovery import storage_version_hash, version_order
from sublet.kinds import protobuf
from sublet.machinery.kind import Resource

__all__ = ["front"]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
OLD = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
FOO: dict[str, Any] = {
    "metadata": {"name": "foos.stable.example.com"},
    "spec": {
        "group": "stable.example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "foos",
            "singular": "foo",
            "kind": "Foo",
            "listKind": "FooList",
            "shortNames": ["fo"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "size": {"type": "integer", "nullable": True},
                                    "port": {"x-kubernetes-int-or-string": True},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


async def define_foo(front: Front) -> None:
    changed = asyncio.Event()
    front.api.kinds.on_change(changed.set)
    await front.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", FOO)
    await asyncio.wait_for(changed.wait(), 5)


def test_versions_are_preferred_by_stability_then_number() -> None:
    versions = ["v1beta1", "v2alpha1", "v10", "v2", "foo1", "v1", "v11alpha2", "v3beta1"]
    assert sorted(versions, key=version_order) == [
        "v10",
        "v2",
        "v1",
        "v3beta1",
        "v1beta1",
        "v11alpha2",
        "v2alpha1",
        "foo1",
    ]


def test_storage_version_hashes_are_upstreams() -> None:
    assert storage_version_hash(Resource("", "v1", "pods", "Pod", True)) == "xPOwRZ+Yhw8="


@pytest.mark.parametrize(
    "path", ["/api", "/apis", "/apis/", "/apis/apps", "/apis/apps/", "/api/v1", "/apis/apps/v1/"]
)
async def test_legacy_documents_are_there_also_with_a_trailing_slash(front: Front, path: str) -> None:
    answer = await front.ask("GET", path)
    assert answer.status == 200
    assert answer.json["kind"] in ("APIVersions", "APIGroupList", "APIGroup", "APIResourceList")


async def test_subresources_name_the_group_of_their_kind(front: Front) -> None:
    listed = (await front.ask("GET", "/apis/apps/v1")).json["resources"]
    scale = next(row for row in listed if row["name"] == "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


async def test_groups_come_in_upstreams_order(front: Front) -> None:
    groups = [group["name"] for group in (await front.ask("GET", "/apis")).json["groups"]]
    assert groups == [
        "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
        "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
        "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
        "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
    ]  # fmt: skip


async def test_only_what_is_said_of_the_core_group_has_no_version(front: Front) -> None:
    core, apps = (await front.ask("GET", "/api/v1")).json, (await front.ask("GET", "/apis/apps/v1")).json
    assert (core.get("apiVersion"), core["groupVersion"]) == (None, "v1")
    assert (apps["apiVersion"], apps["groupVersion"]) == ("v1", "apps/v1")


async def test_only_custom_kinds_are_told_with_their_group_and_version(front: Front) -> None:
    await define_foo(front)
    items = (await front.ask("GET", "/apis", headers={"accept": AGGREGATED})).json["items"]
    kinds = {
        (row["resource"], below["subresource"] if below else ""): (below or row)["responseKind"]
        for item in items for version in item["versions"] for row in version["resources"]
        for below in (None, *row.get("subresources", ()))
    }  # fmt: skip
    assert kinds["deployments", ""] == {"group": "", "version": "", "kind": "Deployment"}
    assert kinds["deployments", "status"] == {"group": "", "version": "", "kind": "Deployment"}
    assert kinds["deployments", "scale"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    foo = {"group": "stable.example.com", "version": "v1", "kind": "Foo"}
    assert kinds["foos", ""] == kinds["foos", "status"] == foo


async def test_aggregated_discovery_has_the_accepted_parameters_and_an_etag(front: Front) -> None:
    answer = await front.ask("GET", "/apis", headers={"accept": f"{AGGREGATED},{OLD},application/json"})
    assert answer.headers["content-type"] == AGGREGATED
    assert re.fullmatch(r'"[0-9A-F]{128}"', answer.headers["etag"])
    apps = next(item for item in answer.json["items"] if item["metadata"]["name"] == "apps")
    names = [resource["resource"] for resource in apps["versions"][0]["resources"]]
    assert "deployments" in names
    headers = {"accept": AGGREGATED, "if-none-match": answer.headers["etag"]}
    assert (await front.ask("GET", "/apis", headers=headers)).status == 304


async def test_a_client_of_the_removed_beta_gets_its_next_choice(front: Front) -> None:
    answer = await front.ask("GET", "/apis", headers={"accept": f"{OLD},application/json"})
    assert answer.json["kind"] == "APIGroupList"


async def test_a_custom_resource_appears_in_discovery_and_openapi(front: Front) -> None:
    before = (await front.ask("GET", "/apis", headers={"accept": AGGREGATED})).headers["etag"]
    await define_foo(front)
    after = await front.ask("GET", "/apis", headers={"accept": AGGREGATED})
    assert after.headers["etag"] != before
    assert after.json["items"][-1]["metadata"]["name"] == "stable.example.com"
    index = (await front.ask("GET", "/openapi/v3")).json["paths"]
    assert "apis/stable.example.com/v1" in index
    document = (await front.ask("GET", index["apis/stable.example.com/v1"]["serverRelativeURL"])).json
    foo = document["components"]["schemas"]["com.example.stable.v1.Foo"]
    assert foo["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "version": "v1", "kind": "Foo"}
    ]
    assert foo["properties"]["spec"]["properties"]["size"]["nullable"] is True
    assert "/apis/stable.example.com/v1/namespaces/{namespace}/foos/{name}/status" in document["paths"]
    assert dangling(document, "#/components/schemas/", document["components"]["schemas"]) == set()


async def test_documents_of_custom_resources_are_those_of_upstreams_extension_server(front: Front) -> None:
    await define_foo(front)
    assert "apis/stable.example.com" not in (await front.ask("GET", "/openapi/v3")).json["paths"]
    document = (await front.ask("GET", "/openapi/v3/apis/stable.example.com/v1")).json
    assert document["info"] == {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
    assert "/apis/stable.example.com/v1/" not in document["paths"]
    foos = "/apis/stable.example.com/v1/namespaces/{namespace}/foos"
    many, one = document["paths"][foos], document["paths"][f"{foos}/{{name}}"]
    assert set(many["post"]["requestBody"]["content"]) == {"application/json", "application/yaml"}
    assert "requestBody" not in many["delete"]
    assert {"watch", "allowWatchBookmarks"} <= {each["name"] for each in many["delete"]["parameters"]}
    assert set(one["patch"]["responses"]) == {"200", "401"}
    assert [each["name"] for each in one["patch"]["parameters"]] == [
        "dryRun",
        "fieldManager",
        "fieldValidation",
    ]


async def test_version_two_leaves_out_what_it_cannot_say(front: Front) -> None:
    await define_foo(front)
    document = (await front.ask("GET", "/openapi/v2")).json
    size = document["definitions"]["com.example.stable.v1.Foo"]["properties"]["spec"]["properties"]["size"]
    assert "nullable" not in size
    assert dangling(document, "#/definitions/", document["definitions"]) == set()


@pytest.mark.parametrize("root", ["api/v1", "apis/apps/v1", "apis/batch/v1", "apis/policy/v1"])
async def test_every_patch_advertises_field_validation_and_dry_run(front: Front, root: str) -> None:
    document = (await front.ask("GET", f"/openapi/v3/{root}")).json
    patches = [item["patch"] for item in document["paths"].values() if "patch" in item]
    assert patches
    for patch in patches:
        if patch["x-kubernetes-action"] == "connect":
            continue
        names = {parameter["name"] for parameter in patch["parameters"]}
        assert {"dryRun", "fieldValidation", "fieldManager", "force"} <= names
        assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
        assert patch["x-kubernetes-group-version-kind"]["kind"]
    assert dangling(document, "#/components/schemas/", document["components"]["schemas"]) == set()


async def test_a_wrong_hash_is_redirected_and_the_right_one_may_be_kept_for_ever(front: Front) -> None:
    url = (await front.ask("GET", "/openapi/v3")).json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    moved = await front.ask("GET", "/openapi/v3/apis/apps/v1?hash=0")
    assert (moved.status, moved.headers["location"]) == (301, url)
    assert "immutable" in (await front.ask("GET", url)).headers["cache-control"]


async def test_documents_go_out_compressed_as_they_are_kept(front: Front) -> None:
    plain = await front.ask("GET", "/openapi/v2")
    packed = await front.ask("GET", "/openapi/v2", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert zlib.decompress(packed.body, 31) == plain.body
    again = await front.ask("GET", "/openapi/v2", headers={"if-none-match": plain.headers["etag"]})
    assert again.status == 304


async def test_old_clients_get_version_two_in_protobuf_under_a_type_they_can_read(front: Front) -> None:
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = await front.ask("GET", "/openapi/v2", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert answer.body.startswith(b"\x0a\x032.0")


async def test_version_three_is_served_in_protobuf_under_a_type_that_can_be_read(front: Front) -> None:
    accept = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf, application/json"
    url = (await front.ask("GET", "/openapi/v3")).json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    answer = await front.ask("GET", url, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
    assert answer.body.startswith(b"\x0a\x053.0.0")
    assert b"io.k8s.api.apps.v1.Deployment" in answer.body
    assert (answer.headers["cache-control"], "expires" in answer.headers) == ("public, immutable", True)


@pytest.mark.parametrize("path", ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"])
async def test_legacy_documents_are_the_same_in_protobuf(front: Front, path: str) -> None:
    await same_in_protobuf(front, path, "application/json", negotiation.PROTOBUF)


@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_aggregated_documents_are_the_same_in_protobuf(front: Front, path: str) -> None:
    await same_in_protobuf(
        front, path, AGGREGATED, AGGREGATED.replace("application/json", negotiation.PROTOBUF)
    )


async def same_in_protobuf(front: Front, path: str, json_type: str, protobuf_type: str) -> None:
    plain = await front.ask("GET", path, headers={"accept": json_type})
    packed = await front.ask("GET", path, headers={"accept": protobuf_type})
    assert packed.headers["content-type"] == protobuf_type
    found = protobuf.codec().decode_object(packed.body)
    assert without_empty(found) == without_empty(plain.json)


def without_empty(value: Any) -> Any:
    """Protobuf does not tell an empty text, list or object from none."""
    if isinstance(value, dict):
        return {
            key: kept for key, child in value.items() if (kept := without_empty(child)) not in ("", [], {})
        }
    return [without_empty(child) for child in value] if isinstance(value, list) else value


async def test_the_list_of_paths_is_json_whatever_is_accepted(front: Front) -> None:
    answer = await front.ask("GET", "/", headers={"accept": "text/html"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert "/apis/apps/v1" in answer.json["paths"]


def dangling(document: Any, prefix: str, defined: Any) -> set[str]:
    """The names that references point at and nothing defines."""
    return set(re.findall(rf'"{prefix}([^"]+)"', json.dumps(document))) - set(defined)
