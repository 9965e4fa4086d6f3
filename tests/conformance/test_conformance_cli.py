"""kubectl, as the suite runs it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conformance_client import API, Object
from conformance_names import conformance
from conformance_steps import random_name, wait_for

POD_SECURITY = "baseline"
Kubectl = Callable[..., str]
CLIENT = "[sig-cli] Kubectl client "
IMAGE = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@conformance(f"{CLIENT}Kubectl api-versions should check if v1 is in available api versions [Conformance]")
def test_api_versions(kubectl: Kubectl) -> None:
    assert "v1" in kubectl("api-versions").splitlines()


@conformance(
    f"{CLIENT}Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info "
    "[Conformance]"
)
def test_cluster_info(kubectl: Kubectl) -> None:
    shown = ESCAPES.sub("", kubectl("cluster-info"))
    assert "Kubernetes control plane is running at https://" in shown


@conformance(f"{CLIENT}Kubectl version should check is all data is printed [Conformance]")
def test_version(kubectl: Kubectl) -> None:
    shown = kubectl("version")
    for side in ("Client", "Server"):
        assert re.search(side + r" Version: v\d\.\d+\.[\d\w\-.+]+", shown), shown


def deployment(image: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "httpd-deployment", "labels": {"app": "httpd"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "httpd"}},
            "template": {
                "metadata": {"labels": {"app": "httpd"}},
                "spec": {"containers": [{"name": "httpd", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    }


@conformance(
    f"{CLIENT}Kubectl diff should check if kubectl diff finds a difference for Deployments [Conformance]"
)
def test_diff(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(deployment(IMAGE)))
    changed = json.dumps(deployment("registry.k8s.io/e2e-test-images/busybox:1.37.0-1"))
    # kubectl diff exits with 1 when there is a difference
    with pytest.raises(Exception, match="exit code 1:") as caught:
        kubectl("-n", namespace, "diff", "-f", "-", stdin=changed)
    shown = str(caught.value)
    assert "registry.k8s.io/e2e-test-images/busybox:1.37.0-1" in shown and IMAGE in shown
    kubectl("-n", namespace, "delete", "deployment", "httpd-deployment")


@conformance(f"{CLIENT}Kubectl run pod should create a pod from an image when restart is Never [Conformance]")
def test_run(api: API, kubectl: Kubectl, namespace: str) -> None:
    name = "e2e-test-httpd-pod"
    kubectl("-n", namespace, "run", name, "--restart=Never", "--pod-running-timeout=2m0s", f"--image={IMAGE}")
    spec = api.typed("v1", "pods", namespace).get(name)["spec"]
    assert (spec["containers"][0]["image"], spec["restartPolicy"]) == (IMAGE, "Never")
    kubectl("-n", namespace, "delete", "pods", name)


@conformance(
    f"{CLIENT}Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]"
)
def test_dry_run(api: API, kubectl: Kubectl, namespace: str) -> None:
    name, pods = "e2e-test-httpd-pod", api.typed("v1", "pods", namespace)
    kubectl(
        "-n", namespace, "run", name, f"--image={IMAGE}", "--pod-running-timeout=2m0s", f"--labels=run={name}"
    )
    wait_for(lambda: pods.get(name)["status"]["phase"] == "Running", "the pod runs")
    patch = {
        "spec": {"containers": [{"name": name, "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"}]}
    }
    kubectl("-n", namespace, "patch", "pod", name, "-p", json.dumps(patch), "--dry-run=server")
    assert pods.get(name)["spec"]["containers"][0]["image"] == IMAGE
    kubectl("-n", namespace, "delete", "pods", name)


@contextmanager
def proxy(command: list[str], environment: dict[str, str], *options: str) -> Iterator[str]:
    """A running ``kubectl proxy``; gives the first line it prints."""
    process = subprocess.Popen(
        [*command, "proxy", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait(10)


def ask(connected: socket.socket) -> dict[str, Any]:
    """``GET /api/`` through a proxy."""
    with connected:
        connected.settimeout(10)
        connected.sendall(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := connected.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    if b"chunked" in head.lower():
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    return json.loads(body)


@conformance(f"{CLIENT}Proxy server should support proxy with --port 0 [Conformance]")
def test_proxy_on_any_port(kubectl_command: list[str], kubectl_environment: dict[str, str]) -> None:
    with proxy(kubectl_command, kubectl_environment, "-p", "0", "--disable-filter") as line:
        found = re.search(r"Starting to serve on 127\.0\.0\.1:(\d+)", line)
        assert found, line
        answer = ask(socket.create_connection(("127.0.0.1", int(found[1])), timeout=10))
        assert "v1" in answer["versions"]


@conformance(f"{CLIENT}Proxy server should support --unix-socket=/path [Conformance]")
def test_proxy_on_a_unix_socket(
    kubectl_command: list[str], kubectl_environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / random_name("kubectl-proxy-unix")
    with proxy(kubectl_command, kubectl_environment, f"--unix-socket={path}") as line:
        assert f"Starting to serve on {path}" in line
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(path))
        assert "v1" in ask(connected)["versions"]
