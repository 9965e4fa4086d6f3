"""An operator whose definition has two versions: it converts over TLS, and hands out its authority (caBundle) itself.

What cert-manager's CA injector and every conversion webhook made with controller-runtime do, with the kubernetes
Python client in a process of its own.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, watch

from conftest import CommandFailed, Kubectl, wait_for
from sublet.pki.authority import SERVER, Authority
from sublet.testing import RunningControlPlane

NAME = "routes.converted.example.org"
OPERATOR = '''
"""Injects its authority where an annotation asks for it; converts v1alpha1 (address) to and from v1 (host, port)."""
import base64, json, ssl, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from kubernetes import client, config, watch

port, certificate, authority, asked = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
BUNDLE = base64.b64encode(open(authority, "rb").read()).decode()


def converted(obj, wanted):
    spec = obj.get("spec", {})
    if wanted.endswith("/v1"):
        host, _, number = spec.pop("address").partition(":")
        spec.update(host=host, port=int(number))
    else:
        spec["address"] = f"{spec.pop('host')}:{spec.pop('port')}"
    return {**obj, "apiVersion": wanted}


class Converter(BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        with open(asked, "a") as log:
            log.write(f"{len(request['objects'])} {request['desiredAPIVersion']}\\n")
        result, objects = {"status": "Success"}, []
        try:
            objects = [converted(each, request["desiredAPIVersion"]) for each in request["objects"]]
        except Exception as error:
            result = {"status": "Failed", "message": f"cannot convert: {error!r}"}
        body = json.dumps({
            "apiVersion": review["apiVersion"], "kind": "ConversionReview",
            "response": {"uid": request["uid"], "result": result, "convertedObjects": objects},
        }).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Converter)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
config.load_kube_config()
definitions = client.ApiextensionsV1Api()
while True:
    for event in watch.Watch().stream(definitions.list_custom_resource_definition, timeout_seconds=60):
        found = event["object"]
        wanted = (found.metadata.annotations or {}).get("example.org/inject-ca") == "true"
        webhook = found.spec.conversion and found.spec.conversion.webhook
        if event["type"] != "DELETED" and wanted and webhook and webhook.client_config.ca_bundle != BUNDLE:
            definitions.patch_custom_resource_definition(found.metadata.name, {
                "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": BUNDLE}}}}
            })
'''


def definition(port: int, storage: str, *, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    fields = {
        "v1alpha1": {"address": {"type": "string"}},
        "v1": {"host": {"type": "string"}, "port": {"type": "integer", "minimum": 1}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "annotations": annotations or {}},
        "spec": {
            "group": "converted.example.org",
            "scope": "Namespaced",
            "names": {"plural": "routes", "singular": "route", "kind": "Route"},
            "conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "clientConfig": {"url": f"https://localhost:{port}/convert"},
                    "conversionReviewVersions": ["v1"],
                },
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == storage,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "properties": properties}},
                        }
                    },
                }
                for version, properties in fields.items()
            ],
        },
    }


class Operator:
    """The process, and what its webhook was asked."""

    def __init__(self, plane: RunningControlPlane, directory: Path) -> None:
        authority = Authority.create("converter-ca")
        pair = authority.issue("converter", (), ("localhost",), ("127.0.0.1",), usages=(SERVER,))
        (directory / "pair.pem").write_bytes(pair.cert_pem + pair.key_pem)
        (directory / "ca.pem").write_bytes(authority.cert_pem)
        (directory / "converter.py").write_text(OPERATOR)
        self.bundle = base64.b64encode(authority.cert_pem).decode()
        self.log = directory / "log"
        self._asked = directory / "asked"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, str(directory / "converter.py"), str(self.port),
                    str(directory / "pair.pem"), str(directory / "ca.pem"), str(self._asked),
                ],
                env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


@pytest.fixture(scope="module")
def operator(plane: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(plane, tmp_path_factory.mktemp("converter"))
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(20)
        print(running.log.read_text())


@pytest.fixture(scope="module")
def api(plane: RunningControlPlane) -> Any:
    return config.new_client_from_config(str(plane.kubeconfig))


@pytest.fixture
def routes(operator: Operator, kubectl: Kubectl, api: Any) -> Iterator[Kubectl]:
    """The definition applied and its authority injected; one object ``shop`` made in the old version."""
    apply(kubectl, definition(operator.port, "v1alpha1", annotations={"example.org/inject-ca": "true"}))
    kubectl("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=30s")
    wait_for(lambda: ca_bundle(api) == operator.bundle)
    apply(kubectl, route("v1alpha1", "shop", address="10.1.2.3:80"))
    yield kubectl
    kubectl("delete", "crd", NAME)


def apply(kubectl: Kubectl, obj: dict[str, Any]) -> str:
    return kubectl("apply", "-f", "-", stdin=yaml.safe_dump(obj))


def route(version: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"converted.example.org/{version}", "kind": "Route",
        "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip


def ca_bundle(api: Any) -> str | None:
    found = client.ApiextensionsV1Api(api).read_custom_resource_definition(NAME)
    bundle: str | None = found.spec.conversion.webhook.client_config.ca_bundle
    return bundle


def read(kubectl: Kubectl, version: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        kubectl("get", f"routes.{version}.converted.example.org", name, "-o", "json")
    )
    return found


def test_without_the_authority_the_other_version_cannot_be_read(operator: Operator, kubectl: Kubectl) -> None:
    apply(kubectl, definition(operator.port, "v1alpha1"))
    kubectl("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=30s")
    try:
        apply(kubectl, route("v1alpha1", "shop", address="10.1.2.3:80"))
        with pytest.raises(
            CommandFailed, match=r"conversion webhook for converted\.example\.org/v1alpha1, Kind=Route "
        ):
            read(kubectl, "v1", "shop")
        assert read(kubectl, "v1alpha1", "shop")["spec"] == {"address": "10.1.2.3:80"}
    finally:
        kubectl("delete", "crd", NAME)


def test_once_the_authority_is_injected_both_versions_are_read(routes: Kubectl) -> None:
    new = read(routes, "v1", "shop")
    assert (new["apiVersion"], new["spec"]) == ("converted.example.org/v1", {"host": "10.1.2.3", "port": 80})
    assert read(routes, "v1alpha1", "shop")["spec"] == {"address": "10.1.2.3:80"}


def test_applying_the_definition_again_keeps_the_injected_authority(
    routes: Kubectl, operator: Operator, api: Any
) -> None:
    said = apply(routes, definition(operator.port, "v1alpha1", annotations={"example.org/inject-ca": "true"}))
    assert said.strip() == f"customresourcedefinition.apiextensions.k8s.io/{NAME} unchanged"
    assert ca_bundle(api) == operator.bundle


def test_an_object_applied_in_the_new_version_is_stored_in_the_old(routes: Kubectl) -> None:
    apply(routes, route("v1", "shop", host="10.9.9.9", port=443))
    assert read(routes, "v1alpha1", "shop")["spec"] == {"address": "10.9.9.9:443"}
    routes("patch", "routes.v1.converted.example.org", "shop", "--type=merge", '-p={"spec":{"port":8443}}')
    assert read(routes, "v1alpha1", "shop")["spec"] == {"address": "10.9.9.9:8443"}


def test_a_watch_in_each_version_tells_of_a_change_in_either(routes: Kubectl, api: Any) -> None:
    custom = client.CustomObjectsApi(api)
    seen: dict[str, Any] = {}
    for version in ("v1", "v1alpha1"):
        where = ("converted.example.org", version, "default", "routes")
        since = custom.list_namespaced_custom_object(*where)["metadata"]["resourceVersion"]
        routes("patch", f"routes.v1.{NAME.partition('.')[2]}", "shop", "--type=merge",
               f'-p={{"metadata":{{"labels":{{"seen-in":"{version}"}}}}}}')  # fmt: skip
        watching = watch.Watch()
        for event in watching.stream(
            custom.list_namespaced_custom_object, *where, resource_version=since, timeout_seconds=20
        ):
            seen[version] = event
            watching.stop()
    assert {version: event["object"]["spec"] for version, event in seen.items()} == {
        "v1": {"host": "10.1.2.3", "port": 80},
        "v1alpha1": {"address": "10.1.2.3:80"},
    }
    assert all(event["raw_object"]["apiVersion"].endswith(f"/{version}") for version, event in seen.items())


def test_what_the_webhook_cannot_convert_is_told_with_its_words(routes: Kubectl) -> None:
    apply(routes, route("v1alpha1", "broken"))
    with pytest.raises(CommandFailed, match=r"cannot convert: KeyError\('address'\)"):
        read(routes, "v1", "broken")


def test_the_stored_version_moves_when_every_object_is_written_again(
    routes: Kubectl, operator: Operator, api: Any
) -> None:
    apply(routes, definition(operator.port, "v1", annotations={"example.org/inject-ca": "true"}))
    definitions = client.ApiextensionsV1Api(api)
    wait_for(
        lambda: definitions.read_custom_resource_definition(NAME).status.stored_versions == ["v1alpha1", "v1"]
    )
    replaced = routes("get", "routes", "-o", "json")
    routes("replace", "-f", "-", stdin=replaced)
    definitions.patch_custom_resource_definition_status(NAME, {"status": {"storedVersions": ["v1"]}})
    before = len(operator.asked())
    assert read(routes, "v1", "shop")["spec"] == {"host": "10.1.2.3", "port": 80}
    assert len(operator.asked()) == before, "what is stored in v1 is read in v1 without asking"
