"""kopf running an operator with its own custom resource."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sublet.testing import RunningControlPlane

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"name": {"type": "string"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
OPERATOR = """
import kopf

@kopf.on.create("example.org", "v1", "greetings")
@kopf.on.update("example.org", "v1", "greetings", field="spec")
def greet(spec, **_):
    return {"text": f"hello {spec['name']}"}

@kopf.on.delete("example.org", "v1", "greetings")
def bye(**_):
    pass
"""


def wait_for(condition: Any, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to pass in time")
        time.sleep(0.1)


@pytest.fixture
def operator(plane: RunningControlPlane, tmp_path: Path) -> Any:
    script = tmp_path / "operator.py"
    script.write_text(OPERATOR)
    process = subprocess.Popen(
        [sys.executable, "-m", "kopf", "run", "--standalone", "-A", str(script)],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.terminate()
    output, _ = process.communicate(timeout=20)
    print(output)


def test_an_operator_handles_creation_update_and_deletion(plane: RunningControlPlane, request: Any) -> None:
    from kubernetes import client, config

    api = config.new_client_from_config(str(plane.kubeconfig))
    client.ApiextensionsV1Api(api).create_custom_resource_definition(DEFINITION)
    custom = client.CustomObjectsApi(api)
    where = ("example.org", "v1", "default", "greetings")

    def established() -> bool:
        found = client.ApiextensionsV1Api(api).read_custom_resource_definition("greetings.example.org")
        return any(c.type == "Established" and c.status == "True" for c in found.status.conditions or ())

    wait_for(established)
    request.getfixturevalue("operator")
    custom.create_namespaced_custom_object(
        *where,
        {
            "apiVersion": "example.org/v1",
            "kind": "Greeting",
            "metadata": {"name": "g"},
            "spec": {"name": "ada"},
        },
    )

    def text() -> str:
        found = custom.get_namespaced_custom_object(*where, "g")
        return str(
            (
                (found.get("status") or {}).get("greet")
                or (found.get("status") or {}).get("greet/spec")
                or {}
            ).get("text")
        )

    wait_for(lambda: text() == "hello ada")
    custom.patch_namespaced_custom_object(*where, "g", {"spec": {"name": "grace"}})
    wait_for(lambda: "hello grace" in str(custom.get_namespaced_custom_object(*where, "g").get("status")))
    custom.delete_namespaced_custom_object(*where, "g")
    wait_for(lambda: not custom.list_namespaced_custom_object(*where)["items"])
