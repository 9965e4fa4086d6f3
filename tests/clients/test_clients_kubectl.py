"""kubectl, as people use it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sublet.testing import RunningControlPlane

Kubectl = Callable[..., str]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Any:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def manifest(kind: str, name: str, **rest: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **rest})


def failing(kubectl: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    with pytest.raises(Exception, match="exit code") as caught:
        kubectl(*arguments, stdin=stdin)
    return str(caught.value)


def test_get_prints_the_servers_columns(kubectl: Kubectl) -> None:
    lines = kubectl("get", "nodes").splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert len(lines) == 3


def test_examples_are_applied_and_roll_out(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", str(EXAMPLES))  # no provisioner here: the StatefulSet's pod waits
    assert "successfully rolled out" in kubectl(
        "-n", namespace, "rollout", "status", "deployment/web", "--timeout=20s"
    )
    assert "statefulset.apps/store" in kubectl("-n", namespace, "get", "sts", "-o", "name")
    again = kubectl("-n", namespace, "apply", "-f", str(EXAMPLES / "job.yaml"))
    assert again.strip() == "job.batch/pi unchanged"


def test_server_side_apply_after_client_side_apply_migrates_ownership(
    kubectl: Kubectl, namespace: str
) -> None:
    path = str(EXAMPLES / "web.yaml")
    kubectl("-n", namespace, "apply", "-f", path)
    applied = kubectl("-n", namespace, "apply", "--server-side", "-f", path)
    assert "deployment.apps/web serverside-applied" in applied
    shown = json.loads(
        kubectl("-n", namespace, "get", "deployment", "web", "-o", "json", "--show-managed-fields")
    )
    assert ("kubectl", "Apply") in {
        (entry["manager"], entry["operation"]) for entry in shown["metadata"]["managedFields"]
    }


def test_conflicting_server_side_apply_names_the_other_manager(kubectl: Kubectl, namespace: str) -> None:
    def config(value: str) -> str:
        return manifest("ConfigMap", "shared", data={"key": value})

    kubectl("-n", namespace, "apply", "--server-side", "--field-manager=one", "-f", "-", stdin=config("1"))
    said = failing(
        kubectl,
        "-n",
        namespace,
        "apply",
        "--server-side",
        "--field-manager=two",
        "-f",
        "-",
        stdin=config("2"),
    )
    assert 'conflict with "one"' in said and ".data.key" in said


def test_diff_exits_with_one_and_shows_the_change(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "apply", "-f", str(EXAMPLES / "web.yaml"))
    changed = (EXAMPLES / "web.yaml").read_text().replace("replicas: 2", "replicas: 3")
    said = failing(kubectl, "-n", namespace, "diff", "-f", "-", stdin=changed)
    assert "exit code 1" in said and "replicas: 3" in said


def test_edit_writes_what_the_editor_left(kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    kubectl("-n", namespace, "create", "configmap", "edited", "--from-literal=key=before")
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/before/after/ "$1"\n')
    editor.chmod(0o755)
    kubectl("-n", namespace, "edit", "configmap", "edited", env={"KUBE_EDITOR": str(editor)})
    assert kubectl("-n", namespace, "get", "cm", "edited", "-o", "jsonpath={.data.key}") == "after"


def test_explain_shows_fields_with_their_descriptions(kubectl: Kubectl) -> None:
    shown = kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge" in shown and "The maximum number of pods" in shown


def test_rollout_undo_goes_back_to_the_revision_before(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "deployment", "web", "--image=busybox:1")
    kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("-n", namespace, "set", "image", "deployment/web", "busybox=busybox:2")
    kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("-n", namespace, "rollout", "undo", "deployment/web")
    kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=20s")
    shown = kubectl(
        "-n", namespace, "get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"
    )
    assert shown == "busybox:1"


def test_scale_label_and_wait(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "deployment", "web", "--image=busybox")
    kubectl("-n", namespace, "scale", "deployment/web", "--replicas=3")
    kubectl(
        "-n", namespace, "wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/web", "--timeout=20s"
    )
    kubectl("-n", namespace, "label", "deployment/web", "team=blue")
    assert "deployment.apps/web" in kubectl("-n", namespace, "get", "deploy", "-l", "team=blue", "-o", "name")
    assert len(kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", "name").split()) == 3


def test_describe_shows_the_events_of_a_pod(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "run", "one", "--image=busybox", "--restart=Never")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/one", "--timeout=20s")
    shown = kubectl("-n", namespace, "describe", "pod", "one")
    assert re.search(r"Normal\s+Scheduled.*default-scheduler\s+Successfully assigned", shown)


def test_delete_waits_until_the_object_is_gone(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "deployment", "web", "--image=busybox")
    kubectl("-n", namespace, "delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    assert kubectl("-n", namespace, "get", "deploy,rs", "-o", "name") == ""


def test_auth_can_i_asks_the_server(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    said = failing(
        kubectl, "auth", "can-i", "create", "pods", "--as", f"system:serviceaccount:{namespace}:default"
    )
    assert "no" in said


def test_unknown_field_is_refused_by_name(kubectl: Kubectl, namespace: str) -> None:
    said = failing(kubectl, "-n", namespace, "create", "-f", "-", stdin=manifest("ConfigMap", "x", dta={}))
    assert 'unknown field "dta"' in said


def test_bad_yaml_and_unknown_kind_are_refused_clearly(kubectl: Kubectl, namespace: str) -> None:
    assert "no matches for kind" in failing(
        kubectl, "-n", namespace, "create", "-f", "-", stdin=manifest("Confgmap", "x")
    )
    assert "converting YAML to JSON" in failing(
        kubectl, "-n", namespace, "create", "-f", "-", stdin="a: b: c"
    )


def test_api_resources_lists_every_group(kubectl: Kubectl, plane: RunningControlPlane) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(names)


def test_custom_resource_is_served_as_soon_as_it_is_established(kubectl: Kubectl, namespace: str) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {
                                    "type": "object",
                                    "properties": {"sails": {"type": "integer", "minimum": 1}},
                                }
                            },
                        }
                    },
                    "additionalPrinterColumns": [
                        {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}
                    ],
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(definition))
    kubectl("wait", "--for=condition=Established", "crd/boats.example.org", "--timeout=10s")

    def boat(sails: Any) -> str:
        return json.dumps(
            {
                "apiVersion": "example.org/v1",
                "kind": "Boat",
                "metadata": {"name": "b"},
                "spec": {"sails": sails},
            }
        )

    kubectl("-n", namespace, "apply", "-f", "-", stdin=boat(3))
    assert kubectl("-n", namespace, "get", "bt").splitlines()[0].split() == ["NAME", "SAILS"]
    assert "should be greater than or equal to 1" in failing(
        kubectl, "-n", namespace, "apply", "-f", "-", stdin=boat(0)
    )
    assert "sails" in kubectl("explain", "boat.spec")
    kubectl("delete", "crd", "boats.example.org", "--timeout=20s")


def test_nobody_dials_the_made_up_addresses_of_hollow_nodes(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "run", "one", "--image=busybox", "--port=80")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/one", "--timeout=20s")
    node = kubectl("-n", namespace, "get", "pod", "one", "-o", "jsonpath={.spec.nodeName}")
    proxied = f"/api/v1/namespaces/{namespace}/pods/one/proxy/"
    for arguments in (
        ("logs", "one"), ("exec", "one", "--", "ls"), ("port-forward", "one", "0:80"), ("cp", "one:/x", "/tmp/x"),
        ("get", "--raw", proxied), ("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz"),
    ):  # fmt: skip
        assert f"node {node} is hollow" in failing(kubectl, "-n", namespace, *arguments), arguments
