"""How values of custom resources are validated: texts, junctors, and what an update may leave wrong."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.apiserver import crd_formats, crd_schema, crd_values
from sublet.kinds import schemas
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema

STRING: Object = {"type": "string"}
INTEGER: Object = {"type": "integer"}


def told(schema: Object, new: Any, *old: Any) -> list[str]:
    return [str(error) for error in crd_values.validate(new, Schema(schema), *old)]


def thing(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("keywords", "value", "errors"),
    [
        ({"type": "integer"}, 1.5, ['a: Invalid value: "number": a in body must be of type integer: "number"']),
        ({"type": "integer"}, 2.0, []),
        ({"type": "number"}, True, ['a: Invalid value: "boolean": a in body must be of type number: "boolean"']),
        ({"type": "boolean"}, None, ['a: Invalid value: "null": a in body must be of type boolean: "null"']),
        ({"type": "string", "nullable": True}, None, []),
        ({"type": "string", "enum": ["x"]}, 3, ['a: Invalid value: "integer": a in body must be of type string: "integer"', 'a: Unsupported value: 3: supported values: "x"']),
        ({"type": "string", "maxLength": 2, "pattern": "^x"}, "yyy", ["a: Too long: may not be more than 2 bytes"]),
        ({"type": "string", "minLength": 2}, "é", ['a: Invalid value: "é": a in body should be at least 2 chars long']),
        ({"type": "number", "multipleOf": 0.5, "exclusiveMaximum": True, "maximum": 2}, 2.25, ["a: Invalid value: 2.25: a in body should be a multiple of 0.5", "a: Invalid value: 2.25: a in body should be less than 2"]),
        ({"type": "array", "items": STRING, "minItems": 1}, [], ["a: Invalid value: 0: a in body should have at least 1 items"]),
        ({"type": "array", "items": STRING, "maxItems": 1}, ["x", 1], ['a[1]: Invalid value: "integer": a[1] in body must be of type string: "integer"', "a: Too many: 2: must have at most 1 items"]),
        ({"type": "object", "maxProperties": 1, "additionalProperties": INTEGER}, {"x": "1", "y": 2}, ["a: Too many: 2: must have at most 1 items"]),
        ({"type": "object", "additionalProperties": INTEGER}, {"x": "1"}, ['a.x: Invalid value: "string": a.x in body must be of type integer: "string"']),
        ({"type": "object", "minProperties": 1, "additionalProperties": INTEGER}, {}, ["a: Invalid value: 0: a in body should have at least 1 properties"]),
        ({"type": "object", "required": ["x", "y"]}, {"y": 1}, ["a.x: Required value"]),
        ({"x-kubernetes-int-or-string": True}, 1.5, ['a: Invalid value: "number": a in body must be of type integer,string: "number"']),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, "5%", []),
        ({"type": "string", "format": "date"}, "2024-02-30", ['a: Invalid value: "2024-02-30": a in body must be of type date: "2024-02-30"']),
        ({"type": "string", "format": "unheard-of"}, "x", []),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_of(keywords: Object, value: Any, errors: list[str]) -> None:
    assert told(thing(a=keywords), {"a": value}) == errors


def test_junctors_are_refused_at_no_field_of_their_own() -> None:
    schema = thing(a={"type": "object", "properties": {"x": STRING, "y": STRING}})
    inner = schema["properties"]["a"]
    inner["oneOf"] = [{"required": ["x"]}, {"required": ["y"]}]
    one = '<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf).'
    assert told(schema, {"a": {}}) == [f"{one} Found none valid", "a.x: Required value"]
    assert told(schema, {"a": {"x": "1", "y": "2"}}) == [f"{one} Found 2 valid alternatives"]
    assert told(schema, {"a": {"x": "1"}}) == []
    inner["anyOf"] = inner.pop("oneOf")
    assert told(schema, {"a": {}})[0] == '<nil>: Invalid value: "": "a" must validate at least one schema (anyOf)'  # fmt: skip
    inner["allOf"] = inner.pop("anyOf")
    assert told(schema, {"a": {"x": "1"}}) == [
        "a.y: Required value", '<nil>: Invalid value: "": "a" must validate all the schemas (allOf)',
    ]  # fmt: skip
    inner["not"] = {"required": ["x"]}
    del inner["allOf"]
    assert told(schema, {"a": {"x": "1"}}) == ['<nil>: Invalid value: "": "a" must not validate the schema (not)']  # fmt: skip


def test_names_are_restricted_where_the_schema_says_so() -> None:
    schema = thing(metadata=thing(name={"type": "string", "maxLength": 3}))
    assert told(schema, {"metadata": {"name": "long"}}) == [
        "metadata.name: Too long: may not be more than 3 bytes"
    ]


class TestRatcheting:
    def test_a_part_that_did_not_change_may_stay_wrong(self) -> None:
        schema = thing(a={"type": "string", "maxLength": 1}, b=STRING)
        assert told(schema, {"a": "xx", "b": "new"}, {"a": "xx", "b": "old"}) == []
        assert len(told(schema, {"a": "yy", "b": "new"}, {"a": "xx", "b": "old"})) == 1

    def test_what_is_missing_is_missed_again_when_anything_beside_it_changes(self) -> None:
        schema = thing(spec={**thing(a=STRING, b=STRING), "required": ["a"]}, other=STRING)
        assert told(schema, {"spec": {"b": "1"}, "other": "2"}, {"spec": {"b": "1"}}) == []
        assert told(schema, {"spec": {"b": "2"}}, {"spec": {"b": "1"}}) == ["spec.a: Required value"]

    def test_items_of_lists_with_keys_are_found_again(self) -> None:
        items = thing(k=STRING, v={"type": "integer", "maximum": 1})
        schema = thing(
            a={"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
        )  # fmt: skip
        old = {"a": [{"k": "x", "v": 5}]}
        assert told(schema, {"a": [{"k": "y", "v": 1}, {"k": "x", "v": 5}]}, old) == []
        assert len(told(schema, {"a": [{"k": "y", "v": 5}, {"k": "x", "v": 5}]}, old)) == 1

    def test_items_of_other_lists_are_not(self) -> None:
        schema = thing(a={"type": "array", "items": {"type": "integer", "maximum": 1}})
        assert told(schema, {"a": [5]}, {"a": [5]}) == []
        assert len(told(schema, {"a": [5, 1]}, {"a": [5]})) == 1


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2024-01-01T00:00:00Z", "2024-01-01"),
        ("duration", "1h30m", "soon"),
        ("duration", "22 ns", "1x"),
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://a/b?c", "a b"),
        ("email", "a@b.example", "a.example"),
        ("hostname", "a.example", "a..example"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("byte", "aGk=", "aGk"),
        ("mac", "00:11:22:33:44:55", "00:11"),
        ("isbn", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("hexcolor", "#fff", "#ff"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "A.b"),
    ],
)
def test_formats_are_checked(name: str, good: str, bad: str) -> None:
    known = crd_formats.known(name)
    assert known is not None
    assert known[1](good) and not known[1](bad)


def test_nulls_that_may_not_be_give_way() -> None:
    schema = thing(
        a={"type": "string", "default": "x"}, b=STRING, c={"type": "string", "nullable": True},
        d={"type": "object", "additionalProperties": STRING}, e={"type": "array", "items": {"type": "integer", "default": 7}},
    )  # fmt: skip
    value: Object = {"a": None, "b": None, "c": None, "d": {"k": None, "l": "m"}, "e": [None, 1]}
    crd_schema.default(value, Schema(schema))
    assert value == {"a": "x", "c": None, "d": {"l": "m"}, "e": [7, 1]}


def test_a_default_is_every_objects_own() -> None:
    schema = Schema(thing(a={"type": "object", "properties": {"b": INTEGER}, "default": {}}))
    first: Object = {}
    crd_schema.default(first, schema)
    first["a"]["b"] = 1
    second: Object = {}
    crd_schema.default(second, schema)
    assert second == {"a": {}}


def test_lists_hold_nothing_twice() -> None:
    items = thing(k=STRING, l=STRING)
    keyed = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"]}  # fmt: skip
    schema = Schema(
        thing(s={"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}, m={"type": "object", "additionalProperties": keyed})
    )  # fmt: skip
    value = {"s": ["a", "a", "a"], "m": {"x": [{"k": "1"}, {"k": "1", "l": "2"}, {"k": "1"}]}}
    found = [str(error) for error in crd_schema.list_errors(value, schema)]
    assert found == ['s[1]: Duplicate value: "a"', 'm[x][2]: Duplicate value: {"k":"1"}']

    objects = Schema(
        thing(s={"type": "array", "items": thing(a=STRING, b=STRING), "x-kubernetes-list-type": "set"})
    )
    value = {"s": [{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1"}]}
    found = [str(error) for error in crd_schema.list_errors(value, objects)]
    assert found == ['s[1]: Duplicate value: {"a":"1","b":"2"}']


def test_embedded_resources_have_a_type_and_good_metadata() -> None:
    schema = Schema(
        thing(a={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True})
    )  # fmt: skip

    def found(value: Object) -> list[str]:
        errors = crd_schema.embedded_errors({"a": value}, schema, schemas.object_meta)
        return [str(error) for error in errors]

    assert found({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}) == []
    assert found({}) == ["a.apiVersion: Required value", "a.kind: Required value"]
    assert found({"apiVersion": "a/b/c", "kind": "P_d", "metadata": {"name": "a/b", "labels": {"": "x"}}})[0] == (
        'a.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'
    )  # fmt: skip
    assert any(
        "a.metadata.name: Invalid value" in each
        for each in found({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b"}})
    )


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ".spec.n: Invalid value: -1: should be a non-negative integer"),
        (1 << 31, ".spec.n: Invalid value: 2147483648: should be less than or equal to 2147483647"),
        (5, ""),
        (None, ""),
    ],
)
def test_numbers_of_the_scale_are_some(value: Any, error: str) -> None:
    paths = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}
    found = crd_schema.scale_errors({"spec": {"n": value}}, paths, status_only=False)
    assert [str(each) for each in found] == ([error] if error else [])


def test_formats_that_mean_nothing_are_warned_of_once_and_when_they_are_new() -> None:
    def definition(*formats: tuple[str, str]) -> Object:
        properties = {f"p{i}": {"type": kind, "format": name} for i, (kind, name) in enumerate(formats)}
        schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
        version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
        return {"spec": {"versions": [version, {**version, "name": "v2"}]}}

    good = definition(
        ("integer", "int32"), ("number", "double"), ("string", "date-time"), ("string", "password")
    )
    assert crd_formats.warnings(good, None) == []
    odd = definition(("string", "ip"), ("integer", "uint32"), ("boolean", "byte"), ("string", "ip"))
    assert crd_formats.warnings(odd, None) == [
        f'unrecognized format "{name}"' for name in ("ip", "uint32", "byte")
    ]
    assert crd_formats.warnings(odd, definition(("string", "ip"))) == [
        'unrecognized format "uint32"', 'unrecognized format "byte"',
    ]  # fmt: skip
