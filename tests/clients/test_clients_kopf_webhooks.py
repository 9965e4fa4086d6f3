"""A kopf operator that serves its own admission webhooks, over TLS from a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from conftest import wait_for
from sublet.pki.authority import SERVER, Authority
from sublet.testing import RunningControlPlane

WHERE = ("hooked.example.org", "v1", "default", "visitors")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "visitors.hooked.example.org"},
    "spec": {
        "group": "hooked.example.org",
        "scope": "Namespaced",
        "names": {"plural": "visitors", "singular": "visitor", "kind": "Visitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1", certfile={certificate!r}, pkeyfile={key!r}, cafile={authority!r},
    )
    settings.admission.managed = "hooks.hooked.example.org"

@kopf.on.mutate("hooked.example.org", "v1", "visitors", operations=["CREATE", "UPDATE"])
def greet(patch, spec, **_):
    patch.spec["greeting"] = f"hello {{spec.get('name')}}"

@kopf.on.validate("hooked.example.org", "v1", "visitors", operations=["CREATE", "UPDATE", "DELETE"])
def check(spec, operation, warnings, dryrun, **_):
    if operation == "DELETE" and spec.get("stay"):
        raise kopf.AdmissionError("it wants to stay", code=409)
    if spec.get("name") == "nobody":
        raise kopf.AdmissionError("who is that?", code=422)
    if spec.get("name") == "ghost":
        warnings.append("ghosts are seen twice" + (" in dreams" if dryrun else ""))
"""

Custom = client.CustomObjectsApi


@pytest.fixture(scope="module")
def api(plane: RunningControlPlane) -> Any:
    return config.new_client_from_config(str(plane.kubeconfig))


@pytest.fixture(scope="module")
def visitors(
    plane: RunningControlPlane, api: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Custom]:
    """The definition, and the operator running with its webhooks registered."""
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(DEFINITION)

    def established() -> bool:
        found = definitions.read_custom_resource_definition("visitors.hooked.example.org")
        return any(c.type == "Established" and c.status == "True" for c in found.status.conditions or ())

    wait_for(established)
    directory = tmp_path_factory.mktemp("operator")
    script = _script(directory)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--standalone", "-A", str(script)],
            env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    admission = client.AdmissionregistrationV1Api(api)

    def registered() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        both = [
            *admission.list_validating_webhook_configuration().items,
            *admission.list_mutating_webhook_configuration().items,
        ]
        return len([each for each in both if each.webhooks]) == 2

    try:
        wait_for(registered)
        yield client.CustomObjectsApi(api)
    finally:
        process.terminate()
        process.wait(20)
        print((directory / "log").read_text())


def _script(directory: Path) -> Path:
    authority = Authority.create("operator-ca")
    pair = authority.issue("operator", (), ("localhost",), ("127.0.0.1",), usages=(SERVER,))
    paths = {}
    for name, data in (
        ("certificate", pair.cert_pem), ("key", pair.key_pem), ("authority", authority.cert_pem),
    ):  # fmt: skip
        (directory / name).write_bytes(data)
        paths[name] = str(directory / name)
    script = directory / "operator.py"
    script.write_text(OPERATOR.format(**paths))
    return script


def visitor(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hooked.example.org/v1", "kind": "Visitor", "metadata": {"name": name},
        "spec": {"name": name, **spec},
    }  # fmt: skip


def test_the_operators_mutation_is_stored(visitors: Custom) -> None:
    made = visitors.create_namespaced_custom_object(*WHERE, visitor("ada"))
    assert made["spec"] == {"name": "ada", "greeting": "hello ada"}
    changed = visitors.patch_namespaced_custom_object(*WHERE, "ada", {"spec": {"name": "grace"}})
    assert changed["spec"]["greeting"] == "hello grace"


def test_the_operators_refusal_reaches_the_client(visitors: Custom) -> None:
    with pytest.raises(ApiException) as refused:
        visitors.create_namespaced_custom_object(*WHERE, visitor("nobody"))
    assert refused.value.status == 422
    assert "denied the request: who is that?" in refused.value.body


def test_the_operators_warning_reaches_the_client(visitors: Custom) -> None:
    _, status, headers = visitors.create_namespaced_custom_object_with_http_info(
        *WHERE, visitor("ghost"), dry_run="All"
    )
    assert status == 201
    assert headers["Warning"] == '299 - "ghosts are seen twice in dreams"'


def test_a_deletion_may_be_refused_until_the_object_agrees(visitors: Custom) -> None:
    visitors.create_namespaced_custom_object(*WHERE, visitor("guest", stay=True))
    with pytest.raises(ApiException) as refused:
        visitors.delete_namespaced_custom_object(*WHERE, "guest")
    assert refused.value.status == 409
    assert "it wants to stay" in refused.value.body
    visitors.patch_namespaced_custom_object(*WHERE, "guest", {"spec": {"stay": None}})
    visitors.delete_namespaced_custom_object(*WHERE, "guest")
    with pytest.raises(ApiException) as gone:
        visitors.get_namespaced_custom_object(*WHERE, "guest")
    assert gone.value.status == 404
