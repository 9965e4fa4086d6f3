"""What real clients do when priority and fairness has no seat for them: they come again when they are told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from conftest import CommandFailed, Kubectl
from sublet.testing import RunningControlPlane

LEVEL = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "greedy"},
    "spec": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        },
    },
}
SCHEMA = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {"name": "greedy"},
    "spec": {
        "matchingPrecedence": 10,
        "priorityLevelConfiguration": {"name": "greedy"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "greedy"}}],
                "resourceRules": [
                    {
                        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                        "namespaces": ["*"], "clusterScope": True,
                    }
                ],
            }
        ],
    },
}  # fmt: skip
SEATS = '-p={"spec":{"limited":{"nominalConcurrencyShares":5}}}'


@pytest.fixture
def greedy(kubectl: Kubectl) -> Iterator[Kubectl]:
    """User ``greedy`` may read all, and has no seat."""
    kubectl("create", "clusterrolebinding", "greedy", "--clusterrole=view", "--user=greedy")
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([LEVEL, SCHEMA]))
    yield kubectl
    kubectl("delete", "flowschema/greedy", "prioritylevelconfiguration/greedy", "clusterrolebinding/greedy")


@pytest.fixture
def api(plane: RunningControlPlane) -> Any:
    loaded = config.new_client_from_config(str(plane.kubeconfig))
    loaded.set_default_header("Impersonate-User", "greedy")
    return loaded


def test_a_client_that_does_not_come_again_is_told_when_to(greedy: Kubectl, api: Any) -> None:
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    with pytest.raises(ApiException) as refused:
        client.CoreV1Api(api).list_namespaced_config_map("default")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "1"
    body = refused.value.body
    assert "Too many requests, please try again later." in body, body


def test_the_python_client_comes_again_and_is_served(greedy: Kubectl, api: Any) -> None:
    found: list[Any] = []
    thread = threading.Thread(
        target=lambda: found.append(client.CoreV1Api(api).list_namespaced_config_map("default"))
    )
    thread.start()
    time.sleep(0.5)
    assert not found
    greedy("patch", "prioritylevelconfiguration", "greedy", "--type=merge", SEATS)
    thread.join(10)
    assert [item.metadata.name for item in found[0].items] == ["kube-root-ca.crt"]


def test_kubectl_comes_again_and_is_served(greedy: Kubectl) -> None:
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(greedy("get", "configmaps", "-o", "json", "--as=greedy"))
    )
    thread.start()
    time.sleep(1.5)
    assert not found
    greedy("patch", "prioritylevelconfiguration", "greedy", "--type=merge", SEATS)
    thread.join(30)
    assert [item["metadata"]["name"] for item in json.loads(found[0])["items"]] == ["kube-root-ca.crt"]


def test_kubectl_gives_up_in_the_servers_words(greedy: Kubectl) -> None:
    with pytest.raises(CommandFailed, match="asked us to try again later"):
        greedy("get", "configmaps", "--as=greedy")


def test_others_are_not_held_up(greedy: Kubectl) -> None:
    assert "kube-root-ca.crt" in greedy("get", "configmaps")
    assert greedy("get", "--raw=/readyz", "--as=greedy") == "ok", "what is no resource has its own schema"
