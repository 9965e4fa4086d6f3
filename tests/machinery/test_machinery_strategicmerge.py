"""Strategic merge patches merge keyed lists, obey their directives and refuse those that make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery.schema import Schema
from sublet.machinery.status import Invalid, StatusError
from sublet.machinery.strategicmerge import apply

TEXT = {"type": "string"}


def merged_by(key: str, **properties):
    return {
        "type": "array",
        "items": {"type": "object", "properties": {key: TEXT, **properties}},
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": key,
    }


SCHEMA = Schema(
    {
        "type": "object",
        "properties": {
            "labels": {"type": "object", "additionalProperties": TEXT},
            "containers": merged_by("name", image=TEXT, env=merged_by("name", value=TEXT)),
            "finalizers": {"type": "array", "items": TEXT, "x-kubernetes-patch-strategy": "merge"},
            "args": {"type": "array", "items": TEXT},
            "strategy": {
                "type": "object",
                "properties": {"type": TEXT, "rolling": {"type": "object"}},
                "x-kubernetes-patch-strategy": "retainKeys",
            },
            "selector": {
                "type": "object",
                "properties": {"a": TEXT, "b": TEXT},
                "x-kubernetes-patch-strategy": "replace",
            },
        },
    }
)


def names(obj, field="containers"):
    return [item["name"] for item in obj[field]]


def test_maps_are_merged_and_nulls_remove():
    before = {"labels": {"a": "1", "b": "2"}}
    assert apply(before, {"labels": {"a": None, "c": "3"}}, SCHEMA) == {"labels": {"b": "2", "c": "3"}}
    assert before == {"labels": {"a": "1", "b": "2"}}


def test_keyed_lists_are_merged_item_by_item():
    before = {
        "containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]
    }
    patch = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}]}
    assert apply(before, patch, SCHEMA)["containers"] == [
        {"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        {"name": "b"},
    ]


def test_other_lists_are_replaced():
    assert apply({"args": ["a", "b"]}, {"args": ["c"]}, SCHEMA) == {"args": ["c"]}
    assert apply({"x": ["a"]}, {"x": ["c"]}, None) == {"x": ["c"]}


def test_lists_of_primitives_are_united_and_their_items_deleted_by_value():
    assert apply({"finalizers": ["a", "b"]}, {"finalizers": ["c", "a"]}, SCHEMA) == {
        "finalizers": ["c", "a", "b"]
    }
    patch = {"$deleteFromPrimitiveList/finalizers": ["a"]}
    assert apply({"finalizers": ["a", "b"]}, patch, SCHEMA) == {"finalizers": ["b"]}


def test_an_item_is_deleted_by_directive():
    before = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert names(apply(before, {"containers": [{"$patch": "delete", "name": "a"}]}, SCHEMA)) == ["b"]


def test_a_list_is_replaced_by_directive():
    before = {"containers": [{"name": "a"}, {"name": "b"}]}
    patch = {"containers": [{"name": "c"}, {"$patch": "replace"}]}
    assert names(apply(before, patch, SCHEMA)) == ["c"]


def test_a_map_is_replaced_or_emptied_by_directive():
    before = {"labels": {"a": "1"}}
    assert apply(before, {"labels": {"$patch": "replace", "b": "2"}}, SCHEMA) == {"labels": {"b": "2"}}
    assert apply(before, {"labels": {"$patch": "delete"}}, SCHEMA) == {"labels": {}}
    with pytest.raises(
        StatusError, match=r"^unknown patch type: merge in map: map\[\$patch:merge b:2\]$"
    ) as caught:
        apply(before, {"labels": {"$patch": "merge", "b": "2"}}, SCHEMA)
    assert (caught.value.code, caught.value.reason) == (500, "")


def test_a_directive_for_what_is_not_there_leaves_nothing():
    assert apply({}, {"labels": {"$patch": "replace", "b": "2"}}, SCHEMA) == {}
    assert apply({"labels": ["x"]}, {"labels": {"$patch": "delete"}}, SCHEMA) == {}
    nested = {"strategy": {"rolling": {"$patch": "replace", "x": 1}, "type": "a"}}
    assert apply({}, nested, SCHEMA) == {"strategy": {"type": "a"}}


def test_items_with_directives_add_nothing_and_lists_know_no_merge_directive():
    before = {"containers": [{"name": "a"}]}
    patch = {"containers": [{"$patch": "replace", "name": "x"}, {"name": "b"}]}
    assert names(apply(before, patch, SCHEMA)) == ["b"]
    with pytest.raises(StatusError, match="merging lists cannot yet be specified in the patch"):
        apply(before, {"containers": [{"$patch": "merge", "name": "a"}]}, SCHEMA)


def test_a_field_with_strategy_replace_is_replaced():
    assert apply({"selector": {"a": "1"}}, {"selector": {"b": "2"}}, SCHEMA) == {"selector": {"b": "2"}}


def test_the_order_of_items_follows_the_directive_and_others_keep_their_place():
    before = {"containers": [{"name": n} for n in "abcd"]}
    patch = {
        "$setElementOrder/containers": [{"name": "d"}, {"name": "b"}],
        "containers": [{"name": "b", "image": "x"}],
    }
    assert names(apply(before, patch, SCHEMA)) == ["a", "c", "d", "b"]
    assert names(
        apply(before, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}, SCHEMA)
    ) == list("bacd")


@pytest.mark.parametrize(("order", "items"), [("b", "a"), ("abc", "ca")])
def test_the_order_must_name_every_item_of_the_patch_and_in_its_order(order, items):
    patch = {
        "$setElementOrder/containers": [{"name": name} for name in order],
        "containers": [{"name": name} for name in items],
    }
    with pytest.raises(
        StatusError, match=r"^The order in patch list:\n\[map\[name:.*\]\]\n doesn't match"
    ) as caught:
        apply({"containers": []}, patch, SCHEMA)
    assert (caught.value.code, caught.value.reason) == (500, "")


def test_items_may_be_deleted_while_others_are_ordered():
    before = {"containers": [{"name": n} for n in "abc"]}
    patch = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "n"}],
        "containers": [{"name": "n"}, {"$patch": "delete", "name": "a"}],
    }
    assert names(apply(before, patch, SCHEMA)) == ["b", "c", "n"]


def test_kept_keys_drop_the_others():
    before = {"strategy": {"type": "RollingUpdate", "rolling": {"x": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert apply(before, patch, SCHEMA) == {"strategy": {"type": "Recreate"}}
    with pytest.raises(Invalid, match="the server rejected our request due to an error in our request"):
        apply(before, {"strategy": {"$retainKeys": ["rolling"], "type": "Recreate"}}, SCHEMA)


def test_an_item_without_its_key_is_refused():
    with pytest.raises(StatusError, match=r"^map: map\[image:x\] does not contain declared merge key: name$"):
        apply({"containers": [{"name": "a"}]}, {"containers": [{"image": "x"}]}, SCHEMA)


def test_an_unknown_directive_is_refused():
    with pytest.raises(StatusError, match=r"unknown patch type: what in map: map\[\$patch:what\]"):
        apply({"labels": {}}, {"labels": {"$patch": "what"}}, SCHEMA)


def test_directives_and_nulls_are_dropped_where_nothing_is_there_to_merge():
    patch = {
        "containers": [{"name": "a", "image": None}, {"$patch": "delete", "name": "b"}],
        "labels": {"a": None},
    }
    assert apply({}, patch, SCHEMA) == {"containers": [{"name": "a"}], "labels": {}}


_named = st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"image": st.sampled_from("12")})
_objects = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3),
        "containers": st.lists(_named, max_size=4, unique_by=lambda c: c["name"]),
        "finalizers": st.lists(st.sampled_from("pqr"), max_size=3, unique=True),
        "args": st.lists(st.sampled_from("12"), max_size=2),
    },
)


@given(_objects, _objects)
def test_patching_twice_is_patching_once(obj, patch):
    once = apply(obj, patch, SCHEMA)
    assert apply(once, patch, SCHEMA) == once


@given(_objects, _objects)
def test_whatever_the_patch_says_holds_and_keyed_items_are_never_lost(obj, patch):
    result = apply(obj, patch, SCHEMA)
    assert result.get("labels", {}).items() >= patch.get("labels", {}).items()
    assert result.get("args") == patch.get("args", obj.get("args"))
    found = {c["name"]: c for c in result.get("containers", [])}
    assert found.keys() == {c["name"] for source in (obj, patch) for c in source.get("containers", [])}
    assert all(found[c["name"]].items() >= c.items() for c in patch.get("containers", []))


@given(_objects, st.permutations("abcd"))
def test_the_order_asked_for_is_the_order_got(obj, order):
    directive = {"$setElementOrder/containers": [{"name": name} for name in order]}
    got = [c["name"] for c in apply(obj, directive, SCHEMA).get("containers", [])]
    assert got == [name for name in order if name in got]
