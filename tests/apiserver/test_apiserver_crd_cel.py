"""x-kubernetes-validations of custom resources over a whole API server."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sublet.apiserver import crd_cel
from sublet.apiserver.api import APIServer
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
        metadata = {"name": f"w{next(numbers)}", "namespace": "default"}
        return await client.create(
            WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": spec}
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


async def test_how_long_rules_take_is_measured(api: APIServer, define: Define, widget: Make) -> None:
    await define(fields("self.low <= self.high", low=INTEGER, high=INTEGER))
    await widget(low=1, high=2)
    with pytest.raises(Invalid):
        await widget(low=3, high=2)
    found = api.metrics.text()
    assert "apiserver_cel_compilation_duration_seconds_count 1\n" in found
    assert "apiserver_cel_evaluation_duration_seconds_count 2\n" in found


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


# -- rules as real projects write them --

ROUTE_NAME = {"type": "string", "minLength": 1, "maxLength": 253}
ROUTE_PARENT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "group": {"type": "string", "maxLength": 253, "default": "gateway.networking.k8s.io"},
        "kind": {"type": "string", "minLength": 1, "maxLength": 63, "default": "Gateway"},
        "name": ROUTE_NAME,
        "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
        "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
        "sectionName": {"type": "string", "minLength": 1, "maxLength": 253},
    },
}


def either_or(first: str, second: str, field: str) -> str:
    absent = "(!has({0}.{1}) || {0}.{1} == '')"
    present = "(has({0}.{2}) && has({1}.{2}) && {0}.{2} == {1}.{2})"
    return f"(({absent.format(first, field)} && {absent.format(second, field)}) || {present.format(first, second, field)})"


def route(longest_path: int = 1024) -> Object:
    """A route of a gateway: parents compared with each other, paths matched in lists within lists."""
    same = "p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name"
    inside = either_or("p1", "p2", "__namespace__")
    section = (
        "(!has(p1.sectionName) || p1.sectionName == '') == (!has(p2.sectionName) || p2.sectionName == '')"
    )
    plain = "(self.type in ['Exact','PathPrefix']) ?"
    path = fields(
        *(
            f"{plain} !self.value.contains('{bad}') : true"
            for bad in ("//", "/./", "/../", "%2f", "%2F", "#")
        ),
        f"{plain} self.value.startsWith('/') : true",
        f"{plain} !self.value.endsWith('/..') : true",
        f'{plain} self.value.matches(r"""^(?:[-A-Za-z0-9/._~!$&\'()*+,;=:@]|[%][0-9a-fA-F]{{2}})+$""") : true',
        type={
            "type": "string",
            "enum": ["Exact", "PathPrefix", "RegularExpression"],
            "default": "PathPrefix",
        },
        value={"type": "string", "maxLength": longest_path, "default": "/"},
    )
    match = fields(path=path, method={"type": "string", "enum": ["GET", "POST"]})
    filters = fields(
        *(f"!(has(self.{name}) && self.type != '{kind}')" for name, kind in FILTERS.items()),
        *(f"!(!has(self.{name}) && self.type == '{kind}')" for name, kind in FILTERS.items()),
        type={"type": "string", "enum": sorted(FILTERS.values())},
        **{name: fields(hostname={"type": "string", "maxLength": 253}) for name in FILTERS},
    )
    filters["required"] = ["type"]
    rules = [
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        *(f"self.filter(f, f.type == '{kind}').size() <= 1" for kind in FILTERS.values()),
    ]
    listed = {
        "type": "array", "maxItems": 16, "items": filters,
        "x-kubernetes-validations": [{"rule": rule} for rule in rules],
    }  # fmt: skip
    backend = fields(
        "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
        group={"type": "string", "maxLength": 253, "default": ""},
        kind={"type": "string", "maxLength": 63, "default": "Service"},
        port={"type": "integer"},
        filters=listed,
    )
    rule = fields(
        "(has(self.backendRefs) && size(self.backendRefs) > 0) ? (!has(self.filters) || self.filters.all(f, !has(f.requestRedirect))) : true",
        filters=listed,
        matches={
            "type": "array",
            "maxItems": 64,
            "items": match,
            "default": [{"path": {"type": "PathPrefix", "value": "/"}}],
        },
        backendRefs={"type": "array", "maxItems": 16, "items": backend},
        timeouts=fields(
            "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && duration(self.backendRequest) > duration(self.request))",
            request={"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
            backendRequest={"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
        ),
    )
    return fields(
        parentRefs={
            "type": "array", "maxItems": 32, "items": ROUTE_PARENT,
            "x-kubernetes-validations": [
                {"rule": f"self.all(p1, self.all(p2, {same} && {inside} ? ({section}) : true))",
                 "message": "sectionName must be specified when parentRefs includes 2 or more references to the same parent"},
                {"rule": f"self.all(p1, self.exists_one(p2, {same} && {inside} && {either_or('p1', 'p2', 'sectionName')}))",
                 "message": "sectionName must be unique when parentRefs includes 2 or more references to the same parent"},
            ],
        },
        rules={
            "type": "array", "maxItems": 16, "items": rule,
            "x-kubernetes-validations": [
                {"rule": "(self.size() > 0 ? self[0].matches.size() : 0) + (self.size() > 1 ? self[1].matches.size() : 0) <= 128",
                 "message": "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less than 128"},
            ],
        },
    )  # fmt: skip


FILTERS = {
    "requestHeaderModifier": "RequestHeaderModifier",
    "responseHeaderModifier": "ResponseHeaderModifier",
    "requestMirror": "RequestMirror",
    "requestRedirect": "RequestRedirect",
    "urlRewrite": "URLRewrite",
    "extensionRef": "ExtensionRef",
}


async def test_the_rules_of_routes_are_cheap_enough_by_a_hair(define: Define, widget: Make) -> None:
    """Their authors chose the bounds so that upstream accepts them: paths of twice the length it refuses."""
    await define(route())
    parents = [{"name": "a"}, {"name": "a", "sectionName": "x"}]
    with pytest.raises(Invalid, match=r"spec\.parentRefs: Invalid value: sectionName must be specified when"):
        await widget(parentRefs=parents)
    with pytest.raises(Invalid, match=r"spec\.rules\[0\]\.matches\[0\]\.path: Invalid value: failed rule: "):
        await widget(rules=[{"matches": [{"path": {"value": "/a//b"}}]}])
    made = await widget(
        parentRefs=[{"name": "a"}, {"name": "b"}], rules=[{"matches": [{"path": {"value": "/a%20b"}}]}]
    )
    assert made["spec"]["rules"][0]["matches"][0]["path"] == {"type": "PathPrefix", "value": "/a%20b"}


async def test_the_rules_of_routes_with_longer_paths_cost_too_much(client: Client) -> None:
    with pytest.raises(
        Invalid,
        match=r"path\]\.x-kubernetes-validations\[8\]\.rule: Forbidden: estimated rule cost exceeds budget by factor of 1\.177190x",
    ):
        await client.create(CRDS, definition(route(2048)))
