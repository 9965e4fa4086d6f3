"""JSON patches and merge patches give new objects or the error the API server answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery.patch import json_patch, merge_patch, unknown_members
from sublet.machinery.status import BadRequest, Invalid, RequestEntityTooLarge

DOC = {"a": {"b": [1, 2, 3], "c/d": "x", "e~f": None}, "g": True}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/n", "value": 1}, DOC | {"n": 1}),
        ({"op": "add", "path": "/a/b/1", "value": 9}, DOC | {"a": DOC["a"] | {"b": [1, 9, 2, 3]}}),
        ({"op": "add", "path": "/a/b/+01", "value": 9}, DOC | {"a": DOC["a"] | {"b": [1, 9, 2, 3]}}),
        ({"op": "add", "path": "/a/b/-", "value": 9}, DOC | {"a": DOC["a"] | {"b": [1, 2, 3, 9]}}),
        ({"op": "remove", "path": "/a/b/-1"}, DOC | {"a": DOC["a"] | {"b": [1, 2]}}),
        ({"op": "remove", "path": "/a"}, {"g": True}),
        ({"op": "replace", "path": "/a/c~1d", "value": "y"}, DOC | {"a": DOC["a"] | {"c/d": "y"}}),
        ({"op": "replace", "path": "", "value": {}}, {}),
        ({"op": "test", "path": "/a/e~0f", "value": None}, DOC),
        ({"op": "test", "path": "/nowhere", "value": None}, DOC),
        ({"op": "move", "from": "/g", "path": "/h"}, {"a": DOC["a"], "h": True}),
        ({"op": "copy", "from": "/a/b", "path": "/h"}, DOC | {"h": [1, 2, 3]}),
    ],
)
def test_each_operation(operation, expected):
    assert json_patch(DOC, [operation]) == expected


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (
            {"op": "remove", "path": "/x"},
            "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
        ),
        (
            {"op": "remove", "path": "/x/y"},
            "remove operation does not apply: doc is missing path: /x/y: missing value",
        ),
        (
            {"op": "replace", "path": "/x/y", "value": 1},
            "replace operation does not apply: doc is missing path: /x/y: missing value",
        ),
        (
            {"op": "replace", "path": "/a/b/-", "value": 1},
            "replace operation does not apply: doc is missing key: /a/b/-: missing value",
        ),
        (
            {"op": "add", "path": "/x/y", "value": 1},
            'add operation does not apply: doc is missing path: "/x/y": missing value',
        ),
        (
            {"op": "add", "path": "/a/b/9", "value": 1},
            "error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        ({"op": "add", "path": "/a/b/1a", "value": 1}, 'strconv.Atoi: parsing "1a": invalid syntax'),
        ({"op": "add", "path": f"/a/b/{10**19}", "value": 1}, "value out of range"),
        (
            {"op": "copy", "from": "/x/y", "path": "/z"},
            "copy operation does not apply: doc is missing from path: /x/y: missing value",
        ),
        ({"op": "test", "path": "/g", "value": 1}, "testing value /g failed: test failed"),
        ({"op": "test", "path": "/nowhere", "value": 1}, "testing value /nowhere failed: test failed"),
        ({"op": "move", "from": "/a", "path": "/a/b"}, "cannot move into itself"),
    ],
)
def test_what_does_not_apply_is_invalid(operation, text):
    with pytest.raises(Invalid) as caught:
        json_patch(DOC, [operation])
    assert caught.value.code == 422
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert text in str(caught.value.__cause__)


def test_what_an_object_lacks_is_replaced_by_being_set_and_copied_as_null():
    """As upstream's library does; lists have no such freedom."""
    patched = json_patch({"a": {}}, [{"op": "replace", "path": "/a/b", "value": 1}, {"op": "copy", "from": "/no", "path": "/c"}])  # fmt: skip
    assert patched == {"a": {"b": 1}, "c": None}


@pytest.mark.parametrize(
    "operations",
    [{}, ["x"], [{"op": 1, "path": "/a"}], [{"op": "remove", "path": 1}]],
)
def test_what_is_no_list_of_operations_is_a_bad_request(operations):
    with pytest.raises(BadRequest):
        json_patch(DOC, operations)


@pytest.mark.parametrize(
    "operations",
    [[{"op": "nope", "path": "/a"}], [{"op": "add", "path": "/a"}], [{"op": "add", "value": 1}],
     [{"op": "remove", "path": "a"}], [{"op": "copy", "path": "/a"}]],
)  # fmt: skip
def test_operations_that_lack_something_do_not_apply(operations):
    with pytest.raises(Invalid):
        json_patch(DOC, operations)


def test_too_many_operations_are_refused():
    with pytest.raises(RequestEntityTooLarge, match="10000, got 10001"):
        json_patch(DOC, [{"op": "test", "path": "/g", "value": True}] * 10_001)


def test_copies_that_double_the_document_end_at_a_limit():
    doubling = [{"op": "copy", "from": "", "path": f"/x{n}"} for n in range(60)]
    with pytest.raises(Invalid) as caught:
        json_patch({"a": "b" * 100}, doubling)
    assert "Unable to complete the copy" in str(caught.value.__cause__)


def test_a_failing_operation_leaves_the_input_alone():
    before = {"a": [1]}
    with pytest.raises(Invalid):
        json_patch(before, [{"op": "add", "path": "/a/-", "value": 2}, {"op": "remove", "path": "/x"}])
    assert before == {"a": [1]}


def test_unknown_members_are_named():
    operations = [{"op": "remove", "path": "/a", "foo": 1}]
    assert unknown_members(operations) == ['json patch unknown field "[0].foo"']


def test_merge_patches_merge_remove_and_replace():
    before = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merge_patch(before, {"a": {"b": None, "x": {"y": None, "z": 1}}, "d": [2]}) == {
        "a": {"c": 2, "x": {"z": 1}},
        "d": [2],
    }
    assert before == {"a": {"b": 1, "c": 2}, "d": [1]}
    with pytest.raises(BadRequest):
        merge_patch(before, [1])


_json = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
_objects = st.dictionaries(st.text("abc", max_size=2), _json, max_size=4)


@given(_objects, _objects)
def test_merging_twice_is_merging_once(obj, patch):
    once = merge_patch(obj, patch)
    assert merge_patch(once, patch) == once


@given(_objects, st.text("ab/~", max_size=3), _json)
def test_what_is_added_can_be_tested_and_removed(obj, key, value):
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch(obj, [{"op": "add", "path": path, "value": value}])
    assert added[key] == value
    after = json_patch(added, [{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}])
    assert after == {k: v for k, v in obj.items() if k != key}
