from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.apiserver.stored import CorruptValue, StoredFormat, key, place
from sublet.kinds.resources import resource
from sublet.machinery import codec
from sublet.store.interface import Entry

PODS = resource("pods")
FORMAT = StoredFormat(PODS, "s1 0.1.0 1.36", lambda obj: None)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def pod(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "resourceVersion": "7"}, **more}


def test_a_value_begins_with_its_tag_and_holds_no_type_and_no_revision() -> None:
    assert FORMAT.encode(pod(spec={"a": 1})) == b's1 0.1.0 1.36\n{"metadata":{"name":"web"},"spec":{"a":1}}'


def test_metadata_comes_first_wherever_it_stood() -> None:
    value = FORMAT.encode({"spec": {}, "metadata": {"name": "web"}})
    assert value.split(b"\n")[1] == b'{"metadata":{"name":"web"},"spec":{}}'


@given(spec=values, revision=st.integers(1, 2**40))
def test_stored_bytes_go_out_as_the_object_that_came_in(spec: Any, revision: int) -> None:
    value = FORMAT.encode(pod(spec=spec))
    sent = codec.decode_json(FORMAT.outgoing(value, revision))
    assert sent == pod(spec=spec) | {"metadata": {"name": "web", "resourceVersion": str(revision)}}
    assert sent == FORMAT.decode(value, revision)


def test_an_item_of_a_list_has_no_type() -> None:
    item = codec.decode_json(FORMAT.item(FORMAT.encode(pod(spec=1)), 9))
    assert item == {"metadata": {"resourceVersion": "9", "name": "web"}, "spec": 1}


@pytest.mark.parametrize("whole", [False, True])
def test_a_list_holds_its_objects_in_order_whoever_wrote_them(whole: bool) -> None:
    newer = StoredFormat(PODS, "s1 0.2.0 1.36", lambda obj: None)
    entries = [
        Entry("", (FORMAT if number % 2 else newer).encode(pod(spec=number)), number, 1)
        for number in range(1, 6)
    ]
    single = newer.outgoing if whole else newer.item
    for count in (0, 1, 5):
        found = codec.decode_json(newer.listed(entries[:count], b'{"items":[', b"]}", whole=whole))
        assert found["items"] == [
            codec.decode_json(single(entry.value, entry.revision)) for entry in entries[:count]
        ]


def test_a_value_of_another_writer_is_brought_up_to_date() -> None:
    def renew(obj: dict[str, Any]) -> None:
        obj["spec"] = "defaulted"

    old = FORMAT.encode(pod())
    newer = StoredFormat(PODS, "s1 0.2.0 1.36", renew)
    assert not newer.is_current(old)
    assert codec.decode_json(newer.outgoing(old, 3))["spec"] == "defaulted"
    assert codec.decode_json(newer.item(old, 3))["spec"] == "defaulted"


def test_a_value_that_is_no_json_is_named() -> None:
    with pytest.raises(CorruptValue, match=r"a stored value of pods is no JSON"):
        FORMAT.decode(b"s1 0.1.0 1.36\nnonsense", 1)


def test_keys_hold_group_plural_namespace_and_name() -> None:
    assert key(PODS, "default", "web") == "/registry/core/pods/default/web"
    assert key(resource("clusterroles.rbac.authorization.k8s.io"), "", "a:b") == (
        "/registry/rbac.authorization.k8s.io/clusterroles/a:b"
    )
    assert place("/registry/core/pods/default/web", "/registry/core/pods/") == ("default", "web")
