"""What rules see of the values of a schema, and what of theirs is tolerated while nothing changes."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.apiserver import crd_values
from sublet.apiserver.crd_cel import Compiling, Run, run_rules
from sublet.machinery.cel.environment import BUDGET
from sublet.machinery.kind import Object
from sublet.machinery.schema import Schema

STRING: Object = {"type": "string"}
INTEGER: Object = {"type": "integer"}
DURATION: Object = {"type": "string", "format": "duration"}
EITHER: Object = {"x-kubernetes-int-or-string": True, "nullable": True}
RULES = "x-kubernetes-validations"


def an_object(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


def a_list(items: Object, **more: Any) -> Object:
    return {"type": "array", "items": items, **more}


def run(schema: Object, new: Any, old: Any = None) -> Run:
    root = Compiling().node(schema, "")
    assert root is not None
    return run_rules(root, new, old, BUDGET)


def said(schema: Object, rule: str, value: Any) -> list[str]:
    return [str(error) for error in run({**schema, RULES: [{"rule": rule}]}, value).errors]


NULLS = an_object(
    absent={**STRING, "nullable": True}, nothing={**STRING, "nullable": True}, either=EITHER,
    values={"type": "object", "additionalProperties": {**STRING, "nullable": True}},
    items=a_list({**STRING, "nullable": True}),
)  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [
        "!has(self.nothing) && !has(self.absent) && !has(self.either)",
        "self.?nothing.orValue('x') == 'x' && !self.?either.hasValue()",
        "has(self.values.a) && type(self.values['a']) == null_type && type(self.items[0]) == null_type",
        "size(self.values) == 1 && 'a' in self.values",
    ],
)
def test_a_property_that_is_null_counts_as_absent_but_an_item_does_not(rule: str) -> None:
    value = {"nothing": None, "either": None, "values": {"a": None}, "items": [None]}
    assert said(NULLS, rule, value) == []


def test_a_null_cannot_be_read() -> None:
    (error,) = said(NULLS, "self.nothing == 'x'", {"nothing": None})
    assert "no such key: nothing evaluating rule" in error


@pytest.mark.parametrize(
    ("schema", "value", "rule"),
    [
        (a_list(DURATION), [], "self.sum() == duration('0s')"),
        (a_list({"type": "number"}), [], "type(self.sum()) == double"),
        (a_list(INTEGER), [], "type(self.sum()) == int && self.sum() == 0"),
        ({"type": "string", "format": "date-time"}, "2011-08-18T19:03:37.01+01:00",
         "string(self) == '2011-08-18T19:03:37.01+01:00' && self.getHours() == 18"),
        ({"type": "string", "format": "date-time"}, "2011-08-18T23:30:00-02:30",
         "string(self + duration('1h')) == '2011-08-19T00:30:00-02:30'"),
        (an_object(kind=STRING), {"kind": "a"}, " == ".join(["self.kind == 'a'"] * 1 + ["true"] * 240)),
    ],
)  # fmt: skip
def test_values_are_what_kubernetes_makes_of_them(schema: Object, value: Any, rule: str) -> None:
    assert said(schema, rule, value) == []


def test_reserved_words_name_properties_with_and_without_their_escapes() -> None:
    schema = an_object(**{"namespace": STRING, "if": INTEGER, "in": INTEGER})
    value = {"namespace": "a", "if": 1, "in": 2}
    assert said(schema, "self.namespace == self.__namespace__ && has(self.if) && self.if == 1", value) == []
    assert said(schema, "self.__in__ == 2", value) == []
    compiling = Compiling()
    compiling.node({**schema, RULES: [{"rule": "self.in == 2"}]}, "")
    assert "mismatched input 'in' expecting IDENTIFIER" in str(compiling.errors[0])


def test_an_expression_may_be_250_deep() -> None:
    boolean = {"type": "boolean"}
    assert said(boolean, " == ".join(["self"] * 250), True) == []
    compiling = Compiling()
    compiling.node({**boolean, RULES: [{"rule": " == ".join(["self"] * 300)}]}, "")
    assert "max recursion depth exceeded" in str(compiling.errors[0])


def test_types_and_names_with_dots_cost_as_one_name() -> None:
    compiling = Compiling()
    compiling.node({**DURATION, RULES: [{"rule": "type(self) == google.protobuf.Duration"}]}, "")
    assert compiling.errors == []


@pytest.mark.parametrize(
    ("stated", "errors"),
    [
        ({"rule": "dyn(true)"}, ["must evaluate to a bool"]),
        ({"rule": "true", "messageExpression": "dyn('a')"}, ["messageExpression must evaluate to a string"]),
        ({"rule": "true", "messageExpression": "self.find('(')"},
         ["messageExpression instantiation failed: error parsing regexp: missing closing ): `(`"]),
        ({"rule": "self.x", "optionalOldSelf": True},
         ["compilation failed", "may not be set if oldSelf is not used in rule"]),
    ],
)  # fmt: skip
def test_what_rules_and_messages_must_be(stated: Object, errors: list[str]) -> None:
    compiling = Compiling()
    compiling.node({**STRING, "maxLength": 9, RULES: [stated]}, "")
    assert len(compiling.errors) == len(errors)
    assert all(part in str(error) for part, error in zip(errors, compiling.errors, strict=True))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("self.matches(')')", "compilation failed: ERROR: <input>:1:14: invalid matches argument\n | self.matches(')')\n | .............^"),
        ("self.find(')') == ''", "program instantiation failed: error parsing regexp: unexpected ): `)`"),
        ("self.findAll('a**').size() > 0", "program instantiation failed: error parsing regexp: invalid nested repetition operator: `**`"),
        ("duration('1') > duration('1s')", "compilation failed: ERROR: <input>:1:10: invalid duration argument\n | duration('1') > duration('1s')\n | .........^"),
        ("timestamp('today') == timestamp(self)", "invalid timestamp argument"),
        ("self ! == 'a'", "Syntax error: mismatched input '!' expecting <EOF>"),
        ("self 'a'", "Syntax error: extraneous input ''a'' expecting <EOF>"),
    ],
)  # fmt: skip
def test_literals_that_cannot_be_read_are_refused_with_the_definition(rule: str, error: str) -> None:
    compiling = Compiling()
    compiling.node({**STRING, "maxLength": 9, RULES: [{"rule": rule}]}, "")
    assert error in str(compiling.errors[0])


KEYED: Object = a_list(
    an_object(name=STRING, port=INTEGER, note=STRING),
    **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
)
HERE = [{"name": "a", "port": 1}, {"name": "b", "port": 3}]


@pytest.mark.parametrize(
    ("items", "tolerated"),
    [
        (HERE[::-1], True),
        ([*HERE[::-1], {"name": "c", "port": 2}], False),
        ([{"name": "b", "port": 1}, {"name": "a", "port": 3}], False),
        ([{"name": "a", "port": 1}, {"name": "c", "port": 3}], False),
    ],
)
def test_a_list_with_keys_is_unchanged_in_any_order(items: list[Object], tolerated: bool) -> None:
    rule = {"rule": "self.size() > 5", "message": "too few"}
    found = run({**KEYED, RULES: [rule]}, items, HERE)
    assert bool(found.errors) is not tolerated
    assert bool(found.warnings) is tolerated
    limited = Schema({**KEYED, "maxItems": 1})
    assert bool(crd_values.validate(items, limited, HERE)) is not tolerated


def test_items_with_keys_are_tolerated_one_by_one() -> None:
    port = {**INTEGER, "multipleOf": 2}
    keyed = Schema({**KEYED, "items": an_object(name=STRING, port=port, note=STRING)})
    assert crd_values.validate([HERE[1], {**HERE[0], "note": "new"}], keyed, HERE) == []
    assert len(crd_values.validate([HERE[0], {**HERE[1], "port": 5}], keyed, HERE)) == 1


def test_apiversion_and_kind_at_the_root_are_never_tolerated() -> None:
    named = {**STRING, RULES: [{"rule": "self == 'good'"}]}
    schema = an_object(kind=named, apiVersion=named, spec=an_object(kind=named))
    value = {"apiVersion": "bad", "kind": "bad", "spec": {"kind": "bad"}}
    found = run(schema, value, value)
    assert {error.field for error in found.errors} == {"apiVersion", "kind"}
    assert found.warnings == ["""spec.kind: Invalid value: "bad": failed rule: self == 'good'"""]
