"""Debian 12's kubectl 1.20, sixteen minors older than what it talks to."""

from __future__ import annotations

import json

import pytest

from kubectl120 import CommandFailed, runner

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: old}
spec:
  replicas: 2
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old}}
    spec:
      containers:
      - name: web
        image: busybox
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec:
  selector: {app: old}
  ports: [{port: 80}]
"""


@pytest.fixture(scope="module")
def kubectl(plane, tmp_path_factory):
    return runner(plane.kubeconfig, tmp_path_factory.mktemp("home120"))


@pytest.fixture(scope="module")
def applied(kubectl):
    said = kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("rollout", "status", "deployment/old", "--timeout=30s")
    return said


def test_apply_creates_then_changes_then_leaves_alone(kubectl, applied):
    assert "deployment.apps/old created" in applied and "service/old created" in applied
    changed = kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("port: 80}]\n", "port: 81}]\n"))
    assert "service/old configured" in changed and "deployment.apps/old unchanged" in changed


def test_get_prints_the_servers_columns(kubectl, applied):
    lines = kubectl("get", "deployments").splitlines()
    assert lines[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert lines[1].split()[:2] == ["old", "2/2"]
    assert kubectl("get", "pods", "-l", "app=old", "--no-headers").count("Running") == 2


def test_get_gives_json_and_names(kubectl, applied):
    found = json.loads(kubectl("get", "deployment", "old", "-o", "json"))
    assert found["apiVersion"] == "apps/v1" and found["status"]["readyReplicas"] == 2
    assert "node/hollow-0" in kubectl("get", "nodes", "-o", "name")


def test_get_all_lists_several_kinds(kubectl, applied):
    said = kubectl("get", "all")
    for kind in ("pod/old-", "service/old", "deployment.apps/old", "replicaset.apps/old-"):
        assert kind in said


def test_describe_shows_deployment_pod_and_node(kubectl, applied):
    said = kubectl("describe", "deployment", "old")
    assert "2 desired | 2 updated | 2 total | 2 available" in said and "ScalingReplicaSet" in said
    assert "Image:" in kubectl("describe", "pods", "-l", "app=old")
    assert "Allocatable:" in kubectl("describe", "node", "hollow-0")


def test_delete_removes_and_says_not_found_after(kubectl):
    kubectl("create", "configmap", "brief", "--from-literal=a=b")
    assert 'configmap "brief" deleted' in kubectl("delete", "configmap", "brief")
    with pytest.raises(CommandFailed, match=r'configmaps "brief" not found'):
        kubectl("get", "configmap", "brief")


def test_delete_of_a_deployment_waits_for_its_end(kubectl):
    kubectl("create", "deployment", "gone", "--image=busybox")
    kubectl("rollout", "status", "deployment/gone", "--timeout=30s")
    kubectl("delete", "deployment", "gone", "--timeout=30s", "--cascade=foreground")
    assert kubectl("get", "replicasets,pods", "-l", "app=gone") == ""
