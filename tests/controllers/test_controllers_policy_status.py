"""validatingadmissionpolicy-status: expressions that do not fit the kinds of their rules are told in the status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from controllers_cluster import Cluster, running

from sublet.controllers.validatingadmissionpolicy_status import places, warnings
from sublet.kinds import schemas
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

GROUP = "admissionregistration.k8s.io"
POLICIES = resource(f"validatingadmissionpolicies.{GROUP}")
NAME = "validatingadmissionpolicy-status-controller"
Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running({NAME}, 0) as found:
        yield found


def rules(*resources: str, group: str = "apps", version: str = "v1") -> list[Object]:
    return [
        {"apiGroups": [group], "apiVersions": [version], "resources": list(resources), "operations": ["*"]}
    ]


def policy(*expressions: str, name: str = "p", on: list[Object] | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": on or rules("deployments")},
            "validations": [{"expression": text} for text in expressions],
            **spec,
        },
    }


async def checked(cluster: Cluster, eventually: Eventually, made: Object) -> Object:
    created = await cluster.client.create(POLICIES, made)

    async def status() -> Any:
        found = (await cluster.client.get(POLICIES, made["metadata"]["name"])).get("status") or {}
        return found if found.get("observedGeneration") == created["metadata"]["generation"] else None

    found: Object = await eventually(status)
    return found


async def test_a_field_that_a_kind_does_not_have_is_warned_about(
    cluster: Cluster, eventually: Eventually
) -> None:
    status = await checked(cluster, eventually, policy("object.replicas > 1", "object.spec.replicas > 1"))
    text = (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n"
        " | object.replicas > 1\n"
        " | ......^\n"
    )
    warning = {"fieldRef": "spec.validations[0].expression", "warning": text}
    assert status == {"observedGeneration": 1, "typeChecking": {"expressionWarnings": [warning]}}


async def test_a_policy_that_fits_is_checked_without_a_word(cluster: Cluster, eventually: Eventually) -> None:
    status = await checked(cluster, eventually, policy("object.spec.replicas > 1"))
    assert status == {"observedGeneration": 1, "typeChecking": {}}


async def test_a_custom_resource_is_known_by_its_published_schema(
    cluster: Cluster, eventually: Eventually
) -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
    }
    definition: Object = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip
    await cluster.client.create(resource("customresourcedefinitions.apiextensions.k8s.io"), definition)

    async def served() -> bool:
        return (await cluster.client.raw("GET", "/openapi/v3/apis/example.com/v1")).status == 200

    await eventually(served)
    on = rules("widgets", group="example.com")
    status = await checked(
        cluster, eventually, policy("object.spec.size > 1 && object.spec.colour == ''", on=on)
    )
    (warning,) = status["typeChecking"]["expressionWarnings"]
    assert warning["warning"].startswith(
        "example.com/v1, Kind=Widget: ERROR: <input>:1:36: undefined field 'colour'\n"
    )


def schema(kind: str, group: str = "apps") -> Any:
    return schemas.definition("1.36", group, "v1", kind)


def test_every_kind_is_told_in_order_and_variables_are_typed() -> None:
    made = policy(
        "variables.strategy == ''",
        variables=[{"name": "strategy", "expression": "object.spec.strategy.type"}],
    )
    kinds = {
        ("apps", "v1", "StatefulSet"): schema("StatefulSet"), ("", "v1", "Pod"): schema("Pod", ""),
        ("apps", "v1", "Deployment"): schema("Deployment"),
    }  # fmt: skip
    assert warnings(made, kinds, None) == []
    made["spec"]["validations"] = [
        {"expression": "object.spec.replicas == 'one'", "messageExpression": "object.nothing"}
    ]
    first, second = warnings(made, kinds, None)
    assert [line.partition(": ")[0] for line in first["warning"].split("\n") if "Kind=" in line] == [
        "/v1, Kind=Pod", "apps/v1, Kind=Deployment", "apps/v1, Kind=StatefulSet"
    ]  # fmt: skip
    assert "found no matching overload for '_==_' applied to '(int, string)'" in first["warning"]
    assert second["fieldRef"] == "spec.validations[0].messageExpression"


def test_parameters_are_typed_too() -> None:
    made = policy(
        "params.data.size == '1' && params.nothing", paramKind={"apiVersion": "v1", "kind": "ConfigMap"}
    )
    kinds = {("apps", "v1", "Deployment"): schema("Deployment")}
    (warning,) = warnings(made, kinds, schema("ConfigMap", ""))
    assert "undefined field 'nothing'" in warning["warning"]


def test_wildcards_and_subresources_are_no_kinds() -> None:
    assert list(
        places([*rules("pods", "pods/status", "*", group=""), *rules("deployments", version="*")])
    ) == [("", "v1", "pods")]
