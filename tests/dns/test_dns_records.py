"""Which records the names of a cluster have."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.dns.records import Sources, Zone

SERVICES: dict[tuple[str, str], dict[str, Any]] = {
    ("default", "web"): {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.0.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    },
    ("default", "db"): {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]},
    },
    ("default", "out"): {
        "metadata": {"name": "out", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "example.org."},
    },
}
SLICE = {
    "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
    "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.1.0.4"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.1.0.5"], "conditions": {}},
        {"addresses": ["10.1.0.6"], "conditions": {"ready": False}},
    ],
}


def by_address(address: str) -> list[dict[str, Any]]:
    return {"10.0.0.7": [SERVICES["default", "web"]], "10.1.0.4": [SLICE]}.get(address, [])


@pytest.fixture
def zone() -> Zone:
    sources = Sources(
        service=lambda ns, name: SERVICES.get((ns, name)),
        namespace_exists=lambda name: name == "default",
        slices=lambda ns, name: [SLICE] if (ns, name) == ("default", "db") else [],
        by_address=by_address,
        node_address=lambda name: ["192.0.2.1"] if name == "node-1" else [],
    )
    return Zone(sources)


def found(zone: Zone, name: str, kind: str = "A") -> list[Any]:
    answer = zone.lookup(name, kind)
    assert answer is not None
    return [record.data for record in answer.records]


def test_service_name_is_its_cluster_ip_whatever_the_case(zone: Zone) -> None:
    assert found(zone, "WEB.default.svc.cluster.local") == ["10.0.0.7"]


def test_service_has_no_ipv6_address_but_exists(zone: Zone) -> None:
    answer = zone.lookup("web.default.svc.cluster.local", "AAAA")
    assert answer is not None and answer.exists and not answer.records


def test_named_port_has_an_srv_record_with_the_address_beside_it(zone: Zone) -> None:
    answer = zone.lookup("_http._tcp.web.default.svc.cluster.local", "SRV")
    assert answer is not None
    assert [r.data for r in answer.records] == [(0, 100, 80, "web.default.svc.cluster.local")]
    assert [r.data for r in answer.additional] == ["10.0.0.7"]


def test_unknown_port_name_does_not_exist(zone: Zone) -> None:
    answer = zone.lookup("_smtp._tcp.web.default.svc.cluster.local", "SRV")
    assert answer is not None and not answer.exists


def test_headless_service_is_its_ready_endpoints(zone: Zone) -> None:
    assert found(zone, "db.default.svc.cluster.local") == ["10.1.0.4", "10.1.0.5"]


def test_endpoint_answers_to_its_host_name_and_to_its_dashed_address(zone: Zone) -> None:
    assert found(zone, "db-0.db.default.svc.cluster.local") == ["10.1.0.4"]
    assert found(zone, "10-1-0-5.db.default.svc.cluster.local") == ["10.1.0.5"]


def test_srv_of_a_headless_service_names_each_endpoint(zone: Zone) -> None:
    assert found(zone, "_sql._tcp.db.default.svc.cluster.local", "SRV") == [
        (0, 100, 5432, "db-0.db.default.svc.cluster.local"),
        (0, 100, 5432, "10-1-0-5.db.default.svc.cluster.local"),
    ]


def test_external_name_is_a_cname(zone: Zone) -> None:
    assert found(zone, "out.default.svc.cluster.local") == ["example.org"]


def test_missing_service_does_not_exist(zone: Zone) -> None:
    answer = zone.lookup("nothing.default.svc.cluster.local", "A")
    assert answer is not None and not answer.exists


def test_pod_name_spells_its_address(zone: Zone) -> None:
    assert found(zone, "10-1-0-9.default.pod.cluster.local") == ["10.1.0.9"]


def test_reverse_of_a_cluster_ip_is_its_service(zone: Zone) -> None:
    assert found(zone, "7.0.0.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local"]


def test_reverse_of_a_headless_endpoint_is_its_own_name(zone: Zone) -> None:
    assert found(zone, "4.0.1.10.in-addr.arpa", "PTR") == ["db-0.db.default.svc.cluster.local"]


def test_node_name_is_its_internal_address(zone: Zone) -> None:
    assert found(zone, "node-1") == ["192.0.2.1"]


@pytest.mark.parametrize("name", ["example.org", "9.9.9.9.in-addr.arpa", "local"])
def test_other_names_are_somebody_elses(zone: Zone, name: str) -> None:
    assert zone.lookup(name, "A") is None
