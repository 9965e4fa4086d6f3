"""Validating and mutating admission policies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from conformance_client import API, LIMIT, MERGE, APIError, Object, Resource
from conformance_names import conformance
from conformance_steps import (
    api_operations,
    change,
    check_discovery,
    condition,
    delete_all,
    random_name,
    refused,
)

ADMISSION = "admissionregistration.k8s.io/v1"
VALIDATES = "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should "
MUTATES = "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should "
DEPLOYMENTS: Object = {
    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE", "UPDATE"],
}  # fmt: skip


def deployment(name: str, replicas: int | None, labels: dict[str, str] | None = None) -> Object:
    labelled = {"app": name, **(labels or {})}
    return {
        "metadata": {"name": name, "labels": labelled},
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labelled},
                "spec": {"containers": [{"name": "nginx", "image": "nginx"}]},
            },
        },
    }


@contextmanager
def bound(api: API, kind: str, policy_spec: Object, namespace: str, actions: bool) -> Iterator[None]:
    """The policy (``Validating`` or ``Mutating``) bound to the namespace alone."""
    namespaces = api.typed("v1", "namespaces")
    name = random_name("policy.example.com")
    namespaces.patch(namespace, {"metadata": {"labels": {name: "true"}}})
    policies = api.typed(ADMISSION, f"{kind.lower()}admissionpolicies")
    bindings = api.typed(ADMISSION, f"{kind.lower()}admissionpolicybindings")
    policies.create({"metadata": {"name": name}, "spec": policy_spec})
    try:
        bindings.create(
            {
                "metadata": {"name": name},
                "spec": {
                    "policyName": name,
                    **({"validationActions": ["Deny"]} if actions else {}),
                    "matchResources": {"namespaceSelector": {"matchLabels": {name: "true"}}},
                },
            }
        )
        yield
        bindings.delete(name)
    finally:
        policies.delete(name)


def wait_denied(deployments: Resource, replicas: int) -> None:
    """Tries a deployment the policy denies until it is denied."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            deployments.create(deployment("marker", replicas), dry_run="All")
        except APIError as error:
            assert error.reason == "Invalid", error
            return
        time.sleep(0.05)
    raise AssertionError("the policy does not take effect")


@conformance(f"{VALIDATES}validate against a Deployment [Conformance]")
def test_a_policy_denies_a_deployment(api: API, namespace: str) -> None:
    deployments = api.typed("apps/v1", "deployments", namespace)
    spec: Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [DEPLOYMENTS]},
        "validations": [
            {
                "expression": "object.spec.replicas > 1",
                "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
            },
            {"expression": f"namespaceObject.metadata.name == '{namespace}'", "message": "wrong namespace"},
        ],
    }
    with bound(api, "Validating", spec, namespace, True):
        wait_denied(deployments, 1)
        deployments.create(deployment("replicated", 2))
        with refused("Invalid", "wants replicas > 1, got 1"):
            deployments.create(deployment("negative-replicas", 1))
    # The suite's own expression adds a number to a text: where it fails, the expression is the message.
    spec["validations"] = [
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
        }
    ]
    with bound(api, "Validating", spec, namespace, True):
        wait_denied(deployments, 1)
        with refused("Invalid", "failed expression: object.spec.replicas > 1"):
            deployments.create(deployment("negative-replicas", 1))


@conformance(f"{VALIDATES}allow expressions to refer variables. [Conformance]")
def test_a_policy_uses_variables(api: API, namespace: str) -> None:
    deployments = api.typed("apps/v1", "deployments", namespace)
    spec: Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [DEPLOYMENTS]},
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas"},
        ],
    }
    with bound(api, "Validating", spec, namespace, True):
        wait_denied(deployments, 1)
        deployments.create(deployment("replicated", 3))
        with refused("Invalid", "failed expression: variables.replicas > 1"):
            deployments.create(deployment("non-replicated", 1))
        with refused("Invalid", "failed expression: variables.oddReplicas"):
            deployments.create(deployment("even-replicated", 2))


def mutated(deployments: Resource, name: str, seen: Callable[[Object], bool]) -> Object:
    """Creates the deployment again and again until the policy has worked on it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = deployments.create(deployment(name, None), dry_run="All")
        if seen(found):
            return deployments.create(deployment(name, None))
        time.sleep(0.05)
    raise AssertionError("the policy does not take effect")


def mutation(expression: str) -> Object:
    return {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{**DEPLOYMENTS, "operations": ["CREATE"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }


@conformance(f"{MUTATES}mutate a Deployment [Conformance]")
def test_a_policy_sets_replicas(api: API, namespace: str) -> None:
    deployments = api.typed("apps/v1", "deployments", namespace)
    expression = "Object{spec: Object.spec{replicas: 2}}"
    with bound(api, "Mutating", mutation(expression), namespace, False):
        created = mutated(deployments, "replicated", lambda o: o["spec"]["replicas"] == 2)
        assert created["spec"]["replicas"] == 2
        assert deployments.get("replicated")["spec"]["replicas"] == 2


@conformance(f"{MUTATES}mutate a Deployment with annotations [Conformance]")
def test_a_policy_adds_annotations(api: API, namespace: str) -> None:
    deployments = api.typed("apps/v1", "deployments", namespace)
    expression = 'Object{metadata: Object.metadata{annotations: {"my-foo-annotation": "myAnnotationValue"}}}'

    def seen(obj: Object) -> bool:
        annotations: dict[str, str] = obj["metadata"].get("annotations", {})
        return annotations.get("my-foo-annotation") == "myAnnotationValue"

    with bound(api, "Mutating", mutation(expression), namespace, False):
        assert seen(mutated(deployments, "annotated", seen))
        assert seen(deployments.get("annotated"))


def operations(
    api: API, plural: str, spec: Object, spec_patch: Object, patched: Callable[[Object], bool]
) -> Any:
    """The steps of all four API operations tests up to the deletion; returns (resource, name, selector)."""
    resource = api.typed(ADMISSION, plural)
    value = random_name("e2e")
    selector = f"special-label={value}"

    def edit(obj: Object) -> None:
        assert patched(obj), obj
        obj["metadata"]["annotations"]["updated"] = "true"

    updated = api_operations(
        resource,
        lambda: {
            "metadata": {"generateName": f"e2e-{plural}-", "labels": {"special-label": value}},
            "spec": spec,
        },
        edit_patch={"metadata": {"annotations": {"patched": "true"}}, "spec": spec_patch},
        edit=edit,
        check_edit=lambda o: o["metadata"]["annotations"]["updated"] == "true",
        selector=selector,
    )
    return resource, updated["metadata"]["name"], selector


NEVER: Object = {
    "apiGroups": ["e2e.example.com"],
    "apiVersions": ["v1"],
    "resources": ["nothings"],
    "operations": ["*"],
}


@conformance(f"{VALIDATES}support ValidatingAdmissionPolicy API operations [Conformance]")
def test_validating_policies_as_objects(api: API) -> None:
    plural = "validatingadmissionpolicies"
    check_discovery(api, ADMISSION, plural, f"{plural}/status")
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [NEVER]},
        "validations": [{"expression": "object.spec.replicas <= 100"}],
    }
    resource, name, selector = operations(
        api, plural, spec, {"failurePolicy": "Ignore"}, lambda o: o["spec"]["failurePolicy"] == "Ignore"
    )
    assert resource.get(name, "status")["metadata"]["name"] == name
    state = {
        "status": "False",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "E2E",
        "message": "by e2e",
    }
    patched = resource.patch(
        name, {"status": {"conditions": [{"type": "PatchStatusFailed", **state}]}}, MERGE, "status"
    )
    assert condition(patched, "PatchStatusFailed")

    def add(obj: Object) -> None:
        obj["status"]["conditions"].append({"type": "UpdateStatusFailed", **state})

    assert condition(change(resource, name, add, "status"), "UpdateStatusFailed")
    delete_all(resource, name, selector, 2)


@conformance(f"{VALIDATES}support ValidatingAdmissionPolicyBinding API operations [Conformance]")
def test_validating_policy_bindings_as_objects(api: API) -> None:
    plural = "validatingadmissionpolicybindings"
    check_discovery(api, ADMISSION, plural)
    spec = {"policyName": random_name("no-policy"), "validationActions": ["Deny"]}
    resource, name, selector = operations(
        api,
        plural,
        spec,
        {"validationActions": ["Warn"]},
        lambda o: o["spec"]["validationActions"] == ["Warn"],
    )
    delete_all(resource, name, selector, 2)


@conformance(f"{MUTATES}support MutatingAdmissionPolicy API operations [Conformance]")
def test_mutating_policies_as_objects(api: API) -> None:
    plural = "mutatingadmissionpolicies"
    check_discovery(api, ADMISSION, plural)
    spec = mutation("Object{spec: Object.spec{replicas: 2}}")
    spec["matchConstraints"] = {"resourceRules": [NEVER]}
    resource, name, selector = operations(
        api, plural, spec, {"failurePolicy": "Ignore"}, lambda o: o["spec"]["failurePolicy"] == "Ignore"
    )
    delete_all(resource, name, selector, 2)


@conformance(f"{MUTATES}support MutatingAdmissionPolicyBinding API operations [Conformance]")
def test_mutating_policy_bindings_as_objects(api: API) -> None:
    plural = "mutatingadmissionpolicybindings"
    check_discovery(api, ADMISSION, plural)
    spec = {"policyName": random_name("no-policy")}
    resources = {"matchResources": {"namespaceSelector": {"matchLabels": {"e2e": "none"}}}}
    resource, name, selector = operations(
        api, plural, spec, resources,
        lambda o: o["spec"]["matchResources"]["namespaceSelector"] == {"matchLabels": {"e2e": "none"}},
    )  # fmt: skip
    delete_all(resource, name, selector, 2)
