"""Definitions of custom resources and their instances."""

from __future__ import annotations

from contextlib import ExitStack

from conformance_client import API, JSON_PATCH, Object
from conformance_customkinds import EXTENSIONS, crds, definition, established, instances, primed, removed
from conformance_names import conformance
from conformance_steps import (
    STATUS_PATCH_CONDITION,
    check_discovery,
    condition,
    random_name,
    retry_on_conflict,
    wait_count,
    wait_for,
)

SIMPLE = (
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple "
    "CustomResourceDefinition "
)


@conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch "
    "watch on custom resource definition objects [Conformance]"
)
def test_custom_resources_are_watched(api: API) -> None:
    crd = definition("watchnoxu", scope="Cluster")
    established(api, crd)
    primed(api, crd)
    try:
        noxus = instances(api, crd)
        names = ("name1", "name2")
        with ExitStack() as stack:
            watches = {
                name: stack.enter_context(noxus.watch(field_selector=f"metadata.name={name}"))
                for name in names
            }
            for name in names:
                noxus.create(
                    {"metadata": {"name": name}, "content": {"key": "value"}, "num": {"num1": 2**63 - 1}}
                )
                assert watches[name].expect("ADDED")["metadata"]["name"] == name
            for name in names:
                noxus.patch(name, {"metadata": {"labels": {"patched": name}}, "dummy": "test"})
                seen = watches[name].expect("MODIFIED")
                assert (seen["metadata"]["name"], seen["dummy"]) == (name, "test")
            for name in names:
                noxus.delete(name)
                assert watches[name].expect("DELETED")["metadata"]["name"] == name
            for watch in watches.values():
                watch.silent(0.3)
    finally:
        removed(api, crd)


@conformance(f"{SIMPLE}creating/deleting custom resource definition objects works [Conformance]")
def test_definitions_are_created_and_deleted(api: API) -> None:
    crd = definition("simple")
    established(api, crd)
    removed(api, crd)


@conformance(f"{SIMPLE}listing custom resource definition objects works [Conformance]")
def test_definitions_are_listed_and_deleted_by_label(api: API) -> None:
    labels = {"e2e-list-test-uuid": random_name("uuid")}
    selector = "e2e-list-test-uuid=" + labels["e2e-list-test-uuid"]
    made = [established(api, definition("listing", labels=labels)) for _ in range(10)]
    listed = crds(api).items(label_selector=selector)
    assert {o["metadata"]["name"] for o in listed} == {o["metadata"]["name"] for o in made}
    for found in listed:
        expected = next(o for o in made if o["metadata"]["name"] == found["metadata"]["name"])
        assert found["spec"] == expected["spec"]
    crds(api).delete_collection(selector)
    wait_count(crds(api), 0, label_selector=selector)


@conformance(
    f"{SIMPLE}getting/updating/patching custom resource definition status sub-resource works [Conformance]"
)
def test_status_of_a_definition_is_read_updated_and_patched(api: API) -> None:
    crd = definition("status")
    name = established(api, crd)["metadata"]["name"]
    try:
        resource = crds(api)
        assert condition(resource.get(name, "status"), "Established")

        def update() -> Object:
            found = resource.get(name)
            found["status"]["conditions"].append(STATUS_PATCH_CONDITION)
            return resource.update(found, "status")

        updated = retry_on_conflict(update)
        set_by_us = condition(updated, "StatusUpdate")
        assert set_by_us and set_by_us["message"] == "Set from e2e test"
        patched = resource.patch(
            name,
            [
                {"op": "add", "path": "/metadata/annotations", "value": {"patched-status": "true"}},
                {
                    "op": "add",
                    "path": "/status/conditions/-",
                    "value": {**STATUS_PATCH_CONDITION, "type": "StatusPatched"},
                },
            ],
            JSON_PATCH,
            "status",
        )
        assert condition(patched, "StatusUpdate") and condition(patched, "StatusPatched")
        # The suite's own conditions have a message alone, and its patch puts one in the place of all.
        bare = {"type": "", "status": "", "lastTransitionTime": None, "message": "updated"}

        def update_bare() -> Object:
            found = resource.get(name, "status")
            found["status"]["conditions"].append(bare)
            return resource.update(found, "status")

        assert "updated" in [c.get("message") for c in retry_on_conflict(update_bare)["status"]["conditions"]]
        only = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
        patched = resource.patch(name, only, JSON_PATCH, "status")
        assert [c.get("message") for c in patched["status"]["conditions"]] == ["patched"]
    finally:
        removed(api, crd)


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom "
    "resource definition resources in discovery documents [Conformance]"
)
def test_definitions_are_in_discovery(api: API) -> None:
    check_discovery(api, EXTENSIONS, "customresourcedefinitions", "customresourcedefinitions/status")


@conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting "
    "for requests and from storage works [Conformance]"
)
def test_defaults_apply_to_requests_and_to_what_is_stored(api: API) -> None:
    text = {"type": "string"}
    crd = definition(
        "defaulting", scope="Cluster", schema={"type": "object", "properties": {"a": text, "b": text}}
    )
    name = established(api, crd)["metadata"]["name"]
    properties = "/spec/versions/0/schema/openAPIV3Schema/properties"
    try:
        resource = instances(api, crd)
        first = resource.create({"metadata": {"name": "name1"}})
        assert "a" not in first and "b" not in first
        crds(api).patch(name, [{"op": "add", "path": f"{properties}/a/default", "value": "A"}], JSON_PATCH)
        found = wait_for(lambda: _with(resource.get("name1"), "a"), "name1 is defaulted when read")
        assert found["a"] == "A" and "b" not in found
        second = resource.create({"metadata": {"name": "name2"}})
        assert second["a"] == "A" and "b" not in second
        crds(api).patch(
            name,
            [
                {"op": "remove", "path": f"{properties}/a/default"},
                {"op": "add", "path": f"{properties}/b/default", "value": "B"},
            ],
            JSON_PATCH,
        )
        found = wait_for(lambda: _with(resource.get("name2"), "b"), "name2 is defaulted when read")
        assert (found["a"], found["b"]) == ("A", "B"), "a was stored with its default"
        assert "a" not in resource.get("name1")
    finally:
        removed(api, crd)


def _with(obj: Object, field: str) -> Object | None:
    return obj if field in obj else None
