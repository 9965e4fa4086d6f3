"""What the schema's types do not allow, in structured-merge-diff's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.kinds import schemas
from sublet.machinery import strict, typed
from sublet.machinery.codec import copied
from sublet.machinery.schema import Schema

DEPLOYMENT = schemas.definition("1.36", "apps", "v1", "Deployment")
assert isinstance(DEPLOYMENT, Schema)


def found(spec: Any, **parts: Any) -> list[str]:
    return typed.problems({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec, **parts}, DEPLOYMENT)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"replicas": True}, ".spec.replicas: expected numeric (int or float), got bool"),
        ({"paused": "no"}, ".spec.paused: expected boolean, got &{no}"),
        ({"strategy": "x"}, ".spec.strategy: expected map, got &{x}"),
        ({"strategy": {"type": 5}}, ".spec.strategy.type: expected string, got &value.valueUnstructured{Value:5}"),
        ({"nope": 1, "no": 1}, ".spec.nope: field not declared in schema"),
        (
            {"template": {"spec": {"containers": {"a": 1}}}},
            ".spec.template.spec.containers: expected list, got &{map[a:1]}",
        ),
        (
            {"template": {"spec": {"containers": [{"name": "a", "args": ["x", 5]}]}}},
            '.spec.template.spec.containers[name="a"].args[1]: expected string, got &value.valueUnstructured{Value:5}',
        ),
        (
            {"template": {"spec": {"containers": [{"image": "a"}]}}},
            ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key "
            "field \"name\" (and doesn't have default value)",
        ),
        (
            {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}},
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            {
                "template": {
                    "spec": {
                        "containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 1}]}]
                    }
                }
            },
            '.spec.template.spec.containers[name="a"].ports: duplicate entries for key [containerPort=1,protocol="TCP"]',
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_of(spec: Any, text: str) -> None:
    assert found(spec) == [text]


def test_quantities_ports_and_nulls_may_be_numbers_texts_and_nothing() -> None:
    container = {"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "image": None}
    probe = {"httpGet": {"port": "web"}}
    spec = {"containers": [{**container, "livenessProbe": probe}]}
    assert found({"template": {"spec": spec}}) == []


def test_several_are_listed_each_on_a_line() -> None:
    several = found({"replicas": "x", "paused": 1})
    assert typed.listed(several) == (
        "errors:\n  .spec.replicas: expected numeric (int or float), got string\n"
        "  .spec.paused: expected boolean, got &{1}"
    )


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["replicas", "paused", "template", "spec", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(_values)
def test_what_decodes_has_no_value_of_a_wrong_type(value: Any) -> None:
    obj = {"spec": value}
    told = [text for text in typed.problems(copied(obj), DEPLOYMENT) if ": expected " in text]
    if not strict.check(obj, DEPLOYMENT).errors:
        assert told == []
