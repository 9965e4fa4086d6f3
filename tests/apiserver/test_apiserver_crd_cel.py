"""x-kubernetes-validations of custom resources over a whole API server."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sublet.apiserver import crd_cel
from sublet.client.client import Client
from sublet.kinds.resources import resource
from sublet.machinery.kind import Object, Resource
from sublet.machinery.status import Invalid, NotFound

CRDS = resource("customresourcedefinitions.apiextensions.k8s.io")
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
Define = Callable[..., Awaitable[list[str]]]
STRING: Object = {"type": "string"}
INTEGER: Object = {"type": "integer"}


def definition(spec: Object, **more: Any) -> Object:
    schema = {"type": "object", "properties": {"spec": spec, **more}}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}}}
            ],
        },
    }  # fmt: skip


def fields(*rules: Any, **properties: Object) -> Object:
    """An object with rules: texts, or rules with all they say."""
    stated = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {
        "type": "object",
        "properties": properties,
        **({"x-kubernetes-validations": stated} if stated else {}),
    }


@pytest.fixture
def define(client: Client) -> Define:
    async def make(spec: Object, **more: Any) -> None:
        await client.create(CRDS, definition(spec, **more))
        for _ in range(200):
            try:
                await client.list(WIDGETS, "default")
                return
            except NotFound:
                await asyncio.sleep(0.01)
        raise AssertionError("the definition is not served")

    return make


@pytest.fixture
def widget(client: Client) -> Callable[..., Awaitable[Object]]:
    numbers = itertools.count()

    async def make(**spec: Any) -> Object:
        return await client.create(
            WIDGETS, {"metadata": {"name": f"w{next(numbers)}", "namespace": "default"}, "spec": spec}
        )

    return make


Make = Callable[..., Awaitable[Object]]


async def test_a_failed_rule_is_a_field_error(define: Define, widget: Make) -> None:
    await define(fields("self.low <= self.high", low=INTEGER, high=INTEGER))
    await widget(low=1, high=2)
    with pytest.raises(Invalid) as refused:
        await widget(low=3, high=2)
    assert refused.value.message == (
        'Widget.example.com "w1" is invalid: spec: Invalid value: failed rule: self.low <= self.high'
    )


async def test_message_reason_and_path_are_the_rules_own(define: Define, widget: Make) -> None:
    await define(
        fields(
            {
                "rule": "self.size < 9",
                "messageExpression": "'too great: %d'.format([self.size])",
                "fieldPath": ".size",
            },
            {"rule": "self.size > 0", "message": "must be positive", "reason": "FieldValueForbidden"},
            {"rule": "self.size != 5", "messageExpression": "string(1 / 0)", "message": "not five"},
            size=INTEGER,
        )
    )
    with pytest.raises(Invalid, match=r"spec\.size: Invalid value: too great: 10$"):
        await widget(size=10)
    with pytest.raises(Invalid, match=r"spec: Forbidden: must be positive$"):
        await widget(size=-1)
    with pytest.raises(Invalid, match=r"not five$"):
        await widget(size=5)


async def test_transition_rules_look_at_what_was(client: Client, define: Define, widget: Make) -> None:
    fixed = {**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]}
    await define(fields(name=fixed, other=STRING))
    made = await widget(name="a")
    made["spec"]["other"] = "x"
    made = await client.update(WIDGETS, made)
    made["spec"]["name"] = "b"
    with pytest.raises(Invalid, match=r'spec\.name: Invalid value: "b": is immutable'):
        await client.update(WIDGETS, made)


async def test_optional_old_self_is_there_on_create_too(client: Client, define: Define, widget: Make) -> None:
    rule = {"rule": "oldSelf.hasValue() || self.size == 1", "optionalOldSelf": True}
    await define(fields(rule, size=INTEGER))
    made = await widget(size=1)
    with pytest.raises(Invalid):
        await widget(size=2)
    made["spec"]["size"] = 2
    await client.update(WIDGETS, made)


async def test_items_of_keyed_lists_correspond(client: Client, define: Define, widget: Make) -> None:
    item = fields("self.value >= oldSelf.value", name=STRING, value=INTEGER)
    item["required"] = ["name"]
    await define(
        fields(
            items={
                "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            }
        )
    )  # fmt: skip
    made = await widget(items=[{"name": "a", "value": 1}, {"name": "b", "value": 5}])
    made["spec"]["items"] = [{"name": "b", "value": 5}, {"name": "a", "value": 2}, {"name": "c", "value": 0}]
    made = await client.update(WIDGETS, made)
    made["spec"]["items"][0]["value"] = 4
    with pytest.raises(Invalid, match=r"spec\.items\[0\]: Invalid value"):
        await client.update(WIDGETS, made)


async def test_what_was_wrong_before_the_rule_is_tolerated_while_untouched(
    client: Client, define: Define, widget: Make
) -> None:
    await define(fields(size=INTEGER, inner=fields(a=INTEGER)))
    made = await widget(size=1, inner={"a": 7})
    crd = await client.get(CRDS, "widgets.example.com")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = fields(
        size=INTEGER, inner=fields("self.a < 5", a=INTEGER)
    )
    await client.update(CRDS, crd)
    made["spec"]["size"] = 2
    made = await client.update(WIDGETS, made)
    made["spec"]["inner"]["a"] = 6
    with pytest.raises(Invalid, match=r"failed rule: self\.a < 5"):
        await client.update(WIDGETS, made)


async def test_status_obeys_rules_too(client: Client, define: Define, widget: Make) -> None:
    await define(fields(), status=fields("self.ready <= 3", ready=INTEGER))
    made = await widget()
    made["status"] = {"ready": 4}
    with pytest.raises(Invalid, match="status: Invalid value"):
        await client.update(WIDGETS, made, subresource="status")


async def test_rules_do_not_run_on_what_does_not_fit_the_schema(define: Define, widget: Make) -> None:
    await define(fields("self.size < 3", size=INTEGER))
    with pytest.raises(
        Invalid, match="some validation rules were not checked because the object was invalid"
    ):
        await widget(size="many")


async def test_values_have_the_types_of_their_formats(define: Define, widget: Make) -> None:
    await define(
        fields(
            "self.from < self.until && self.pause <= duration('1h') && self.ratio / 2.0 < 1.0",
            "self.__namespace__ == 'x' && self.a__dash__b == 1",
            "self.tags == ['b', 'a']",
            until={"type": "string", "format": "date-time"}, pause={"type": "string", "format": "duration"},
            ratio={"type": "number"}, namespace=STRING, tags={"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            **{"from": {"type": "string", "format": "date-time"}, "a-b": INTEGER},
        )
    )  # fmt: skip
    good = {
        "from": "2024-01-01T01:00:00+02:00", "until": "2024-01-01T00:00:00Z", "pause": "30m", "ratio": 1, "namespace": "x",
        "a-b": 1, "tags": ["a", "b"],
    }  # fmt: skip
    await widget(**good)
    with pytest.raises(Invalid):
        await widget(**{**good, "until": "2023-12-31T22:59:00Z"})


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (fields("self.nothing == 1", size=INTEGER), r"x-kubernetes-validations\[0\]\.rule: Invalid value: .*compilation failed: ERROR: <input>:1:5: undefined field 'nothing'"),
        (fields("self.size", size=INTEGER), "cel expression must evaluate to a bool"),
        (fields({"rule": "self.size > 0", "messageExpression": "1"}, size=INTEGER), "messageExpression must evaluate to a string"),
        (fields({"rule": "self.size > 0", "reason": "Because"}, size=INTEGER), r"reason: Unsupported value: .*Because"),
        (fields(" "), "rule is not specified"),
        (fields({"rule": "self.size > 0", "optionalOldSelf": True}, size=INTEGER), r"optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"),
        (fields(sizes={"type": "array", "items": {**INTEGER, "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}), "oldSelf cannot be used on the uncorrelatable portion of the schema within"),
        (fields("self.sizes.all(a, self.sizes.all(b, a == b))", sizes={"type": "array", "items": INTEGER}), r"rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x \(try simplifying the rule, or adding maxItems"),
        (fields(names={"type": "array", "items": {**STRING, "x-kubernetes-validations": [{"rule": "self.matches('^a')"}]}}), "estimated rule cost exceeds budget"),
        (fields({"rule": "self.size > 0", "messageExpression": "'got ' + string(self.size)"}, size=INTEGER), "messageExpression: Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x"),
    ],
)  # fmt: skip
async def test_rules_that_cannot_work_are_refused_with_the_definition(
    client: Client, spec: Object, why: str
) -> None:
    with pytest.raises(Invalid, match=f"(?s){why}"):
        await client.create(CRDS, definition(spec))


async def test_bounds_in_the_schema_make_a_costly_rule_fine(client: Client) -> None:
    bounded = {"type": "array", "items": INTEGER, "maxItems": 50}
    await client.create(
        CRDS, definition(fields("self.sizes.all(a, self.sizes.all(b, a == b))", sizes=bounded))
    )


async def test_a_rule_is_stopped_when_it_costs_too_much() -> None:
    """Compiled past the check with the definition, as one that an older release let in."""
    numbers: Object = {"type": "array", "items": INTEGER}
    text = "self.n.all(a, self.n.all(b, self.n.all(c, a + b + c >= 0)))"
    root = crd_cel.compile_schema(fields(text, n=numbers))
    assert root is not None
    (error,) = await crd_cel.validate(root, {"n": list(range(1000))}, None, [], [])
    assert "call cost exceeds limit for rule" in error.body


async def test_a_costly_rule_leaves_the_event_loop_free() -> None:
    root = crd_cel.compile_schema(
        fields("self.n.all(a, self.n.all(b, a + b >= 0))", n={"type": "array", "items": INTEGER})
    )
    assert root is not None
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    assert await crd_cel.validate(root, {"n": list(range(330))}, None, [], []) == []
    took = time.monotonic() - began
    ticking.cancel()
    assert took > 0.1, "the rule is too cheap to show anything"
    assert longest < took / 2


async def test_a_hostile_pattern_in_a_schema_does_not_hold_the_server_up(
    define: Define, widget: Make
) -> None:
    await define(fields(name={**STRING, "pattern": "^(a|aa)+$"}))
    began = time.monotonic()
    with pytest.raises(Invalid, match="should match"):
        await widget(name="a" * 60 + "b")
    assert time.monotonic() - began < 2


async def test_rules_that_nobody_would_run_are_refused(client: Client) -> None:
    spec = {**fields(size=INTEGER), "allOf": [{"x-kubernetes-validations": [{"rule": "self.size > 1"}]}]}
    with pytest.raises(Invalid, match=r"allOf\[0\]\.x-kubernetes-validations: Forbidden"):
        await client.create(CRDS, definition(spec))
