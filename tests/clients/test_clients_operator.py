"""What operators rely on: definitions as large as theirs, metadata-only watches, informers, one leader, many writes."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from sublet.client.kubeconfig import load
from sublet.testing import RunningControlPlane

GROUP = "monitoring.example.org"
MONITORS = f"/apis/{GROUP}/v1/namespaces/default/monitors"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
QUANTITY = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
KEPT = (
    "description", "type", "format", "required", "enum", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)  # fmt: skip


class Raw:
    """Requests as a generic client makes them, with their headers."""

    def __init__(self, plane: RunningControlPlane, scratch: Path) -> None:
        access = load(plane.kubeconfig)
        self._context = ssl.create_default_context(cadata=access.ca_data.decode())
        for name, data in (("cert", access.client_cert), ("key", access.client_key)):
            (scratch / name).write_bytes(data)
        self._context.load_cert_chain(scratch / "cert", scratch / "key")
        self._host = plane.url.removeprefix("https://")

    def open(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=20)
        sent = {"Content-Type": "application/json"} | (headers or {})
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        response = self.open(method, path, body, headers)
        found = json.loads(response.read())
        assert response.status < 300, str(found)[:2000]
        return found

    def apply(self, path: str, body: Any) -> Any:
        return self.ask(
            "PATCH", f"{path}?{urlencode({'fieldManager': 'operator', 'force': 'true'})}", body, APPLY
        )


@pytest.fixture(scope="module")
def raw(plane: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(plane, tmp_path_factory.mktemp("raw"))


def inlined(schemas: Any, schema: Any) -> Any:
    """A published schema as a generator of definitions writes it: structural, without references."""
    if "allOf" in schema:
        schema = {**schema["allOf"][0], **{k: v for k, v in schema.items() if k != "allOf"}}
    if "$ref" in schema:
        described = {k: v for k, v in schema.items() if k == "description"}
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]] | described
    if schema.get("oneOf") or schema.get("format") == "int-or-string":
        return QUANTITY
    made = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("default") not in (None, {}):
        made["default"] = schema["default"]
    if "properties" in schema:
        made["properties"] = {k: inlined(schemas, v) for k, v in schema["properties"].items()}
        if "metadata" in made["properties"]:
            made["properties"]["metadata"] = {"type": "object"}
    if "items" in schema:
        made["items"] = inlined(schemas, schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = inlined(schemas, schema["additionalProperties"])
    return made


def definition(spec: Any) -> Any:
    texts = {key: {"type": "string"} for key in ("type", "status", "reason", "message")}
    condition = {"type": "object", "required": ["type", "status"], "properties": texts}
    conditions = {
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}, "conditions": conditions}}
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}}
    version = {
        "served": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
    }  # fmt: skip
    names = {"plural": "monitors", "kind": "Monitor", "singular": "monitor", "listKind": "MonitorList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"monitors.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [
            {"name": "v1", "storage": True, **version}, {"name": "v1beta1", "storage": False, **version},
        ]},
    }  # fmt: skip


def monitor(name: str = "main", **rest: Any) -> Any:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Monitor", "metadata": {"name": name}, **rest}


@pytest.fixture(scope="module")
def monitors(raw: Raw, kubectl: Any) -> Iterator[Raw]:
    """The definition of Monitors: a whole pod template in each of two versions, as large as those that people use."""
    schemas = raw.ask("GET", "/openapi/v3/apis/apps/v1")["components"]["schemas"]
    spec = inlined(schemas, {"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"})
    made = definition(spec)
    assert len(json.dumps(made)) > 500_000
    raw.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/monitors.{GROUP}", made)
    kubectl("wait", "--for=condition=Established", f"crd/monitors.{GROUP}", "--timeout=20s")
    yield raw
    kubectl("delete", "crd", f"monitors.{GROUP}")


def test_a_large_definition_is_applied_and_its_objects_merge_by_their_lists_keys(monitors: Raw) -> None:
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    monitors.apply(f"{MONITORS}/main", monitor(spec=spec))
    query = urlencode({"fieldManager": "injector"})
    sidecar = {"containers": [{"name": "sidecar", "image": "y"}]}
    body = monitor(spec={"template": {"spec": sidecar}})
    made = monitors.ask("PATCH", f"{MONITORS}/main?{query}", body, APPLY)
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["c", "sidecar"]
    assert made["spec"]["template"]["metadata"] == {}  # declared without properties: what it holds is pruned
    for count in range(20):  # a status that changes often
        state = {"type": "Ready", "status": "True", "reason": f"R{count}"}
        made = monitors.apply(
            f"{MONITORS}/main/status", monitor(status={"replicas": count, "conditions": [state]})
        )
    assert made["status"]["conditions"][0]["reason"] == "R19" and made["metadata"]["generation"] == 2
    scale = monitors.ask("GET", f"{MONITORS}/main/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 19)
    older = monitors.ask("GET", f"/apis/{GROUP}/v1beta1/namespaces/default/monitors/main")
    assert older["apiVersion"] == f"{GROUP}/v1beta1" and older["spec"] == made["spec"]


def test_a_metadata_informer_streams_its_list_and_goes_on_where_it_was(monitors: Raw) -> None:
    spec = {"selector": {}, "template": {}}
    for name in ("one", "two"):
        monitors.apply(f"{MONITORS}/{name}", monitor(name, spec=spec))
    accept = {
        "Accept": "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1;q=0.5,"
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    }
    begin = {
        "watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true", "timeoutSeconds": "1",
    }  # fmt: skip
    response = monitors.open("GET", f"{MONITORS}?{urlencode(begin)}", None, accept)
    events = [json.loads(line) for line in response.read().splitlines()]
    assert all(event["object"]["kind"] == "PartialObjectMetadata" for event in events)
    named = {event["object"]["metadata"].get("name") for event in events if event["type"] == "ADDED"}
    assert named >= {"one", "two"} and not any("spec" in event["object"] for event in events)
    first = next(event for event in events if event["type"] == "BOOKMARK")["object"]["metadata"]
    assert first["annotations"]["k8s.io/initial-events-end"] == "true"

    monitors.ask("DELETE", f"{MONITORS}/one")
    resumed = {"watch": "true", "resourceVersion": first["resourceVersion"], "timeoutSeconds": "1"}
    response = monitors.open("GET", f"{MONITORS}?{urlencode(resumed)}", None, accept)
    events = [json.loads(line) for line in response.read().splitlines()]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("DELETED", "one")]


def test_discovery_is_asked_again_only_for_what_changed(monitors: Raw) -> None:
    accept = {
        "Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    }
    response = monitors.open("GET", "/apis", None, accept)
    groups = json.loads(response.read())
    assert GROUP in [group["metadata"]["name"] for group in groups["items"]]
    tag = response.headers["ETag"]
    again = monitors.open("GET", "/apis", None, {**accept, "If-None-Match": tag})
    assert again.status == 304 and again.read() == b""
    paths = monitors.ask("GET", "/openapi/v3")["paths"]
    hashed = paths[f"apis/{GROUP}/v1"]["serverRelativeURL"]
    document = monitors.open("GET", hashed)
    assert "immutable" in document.headers["Cache-Control"]
    assert f"/apis/{GROUP}/v1/namespaces/{{namespace}}/monitors" in json.loads(document.read())["paths"]
