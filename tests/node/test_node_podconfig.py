"""A pod object as CRI is asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sublet.node import crimessages as m
from sublet.node import podconfig, resources
from sublet.node.containermounts import hosts_text
from sublet.node.environment import ConfigError
from sublet.node.settings import NodeSettings


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("# node\nsearch corp.example\nnameserver 192.0.2.53\noptions edns0\n")
    return NodeSettings("n", tmp_path, "/s", "192.0.2.1", cluster_dns=("10.96.0.10",), resolv_conf=resolv)


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "d", "uid": "u", "labels": {"app": "x"}}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec},
    }


def test_cluster_dns_searches_the_cluster_then_the_node(settings: NodeSettings) -> None:
    config = podconfig.dns_config(pod(), settings)
    assert config.servers == ["10.96.0.10"]
    assert config.searches == ["d.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]
    assert config.options == ["ndots:5"]


@pytest.mark.parametrize(
    ("spec", "servers"),
    [
        ({"dnsPolicy": "Default"}, ["192.0.2.53"]),
        ({"hostNetwork": True}, ["192.0.2.53"]),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, ["10.96.0.10"]),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, ["1.1.1.1"]),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"]}}, ["10.96.0.10", "1.1.1.1"]),
    ],
)
def test_dns_policies(settings: NodeSettings, spec: dict[str, Any], servers: list[str]) -> None:
    assert podconfig.dns_config(pod(**spec), settings).servers == servers


def test_options_of_the_pod_replace_equal_ones(settings: NodeSettings) -> None:
    own = {"options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}
    assert podconfig.dns_config(pod(dnsConfig=own), settings).options == ["ndots:2", "rotate"]


def test_host_ports_are_mapped_unless_the_network_is_the_hosts() -> None:
    container = {"ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}, {"containerPort": 81}]}
    assert podconfig.port_mappings(pod(container)) == [m.PortMapping(m.UDP, 80, 8080, "")]
    assert podconfig.port_mappings(pod(container, hostNetwork=True)) == []


def test_sandbox_is_known_by_its_labels(settings: NodeSettings) -> None:
    config = podconfig.sandbox_config(pod(), settings, 2)
    assert config.labels == {
        "app": "x", podconfig.POD_NAME: "p", podconfig.POD_NAMESPACE: "d", podconfig.POD_UID: "u"
    }  # fmt: skip
    assert config.metadata == m.PodSandboxMetadata("p", "u", "d", 2)
    assert config.log_directory.endswith("logs/d_p_u")
    assert config.linux is not None
    assert config.linux.cgroup_parent == "/sublet/besteffort/podu"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (m.NAMESPACE_POD, m.NAMESPACE_CONTAINER, m.NAMESPACE_POD)),
        ({"hostNetwork": True, "hostPID": True, "hostIPC": True}, (m.NAMESPACE_NODE,) * 3),
        ({"shareProcessNamespace": True}, (m.NAMESPACE_POD,) * 3),
    ],
)
def test_namespaces(spec: dict[str, Any], expected: tuple[int, int, int]) -> None:
    found = podconfig.namespaces(pod(**spec))
    assert (found.network, found.pid, found.ipc) == expected


def test_an_ephemeral_container_joins_the_processes_of_its_target() -> None:
    p = pod({"targetContainerName": "web"}, hostPID=True)
    options = podconfig.security_context(
        p, p["spec"]["containers"][0], (0, ""), "id-of-web"
    ).namespace_options
    assert options is not None
    assert (options.pid, options.target_id) == (m.NAMESPACE_TARGET, "id-of-web")


def test_container_context_wins_over_the_pods() -> None:
    p = pod(
        {"securityContext": {"runAsUser": 7}}, securityContext={"runAsUser": 5, "runAsGroup": 6, "fsGroup": 9}
    )
    found = podconfig.security_context(p, p["spec"]["containers"][0], (0, ""))
    assert found.run_as_user == m.Int64Value(7)
    assert found.run_as_group == m.Int64Value(6)
    assert found.supplemental_groups == [9]
    assert "/proc/kcore" in found.masked_paths


def test_privileged_containers_see_everything() -> None:
    p = pod({"securityContext": {"privileged": True, "capabilities": {"add": ["NET_ADMIN"]}}})
    found = podconfig.security_context(p, p["spec"]["containers"][0], (0, ""))
    assert found.privileged
    assert found.masked_paths == []
    assert found.capabilities == m.Capability(["NET_ADMIN"], [])


@pytest.mark.parametrize(("user", "name"), [(0, ""), (None, ""), (None, "www")])
def test_run_as_non_root_refuses_what_may_be_root(user: int | None, name: str) -> None:
    p = pod(securityContext={"runAsNonRoot": True})
    with pytest.raises(ConfigError, match="runAsNonRoot"):
        podconfig.security_context(p, p["spec"]["containers"][0], (user, name))


@pytest.mark.parametrize(
    ("milli", "shares", "quota"), [(0, 2, 0), (1, 2, 1000), (500, 512, 50_000), (2000, 2048, 200_000)]
)
def test_cpu_in_shares_and_quota(milli: int, shares: int, quota: int) -> None:
    assert (resources.cpu_shares(milli), resources.cpu_quota(milli)) == (shares, quota)


def test_memory_asked_for_protects_from_the_oom_killer() -> None:
    gib = 1 << 30
    burstable = {"name": "c", "resources": {"requests": {"memory": "1Gi"}}}
    both = {"cpu": "1", "memory": "1Gi"}
    guaranteed = {"name": "c", "resources": {"requests": both, "limits": both}}
    for container, expected in ((burstable, 750), (guaranteed, -997), ({"name": "c"}, 1000)):
        assert resources.oom_score({"spec": {"containers": [container]}}, container, 4 * gib) == expected


def test_hosts_file_names_the_pod_and_its_aliases(settings: NodeSettings) -> None:
    p = pod(hostname="h", subdomain="s", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = hosts_text(p, settings, ("10.1.0.2",))
    assert "10.1.0.2\th.s.d.svc.cluster.local\th\n" in text
    assert text.endswith("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
