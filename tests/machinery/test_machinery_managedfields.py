"""Every write records who owns which field."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import fieldsets, managedfields
from sublet.machinery.schema import Schema

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
PORTS = {
    "type": "array",
    "items": {"type": "object", "properties": {"port": NUMBER, "protocol": TEXT, "name": TEXT}},
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["port", "protocol"],
}
SCHEMA = Schema(
    {
        "x-kubernetes-group-version-kind": [{"group": "", "kind": "T", "version": "v1"}],
        "type": "object",
        "properties": {
            "apiVersion": TEXT,
            "kind": TEXT,
            "metadata": {
                "type": "object",
                "properties": {
                    "name": TEXT,
                    "uid": TEXT,
                    "resourceVersion": TEXT,
                    "labels": {"type": "object", "additionalProperties": TEXT},
                    "finalizers": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
                    "managedFields": {"type": "array", "items": {"type": "object"}},
                },
            },
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": NUMBER,
                    "args": {"type": "array", "items": TEXT},
                    "ports": PORTS,
                    "selector": {
                        "type": "object",
                        "properties": {"a": TEXT},
                        "x-kubernetes-map-type": "atomic",
                    },
                    "raw": {"type": "object"},
                },
            },
            "status": {"type": "object", "properties": {"ready": NUMBER}},
        },
    }
)


def obj(spec=None, labels=None, **more):
    metadata = {"name": "x", "uid": "u"} | ({"labels": labels} if labels is not None else {})
    return {"apiVersion": "v1", "kind": "T", "metadata": metadata, "spec": spec or {}} | more


def written(old, new, manager="m", now=0.0, schema=SCHEMA, **more):
    new = copy.deepcopy(new)
    managedfields.update(old, new, manager=manager, api_version="v1", now=now, schema=schema, **more)
    return new


def fields(obj, manager="m", operation="Update"):
    entries = obj["metadata"].get("managedFields") or []
    return next(
        (e["fieldsV1"] for e in entries if e["manager"] == manager and e["operation"] == operation), None
    )


def test_a_creator_owns_what_it_set_but_no_identity():
    made = written(
        None,
        obj(
            {"replicas": 1, "args": ["a"], "ports": [{"port": 80, "name": "x"}], "selector": {"a": "b"}},
            {"l": "1"},
        ),
    )
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "1970-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:args": {},
                    "f:ports": {
                        ".": {},
                        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}},
                    },
                    "f:selector": {},
                },
            },
        }
    ]


def test_a_change_moves_ownership_and_its_time():
    made = written(None, obj({"replicas": 1, "args": ["a"]}))
    changed = written(made, obj({"replicas": 2, "args": ["a"]}), "n", now=60.0)
    assert fields(changed, "m") == {"f:spec": {"f:args": {}}}
    assert fields(changed, "n") == {"f:spec": {"f:replicas": {}}}
    assert [e["time"] for e in changed["metadata"]["managedFields"]] == [
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:01:00Z",
    ]


def test_a_write_that_changes_nothing_leaves_the_entries_alone():
    made = written(None, obj({"replicas": 1}))
    assert written(made, obj({"replicas": 1}), "n", now=60.0) == made


def test_what_is_removed_is_nobodys():
    made = written(None, obj({"replicas": 1, "ports": [{"port": 1}, {"port": 2}]}))
    changed = written(made, obj({"replicas": 1, "ports": [{"port": 2}]}), "n")
    assert fields(changed) == {
        "f:spec": {
            "f:replicas": {},
            "f:ports": {".": {}, 'k:{"port":2,"protocol":"TCP"}': {".": {}, "f:port": {}}},
        }
    }
    assert fields(changed, "n") is None


def test_members_of_sets_are_owned_by_value():
    made = written(None, obj({"replicas": 1}))
    new = obj({"replicas": 1})
    new["metadata"]["finalizers"] = ["a", "b"]
    added = written(made, new, "n")
    assert fields(added, "n") == {"f:metadata": {"f:finalizers": {".": {}, 'v:"a"': {}, 'v:"b"': {}}}}
    new["metadata"]["finalizers"] = ["b", "c"]
    changed = written(added, new, "o")
    assert fields(changed, "n") == {"f:metadata": {"f:finalizers": {".": {}, 'v:"b"': {}}}}
    assert fields(changed, "o") == {"f:metadata": {"f:finalizers": {'v:"c"': {}}}}


def test_a_subresource_has_an_entry_of_its_own():
    made = written(None, obj({"replicas": 1}))
    changed = written(made, obj({"replicas": 1}, status={"ready": 1}), subresource="status")
    entry = changed["metadata"]["managedFields"][1]
    assert entry["subresource"] == "status" and entry["fieldsV1"] == {"f:status": {"f:ready": {}}}


@pytest.mark.parametrize("nothing", [[], [{}]])
def test_a_client_may_wipe_the_list_and_it_stays_away(nothing):
    made = written(None, obj({"replicas": 1}))
    wiping = obj({"replicas": 1})
    wiping["metadata"]["managedFields"] = nothing
    wiped = written(made, wiping)
    assert "managedFields" not in wiped["metadata"]
    assert "managedFields" not in written(wiped, obj({"replicas": 2}))["metadata"]


def test_a_client_may_set_the_list():
    made = written(None, obj({"replicas": 1}))
    setting = obj({"replicas": 1})
    entry = made["metadata"]["managedFields"][0] | {"operation": "Apply", "manager": "kubectl"}
    setting["metadata"]["managedFields"] = [entry]
    assert written(made, setting)["metadata"]["managedFields"] == [entry]


@pytest.mark.parametrize("given", [[{"manager": "x"}], [{"operation": "Update", "fieldsV1": {"x": 1}}]])
def test_nonsense_is_replaced_by_what_was_there(given):
    made = written(None, obj({"replicas": 1}))
    setting = obj({"replicas": 1})
    setting["metadata"]["managedFields"] = given
    assert written(made, setting) == made


def test_of_entries_that_became_one_managers_the_last_one_counts():
    made = written(None, obj({"replicas": 1}), "one")
    both = written(made, obj({"replicas": 1, "args": ["a"]}), "two")
    renamed = copy.deepcopy(both)
    for entry in renamed["metadata"]["managedFields"]:
        entry["manager"] = "same"
    managedfields.update(both, renamed, manager="three", api_version="v1", now=9.0, schema=SCHEMA)
    (entry,) = renamed["metadata"]["managedFields"]
    assert entry["manager"] == "same" and entry["fieldsV1"] == {"f:spec": {"f:args": {}}}


def test_a_subresource_cannot_set_the_list():
    made = written(None, obj({"replicas": 1}))
    setting = obj({"replicas": 1})
    setting["metadata"]["managedFields"] = [{}]
    assert written(made, setting, subresource="status") == made


def test_the_oldest_of_many_updaters_are_merged():
    current = written(None, obj({"replicas": 0}, {"l0": "x"}), "m0")
    labels = {"l0": "x"}
    for index in range(1, 14):
        labels = labels | {f"l{index}": "x"}
        current = written(current, obj({"replicas": 0}, labels), f"m{index}", now=index * 60.0)
    entries = current["metadata"]["managedFields"]
    assert len(entries) == 10
    assert fields(current, "ancient-changes") == {
        "f:metadata": {"f:labels": {".": {}, **{f"f:l{i}": {} for i in range(5)}}},
        "f:spec": {"f:replicas": {}},
    }
    assert fields(current, "m13") == {"f:metadata": {"f:labels": {"f:l13": {}}}}


def test_without_a_schema_maps_have_fields_and_lists_are_one():
    made = written(None, obj({"a": {"b": 1}, "c": [{"name": "x"}]}), schema=None)
    assert fields(made) == {"f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:c": {}}}
    changed = written(made, obj({"a": {"b": 1, "d": 2}, "c": []}), "n", schema=None)
    assert fields(changed, "n") == {"f:spec": {"f:a": {"f:d": {}}, "f:c": {}}}


def test_a_part_that_changes_its_type_is_taken_whole():
    made = written(None, obj({"a": {"b": 1}}), schema=None)
    changed = written(made, obj({"a": 5}), "n", schema=None)
    assert fields(changed, "n") == {"f:spec": {"f:a": {}}} and fields(changed, "m") == {"f:spec": {}}


def test_a_custom_resources_parts_are_owned_by_who_added_them():
    custom = Schema({k: v for k, v in SCHEMA.document.items() if k != "x-kubernetes-group-version-kind"})
    made = written(None, obj({"replicas": 1}), schema=custom)
    assert fields(made) == {"f:spec": {".": {}, "f:replicas": {}}}


def test_an_object_without_declared_parts_is_one_field():
    made = written(None, obj({"raw": {"a": {"b": 1}}}))
    assert fields(made) == {"f:spec": {"f:raw": {}}}


_specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "args": st.lists(st.sampled_from("ab"), max_size=2),
        "selector": st.just({"a": "b"}),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.integers(1, 3)}, optional={"name": st.sampled_from("xy")}),
            min_size=1,
            max_size=3,
            unique_by=lambda p: p["port"],
        ),
    },
)


@given(st.lists(st.tuples(st.sampled_from("mno"), _specs), min_size=1, max_size=6))
def test_every_field_has_exactly_one_updater(writes):
    current = None
    for at, (manager, spec) in enumerate(writes):
        keeper = spec | {"raw": {}}
        current = written(current, obj(keeper), manager, now=float(at))
    sets = [entry["fieldsV1"] for entry in current["metadata"]["managedFields"]]
    for index, one in enumerate(sets):
        for other in sets[index + 1 :]:
            assert not fieldsets.intersection(one, other)
    together: fieldsets.Fields = {}
    for one in sets:
        together = fieldsets.union(together, one)
    alone = written(None, current | {"metadata": {"name": "x", "uid": "u"}})
    assert set(fieldsets.paths(together)) == set(fieldsets.paths(fields(alone)))
