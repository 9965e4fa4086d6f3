"""Merging what two sides changed, and the difference as a patch."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery.patch import merge_patch
from sublet.syncer import translate
from sublet.syncer.declare import Pair

values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=5)
labels = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), max_size=4)


@given(documents, documents)
def test_the_difference_makes_one_of_the_other(old: Any, new: Any) -> None:
    assert merge_patch(old, translate.difference(old, new)) == new


@given(documents)
def test_equal_objects_differ_by_nothing(obj: Any) -> None:
    assert translate.difference(obj, obj) == {}


@given(labels, labels, labels)
def test_after_a_merge_both_are_equal_and_the_tenant_counts(base: Any, tenant: Any, host: Any) -> None:
    mine, theirs = translate.merged(tenant, host, (base, base))
    assert mine == theirs
    for key in {*base, *tenant, *host}:
        if tenant.get(key) != base.get(key):
            assert mine.get(key) == tenant.get(key)
        else:
            assert mine.get(key) == host.get(key)


@given(labels, labels)
def test_without_memory_the_hosts_own_keys_stay(tenant: Any, host: Any) -> None:
    mine, theirs = translate.merged(tenant, host, None)
    assert mine == theirs == {**host, **tenant}


def test_without_memory_what_had_come_from_the_tenant_goes_with_it() -> None:
    mine, theirs = translate.merged({"a": "1"}, {"a": "1", "b": "1", "c": "1"}, None, frozenset("ab"))
    assert mine == theirs == {"a": "1", "c": "1"}


def test_paths_are_made_and_removed() -> None:
    obj: Any = {}
    translate.put(obj, "spec.template.name", "x")
    assert translate.at(obj, "spec.template.name") == "x"
    translate.put(obj, "spec.template.name", None)
    translate.put(obj, "status.phase", None)
    assert obj == {"spec": {"template": {}}}


def test_a_field_goes_the_way_of_the_last_change(rng: random.Random) -> None:
    """Random edits on either side, synced after each: both always show the latest."""
    tenant: Any = {"spec": {"type": "a"}}
    host: Any = {"spec": {"type": "a"}}
    pair = Pair(tenant, host, None, None)
    for number in range(50):
        tenant, host = pair.tenant, pair.host
        last = Pair(tenant, host, None, None)
        side = rng.choice((pair.tenant, pair.host))
        side["spec"]["type"] = str(number)
        pair = Pair(pair.tenant, pair.host, last.tenant, last.host)
        pair.both_ways("spec.type")
        assert pair.tenant["spec"]["type"] == pair.host["spec"]["type"] == str(number)
