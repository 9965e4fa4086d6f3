"""FlowSchemas and PriorityLevelConfigurations as objects."""

from __future__ import annotations

from typing import Any

from conformance_client import API, MERGE, Object, Resource
from conformance_names import conformance
from conformance_steps import api_operations, change, check_discovery, condition, delete_all, random_name

FAIRNESS = "[sig-api-machinery] API priority and fairness should support "
VERSION = "flowcontrol.apiserver.k8s.io/v1"


def status_operations(resource: Resource, name: str) -> None:
    """Reads, patches and updates the status subresource."""
    state = {"status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "by e2e"}
    patch = {"status": {"conditions": [{"type": "PatchStatusFailed", "reason": "Patched", **state}]}}
    patched = resource.patch(name, patch, MERGE, "status")
    found = condition(patched, "PatchStatusFailed")
    assert found and found["message"] == "by e2e"

    def edit(obj: Object) -> None:
        obj["status"]["conditions"].append({"type": "UpdateStatusFailed", "reason": "Updated", **state})

    updated = change(resource, name, edit, "status")
    assert condition(updated, "UpdateStatusFailed") and condition(updated, "PatchStatusFailed")
    read = resource.get(name, "status")
    assert read["metadata"]["uid"] == patched["metadata"]["uid"] and condition(read, "UpdateStatusFailed")


def run(api: API, plural: str, make: Any, path: str, before: Object, value: int) -> None:
    check_discovery(api, VERSION, plural, f"{plural}/status")
    resource = api.typed(VERSION, plural)
    selector = "special-label=" + random_name("e2e")
    label, text = selector.split("=")

    def edit(obj: Object) -> None:
        obj["metadata"]["annotations"]["updated"] = "true"
        assert _at(obj, path) == value - 1
        _at(obj, path, value)

    updated = api_operations(
        resource,
        lambda: make({"generateName": f"e2e-test-{plural}-", "labels": {label: text}}),
        edit_patch={"metadata": {"annotations": {"patched": "true"}}, "spec": before},
        edit=edit,
        check_edit=lambda o: _at(o, path) == value,
        selector=selector,
    )
    name = updated["metadata"]["name"]
    status_operations(resource, name)
    delete_all(resource, name, selector, 2)


def _at(obj: Object, path: str, value: int | None = None) -> Any:
    *parents, last = path.split(".")
    for parent in parents:
        obj = obj[parent]
    if value is not None:
        obj[last] = value
    return obj[last]


@conformance(f"{FAIRNESS}FlowSchema API operations [Conformance]")
def test_flow_schemas(api: API) -> None:
    spec = {
        "matchingPrecedence": 9898,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "example-e2e-flow-schema-user"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
            }
        ],
    }
    run(
        api, "flowschemas", lambda metadata: {"metadata": metadata, "spec": spec},
        "spec.matchingPrecedence", {"matchingPrecedence": 9998}, 9999,
    )  # fmt: skip


@conformance(f"{FAIRNESS}PriorityLevelConfiguration API operations [Conformance]")
def test_priority_levels(api: API) -> None:
    spec = {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
    }
    run(
        api, "prioritylevelconfigurations", lambda metadata: {"metadata": metadata, "spec": spec},
        "spec.limited.nominalConcurrencyShares", {"limited": {"nominalConcurrencyShares": 4}}, 5,
    )  # fmt: skip
