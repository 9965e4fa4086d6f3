"""``fieldValidation=Strict`` on creates and applies of built-in and custom kinds."""

from __future__ import annotations

import json

import pytest
from conformance_client import API, APPLY, JSON, APIError, Object, Resource
from conformance_customkinds import definition, established, instances, primed, removed
from conformance_names import conformance

VALIDATES = "[sig-api-machinery] FieldValidation should "
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                    "x-kubernetes-list-type": "map",
                    "items": {
                        "type": "object",
                        "required": ["containerPort", "protocol"],
                        "properties": {
                            "containerPort": {"type": "integer", "format": "int32"},
                            "hostIP": {"type": "string"},
                            "hostPort": {"type": "integer", "format": "int32"},
                            "name": {"type": "string"},
                            "protocol": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
EMBEDDED: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "template": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {
                        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                        "spec": {"type": "object", "properties": {"foo": {"type": "string"}}},
                    },
                }
            },
        }
    },
}
VALID_SPEC: Object = {
    "cronSpec": "* * * * */5",
    "ports": [{"name": "x", "containerPort": 80, "protocol": "TCP"}],
}


def deployment(name: str = "my-dep") -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": "nginx"}},
        "spec": {
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]},
            },
        },
    }


def post(resource: Resource, body: str, content_type: str = JSON) -> Object:
    path = resource.path(field_manager="create_test", field_validation="Strict")
    return resource.send("POST", path, content_type=content_type, body=body.encode())


def apply(resource: Resource, name: str, body: str | Object) -> Object:
    text = body if isinstance(body, str) else json.dumps(body)
    return resource.patch(name, text.encode(), APPLY, field_manager="apply_test", field_validation="Strict")


def errors(caught: pytest.ExceptionInfo[APIError], *texts: str) -> None:
    for text in texts:
        assert text in caught.value.message, caught.value


@conformance(f"{VALIDATES}detect unknown and duplicate fields of a typed object [Conformance]")
def test_unknown_and_duplicate_fields_of_a_deployment(api: API, namespace: str) -> None:
    deployments = api.dynamic("apps/v1", "deployments", "Deployment", namespace)
    broken = json.dumps(deployment()).replace(
        '"selector"', '"unknownField": "foo", "replicas": 1, "replicas": 2, "selector"'
    )
    with pytest.raises(APIError) as caught:
        post(deployments, broken)
    assert caught.value.code == 400
    errors(
        caught,
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.unknownField", duplicate field "spec.replicas"',
    )


@conformance(f"{VALIDATES}detect unknown metadata fields of a typed object [Conformance]")
def test_unknown_metadata_of_a_deployment(api: API, namespace: str) -> None:
    deployments = api.dynamic("apps/v1", "deployments", "Deployment", namespace)
    in_root, in_template = deployment(), deployment()
    in_root["metadata"]["unknownMeta"] = "unknownVal"
    with pytest.raises(APIError) as caught:
        post(deployments, json.dumps(in_root))
    errors(caught, 'strict decoding error: unknown field "metadata.unknownMeta"')
    with pytest.raises(APIError) as caught:
        apply(deployments, "my-dep", in_root)
    errors(caught, ".metadata.unknownMeta: field not declared in schema")
    in_template["spec"]["template"]["metadata"]["unknownSubMeta"] = "unknownVal"
    with pytest.raises(APIError) as caught:
        post(deployments, json.dumps(in_template))
    errors(caught, 'strict decoding error: unknown field "spec.template.metadata.unknownSubMeta"')
    with pytest.raises(APIError) as caught:
        apply(deployments, "my-dep", in_template)
    errors(caught, ".spec.template.metadata.unknownSubMeta: field not declared in schema")


@conformance(f"{VALIDATES}create/apply a valid CR for CRD with validation schema [Conformance]")
def test_a_valid_custom_resource(api: API, namespace: str) -> None:
    crd = definition("fieldvalid", schema=SCHEMA)
    established(api, crd)
    primed(api, crd)
    try:
        resource = instances(api, crd, namespace)
        created = post(
            resource, json.dumps(resource.whole({"metadata": {"name": "mytest"}, "spec": VALID_SPEC}))
        )
        assert created["spec"] == VALID_SPEC
        applied = apply(
            resource,
            "mytest-apply",
            resource.whole({"metadata": {"name": "mytest-apply"}, "spec": VALID_SPEC}),
        )
        assert applied["spec"] == VALID_SPEC
    finally:
        removed(api, crd)


@conformance(
    f"{VALIDATES}create/apply a CR with unknown fields for CRD with no validation schema [Conformance]"
)
def test_unknown_fields_without_a_schema(api: API, namespace: str) -> None:
    crd = definition("fieldunknown")
    established(api, crd)
    primed(api, crd)
    try:
        resource = instances(api, crd, namespace)
        spec = {**VALID_SPEC, "unknown": "uk1"}
        created = post(resource, json.dumps(resource.whole({"metadata": {"name": "mytest"}, "spec": spec})))
        assert created["spec"] == spec
        applied = apply(
            resource, "mytest-apply", resource.whole({"metadata": {"name": "mytest-apply"}, "spec": spec})
        )
        assert applied["spec"] == spec
    finally:
        removed(api, crd)


@conformance(
    f"{VALIDATES}create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]"
)
def test_extra_properties_of_a_custom_resource(api: API, namespace: str) -> None:
    crd = definition("fieldinvalid", schema=SCHEMA)
    established(api, crd)
    primed(api, crd)
    try:
        resource = instances(api, crd, namespace)
        body = resource.whole(
            {"metadata": {"name": "mytest"}, "spec": {**VALID_SPEC, "extraProperty": "uk1"}}
        )
        with pytest.raises(APIError) as caught:
            post(resource, json.dumps(body))
        errors(caught, 'strict decoding error: unknown field "spec.extraProperty"')
        with pytest.raises(APIError) as caught:
            apply(resource, "mytest", body)
        errors(caught, ".spec.extraProperty: field not declared in schema")
    finally:
        removed(api, crd)


@conformance(
    f"{VALIDATES}detect unknown metadata fields in both the root and embedded object of a CR [Conformance]"
)
def test_unknown_metadata_of_a_custom_resource(api: API, namespace: str) -> None:
    crd = definition("fieldembedded", schema=EMBEDDED)
    established(api, crd)
    primed(api, crd)
    try:
        resource = instances(api, crd, namespace)
        template = {
            "apiVersion": "foo/v1",
            "kind": "Sub",
            "metadata": {"name": "subobject", "namespace": "my-ns", "unknownSubMeta": "unknown"},
            "spec": {"foo": "bar"},
        }
        body = resource.whole(
            {"metadata": {"name": "mytest", "unknownMeta": "unknown"}, "spec": {"template": template}}
        )
        with pytest.raises(APIError) as caught:
            post(resource, json.dumps(body))
        errors(
            caught,
            'unknown field "metadata.unknownMeta"',
            'unknown field "spec.template.metadata.unknownSubMeta"',
        )
        with pytest.raises(APIError) as caught:
            apply(resource, "mytest", body)
        errors(caught, ".metadata.unknownMeta: field not declared in schema")
        del body["metadata"]["unknownMeta"]
        with pytest.raises(APIError) as caught:
            apply(resource, "mytest", body)
        errors(caught, ".spec.template.metadata.unknownSubMeta: field not declared in schema")
    finally:
        removed(api, crd)


@conformance(f"{VALIDATES}detect duplicates in a CR when preserving unknown fields [Conformance]")
def test_duplicates_of_a_custom_resource(api: API, namespace: str) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    schema["x-kubernetes-preserve-unknown-fields"] = True
    schema["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = True
    crd = definition("fieldduplicate", schema=schema)
    established(api, crd)
    primed(api, crd)
    try:
        resource = instances(api, crd, namespace)
        text = f"""
apiVersion: {resource.api_version}
kind: {resource.kind}
metadata:
  name: mytest
  finalizers:
  - test-finalizer
spec:
  unknown: uk1
  foo: foo1
  foo: foo2
  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP
"""
        with pytest.raises(APIError) as caught:
            apply(resource, "mytest", text)
        errors(caught, 'line 11: key "foo" already set in map')
        with pytest.raises(APIError) as caught:
            post(resource, text, "application/yaml")
        errors(caught, 'line 11: key "foo" already set in map')
        body = json.dumps(
            resource.whole({"metadata": {"name": "mytest"}, "spec": {**VALID_SPEC, "foo": "1"}})
        )
        with pytest.raises(APIError) as caught:
            post(resource, body.replace('"foo": "1"', '"foo": "1", "foo": "2"'))
        errors(caught, 'strict decoding error: duplicate field "spec.foo"')
    finally:
        removed(api, crd)
