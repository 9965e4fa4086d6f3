"""The protobuf form of every built-in kind carries the same object as its JSON."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

import sublet.kinds
from sublet.machinery import durations, protobuf, wire
from sublet.machinery.codec import DecodeError
from sublet.machinery.protobuf import Codec, NoProtobufError
from sublet.machinery.protobuftable import SCALARS, Field, Table

TABLE = Table((Path(sublet.kinds.__file__).parent / "data" / "protobuf-fields.tsv").read_text())
CODEC = Codec(TABLE)

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "labels": {"a": "1", "b": ""},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": False}],
        "managedFields": [{"manager": "m", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}],
    },
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "c",
                "image": "i",
                "env": [
                    {
                        "name": "E",
                        "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": False}},
                    }
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "timeoutSeconds": 1},
                "readinessProbe": {"tcpSocket": {"port": "http"}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "securityContext": {"runAsUser": 0},
            }
        ],
        "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "w", "configMap": {"name": "m", "defaultMode": 420}},
        ],
        "tolerations": [{"operator": "Exists", "tolerationSeconds": -1}],
    },
    "status": {"containerStatuses": [{"name": "c", "ready": False, "restartCount": 0, "started": False}]},
}

OBJECTS = [
    POD,
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aGk=", "n": ""}, "type": "Opaque"},
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {"metadata": {}, "spec": {}},
        },
        "status": {},
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {"renewTime": "2026-01-02T03:04:05.000006Z", "leaseTransitions": 0},
    },
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "x"},
        "spec": {
            "group": "g",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": False,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "default": {"a": [1, None]},
                            "x-kubernetes-preserve-unknown-fields": True,
                            "properties": {
                                "a": {"type": "array", "items": {"type": "string", "enum": ["x", 1]}},
                                "b": {"additionalProperties": {"type": "integer", "minimum": 0, "maximum": 1.5}},
                                "c": {"additionalProperties": False, "x-kubernetes-list-map-keys": ["k"]},
                            },
                        }
                    },
                }
            ],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": "m",
        "details": {"name": "x", "causes": [{"reason": "r", "message": "m"}], "retryAfterSeconds": 1},
        "code": 404,
    },
    {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}},
    {"apiVersion": "apps/v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan", "dryRun": ["All"]},
    {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]},
    {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": []},
    {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [POD]},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "ports": [{"name": "", "port": 80}]},
    {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "r"},
        "data": {"spec": {"a": None}},
        "revision": 3,
    },
    {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "c"},
        "spec": {"request": "aGk=", "signerName": "s", "extra": {"k": ["a", "b"]}, "usages": ["client auth"]},
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "w"},
        "webhooks": [{"name": "w", "rules": [{"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]}]}],
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {}}]}}]},
    },
]  # fmt: skip


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda o: o["kind"])
def test_what_is_encoded_is_decoded_alike(obj):
    data = CODEC.encode_object(obj)
    assert data.startswith(b"k8s\x00")
    assert CODEC.decode_object(data) == obj


def _shallow(field: Field, depth: int) -> st.SearchStrategy:
    match field.type:
        case "string":
            return st.text(st.characters(codec="utf-8"), max_size=4)
        case "int32":
            return st.integers(-(2**31), 2**31 - 1)
        case "int64":
            return st.integers(-(2**63), 2**63 - 1)
        case "bool":
            return st.booleans()
        case "double":
            return st.integers(-(2**40), 2**40)
        case "bytes":
            return st.sampled_from(["", "aGk="])
    return _message(field.type, depth)


_SPECIAL_VALUES = {
    "quantity": st.sampled_from(["0", "100m", "1Gi", "12e3"]),
    "int_or_string": st.integers(-9, 9) | st.sampled_from(["25%", "http", ""]),
    "time": st.sampled_from(["2026-01-02T03:04:05Z", "1960-01-01T00:00:00Z"]),
    "micro_time": st.just("2026-01-02T03:04:05.120000Z"),
    "duration": st.sampled_from(["0s", "1h15m30.5s", "300ms", "-2m0s"]),
    "fields": st.just({"f:a": {".": {}}}),
    "json": st.sampled_from([None, 1, "x", [1], {"a": None}]),
    "items": st.lists(st.sampled_from("ab"), max_size=2),
    "raw": st.sampled_from([{"a": 1}, POD]),
    "or_array": st.sampled_from([{"type": "string"}, [{"type": "string"}]]),
    "or_bool": st.sampled_from([True, False, {"type": "string"}]),
    "or_string_array": st.sampled_from([["a"], {"type": "string"}]),
}


def _message(name: str, depth: int) -> st.SearchStrategy:
    message = TABLE.message(name)
    if message.form:
        return _SPECIAL_VALUES[message.form]
    optional, inline = {}, st.just({})
    for field in message.fields:
        if field.inline:
            if depth:
                inline = _message(field.type, depth - 1)
            continue
        if field.type not in SCALARS and not TABLE.message(field.type).form and not depth:
            continue
        one = st.deferred(lambda field=field: _shallow(field, depth - 1))
        if field.is_map:
            optional[field.name] = st.dictionaries(st.sampled_from("ab"), one, min_size=1, max_size=2)
        elif field.repeated:
            optional[field.name] = st.lists(one, min_size=1, max_size=2)
        elif not field.keep_zero and field.type in SCALARS:
            optional[field.name] = one.filter(bool)
        else:
            optional[field.name] = one.filter(lambda value: value is not None)
    return st.builds(lambda a, b: {**a, **b}, inline, st.fixed_dictionaries({}, optional=optional))


_KINDS = sorted(
    name
    for name in TABLE._rows
    if any(field.name == "metadata" for field in TABLE.message(name).fields) and "testapigroup" not in name
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_object_of_any_kind_survives(data):
    name = data.draw(st.sampled_from(_KINDS))
    obj = data.draw(_message(name, 3))
    assert CODEC.decode(name, CODEC.encode(name, obj)) == obj


def test_the_bytes_are_what_googles_library_reads():
    """An independent reader, told the message types by the same table, finds the same values."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto2")
    unknown = file.message_type.add(name="Unknown")
    unknown.field.add(name="typeMeta", number=1, type=11, label=1, type_name=".t.TypeMeta")
    unknown.field.add(name="raw", number=2, type=12, label=1)
    type_meta = file.message_type.add(name="TypeMeta")
    type_meta.field.add(name="apiVersion", number=1, type=9, label=1)
    type_meta.field.add(name="kind", number=2, type=9, label=1)
    toleration = file.message_type.add(name="Toleration")
    toleration.field.add(name="operator", number=2, type=9, label=1)
    toleration.field.add(name="tolerationSeconds", number=5, type=3, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    read = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))
        for name in ("Unknown", "Toleration")
    }
    envelope = read["Unknown"].FromString(CODEC.encode_object(POD)[4:])
    assert (envelope.typeMeta.apiVersion, envelope.typeMeta.kind) == ("v1", "Pod")
    data = CODEC.encode("k8s.io.api.core.v1.Toleration", {"operator": "Exists", "tolerationSeconds": -5})
    toleration = read["Toleration"].FromString(data)
    assert (toleration.operator, toleration.tolerationSeconds) == ("Exists", -5)


def test_zeros_that_go_writes_anyway_are_not_taken_for_values():
    data = wire.string_field(1, "c") + wire.string_field(2, "") + wire.varint_field(16, 0)
    assert CODEC.decode("k8s.io.api.core.v1.Container", data) == {"name": "c"}
    assert CODEC.decode("k8s.io.api.apps.v1.DeploymentSpec", wire.varint_field(1, 0)) == {"replicas": 0}


def test_an_empty_time_is_no_time():
    assert CODEC.decode("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta", wire.bytes_field(8, b"")) == {}


def test_unknown_fields_are_skipped():
    data = wire.string_field(1, "c") + wire.string_field(999, "new") + wire.varint_field(998, 1)
    assert CODEC.decode("k8s.io.api.core.v1.Container", data) == {"name": "c"}


def test_watch_events_are_framed_by_their_length():
    frame = CODEC.watch_frame("ADDED", CODEC.encode_object(POD))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert CODEC.decode_watch_frame(frame[4:]) == ("ADDED", POD)


def test_a_custom_resource_has_no_protobuf_form():
    assert not CODEC.supports("example.com/v1", "Foo")
    with pytest.raises(NoProtobufError, match=r"Foo in example.com/v1 has no protobuf form"):
        CODEC.encode_object({"apiVersion": "example.com/v1", "kind": "Foo"})


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"k8s\x00\xff", b"k8s\x00\x0a\xff", b"k8s\x00\x0b", b"k8s\x00" + wire.bytes_field(1, b"\x0a\x01\xff"),
     b"k8s\x00" + wire.bytes_field(1, wire.string_field(1, "v1") + wire.string_field(2, "Nope"))],
)  # fmt: skip
def test_broken_data_is_refused(data):
    with pytest.raises(DecodeError):
        CODEC.decode_object(data)


@given(st.binary(max_size=60))
def test_random_bytes_are_decoded_or_refused(data):
    head = wire.bytes_field(1, wire.string_field(1, "v1") + wire.string_field(2, "Pod"))
    with contextlib.suppress(DecodeError):
        assert CODEC.decode_object(b"k8s\x00" + head + wire.bytes_field(2, data))["kind"] == "Pod"


@given(st.integers(-(10**15), 10**15))
def test_durations_are_read_back(nanos):
    assert protobuf.parse_duration(durations.text(nanos)) == nanos


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints_are_read_back(value):
    data = wire.varint(value)
    number, at = wire.read_varint(data, 0)
    assert wire.signed(number) == value and at == len(data)
