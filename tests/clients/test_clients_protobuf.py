"""A client that speaks protobuf as Go clients do, over every built-in kind: what it sees is what JSON clients see."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import goprotobuf
from sublet.kinds import catalog, protobuf
from sublet.machinery.kind import Kind, Object
from sublet.testing import RunningControlPlane, running_control_plane

PROTOBUF, JSON = "application/vnd.kubernetes.protobuf", "application/json"
SAMPLES: dict[str, Object] = {
    sample["kind"]: sample
    for sample in yaml.safe_load((Path(__file__).parent.parent / "kinds" / "samples.yaml").read_text("utf-8"))
}
KINDS = sorted(
    (kind for kind in catalog.load().values() if kind.stored and kind.resource.kind in SAMPLES),
    key=lambda kind: kind.resource.qualified,
)
BY_SERVER = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "name", "generation")


class ProtobufClient:
    """Requests over TLS; objects go out and come back in the media types named."""

    def __init__(self, running: RunningControlPlane, scratch: Path) -> None:
        user = yaml.safe_load(running.kubeconfig.read_text())
        cluster, credentials = user["clusters"][0]["cluster"], user["users"][0]["user"]
        pair = scratch / "client.pem"
        pair.write_bytes(
            b"".join(base64.b64decode(credentials[f"client-{part}-data"]) for part in ("certificate", "key"))
        )
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._context.load_cert_chain(pair)
        self._address = cluster["server"].removeprefix("https://")

    def open(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(self._address, context=self._context, timeout=30)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def ask(
        self,
        method: str,
        path: str,
        obj: Object | None = None,
        *,
        sent: str = PROTOBUF,
        accept: str = PROTOBUF,
    ) -> tuple[int, Any]:
        """(status, the object answered)."""
        body = (
            b"" if obj is None else goprotobuf.encode(obj) if sent == PROTOBUF else json.dumps(obj).encode()
        )
        response = self.open(method, path, body, {"Content-Type": sent, "Accept": accept})
        data = response.read()
        assert response.headers["Content-Type"] == accept, data
        return response.status, protobuf.codec().decode_object(data) if accept == PROTOBUF else json.loads(
            data
        )

    def watched(self, path: str) -> tuple[str, Object]:
        """The first event of a watch."""
        response = self.open("GET", path, b"", {"Accept": PROTOBUF})
        assert response.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
        length = int.from_bytes(response.read(4), "big")
        frame = response.read(length)
        response.close()
        return protobuf.codec().decode_watch_frame(frame)


@pytest.fixture(scope="module")
def proto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtobufClient]:
    """Nobody but the client writes, so that objects stay as they were made."""
    with running_control_plane(controllers=False, scheduler=False) as running:
        client = ProtobufClient(running, tmp_path_factory.mktemp("client"))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        client.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        yield client


def sample(kind: Kind, prefix: str) -> Object:
    """A fresh sample whose name nobody else uses, where the kind leaves it free."""
    made = copy.deepcopy(SAMPLES[kind.resource.kind])
    made["metadata"].pop("uid", None)
    if made["metadata"]["name"] == "a":
        made["metadata"]["name"] = prefix
    if kind.resource.namespaced:
        made["metadata"]["namespace"] = "default"
    return made


def comparable(obj: Object) -> Object:
    """Without what differs between any two objects. Ports and addresses are given out one by one."""
    kept: Object = copy.deepcopy(obj)
    kept["metadata"] = {k: v for k, v in obj["metadata"].items() if k not in BY_SERVER}
    for key in ("clusterIP", "clusterIPs", "volumes"):
        (kept.get("spec") or {}).pop(key, None)
    for container in (kept.get("spec") or {}).get("containers") or ():
        container.pop("volumeMounts", None)
    if "lastPhaseTransitionTime" in (kept.get("status") or {}):
        kept["status"]["lastPhaseTransitionTime"] = "when it was made"
    text = json.dumps(kept, sort_keys=True).replace(obj["metadata"]["uid"], "UID")
    found: Object = json.loads(text.replace(json.dumps(obj["metadata"]["name"]), '"NAME"'))
    return found


def settled(obj: Object) -> Object:
    """Without what the server may write by itself between two reads."""
    metadata = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": metadata}


def as_read_from_protobuf(obj: Any) -> Any:
    """Without nulls, which Go writes in JSON and has no place for in protobuf."""
    if isinstance(obj, dict):
        return {key: as_read_from_protobuf(value) for key, value in obj.items() if value is not None}
    return [as_read_from_protobuf(each) for each in obj] if isinstance(obj, list) else obj


def at_one_version(proto: ProtobufClient, path: str) -> tuple[Object, Object]:
    """The object in protobuf and in JSON, both as of the same version: the server may write its status meanwhile."""
    for _ in range(50):
        found: tuple[Object, Object] = proto.ask("GET", path)[1], proto.ask("GET", path, accept=JSON)[1]
        if len({each["metadata"]["resourceVersion"] for each in found}) == 1:
            return found[0], as_read_from_protobuf(found[1])
    raise AssertionError(f"{path} does not come to rest")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.qualified)
def test_a_kind_is_written_and_read_in_protobuf_as_in_json(proto: ProtobufClient, kind: Kind) -> None:
    collection = kind.resource.path("default" if kind.resource.namespaced else "")
    obj = sample(kind, "protobuf")
    status, made = proto.ask("POST", collection, obj)
    assert status == 201, made
    path = f"{collection}/{obj['metadata']['name']}"

    made, in_json = at_one_version(proto, path)
    for template in (in_json.get("spec") or {}).get("volumeClaimTemplates") or ():
        template.pop("apiVersion"), template.pop("kind")  # which the protobuf form has no place for
    assert made == in_json

    _, listed = proto.ask("GET", collection)
    (item,) = (each for each in listed["items"] if each["metadata"]["name"] == obj["metadata"]["name"])
    item = {"kind": made["kind"], "apiVersion": made["apiVersion"], **item}
    assert settled(item) == settled(in_json)
    assert listed["kind"] == kind.list_kind

    selector = f"fieldSelector=metadata.name%3D{obj['metadata']['name'].replace(':', '%3A')}"
    kind_of_event, watched = proto.watched(f"{collection}?watch=1&{selector}")
    assert (kind_of_event, settled(watched)) == ("ADDED", settled(in_json))

    status, same = proto.ask("PUT", path, made)
    if status == 409:  # the server wrote its status in between
        made, _ = at_one_version(proto, path)
        status, same = proto.ask("PUT", path, made)
    assert (status, same["metadata"].get("resourceVersion")) == (200, made["metadata"]["resourceVersion"])

    options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    status, gone = proto.ask("DELETE", path, options)
    assert status == 200
    assert gone["kind"] in ("Status", kind.resource.kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.qualified)
def test_an_object_is_stored_alike_however_it_came(proto: ProtobufClient, kind: Kind) -> None:
    collection = kind.resource.path("default" if kind.resource.namespaced else "")
    found = []
    for number, sent in enumerate((JSON, PROTOBUF)):
        obj = sample(kind, f"same{number}")
        status, made = proto.ask("POST", f"{collection}?fieldManager=m", obj, sent=sent, accept=JSON)
        assert status == 201, made
        found.append(made)
        proto.ask("DELETE", f"{collection}/{obj['metadata']['name']}?gracePeriodSeconds=0", accept=JSON)
    first, second = found
    assert comparable(second) == comparable(first)
    fields = [entry["fieldsV1"] for made in found for entry in made["metadata"].get("managedFields") or ()]
    assert fields[: len(fields) // 2] == fields[len(fields) // 2 :]


def test_errors_are_a_status_in_protobuf(proto: ProtobufClient) -> None:
    status, answer = proto.ask("GET", "/api/v1/namespaces/default/configmaps/none")
    assert (status, answer["kind"], answer["reason"], answer["code"]) == (404, "Status", "NotFound", 404)
    assert answer["details"] == {"name": "none", "kind": "configmaps"}


def test_a_patch_in_protobuf_is_refused(proto: ProtobufClient) -> None:
    status, answer = proto.ask("PATCH", "/api/v1/namespaces/default/serviceaccounts/default", {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"labels": {"a": "b"}},
    })  # fmt: skip
    assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
    assert answer["message"].endswith("application/strategic-merge-patch+json, application/apply-patch+yaml")


def test_a_patch_in_json_may_be_answered_in_protobuf(proto: ProtobufClient) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/default"
    status, answer = proto.ask(
        "PATCH", path, {"metadata": {"labels": {"a": "b"}}}, sent="application/merge-patch+json"
    )
    assert (status, answer["metadata"]["labels"]) == (200, {"a": "b"})


def test_metadata_alone_comes_in_protobuf(proto: ProtobufClient) -> None:
    for path, view in (
        ("/api/v1/namespaces/default", "PartialObjectMetadata"),
        ("/api/v1/namespaces", "PartialObjectMetadataList"),
    ):
        accept = f"{PROTOBUF};as={view};v=v1;g=meta.k8s.io"
        response = proto.open("GET", path, b"", {"Accept": accept})
        found = protobuf.codec().decode_object(response.read())
        assert (found["kind"], found["apiVersion"]) == (view, "meta.k8s.io/v1")
        first = found if view == "PartialObjectMetadata" else found["items"][0]
        assert first["metadata"]["name"] == "default"
        assert "spec" not in first
