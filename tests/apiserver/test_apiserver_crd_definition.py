"""Definitions as they are served, and the documents made of them."""

from __future__ import annotations

import pytest

from sublet.apiserver import customkinds, openapi
from sublet.apiserver.crd_definition import Definition, PerVersion
from sublet.apiserver.kindset import KindSet
from sublet.machinery import codec, openapiproto
from sublet.machinery.kind import Object


def crd(plural: str = "widgets", *, group: str = "example.com", **fields: str) -> Object:
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in fields.items()}}
    return {
        "metadata": {"name": f"{plural}.{group}", "uid": "1"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": plural.title()[:-1]},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
                {"name": "v0", "served": True, "storage": False},
            ],
        },
    }  # fmt: skip


def test_schemas_are_told_apart_from_the_rest_of_a_definition() -> None:
    read = Definition.of(crd(size="integer"))
    assert read.object["spec"]["versions"][0] == {"name": "v1", "served": True, "storage": True}
    assert read.object["spec"]["group"] == "example.com"
    assert read.schemas["v1"].document["properties"] == {"size": {"type": "integer"}}


def test_a_version_without_a_schema_takes_anything() -> None:
    assert Definition.of(crd()).schemas["v0"].schema.preserve_unknown


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda obj: obj["metadata"].update(resourceVersion="7"), True),
        (lambda obj: obj["metadata"].update(annotations={"a": "b"}), True),
        (lambda obj: obj["metadata"].update(uid="2"), False),
        (lambda obj: obj["metadata"].update(finalizers=["x/y"]), False),
        (lambda obj: obj["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"), False),
        (lambda obj: obj.update(status={"conditions": []}), False),
        (lambda obj: obj["spec"]["versions"][0].update(served=False), False),
        (lambda obj: obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"].update(maxProperties=9), False),
    ],
)
def test_two_states_of_a_definition_say_the_same_when_what_is_served_does(change, same: bool) -> None:  # type: ignore[no-untyped-def]
    other = crd(size="integer")
    change(other)
    assert Definition.of(crd(size="integer")).same(Definition.of(other)) is same


def test_what_is_made_of_a_version_is_made_once_and_only_of_versions_there_are() -> None:
    asked: list[str] = []
    made = PerVersion(("v1", "v2"), lambda version: asked.append(version) or version.upper())
    assert (made["v1"], made["v1"], list(made), len(made)) == ("V1", "V1", ["v1", "v2"], 2)
    assert asked == ["v1"]
    with pytest.raises(KeyError):
        made["v3"]


def kinds(*definitions: Object) -> KindSet:
    found = KindSet()
    for each in definitions:
        found.add(customkinds.build(Definition.of(each), "1.36"))
    return found


def documents(kinds: KindSet) -> openapi.OpenAPI:
    return openapi.OpenAPI(kinds, "1.36", "1")


async def test_a_document_made_anew_is_the_one_that_a_new_server_makes() -> None:
    served = kinds(crd(size="integer"), crd("gadgets", colour="string"))
    made = documents(served)
    await made.version2()
    await made.version2_protobuf()
    served.add(customkinds.build(Definition.of(crd("gadgets", colour="string", age="integer")), "1.36"))
    served.add(customkinds.build(Definition.of(crd("doodads", shape="string")), "1.36"))
    served.remove("example.com", "widgets")
    fresh = kinds(crd("gadgets", colour="string", age="integer"), crd("doodads", shape="string"))
    json = codec.decode_json((await made.version2()).bytes())
    assert json == codec.decode_json((await documents(fresh).version2()).bytes())
    assert "age" in json["definitions"]["com.example.v1.Gadget"]["properties"]
    assert (await made.version2_protobuf()).bytes() == openapiproto.encode(json)


async def test_a_document_of_version_3_is_kept_while_its_own_kinds_are_as_they_were() -> None:
    served = kinds(crd(size="integer"), crd("gadgets", group="other.example.com"))
    made = documents(served)
    roots = ("apis/example.com/v1", "apis/other.example.com/v1")
    before = [await made.version3(root) for root in roots]
    served.add(
        customkinds.build(Definition.of(crd("gadgets", group="other.example.com", age="integer")), "1.36")
    )
    after = [await made.version3(root) for root in roots]
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert after[1] is not None and b'"age"' in after[1].bytes()
