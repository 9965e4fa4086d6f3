"""What is told of definitions that are wrong: upstream's paths, texts and order."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.apiserver import crd_validation
from sublet.machinery import codec
from sublet.machinery.kind import Object

STRING: Object = {"type": "string"}
INTEGER: Object = {"type": "integer"}
ROOT = "spec.validation.openAPIV3Schema"
SPEC = f"{ROOT}.properties[spec]"


def definition(schema: Object | None = None, **changes: Any) -> Object:
    version: Object = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": schema or {"type": "object"}},
    }  # fmt: skip
    spec = {
        "group": "example.com", "scope": "Namespaced", "versions": [version], "conversion": {"strategy": "None"},
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
    }  # fmt: skip
    return {
        "metadata": {"name": "widgets.example.com"}, "spec": {**spec, **changes},
        "status": {"storedVersions": ["v1"]},
    }  # fmt: skip


def told(new: Object, old: Object | None = None) -> list[str]:
    return [str(error) for error in crd_validation.validate(new, old)]


def of(**spec: Any) -> Object:
    """A schema whose ``spec`` is an object with these keywords."""
    return {"type": "object", "properties": {"spec": {"type": "object", **spec}}}


def field(**keywords: Any) -> Object:
    return of(properties={"a": keywords})


A = f"{SPEC}.properties[a]"


def ruled(rule: str, **more: Any) -> Object:
    return {"x-kubernetes-validations": [{"rule": rule, **more}]}


@pytest.mark.parametrize(
    ("schema", "errors"),
    [
        ({"properties": {}}, [f"{ROOT}.type: Required value: must not be empty at the root"]),
        ({"type": "array", "items": STRING}, [f'{ROOT}.type: Invalid value: "array": must be object at the root']),
        ({"type": "object", "additionalProperties": True}, [f"{ROOT}.additionalProperties: Forbidden: must not be used at the root"]),
        (field(description="no type"), [f"{A}.type: Required value: must not be empty for specified object fields"]),
        (field(type="array", items={}), [f"{A}.items.type: Required value: must not be empty for specified array items"]),
        (field(type="array"), [f"{A}.items: Required value: must be specified"]),
        (
            field(type="string", anyOf=[{"type": "string", "default": "x", "nullable": True, "description": "d"}]),
            [
                f"{A}.anyOf[0].default: Forbidden: must be undefined to be structural",
                f"{A}.anyOf[0].description: Forbidden: must be empty to be structural",
                f"{A}.anyOf[0].nullable: Forbidden: must be false to be structural",
                f"{A}.anyOf[0].type: Forbidden: must be empty to be structural",
            ],
        ),
        (
            {**of(properties={"a": STRING}), "oneOf": [{"properties": {"spec": {"properties": {"b": {"minLength": 1}}}}}]},
            [f"{SPEC}.properties[b]: Required value: because it is defined in {ROOT}.oneOf[0].properties[spec].properties[b]"],
        ),
        (
            of(properties={"a": STRING}, **{"not": {"properties": {"metadata": {}}}}),
            [
                # Only junctors at the root are compared with the structure, as upstream.
                f"{SPEC}.not.properties[metadata]: Forbidden: must not be specified in a nested context",
            ],
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
            [
                f"{ROOT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
                "but metadata is implicitly specified"
            ],
        ),
        (
            field(**{"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}),
            [f"{A}.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"],
        ),
        (
            field(**{"x-kubernetes-embedded-resource": True}),
            [
                f"{A}.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields",
                f"{A}.type: Required value: must be object if x-kubernetes-embedded-resource is true",
            ],
        ),
        (
            field(type="string", pattern="a["),
            [f'{A}.pattern: Invalid value: "a[": must be a valid regular expression, but isn\'t: error parsing regexp: missing closing ]: `[`'],
        ),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_refused(schema: Object, errors: list[str]) -> None:
    assert told(definition(schema)) == errors


@pytest.mark.parametrize(
    "schema",
    [
        field(**{"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^a"}),
        field(**{"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"maximum": 5}]}),
        field(**{"x-kubernetes-preserve-unknown-fields": True}),
        field(type="object", additionalProperties=True),
        field(type="object", **{"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}),
        {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}},
        of(properties={"a": STRING, "b": STRING}, oneOf=[{"required": ["a"]}, {"required": ["b"]}]),
        field(type="array", items=STRING, **{"x-kubernetes-list-type": "set"}),
        field(type="string", nullable=True, default="x", enum=["x", "y"]),
    ],
)  # fmt: skip
def test_a_structural_schema_is_accepted(schema: Object) -> None:
    assert told(definition(schema)) == []


LIST: Object = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}


@pytest.mark.parametrize(
    ("schema", "errors"),
    [
        (field(type="text"), [f'{A}.type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"']),
        (field(type="array", items=STRING, uniqueItems=True), [f"{A}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"]),
        (field(type="object", properties={"b": STRING}, additionalProperties=STRING), [f"{A}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"]),
        (field(type="object", definitions={"b": STRING}), [f"{A}.definitions: Forbidden: definitions is not supported"]),
        (field(type="object", **{"$ref": "#/x"}), [f"{A}.$ref: Forbidden: $ref is not supported"]),
        (field(type="object", **{"x-kubernetes-preserve-unknown-fields": False}), [f"{A}.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"]),
        (field(type="string", **{"x-kubernetes-map-type": "atomic"}), [f'{A}.type: Invalid value: "string": must be object if x-kubernetes-map-type is specified']),
        (field(type="object", **{"x-kubernetes-map-type": "odd"}), [f'{A}.x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular"']),
        (field(type="array", items=STRING, **{"x-kubernetes-list-type": "odd"}), [f'{A}.x-kubernetes-list-type: Unsupported value: "odd": supported values: "atomic", "set", "map"']),
        (field(type="array", items={"type": "object"}, **{"x-kubernetes-list-type": "set"}), [f"{A}.items.x-kubernetes-map-type: Invalid value: \"null\": must be atomic as item of a list with x-kubernetes-list-type=set"]),
        (field(**LIST, items={"type": "object", "properties": {"k": STRING}}), [f"{A}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"]),
        (field(**LIST, items={"type": "object", "properties": {"b": STRING}}), [f'{A}.x-kubernetes-list-map-keys: Invalid value: ["k"]: entries must all be names of item properties']),
        (field(**LIST, items={"type": "object", "required": ["k"], "nullable": True, "properties": {"k": {**STRING, "nullable": True}}}), [
            f"{A}.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map",
            f"{A}.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
        ]),
        (field(type="array", items=STRING, **{"x-kubernetes-list-map-keys": ["k"]}), [f"{A}.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"]),
        ({"type": "object", "nullable": True}, [f"{ROOT}.nullable: Forbidden: nullable cannot be true at the root"]),
        ({"type": "object", "properties": {"kind": {**STRING, "default": "x"}}}, [f"{ROOT}.properties[kind].default: Forbidden: must not be set in top-level kind"]),
    ],
)  # fmt: skip
def test_keywords_that_may_not_be_are_refused(schema: Object, errors: list[str]) -> None:
    assert told(definition(schema)) == errors


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"type": "integer", "default": "x"}, f'{A}.default: Invalid value: "string":  in body must be of type integer: "string"'),
        ({"type": "string", "enum": ["a"], "default": "b"}, f'{A}.default: Unsupported value: "b": supported values: "a"'),
        ({"type": "object", "properties": {"b": INTEGER}, "default": {"b": "x"}}, f'{A}.default.b: Invalid value: "string": b in body must be of type integer: "string"'),
        ({"type": "object", "properties": {"b": INTEGER}, "required": ["b"], "default": {}}, f"{A}.default.b: Required value"),
        ({"type": "object", "properties": {"b": INTEGER}, "default": {"c": 1}}, f'{A}.default: Invalid value: {{"c":1}}: must not have unknown fields'),
        ({"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True, "default": {"kind": "A"}}, f"{A}.default.apiVersion: Required value"),
    ],
)  # fmt: skip
def test_defaults_have_to_fit(keywords: Object, error: str) -> None:
    assert told(definition(field(**keywords))) == [error]


EMBEDDED = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "x-kubernetes-preserve-unknown-fields": True,
}


@pytest.mark.parametrize(
    ("keywords", "errors"),
    [
        ({**STRING, "default": "kubelet", **ruled("self.startsWith('kube')")}, []),
        ({**STRING, "default": "x", **ruled("self.startsWith('kube')")}, [f"{A}.default: Invalid value: \"x\": failed rule: self.startsWith('kube')"]),
        ({**STRING, "default": "x", **ruled("self == 1")}, [
            f"{A}.default: Invalid value: \"string\": rule compile error: compilation failed: ERROR: <input>:1:6: found no matching overload for '_==_' applied to '(string, int)'\n | self == 1\n | .....^"]),
        ({"type": "object", "properties": {"b": {**INTEGER, **ruled("self > 1")}}, "default": {"b": 1}}, [f"{A}.default.b: Invalid value: 1: failed rule: self > 1"]),
        ({**STRING, "default": "x", **ruled("self == oldSelf")}, []),
        ({**STRING, "default": "x", **ruled("oldSelf.hasValue()", optionalOldSelf=True)}, [f'{A}.default: Invalid value: "x": failed rule: oldSelf.hasValue()']),
        ({**STRING, "default": "x", **ruled("oldSelf.orValue(self) == self", optionalOldSelf=True)}, []),
        ({**EMBEDDED, "properties": {"metadata": {"type": "object", "properties": {"name": {**STRING, "default": "b"}}}}}, []),
        ({**EMBEDDED, "properties": {"metadata": {"type": "object", "properties": {"name": {**STRING, "default": "a/b"}}}}}, [
            f"{A}.properties[metadata].properties[name].default: Invalid value: \"a/b\": must result in valid metadata: metadata.name: Invalid value: \"a/b\": may not contain '/'"]),
    ],
)  # fmt: skip
def test_defaults_obey_the_rules_around_them(keywords: Object, errors: list[str]) -> None:
    assert told(definition(field(**keywords))) == errors


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"rule": "self.a", "messageExpression": "1"}, f"{SPEC}.x-kubernetes-validations[0].rule: Invalid value: "
         '{"Rule":"self.a","Message":"","MessageExpression":"1","Reason":null,"FieldPath":"","OptionalOldSelf":null}: '
         "cel expression must evaluate to a bool"),
        ({"rule": "self.a > 1", "fieldPath": ".b"}, f'{SPEC}.x-kubernetes-validations[0].fieldPath: Invalid value: ".b": fieldPath must be a valid path'),
        ({"rule": "self.a > 1", "message": "a\nb"}, f'{SPEC}.x-kubernetes-validations[0].message: Invalid value: "a\\nb": message must not contain line breaks'),
        ({"rule": "self.a > 1\n&& true"}, f"{SPEC}.x-kubernetes-validations[0].message: Required value: message must be specified if rule contains line breaks"),
        ({"rule": "self.free == 1"}, "undefined field 'free'"),
    ],
)  # fmt: skip
def test_rules_are_looked_at(rule: Object, error: str) -> None:
    properties = {"a": INTEGER, "free": {"x-kubernetes-preserve-unknown-fields": True}}
    (found,) = told(definition(of(properties=properties, **{"x-kubernetes-validations": [rule]})))
    assert error in found


def test_what_versions_do_not_share_is_named_at_the_version() -> None:
    crd = definition()
    crd["spec"]["versions"].append(
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": field()},
         "additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": "spec.a"}],
         "subresources": {"scale": {"specReplicasPath": ".a", "statusReplicasPath": ".status.b"}}}
    )  # fmt: skip
    at = "spec.versions[1]"
    assert told(crd) == [
        f"{at}.schema.openAPIV3Schema.properties[spec].properties[a].type: Required value: must not be empty for specified object fields",
        f'{at}.subresources.scale.specReplicasPath: Invalid value: ".a": should be a json path under .spec',
        f'{at}.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
        f'{at}.additionalPrinterColumns[0].JSONPath: Invalid value: "spec.a": must be a simple json path starting with .',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (".spec.b", 'Invalid value: ".spec.b": is an invalid path: does not refer to a valid field'),
        (".spec['a']", "Invalid value: \".spec['a']\": is an invalid path: array notation is not allowed"),
        (".spec", "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."),
        ("", "Required value"),
    ],
)  # fmt: skip
def test_selectable_fields_have_to_be_there(path: str, error: str) -> None:
    crd = definition(field(type="string"))
    crd["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": path}]
    (found,) = told(crd)
    assert found.startswith("spec.selectableFields[0].jsonPath: ") and found.endswith(error)


def test_names_stay_and_stored_versions_stay() -> None:
    old = definition()
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    new = codec.copied(old)
    new["spec"]["scope"] = "Cluster"
    new["spec"]["names"]["kind"] = "Gadget"
    new["spec"]["versions"][0]["name"] = "v2"
    new["status"]["storedVersions"] = ["v1", "v2"]
    assert told(new, old) == [
        'spec.scope: Invalid value: "Cluster": field is immutable',
        'spec.names.kind: Invalid value: "Gadget": field is immutable',
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and '
        "must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 "
        "from status.storedVersions",
    ]  # fmt: skip


def test_a_schema_that_did_not_change_is_not_judged_again() -> None:
    old = definition(field())
    new = codec.copied(old)
    new["spec"]["names"]["shortNames"] = ["w"]
    assert told(new, old) == []
    new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "other"
    assert len(told(new, old)) == 1


@pytest.mark.parametrize(
    ("annotation", "error"),
    [
        ("", "Required value: protected groups must have approval annotation"),
        ("sure", 'Invalid value: "sure": protected groups must have approval annotation'),
        ("unapproved, a test", ""),
        ("https://github.com/kubernetes/kubernetes/pull/1", ""),
    ],
)
def test_groups_of_the_community_need_approval(annotation: str, error: str) -> None:
    crd = definition(group="x.k8s.io")
    crd["metadata"] = {
        "name": "widgets.x.k8s.io", "annotations": {"api-approved.kubernetes.io": annotation},
    }  # fmt: skip
    found = told(crd)
    assert len(found) == bool(error) and all(error in each for each in found)
    assert told(crd, crd) == [], "who leaves it as it was is not bothered"


def test_webhook_conversion_needs_an_address() -> None:
    crd = definition(conversion={"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://a/b"}}})
    found = told(crd)
    assert found[0].startswith(
        "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only"
    )
    assert found[1] == "spec.conversion.conversionReviewVersions: Required value"


def test_a_schema_that_nests_without_end_is_refused() -> None:
    level: Object = STRING
    for _ in range(900):
        level = {"type": "object", "properties": {"a": level}}
    assert told(definition(level)) == [
        f'{ROOT}: Invalid value: "": must not be nested more than 100 levels deep'
    ]


def test_a_long_schema_is_judged_quickly_enough_to_wait_for() -> None:
    import time

    leaf = {**STRING, "description": "words " * 20, "maxLength": 63}
    level: Object = {"type": "object", "properties": {f"f{i}": leaf for i in range(20)}}
    for _ in range(3):
        level = {"type": "object", "properties": {f"g{i}": level for i in range(6)}}
    began = time.monotonic()
    assert told(definition(codec.copied(of(properties={"a": level})))) == []
    assert time.monotonic() - began < 5
