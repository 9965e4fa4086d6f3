"""Schemas: references, sharing, what the data carries."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.kinds import resources, schemas
from sublet.machinery.schema import Definitions, Schema


def found(group: str, version: str, kind: str) -> Schema:
    schema = schemas.definition("1.36", group, version, kind)
    assert schema is not None
    return schema


def test_references_are_followed_and_keywords_beside_them_win() -> None:
    definitions = {"A": {"type": "object", "properties": {"x": {"type": "string"}}}}
    node = Schema({"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True}, definitions)
    assert (node.type, node.nullable, node.name) == ("object", True, "A")
    assert node.properties["x"].type == "string"


def test_a_definition_has_one_node_wherever_it_is_referred_to() -> None:
    deployment = found("apps", "v1", "Deployment").properties["spec"].properties["template"]
    job = found("batch", "v1", "Job").properties["spec"].properties["template"]
    assert deployment is job


def test_definitions_give_every_name_once() -> None:
    definitions = Definitions({"A": {"type": "string"}, "B": {"$ref": "#/definitions/A"}})
    assert sorted(definitions) == ["A", "B"]
    assert len(definitions) == 2
    with pytest.raises(KeyError):
        definitions.node("C")


def test_patch_and_list_facts_are_in_the_data() -> None:
    spec = found("", "v1", "Pod").properties["spec"]
    containers = spec.properties["containers"]
    assert (containers.list_type, containers.list_keys, containers.patch_merge_key) == (
        "map",
        ("name",),
        "name",
    )
    assert containers.patch_strategy == {"merge"}
    assert spec.properties["volumes"].patch_strategy == {"merge", "retainKeys"}
    assert spec.properties["tolerations"].list_type == "atomic"
    assert spec.properties["nodeSelector"].map_type == "atomic"


def test_keys_of_map_lists_have_their_defaults() -> None:
    container = found("", "v1", "Pod").properties["spec"].properties["containers"].items
    assert container is not None
    port = container.properties["ports"].items
    assert port is not None
    assert port.properties["protocol"].default == "TCP"


def test_what_was_rewritten_for_validators_is_undone() -> None:
    document = schemas.openapi_definitions("1.36", "apps/v1")
    deployment = document["io.k8s.api.apps.v1.Deployment"]
    assert deployment["type"] == "object"
    assert "enum" not in deployment["properties"]["kind"]
    assert deployment["properties"]["spec"]["$ref"] == "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"
    assert document["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    assert document["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"


@pytest.mark.parametrize("api_version", sorted(schemas.names("1.36")))
def test_published_definitions_refer_only_to_one_another(api_version: str) -> None:
    document = schemas.openapi_definitions("1.36", api_version)
    for definition in document.values():
        for name in schemas._references(definition):
            assert name in document


def test_kinds_of_subresources_are_published_with_their_group() -> None:
    assert "io.k8s.api.autoscaling.v1.Scale" in schemas.openapi_definitions("1.36", "apps/v1")
    assert "io.k8s.api.policy.v1.Eviction" in schemas.openapi_definitions("1.36", "v1")


def test_a_version_or_kind_that_is_not_there_is_nothing() -> None:
    assert schemas.openapi_definitions("1.36", "apps/v9") == {}
    assert schemas.definition("1.30", "resource.k8s.io", "v1", "ResourceClaim") is None
    assert schemas.definition("1.36", "", "v1", "Nonsense") is None


def test_a_minor_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.30"):
        schemas.definition("2.0", "", "v1", "Pod")


def test_published_definitions_name_the_values_of_fields_that_know_a_few_only() -> None:
    found = schemas.openapi_definitions("1.36", "v1")
    policy = found["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"]
    assert policy["enum"] == ["Always", "Never", "OnFailure"]
    assert policy["description"].endswith(
        '\n\nPossible enum values:\n - `"Always"`\n - `"Never"`\n - `"OnFailure"`'
    )
    modes = found["io.k8s.api.core.v1.PersistentVolumeSpec"]["properties"]["accessModes"]
    assert "ReadWriteOncePod" in modes["items"]["enum"] and "enum" not in modes


def test_every_field_of_the_table_of_values_is_published() -> None:
    published: dict[str, Any] = {}
    for group_version in schemas.names("1.36"):
        published |= schemas.openapi_definitions("1.36", group_version)
    for name, field, values in resources.table("enums.tsv")[1:]:
        node = published[f"io.k8s.api.{name}"]["properties"][field]
        assert len((node.get("items") or node)["enum"]) == len(values.split(" "))
