"""What is published of custom resources."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sublet.apiserver import customkinds
from sublet.apiserver.crd_definition import Definition
from sublet.apiserver.openapi_custom import CustomDefinitions
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object

DEFINITIONS = resource("customresourcedefinitions.apiextensions.k8s.io")
TYPED = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}


def published(version: int, schema: Object, **more: Any) -> Object:
    crd = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **more}],
        },
    }  # fmt: skip
    kind = customkinds.build(Definition.of(crd), "1.36")
    maker = CustomDefinitions(version, TYPED, "metadata", "list metadata")
    return maker.of(kind, kind.resource, "Widget", "WidgetList")


def spec(version: int, **keywords: Any) -> Object:
    schema = {"type": "object", "properties": {"spec": keywords}}
    found: Object = published(version, schema)["Widget"]["properties"]["spec"]
    return found


INT_OR_STRING = {"x-kubernetes-int-or-string": True}


@pytest.mark.parametrize(
    ("keywords", "shown"),
    [
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "string"}}}, {"x-kubernetes-preserve-unknown-fields": True}),
        ({"type": "string", "nullable": True, "description": "d"}, {"description": "d"}),
        ({"type": "array", "items": {"type": "string"}, "x-kubernetes-preserve-unknown-fields": True}, {"x-kubernetes-preserve-unknown-fields": True}),
        ({"type": "string", "oneOf": [{"minLength": 1}], "maxLength": 3}, {"type": "string", "maxLength": 3}),
        ({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "nullable": True}, "b": {"type": "string"}}},
         {"type": "object", "properties": {"a": {}, "b": {"type": "string"}}, "required": ["b"]}),
        ({**INT_OR_STRING, "anyOf": [{"type": "integer"}, {"type": "string"}]}, INT_OR_STRING),
    ],
)  # fmt: skip
def test_version_2_says_what_kubectl_understands(keywords: Object, shown: Object) -> None:
    assert spec(2, **keywords) == shown


def test_version_2_of_what_is_open_at_the_root_is_any_object() -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"spec": {}}}
    assert published(2, schema)["Widget"] == {
        "type": "object",
        "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Widget"}],
    }


def test_version_3_spells_out_int_or_string() -> None:
    either = [{"type": "integer"}, {"type": "string"}]
    assert spec(3, **INT_OR_STRING) == {**INT_OR_STRING, "anyOf": either}
    assert spec(3, **INT_OR_STRING, anyOf=[{"pattern": "a"}])["allOf"] == [{"anyOf": either}]


def test_embedded_resources_have_the_fields_of_resources() -> None:
    found = spec(3, **{"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"a": {"type": "string"}}})  # fmt: skip
    assert set(found["properties"]) == {"a", "apiVersion", "kind", "metadata"}
    assert found["required"] == ["kind", "apiVersion"]
    described = found["properties"]["apiVersion"]["description"]
    assert described.startswith(
        "apiVersion defines the versioned schema of this representation of an object."
    )


def test_selectable_fields_are_published() -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}  # fmt: skip
    found = published(3, schema, selectableFields=[{"jsonPath": ".spec.a"}])
    for name in ("Widget", "WidgetList"):
        assert found[name]["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.a"}]


def widgets(group: str, schema: Object) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip


async def test_the_address_of_a_document_changes_with_its_own_definition_alone(client: Client) -> None:
    roots = [f"apis/{group}/v1" for group in ("a.example.com", "b.example.com")]
    schema = {"type": "object", "properties": {"spec": {"type": "string"}}}

    async def addresses() -> list[str]:
        async with asyncio.timeout(10):
            while True:
                response = await client.raw("GET", "/openapi/v3")
                assert isinstance(response.body, bytes)
                paths = json.loads(response.body)["paths"]
                if set(roots) <= set(paths):
                    return [paths[root]["serverRelativeURL"] for root in roots]
                await asyncio.sleep(0.02)

    for group in ("a.example.com", "b.example.com"):
        await client.create(DEFINITIONS, widgets(group, schema))
    before = await addresses()
    other = {"type": "object", "properties": {"spec": {"type": "integer"}}}
    change = {"spec": {"versions": widgets("a.example.com", other)["spec"]["versions"]}}
    await client.patch(DEFINITIONS, "widgets.a.example.com", change, kind="merge")
    async with asyncio.timeout(10):
        while (after := await addresses())[0] == before[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert after[1] == before[1]
    back = {"spec": {"versions": widgets("a.example.com", schema)["spec"]["versions"]}}
    await client.patch(DEFINITIONS, "widgets.a.example.com", back, kind="merge")
    async with asyncio.timeout(10):
        while await addresses() != before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
