"""Server-side apply merges, shares, refuses and removes by ownership."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.machinery import managedfields
from sublet.machinery.apply import LAST_APPLIED, apply
from sublet.machinery.managedfields import Scope
from sublet.machinery.schema import Schema
from sublet.machinery.status import BadRequest, Conflict, StatusError

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
STRINGS = {"type": "object", "additionalProperties": TEXT}
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
                    "namespace": TEXT,
                    "uid": TEXT,
                    "creationTimestamp": TEXT,
                    "labels": STRINGS,
                    "annotations": STRINGS,
                    "finalizers": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
                    "managedFields": {"type": "array", "items": {"type": "object"}},
                },
            },
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": NUMBER,
                    "paused": {"type": "boolean"},
                    "args": {"type": "array", "items": TEXT},
                    "strategy": {"type": "object", "properties": {"type": TEXT, "size": NUMBER}},
                    "selector": {"type": "object", "x-kubernetes-map-type": "atomic"},
                    "containers": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "properties": {
                                "name": TEXT,
                                "image": TEXT,
                                "ports": {
                                    "type": "array",
                                    "x-kubernetes-list-type": "map",
                                    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                                    "items": {
                                        "type": "object",
                                        "properties": {
                                            "containerPort": NUMBER,
                                            "protocol": {"type": "string", "default": "TCP"},
                                            "name": TEXT,
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
            "status": {"type": "object", "properties": {"ready": NUMBER}},
        },
    }
)


def config(spec=None, **metadata):
    return {"apiVersion": "v1", "kind": "T", "metadata": {"name": "x"} | metadata} | (
        {"spec": spec} if spec else {}
    )


STATUS = Scope(reset=(("f:metadata",), ("f:spec",)))
MAIN = Scope(reset=(("f:status",),))


def applied(
    live, spec, manager="a", force=False, now=0.0, schema=SCHEMA, subresource="", status=None, **metadata
):
    wanted = config(spec, **metadata)
    if status is not None:
        wanted["status"] = status
    before = copy.deepcopy((live, wanted))
    result = apply(
        live,
        wanted,
        manager=manager,
        api_version="v1",
        subresource=subresource,
        force=force,
        now=now,
        schema=schema,
        scope=STATUS if subresource else MAIN,
        versions={"v1"},
    )
    assert (live, wanted) == before
    result["metadata"].setdefault("uid", "u")
    return result


def updated(live, change, manager="u", now=0.0, subresource=""):
    new = copy.deepcopy(live)
    change(new)
    managedfields.update(
        live, new, manager=manager, api_version="v1", subresource=subresource, now=now, schema=SCHEMA
    )
    return new


def fields(obj, manager="a"):
    return next((e["fieldsV1"] for e in obj["metadata"]["managedFields"] if e["manager"] == manager), None)


def test_what_is_not_there_is_created():
    made = applied(None, {"replicas": 1, "containers": [{"name": "c", "image": "i"}]}, labels={"l": "1"})
    assert made["spec"] == {"replicas": 1, "containers": [{"name": "c", "image": "i"}]}
    (entry,) = made["metadata"]["managedFields"]
    assert entry["operation"] == "Apply" and entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:l": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:containers": {'k:{"name":"c"}': {".": {}, "f:name": {}, "f:image": {}}},
        },
    }


def test_applying_the_same_again_changes_nothing():
    made = applied(None, {"replicas": 1, "args": ["a"], "selector": {"x": "y"}}, labels={"l": "1"})
    again = applied(made, {"replicas": 1, "args": ["a"], "selector": {"x": "y"}}, now=99.0, labels={"l": "1"})
    assert again == made


def test_another_managers_value_is_a_conflict():
    made = updated(applied(None, {"replicas": 1}), lambda o: o["spec"].update(replicas=2), "scaler")
    with pytest.raises(Conflict) as caught:
        applied(made, {"replicas": 3})
    assert (
        caught.value.message
        == 'Apply failed with 1 conflict: conflict with "scaler" using v1: .spec.replicas'
    )
    (cause,) = caught.value.causes
    assert (cause.reason, cause.message, cause.field) == (
        "FieldManagerConflict",
        'conflict with "scaler" using v1',
        ".spec.replicas",
    )
    assert caught.value.reason == "Conflict"


def test_several_conflicts_are_listed_by_manager():
    made = applied(
        applied(None, {"replicas": 1}, "b"), {"args": ["x"], "containers": [{"name": "c", "image": "1"}]}, "c"
    )
    with pytest.raises(Conflict) as caught:
        applied(made, {"replicas": 2, "args": ["y"], "containers": [{"name": "c", "image": "2"}]})
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "b":\n- .spec.replicas\n'
        'conflicts with "c":\n- .spec.args\n- .spec.containers[name="c"].image'
    )


def test_a_conflict_names_the_subresource():
    made = updated(
        applied(None, {"replicas": 1}), lambda o: o.update(status={"ready": 1}), subresource="status"
    )
    with pytest.raises(
        Conflict, match=r'conflict with "u" with subresource "status" using v1: \.status\.ready'
    ):
        applied(made, {}, subresource="status", status={"ready": 2})


def test_force_takes_the_field():
    made = updated(applied(None, {"replicas": 1}), lambda o: o["spec"].update(replicas=2), "scaler")
    taken = applied(made, {"replicas": 3}, force=True)
    assert taken["spec"]["replicas"] == 3 and fields(taken, "scaler") is None


def test_an_equal_value_is_shared():
    made = applied(applied(None, {"replicas": 1}, "b"), {"replicas": 1})
    assert fields(made, "a") == fields(made, "b") == {"f:spec": {"f:replicas": {}}}
    left = applied(made, {}, "b")
    assert left["spec"] == {"replicas": 1} and fields(left, "b") is None


def test_what_is_left_out_is_removed_when_nobody_else_owns_it():
    made = applied(
        None, {"replicas": 1, "paused": True, "containers": [{"name": "a"}, {"name": "b"}]}, labels={"l": "1"}
    )
    after = applied(made, {"replicas": 1, "containers": [{"name": "b"}]})
    assert after["spec"] == {"replicas": 1, "containers": [{"name": "b"}]}
    assert after["metadata"].get("labels") in (None, {})


def test_a_part_others_own_something_of_stays():
    made = updated(applied(None, {"strategy": {"type": "x"}}), lambda o: o["spec"]["strategy"].update(size=1))
    assert applied(made, {})["spec"] == {"strategy": {"size": 1}}


def test_an_items_fields_are_removed_one_by_one():
    made = applied(None, {"containers": [{"name": "a", "image": "i"}]})
    assert applied(made, {"containers": [{"name": "a"}]})["spec"] == {"containers": [{"name": "a"}]}


def test_what_nobody_owns_is_not_removed():
    live = config({"replicas": 1, "paused": True}, uid="u")
    assert applied(live, {"replicas": 1})["spec"] == {"replicas": 1, "paused": True}


def test_an_object_without_entries_gets_one_for_what_is_there():
    live = config({"replicas": 1, "args": ["x"]}, uid="u")
    made = applied(live, {"replicas": 1})
    assert fields(made, "before-first-apply") == {"f:spec": {"f:replicas": {}, "f:args": {}}}
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using v1: \.spec\.args'):
        applied(live, {"args": ["y"]})


def test_list_keys_have_defaults():
    made = applied(None, {"containers": [{"name": "c", "ports": [{"containerPort": 80, "name": "x"}]}]})
    live = copy.deepcopy(made)
    live["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    ports = [{"containerPort": 80, "name": "y"}, {"containerPort": 80, "protocol": "UDP"}]
    after = applied(live, {"containers": [{"name": "c", "ports": ports}]})
    assert after["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "name": "y", "protocol": "TCP"},
        {"containerPort": 80, "protocol": "UDP"},
    ]


def test_sets_are_shared_by_value():
    made = applied(applied(None, {}, "b", finalizers=["one"]), {}, finalizers=["two"])
    assert made["metadata"]["finalizers"] == ["one", "two"]
    assert applied(made, {}, "b")["metadata"]["finalizers"] == ["two"]


def test_atomic_lists_and_maps_are_owned_whole():
    made = applied(None, {"args": ["a", "b"], "selector": {"x": "1"}}, "b")
    with pytest.raises(Conflict) as caught:
        applied(made, {"args": ["a"], "selector": {"x": "1", "y": "2"}})
    assert [c.field for c in caught.value.causes] == [".spec.args", ".spec.selector"]
    assert applied(made, {"selector": {"y": "2"}}, force=True)["spec"] == {
        "args": ["a", "b"],
        "selector": {"y": "2"},
    }


def test_items_follow_the_configurations_order_and_others_keep_their_place():
    live = config({"containers": [{"name": n} for n in "abcd"]}, uid="u")
    after = applied(live, {"containers": [{"name": "d"}, {"name": "n"}, {"name": "b"}]})
    assert [c["name"] for c in after["spec"]["containers"]] == ["a", "c", "d", "n", "b"]


def test_what_an_endpoint_resets_is_nobodys_and_conflicts_with_nobody():
    made = applied(None, {"replicas": 1}, status={"ready": 1})
    assert "f:status" not in fields(made)
    after = applied(made, {"replicas": 5}, subresource="status", status={"ready": 2}, labels={"l": "1"})
    assert after["status"] == {"ready": 2}
    assert after["metadata"]["managedFields"][1] | {"time": ""} == {
        "manager": "a",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": "",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:ready": {}}},
        "subresource": "status",
    }


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"nope": 1}, "failed to create typed patch object (/x; /v1, Kind=T): .spec.nope: field not declared in schema"),
        ({"containers": [{"image": "i"}]}, 'element 0: associative list with keys has an element that omits key field "name"'),
        ({"containers": [{"name": "a"}, {"name": "a"}]}, '.spec.containers: duplicate entries for key [name="a"]'),
        ({"strategy": "x"}, '.spec.strategy: expected map, got &{x}'),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_allow_is_refused(spec, text):
    with pytest.raises(StatusError) as caught:
        applied(None, spec)
    assert (caught.value.code, caught.value.reason) == (500, "")
    assert text in caught.value.message


def test_managed_fields_cannot_be_applied():
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        applied(None, {}, managedFields=[{}])


def test_an_empty_keyed_list_is_nobodys():
    made = applied(None, {"containers": [], "args": []})
    assert made["spec"] == {"containers": [], "args": []}
    assert fields(made) == {"f:spec": {"f:args": {}}}


def test_what_loses_all_it_had_is_not_set_though_another_owns_it():
    made = applied(applied(None, {}, labels={"a": "1"}), {}, "b", labels={})
    after = applied(made, {"replicas": 1})
    assert "labels" not in after["metadata"]
    assert fields(after, "b") == {"f:metadata": {"f:labels": {}}}


REPEATED = [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}, {"name": "b", "image": "3"}]


def test_items_that_a_list_repeats_are_one_field():
    made = updated(config(), lambda obj: obj.update(spec={"containers": copy.deepcopy(REPEATED)}))
    b = {".": {}, "f:name": {}, "f:image": {}}
    assert fields(made, "u")["f:spec"]["f:containers"] == {".": {}, 'k:{"name":"a"}': {}, 'k:{"name":"b"}': b}
    more = updated(made, lambda obj: obj["spec"]["containers"][1].update(image="4"), "v")
    assert fields(more, "v") == {"f:spec": {"f:containers": {'k:{"name":"a"}': {}}}}
    assert 'k:{"name":"a"}' not in fields(more, "u")["f:spec"]["f:containers"]
    single = updated(made, lambda obj: obj["spec"]["containers"].pop(1), "v")
    assert fields(single, "v") == {"f:spec": {"f:containers": {'k:{"name":"a"}': b}}}


def test_repeated_items_stay_beside_what_is_applied_and_go_where_they_are_applied():
    made = updated(config(), lambda obj: obj.update(spec={"containers": copy.deepcopy(REPEATED)}))
    beside = applied(made, {"containers": [{"name": "b", "image": "4"}]}, force=True)
    assert beside["spec"]["containers"] == [*REPEATED[:2], {"name": "b", "image": "4"}]
    wanted = {"containers": [{"name": "a", "image": "5"}]}
    with pytest.raises(Conflict) as caught:
        applied(made, wanted)
    assert [cause.field for cause in caught.value.causes] == ['.spec.containers[name="a"]']
    instead = applied(made, wanted, force=True)
    assert instead["spec"]["containers"] == [{"name": "a", "image": "5"}, REPEATED[2]]


def test_an_applied_set_drops_only_the_repetition_it_names():
    made = updated(config(), lambda obj: obj["metadata"].update(finalizers=["a", "a", "b", "c"]))
    assert applied(made, {}, finalizers=["d"])["metadata"]["finalizers"] == ["a", "a", "b", "c", "d"]
    assert applied(made, {}, force=True, finalizers=["a"])["metadata"]["finalizers"] == ["a", "b", "c"]


def test_what_was_owned_in_a_version_that_is_no_more_is_forgotten():
    made = applied(applied(None, {"replicas": 1}, "old"), {"paused": True}, "other")
    for entry in made["metadata"]["managedFields"]:
        if entry["manager"] == "old":
            entry["apiVersion"] = "v0"
    after = applied(made, {"replicas": 2}, "new")
    assert [entry["manager"] for entry in after["metadata"]["managedFields"]] == ["new", "other"]
    # Of the applier itself, what it set then stays: nobody knows any more what that was.
    mine = applied(made, {"args": ["x"]}, "old")
    assert mine["spec"] == {"replicas": 1, "paused": True, "args": ["x"]}
    assert fields(mine, "old") == {"f:spec": {"f:args": {}}}


def _custom(strategy):
    return Schema({
        "type": "object",
        "properties": {
            "metadata": SCHEMA.document["properties"]["metadata"],
            "spec": {"type": "object", "properties": {"strategy": {
                "type": "object", "properties": {"type": TEXT, "size": NUMBER}, **strategy,
            }}},
        },
    })  # fmt: skip


def test_whoever_owned_parts_of_what_has_become_atomic_owns_all_of_it():
    granular, atomic = _custom({}), _custom({"x-kubernetes-map-type": "atomic"})
    made = applied(None, {"strategy": {"size": 1}}, "one", schema=granular)
    wanted = {"strategy": {"type": "x"}}
    with pytest.raises(Conflict) as caught:
        applied(made, wanted, "two", schema=atomic)
    assert [cause.field for cause in caught.value.causes] == [".spec.strategy"]
    after = applied(made, wanted, "two", schema=atomic, force=True)
    assert after["spec"] == wanted and fields(after, "one") is None
    assert fields(after, "two") == {"f:spec": {"f:strategy": {}}}


def test_what_was_atomic_and_has_fields_now_is_shared_without_conflict():
    granular, atomic = _custom({}), _custom({"x-kubernetes-map-type": "atomic"})
    made = applied(None, {"strategy": {"size": 1, "type": "x"}}, "one", schema=atomic)
    after = applied(made, {"strategy": {"type": "y"}}, "two", schema=granular)
    assert after["spec"] == {"strategy": {"size": 1, "type": "y"}}
    assert fields(after, "two") == {"f:spec": {"f:strategy": {"f:type": {}}}}


def test_nulls_count_as_not_set():
    made = applied(None, {"replicas": None, "args": ["a"]}, creationTimestamp=None)
    assert made["spec"] == {"args": ["a"]} and fields(made) == {"f:spec": {"f:args": {}}}


def test_without_a_schema_fields_are_deduced():
    made = applied(None, {"a": {"b": 1, "c": 2}, "l": [1]}, schema=None)
    a = {".": {}, "f:b": {}, "f:c": {}}
    assert fields(made) == {"f:spec": {".": {}, "f:a": a, "f:l": {}}}
    after = applied(made, {"a": {"b": 1}, "l": [1, 2]}, schema=None)
    assert after["spec"] == {"a": {"b": 1}, "l": [1, 2]}


def test_kubectl_takes_over_what_client_side_apply_set():
    last = json.dumps(config({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}))
    made = config(
        {"replicas": 1, "containers": [{"name": "c", "image": "1"}]}, annotations={LAST_APPLIED: last}
    )
    managedfields.update(
        None, made, manager="kubectl-client-side-apply", api_version="v1", now=0.0, schema=SCHEMA
    )
    wanted = {"replicas": 1, "containers": [{"name": "c", "image": "2"}]}
    after = applied(made, wanted, "kubectl")
    assert after["spec"] == wanted
    assert json.loads(after["metadata"]["annotations"][LAST_APPLIED])["spec"] == wanted
    with pytest.raises(Conflict):
        applied(made, wanted, "someone")


def test_kubectl_still_conflicts_with_what_was_changed_since():
    last = json.dumps(config({"replicas": 1}))
    made = config({"replicas": 5}, annotations={LAST_APPLIED: last})
    managedfields.update(None, made, manager="kubectl-edit", api_version="v1", now=0.0, schema=SCHEMA)
    with pytest.raises(Conflict):
        applied(made, {"replicas": 2}, "kubectl")


_specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "paused": st.booleans(),
        "args": st.lists(st.sampled_from("ab"), max_size=2),
        "strategy": st.fixed_dictionaries(
            {"type": st.sampled_from("xy")}, optional={"size": st.integers(0, 2)}
        ),
        "containers": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from("abc")}, optional={"image": st.sampled_from("12")}
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda c: c["name"],
        ),
    },
)


@given(_specs, _specs, _specs)
def test_the_last_forced_configuration_holds_and_applying_it_again_is_nothing(one, two, three):
    current = applied(None, one, "a")
    current = applied(current, two, "b", force=True)
    current = applied(current, three, "a", force=True)
    for name, value in three.items():
        if name == "containers":
            found = {c["name"]: c for c in current["spec"].get("containers", [])}
            assert all(found[c["name"]].items() >= c.items() for c in value)
        elif name == "strategy":
            assert current["spec"].get(name, {}).items() >= value.items()
        else:
            assert current["spec"][name] == value
    assert applied(current, three, "a", now=99.0) == current


@given(_specs)
def test_leaving_everything_out_undoes_an_apply(spec):
    current = applied(applied(None, {}, "keeper", labels={"k": "v"}), spec, "a")
    gone = applied(current, {}, "a")
    left = {name for name, value in gone.get("spec", {}).items() if value not in ([], {})}
    assert not left and fields(gone, "a") is None
