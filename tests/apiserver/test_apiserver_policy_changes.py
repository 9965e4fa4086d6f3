"""What mutations of mutating policies make of an object, and what is said of those that cannot be applied."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from sublet.apiserver.api import APIServer
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object
from sublet.machinery.status import StatusError

POLICIES = resource("mutatingadmissionpolicies.admissionregistration.k8s.io")
BINDINGS = resource("mutatingadmissionpolicybindings.admissionregistration.k8s.io")
DEPLOYMENTS = resource("deployments.apps")
CONTAINERS = "Object.spec.template.spec.containers"


async def bind(client: Client, expression: str) -> None:
    patch = expression.startswith("[")
    mutation: Object = {"patchType": "JSONPatch" if patch else "ApplyConfiguration"}
    mutation["jsonPatch" if patch else "applyConfiguration"] = {"expression": expression}
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["deployments"],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never", "mutations": [mutation],
    }  # fmt: skip
    await client.create(POLICIES, {"metadata": {"name": "change"}, "spec": spec})
    await client.create(BINDINGS, {"metadata": {"name": "change"}, "spec": {"policyName": "change"}})


def deployment(*env: tuple[str, str]) -> Object:
    container: Object = {"name": "main", "image": "nginx"}
    if env:
        container["env"] = [{"name": name, "value": value} for name, value in env]
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "path", "value"),
    [
        ("[JSONPatch{op: 'test', path: '/spec/replicas', value: 9}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 3}]", "spec.replicas", 2),
        ("[JSONPatch{op: 'replace', path: '/metadata/labels', value: {'y': '2'}}]", "metadata.labels", {"y": "2"}),
        ("[JSONPatch{op: 'remove', path: '/spec/replicas'}]", "spec.replicas", 1),
        ("[JSONPatch{op: 'add', path: '/metadata/labels', value: {'has': string(has(JSONPatch{}.op)), 'same': string(JSONPatch{op: 'a', value: 1} == JSONPatch{op: 'a', value: 1})}}]",
         "metadata.labels", {"has": "false", "same": "true"}),
    ],
)  # fmt: skip
async def test_a_json_patch_is_applied_as_upstreams_library_applies_it(
    client: Client, expression: str, path: str, value: Any
) -> None:
    await bind(client, expression)
    found: Any = await client.create(DEPLOYMENTS, deployment())
    for step in path.split("."):
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("[JSONPatch{op: 'replace', path: '/spec/template/spec/containers/-', value: {}}]",
         "JSONPath: replace operation does not apply: doc is missing key: /spec/template/spec/containers/-: missing value"),
        ("[JSONPatch{op: 'remove', path: '/spec/nothing'}]",
         "JSONPath: error in remove for path: '/spec/nothing': Unable to remove nonexistent key: nothing: missing value"),
        (f"[JSONPatch{{op: 'add', path: '/spec/template/spec/containers/-', value: {CONTAINERS}{{name: 'x', ports: [{CONTAINERS}.ports{{portZ: 1}}]}}}}]",
         'strict decoding error: unknown field "spec.template.spec.containers[1].ports[0].portZ"'),
        (f"[JSONPatch{{op: 'add', path: '/spec/template/spec/containers/-', value: {CONTAINERS}{{name: 'x', ports: [{CONTAINERS}.portsZ{{hostPort: 1}}]}}}}]",
         f'type mismatch: unexpected type name "{CONTAINERS}.portsZ", expected "{CONTAINERS}.ports", which matches field name path from root Object type'),
        ("[JSONPatch{op: 'replace', path: '/spec/replicas', value: 'x'}]",
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ("Object{spec: Object.spec{replicas: 'x'}}",
         "error applying patch: failed to convert patch object to typed object: .spec.replicas: expected numeric (int or float), got string"),
        ("Object{spec: Object.spec{replicasx: 1}}",
         "error applying patch: failed to convert patch object to typed object: .spec.replicasx: field not declared in schema"),
        ("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}",
         "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector"),
    ],
)  # fmt: skip
async def test_a_mutation_that_cannot_be_applied_says_why(client: Client, expression: str, why: str) -> None:
    await bind(client, expression)
    with pytest.raises(StatusError) as refused:
        await client.create(DEPLOYMENTS, deployment())
    assert refused.value.message == f"policy 'change' with binding 'change' denied request: {why}"


async def test_what_a_keyed_list_holds_twice_is_held_once_when_it_is_changed(client: Client) -> None:
    await bind(
        client,
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
        f"{CONTAINERS}{{name: 'main', env: [{CONTAINERS}.env{{name: 'a', value: '3'}}]}}]}}}}}}}}",
    )
    made = await client.create(DEPLOYMENTS, deployment(("a", "1"), ("a", "2"), ("b", "4")))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "a", "value": "3"}, {"name": "b", "value": "4"}]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("Object{spec: Object.spec{replicas: 3}}", "no_error"),
        ("[JSONPatch{op: 'remove', path: '/spec/nothing'}]", "invalid_error"),
    ],
)
async def test_mutations_are_counted(api: APIServer, client: Client, expression: str, error: str) -> None:
    await bind(client, expression)
    with suppress(StatusError):
        await client.create(DEPLOYMENTS, deployment())
    labels = f'error_type="{error}",policy="change",policy_binding="change"'
    lines = list(api.policies.metrics.lines())
    assert f"apiserver_mutating_admission_policy_check_total{{{labels}}} 1" in lines
    assert f"apiserver_mutating_admission_policy_check_duration_seconds_count{{{labels}}} 1" in lines
