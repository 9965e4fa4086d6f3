"""The ways to a tenant's API: straight to its Service, a background proxy, one command."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from tenants_host import MARKS, CutConnection, until

pytestmark = MARKS
CONTEXT = "sublet_way_sublet-way_sublet-standalone"


@pytest.fixture(scope="module")
def made(tenants_host):
    tenants_host.use_host()
    tenants_host.sublet("create", "way").ok()
    yield tenants_host
    tenants_host.use_host()
    tenants_host.sublet("delete", "way").ok()


@pytest.fixture
def host(made):
    made.use_host()
    return made


def note(host):
    return json.loads((host.directory / "sublet" / "connections" / f"{CONTEXT}.json").read_text())


def current(host):
    return host.kubectl("config", "current-context").strip()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_connect_makes_the_tenant_the_current_context_and_disconnect_goes_back(host):
    host.sublet("connect", "way").ok()
    assert current(host) == CONTEXT
    assert "kube-system" in host.kubectl("get", "namespaces")
    assert "sublet-way" not in host.kubectl("get", "namespaces")
    ran = host.sublet("disconnect")
    assert ran.code == 0 and current(host) == "sublet-standalone"
    assert "sublet-way" in host.kubectl("get", "namespaces")


def test_a_background_proxy_outlives_connect_is_shared_and_replaced_when_it_dies(host):
    host.sublet("connect", "way", "--background-proxy").ok()
    first = note(host)
    assert "kube-system" in host.kubectl("get", "namespaces")
    assert f"https://localhost:{first['port']}" in host.kubectl("config", "view", "--minify")
    host.sublet("connect", "way", "--background-proxy").ok()
    assert note(host) == first

    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: not running(first["pid"]), 5)
    host.sublet("connect", "way", "--background-proxy").ok()
    second = note(host)
    assert second["pid"] != first["pid"] and second["port"] == first["port"]
    assert "kube-system" in host.kubectl("get", "namespaces")


def test_a_port_can_be_chosen(host):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host.sublet("connect", "way", "--background-proxy", "--local-port", str(port)).ok()
    assert note(host)["port"] == port


def test_the_proxy_follows_the_control_plane_to_its_next_pod(host):
    host.sublet("connect", "way", "--background-proxy").ok()
    host.host.kubectl("-n", "sublet-way", "delete", "pod", "way-0", "--grace-period=1")
    until(
        lambda: host.run("kubectl", "get", "namespaces", "--request-timeout=2s").code == 0,
        60,
        "the tenant's API",
    )


def test_a_command_gets_the_tenants_kubeconfig_and_its_exit_code_is_connects(host):
    ran = host.sublet("connect", "way", "--", "sh", "-c", "kubectl config current-context; exit 7")
    assert (ran.code, ran.out.strip()) == (7, "way")
    assert current(host) == "sublet-standalone"
    assert "way-0" not in host.sublet("connect", "way", "--", "kubectl", "get", "pods", "-A").ok()


def test_a_command_that_does_not_exist_is_named(host):
    ran = host.sublet("connect", "way", "--", "no-such-command")
    assert ran.code == 1 and "no-such-command: command not found" in ran.err


def test_print_changes_no_file(host):
    before = host.kubeconfig.read_text()
    assert "client-key-data" in host.sublet("connect", "way", "--print").ok()
    assert host.kubeconfig.read_text() == before


def test_a_scaled_down_tenant_says_how_to_bring_it_back(host):
    host.host.kubectl("-n", "sublet-way", "scale", "statefulset", "way", "--replicas=0")
    ran = host.sublet("connect", "way")
    host.host.kubectl("-n", "sublet-way", "scale", "statefulset", "way", "--replicas=1")
    assert ran.code == 1 and "--replicas=1 brings it back" in ran.err
    until(lambda: "Running" in host.sublet("list").out, 60, "the tenant to run again")


def test_a_host_that_goes_away_in_the_middle_of_create_is_no_loss(host, tmp_path):
    port = int(host.arguments[host.arguments.index("--port") + 1])
    way = CutConnection(port, after=9_000)
    config = tmp_path / "cut.yaml"
    config.write_text(host.settings.kubeconfig.read_text().replace(f":{port}", f":{way.port}"))
    ran = host.sublet("create", "torn", "--kubeconfig", str(config))
    assert way.cut and ran.code == 1
    assert "cannot be reached" in ran.err and "run the same command again" in ran.err
    assert "Traceback" not in ran.err
    listed = json.loads(host.sublet("list", "-o", "json").ok())
    assert [t["Status"] for t in listed if t["Name"] == "torn"] in ([], ["Incomplete"])
    way.mend()
    host.sublet("create", "torn", "--kubeconfig", str(config)).ok()
    assert "default" in host.connected("torn").kubectl("get", "namespaces")
    way.close()
    host.sublet("delete", "torn").ok()
