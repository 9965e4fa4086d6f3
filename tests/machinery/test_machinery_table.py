"""Tables, ages and JSONPath."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import table
from sublet.machinery.jsonpath import JSONPath
from sublet.machinery.kind import Column, Kind, Resource
from sublet.machinery.objects import rfc3339

NOW = 1_770_000_000.0
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 86400 * 365


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (2 * MINUTE, "2m"),
        (5 * MINUTE + 32, "5m32s"),
        (10 * MINUTE + 5, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (7 * HOUR + 5 * MINUTE, "7h5m"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (3 * DAY + 4 * HOUR, "3d4h"),
        (8 * DAY + 4 * HOUR, "8d"),
        (729 * DAY, "729d"),
        (2 * YEAR + 10 * DAY, "2y10d"),
        (9 * YEAR + 10 * DAY, "9y"),
    ],
)
def test_ages_have_about_two_significant_units(seconds: float, text: str) -> None:
    assert table.human_duration(seconds) == text


@given(st.floats(0, 1e10, allow_nan=False))
def test_every_age_is_short(seconds: float) -> None:
    assert 2 <= len(table.human_duration(seconds)) <= 8


def test_an_age_without_a_time_is_unknown() -> None:
    assert table.age({"metadata": {}}, NOW) == "<unknown>"
    assert table.since("yesterday", NOW) == "<unknown>"


def kind(**extra: Any) -> Kind:
    return Kind(Resource("e.x", "v1", "as", "A", True), "a", **extra)


OBJECT = {
    "apiVersion": "e.x/v1",
    "kind": "A",
    "metadata": {"name": "a", "creationTimestamp": rfc3339(NOW - 90)},
}


def test_a_kind_without_cells_shows_name_and_creation_time() -> None:
    made = table.table(kind(), [OBJECT], NOW, list_metadata={"resourceVersion": "7"})
    assert made["metadata"] == {"resourceVersion": "7"}
    assert [c["name"] for c in made["columnDefinitions"]] == ["Name", "Created At"]
    assert made["rows"][0]["cells"] == ["a", rfc3339(NOW - 90)]


def test_rows_carry_what_the_client_asked_to_include() -> None:
    assert table.row(kind(), OBJECT, NOW, "None")["object"] is None
    assert table.row(kind(), OBJECT, NOW, "Object")["object"] is OBJECT
    assert table.row(kind(), OBJECT, NOW)["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": OBJECT["metadata"],
    }


def test_custom_columns_default_to_name_and_age() -> None:
    columns, cells = table.custom_columns([])
    assert [c.name for c in columns] == ["Name", "Age"]
    assert cells(OBJECT, NOW) == ["a", "90s"]


def test_custom_columns_show_values_by_their_type() -> None:
    stated = [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
        {"name": "F", "type": "number", "jsonPath": ".spec.f"},
        {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
        {"name": "S", "type": "string", "jsonPath": ".spec.s"},
        {"name": "L", "type": "string", "jsonPath": ".spec.l"},
        {"name": "D", "type": "date", "jsonPath": ".spec.d"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.s"},
    ]
    spec = {"n": 3, "f": 0.5, "b": True, "s": "x", "l": ["a"], "d": rfc3339(NOW - 3 * HOUR)}
    obj = OBJECT | {
        "spec": spec,
        "status": {"conditions": [{"type": "A"}, {"type": "Ready", "status": "True"}]},
    }
    columns, cells = table.custom_columns(stated)
    described = "Custom resource definition column (in JSONPath format): .spec.n"
    assert columns[1] == Column("N", "integer", description=described, priority=1)
    assert cells(obj, NOW) == ["a", 3, 0.5, True, "x", '["a"]', "3h", "True", None, None]


def test_a_custom_column_shows_the_first_that_its_path_leads_to() -> None:
    stated = [{"name": "P", "type": "string", "jsonPath": ".ports[*].name"}]
    _, cells = table.custom_columns(stated)
    assert cells({"ports": [{"name": "a"}, {"name": "b"}]}, NOW)[1] == "a"


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("string", {"b": "<x>", "a": [1, None]}, '{"a":[1,null],"b":"\\u003cx\\u003e"}'),
        ("string", 1234567.0, "1.234567e+06"),
        ("string", True, "true"),
        ("string", None, "<no value>"),
        ("integer", 3.9, 3),
        ("integer", None, None),
        ("boolean", "true", None),
        ("date", "", "<unknown>"),
        ("date", "null", "<unknown>"),
        ("date", "yesterday", "<invalid>"),
        ("date", "2999-01-01T00:00:00Z", "<invalid>"),
    ],
)
def test_a_custom_cell_is_printed_as_go_prints_it(kind: str, value: Any, cell: Any) -> None:
    _, cells = table.custom_columns([{"name": "P", "type": kind, "jsonPath": ".v"}])
    assert cells({"v": value}, NOW)[1] == cell


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        ("$.a.b", [1]),
        ("a.b", [1]),
        (".a['b']", [1]),
        ('.a["x.y"]', [2]),
        (r".a.x\.y", [2]),
        (".list[0].n", [1]),
        (".list[-1].n", [3]),
        (".list[*].n", [1, 2, 3]),
        (".list[0:2].n", [1, 2]),
        (".list[?(@.n>1)].n", [2, 3]),
        (".list[?(@.name=='two')].n", [2]),
        (".list[?(@.name)].n", [2]),
        (".list[0,2].n", [1, 3]),
        ("..name", ["two"]),
        (".gone.deeper", []),
        (".list[9]", []),
        (".", [{"a": {"b": 1, "x.y": 2}, "list": [{"n": 1}, {"n": 2, "name": "two"}, {"n": 3}]}]),
    ],
)
def test_jsonpath_finds(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1, "x.y": 2}, "list": [{"n": 1}, {"n": 2, "name": "two"}, {"n": 3}]}
    assert JSONPath(path).find(obj) == found


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b==x)]", ".a[b]", ".[", ".a]"])
def test_jsonpath_refuses_what_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="JSONPath"):
        JSONPath(path)


@given(st.text(alphabet=".[]'\"?@()=*,:-abc01{}$\\ ", max_size=20))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    try:
        path = JSONPath(text)
    except ValueError:
        return
    path.find({"a": [{"b": 1}], "b": {"c": "x"}})
