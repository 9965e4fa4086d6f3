"""Decoding built-in objects as Go does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublet.kinds import schemas
from sublet.machinery import duplicates, strict
from sublet.machinery.schema import Schema


def schema(group: str, version: str, kind: str) -> Schema:
    found = schemas.definition("1.36", group, version, kind)
    assert found is not None
    return found


DEPLOYMENT = schema("apps", "v1", "Deployment")
POD = schema("", "v1", "Pod")
SECRET = schema("", "v1", "Secret")


def pod(**container: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", **container}]}}


def test_string_for_an_integer_names_struct_path_and_type() -> None:
    result = strict.check({"spec": {"replicas": "three"}}, DEPLOYMENT)
    assert result.errors == [
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    ]


def test_path_of_a_type_error_has_no_indices() -> None:
    assert strict.check(pod(image=7), POD).errors == [
        "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string"
    ]


def test_map_value_of_wrong_type_is_reported_at_the_map() -> None:
    assert strict.check({"metadata": {"labels": {"a": 1}}}, POD).errors == [
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    ]


@pytest.mark.parametrize(
    ("value", "found"), [(2**31, "number 2147483648"), (1.5, "number 1.5"), (True, "bool")]
)
def test_integers_are_whole_and_within_their_format(value: Any, found: str) -> None:
    assert strict.check({"spec": {"replicas": value}}, DEPLOYMENT).errors == [
        f"json: cannot unmarshal {found} into Go struct field DeploymentSpec.spec.replicas of type int32"
    ]


def test_object_for_a_list_names_the_element_type() -> None:
    assert strict.check({"spec": {"containers": {}}}, POD).errors == [
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
    ]


def test_unknown_fields_are_dropped_and_named_with_indices() -> None:
    obj = pod(foo=1)
    obj["spec"]["bar"] = {}
    result = strict.check(obj, POD)
    assert result.errors == []
    assert result.unknown == ['unknown field "spec.containers[0].foo"', 'unknown field "spec.bar"']
    assert obj == pod()


def test_null_means_absent_and_zero_in_collections() -> None:
    obj = {"metadata": {"creationTimestamp": None, "labels": {"a": None}}, "spec": None}
    assert strict.check(obj, POD) == strict.StrictResult()
    assert obj == {"metadata": {"labels": {"a": ""}}}


def test_empty_optional_collections_vanish_but_structs_and_required_lists_stay() -> None:
    obj = {"spec": {"containers": [], "nodeSelector": {}, "tolerations": [], "securityContext": {}}}
    strict.check(obj, POD)
    assert obj == {"spec": {"containers": [], "securityContext": {}}}


def test_empty_managed_fields_stay_because_they_ask_to_forget_all_managers() -> None:
    obj: dict[str, Any] = {"metadata": {"managedFields": []}}
    strict.check(obj, POD)
    assert obj == {"metadata": {"managedFields": []}}


def test_quantities_become_canonical_strings() -> None:
    obj = pod(resources={"limits": {"cpu": 1, "memory": "1024Mi", "example.com/x": "0.5"}})
    assert strict.check(obj, POD).errors == []
    limits = obj["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "1Gi", "example.com/x": "500m"}


def test_bad_quantity_gives_the_parser_s_text() -> None:
    errors = strict.check(pod(resources={"limits": {"cpu": "much"}}), POD).errors
    assert errors[0].startswith("quantities must match the regular expression")


def test_int_or_string_takes_both_but_no_bool() -> None:
    port = {"httpGet": {"port": 80}}
    assert strict.check(pod(livenessProbe=port), POD).errors == []
    assert strict.check(pod(livenessProbe={"httpGet": {"port": "web"}}), POD).errors == []
    assert strict.check(pod(livenessProbe={"httpGet": {"port": True}}), POD).errors == [
        "json: cannot unmarshal bool into Go value of type int32"
    ]


def test_base64_is_checked_and_line_breaks_removed() -> None:
    obj = {"data": {"a": "aGVs\nbG8="}}
    assert strict.check(obj, SECRET).errors == []
    assert obj == {"data": {"a": "aGVsbG8="}}
    assert strict.check({"data": {"a": "a-b="}}, SECRET).errors == ["illegal base64 data at input byte 1"]


def test_times_become_utc_seconds_and_micro_times_keep_six_digits() -> None:
    obj = {"metadata": {"creationTimestamp": "2026-01-02T03:04:05.5+01:00"}}
    strict.check(obj, POD)
    assert obj["metadata"]["creationTimestamp"] == "2026-01-02T02:04:05Z"
    lease = {"spec": {"renewTime": "2026-01-02T03:04:05.000001Z"}}
    strict.check(lease, schema("coordination.k8s.io", "v1", "Lease"))
    assert lease["spec"]["renewTime"] == "2026-01-02T03:04:05.000001Z"
    for wrong in ("now", "2026-13-01T00:00:00Z"):
        assert "parsing time" in strict.check({"metadata": {"creationTimestamp": wrong}}, POD).errors[0]


def test_free_form_parts_are_left_alone() -> None:
    crd = schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"default": {"x": None}, "properties": {"a": {}}}}}
    obj = {"spec": {"versions": [version]}}
    assert strict.check(json.loads(json.dumps(obj)), crd) == strict.StrictResult()


def test_duplicate_fields_are_named_with_their_path() -> None:
    data = b'{"spec": {"replicas": 1, "a": [{"x" : 1, "x": 2}], "replicas": 2}}'
    assert duplicates.duplicates(data, json.loads(data)) == [
        'duplicate field "spec.a[0].x"',
        'duplicate field "spec.replicas"',
    ]


def test_text_that_looks_like_a_key_is_no_duplicate() -> None:
    data = json.dumps({"a": '{"b": 1, "b": 2}'}).encode()
    assert duplicates.duplicates(data, json.loads(data)) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(_json)
def test_no_document_without_duplicates_is_said_to_have_one(value: Any) -> None:
    for separators in ((",", ":"), (" , ", " : ")):
        assert duplicates.duplicates(json.dumps(value, separators=separators).encode(), value) == []


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "kind", "x"]), _json))
def test_whatever_comes_is_decoded_or_refused_and_decoding_twice_changes_nothing(value: Any) -> None:
    if strict.check(value, DEPLOYMENT).errors:
        return
    once = json.dumps(value)
    assert strict.check(value, DEPLOYMENT) == strict.StrictResult()
    assert json.dumps(value) == once


def test_pruning_keeps_declared_implicit_and_preserved_fields() -> None:
    tree = Schema(
        {
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "integer"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "inner": {"type": "object", "x-kubernetes-embedded-resource": True},
                "list": {"type": "array", "items": {"type": "object"}},
            },
        }
    )
    obj: dict[str, Any] = {
        "apiVersion": "e.x/v1", "kind": "E", "metadata": {"name": "a"}, "spec": {"a": 1, "b": 2},
        "free": {"anything": 1}, "inner": {"kind": "Pod", "metadata": {}, "spec": {}}, "list": [{"x": 1}], "y": 1,
    }  # fmt: skip
    assert strict.prune(obj, tree) == [
        'unknown field "spec.b"',
        'unknown field "inner.spec"',
        'unknown field "list[0].x"',
        'unknown field "y"',
    ]
    assert obj["spec"] == {"a": 1} and obj["inner"] == {"kind": "Pod", "metadata": {}} and obj["list"] == [{}]


def test_the_metadata_of_an_embedded_resource_is_pruned_to_that_of_objects() -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True}
    tree = Schema({"type": "object", "properties": {"list": {"type": "array", "items": inner}}})
    obj: dict[str, Any] = {
        "list": [{"kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}, "other": 1}}]
    }
    assert strict.prune(obj, tree, schemas.object_meta()) == ['unknown field "list[0].metadata.other"']
    assert obj["list"][0]["metadata"] == {"name": "a", "labels": {"x": "y"}}


def test_zeros_that_say_nothing_are_dropped_as_go_drops_them() -> None:
    obj = pod(
        stdin=False, workingDir="", env=[{"name": "A", "value": ""}], ports=[{"containerPort": 80, "hostPort": 0}],
        livenessProbe={"initialDelaySeconds": 0, "periodSeconds": 5},
    )  # fmt: skip
    obj["spec"] |= {
        "hostNetwork": False,
        "subdomain": "",
        "volumes": [{"name": "v", "emptyDir": {"medium": ""}}],
    }
    assert strict.check(obj, POD).errors == []
    kept = pod(
        env=[{"name": "A"}], ports=[{"containerPort": 80}], livenessProbe={"periodSeconds": 5}
    )  # fmt: skip
    kept["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    assert obj == kept


def test_zeros_behind_pointers_and_in_required_fields_stay() -> None:
    obj = pod(
        securityContext={"privileged": False, "runAsUser": 0},
        startupProbe={"grpc": {"port": 0, "service": ""}},
    )
    obj["spec"] |= {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "", "hostPath": {"path": "", "type": ""}}],
    }
    before = json.loads(json.dumps(obj))
    assert strict.check(obj, POD).errors == []
    assert obj == before
    for stated in ({"replicas": 0}, {"progressDeadlineSeconds": 0}):
        assert strict.check(deployment := {"spec": dict(stated)}, DEPLOYMENT).errors == []
        assert deployment == {"spec": stated}
