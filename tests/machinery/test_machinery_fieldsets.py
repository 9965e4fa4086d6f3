"""Sets of fields obey the laws of sets, whatever their nesting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import fieldsets


def build(paths):
    """A set from its member paths."""
    fields: fieldsets.Fields = {}
    for path in paths:
        node: fieldsets.Fields = {}
        for part in reversed(path):
            node = {f"f:{part}": node}
        fields = fieldsets.union(fields, node)
    return fields


def members(fields):
    return set(fieldsets.paths(fields))


_sets = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8).map(build)


@given(_sets, _sets)
def test_union_has_the_members_of_both(a, b):
    assert members(fieldsets.union(a, b)) == members(a) | members(b)


@given(_sets, _sets)
def test_difference_has_what_only_the_first_has(a, b):
    assert members(fieldsets.difference(a, b)) == members(a) - members(b)


@given(_sets, _sets)
def test_intersection_has_what_both_have(a, b):
    assert members(fieldsets.intersection(a, b)) == members(a) & members(b)


@given(_sets, _sets)
def test_inputs_stay_as_they_are_and_unchanged_results_are_the_input(a, b):
    before = repr((a, b))
    fieldsets.union(a, b), fieldsets.difference(a, b), fieldsets.intersection(a, b)
    assert repr((a, b)) == before
    if not members(a) & members(b):
        assert fieldsets.difference(a, b) is a


@given(_sets)
def test_what_is_built_is_valid(a):
    assert fieldsets.valid(a)


def test_a_path_is_printed_as_kubernetes_does():
    fields = {"f:a": {'k:{"p":80,"n":"x"}': {".": {}, "f:i": {}}, 'v:"s"': {}, "i:0": {}}}
    assert list(fieldsets.paths(fields)) == [".a[0]", '.a[n="x",p=80]', '.a[n="x",p=80].i', '.a[="s"]']


def test_nonsense_is_not_valid():
    for fields in ({"x": {}}, {"f:a": 1}, {"k:{": {}}, {"v:x": {}}, {"i:a": {}}, []):
        assert not fieldsets.valid(fields)


def test_without_drops_what_is_below():
    assert fieldsets.without({"f:a": {"f:b": {"f:c": {}}}, "f:d": {}}, ("f:a", "f:b")) == {"f:d": {}}
