"""Debian's kubectl 1.20 against a tenant that runs containers: what it carries over SPDY/3.1."""

from __future__ import annotations

import re

import pytest
from tenants_host import EXAMPLES, MARKS

from kubectl120 import CommandFailed, runner

pytestmark = MARKS


@pytest.fixture(scope="module")
def kubectl(tenants_host, tmp_path_factory):
    tenants_host.use_host()
    tenants_host.sublet("create", "aged").ok()
    run = runner(tenants_host.connected("aged").kubeconfig, tmp_path_factory.mktemp("home120"))
    run("apply", "-f", str(EXAMPLES))
    run("rollout", "status", "deployment/web", "--timeout=60s")
    yield run
    tenants_host.sublet("delete", "aged").ok()


def test_logs(kubectl):
    kubectl("wait", "--for=condition=complete", "job/pi", "--timeout=60s")
    assert kubectl("logs", "job/pi").startswith("3.14159265358979")


def test_exec_with_input_and_exit_code(kubectl):
    assert kubectl("exec", "deployment/web", "--", "cat", "/secret/password") == "correct-horse"
    assert kubectl("exec", "-i", "deployment/web", "--", "tr", "a-z", "A-Z", stdin="loud\n") == "LOUD\n"
    with pytest.raises(CommandFailed, match="exit code 7"):
        kubectl("exec", "deployment/web", "--", "sh", "-c", "exit 7")


def test_cp(kubectl, tmp_path):
    (tmp_path / "file").write_text("old but well\n")
    pod = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    kubectl("cp", str(tmp_path / "file"), f"{pod}:/tmp/file")
    assert kubectl("exec", pod, "--", "cat", "/tmp/file") == "old but well\n"


def test_get_describe_and_delete(kubectl):
    assert "Running" in kubectl("get", "pods", "-l", "app=web")
    assert re.search(r"Normal\s+Started", kubectl("describe", "pods", "-l", "app=web"))
    assert 'deployment.apps "web" deleted' in kubectl("delete", "deployment", "web")
