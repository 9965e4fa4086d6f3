"""A container's environment, by the rules of kubernetes.io's pages on it."""

from __future__ import annotations

from typing import Any

import pytest

from sublet.node.environment import (
    ConfigError,
    PodFacts,
    environment,
    expand,
    field_value,
    resource_value,
    service_variables,
)

FACTS = PodFacts(("10.1.0.5",), "192.0.2.7", {"cpu": "1900m", "memory": "1Gi"})


def pod(**spec: Any) -> dict[str, Any]:
    metadata = {
        "name": "web", "namespace": "shop", "uid": "u-1", "labels": {"b": "2", "a": 'x"y'}, "annotations": {"n": "1"}
    }  # fmt: skip
    return {"metadata": metadata, "spec": {"nodeName": "n1", "serviceAccountName": "sa", **spec}}


def service(service_name: str, ip: str = "10.0.0.9", namespace: str = "shop", **port: Any) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", **port}]
    return {
        "metadata": {"name": service_name, "namespace": namespace},
        "spec": {"clusterIP": ip, "ports": ports},
    }


def variables(
    container: dict[str, Any], fetch: Any = lambda plural, name: None, services: Any = ()
) -> dict[str, str]:
    return environment(pod(), {"name": "c", **container}, fetch, services, FACTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
    ],
)
def test_references_are_expanded_only_where_they_are_known(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_later_entries_refer_to_earlier_ones_and_win_over_sources() -> None:
    found = variables(
        {
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [
                {"name": "A", "value": "$(P_K)"},
                {"name": "P_K", "value": "own"},
                {"name": "C", "value": "$(P_K)"},
            ],
        },
        lambda plural, name: {"data": {"K": "map"}},
    )
    assert found == {"P_K": "own", "A": "map", "C": "own"}


def test_secret_values_are_decoded() -> None:
    reference = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert variables({"env": [reference]}, lambda p, n: {"data": {"k": "aGk="}}) == {"S": "hi"}


def test_missing_map_is_an_error_unless_optional() -> None:
    reference = {"name": "m", "key": "k"}
    entry = {"name": "A", "valueFrom": {"configMapKeyRef": reference}}
    with pytest.raises(ConfigError, match='configmap "m" not found'):
        variables({"env": [entry]})
    assert (
        variables({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {**reference, "optional": True}}}]})
        == {}
    )


def test_missing_key_names_key_and_map() -> None:
    entry = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}
    with pytest.raises(ConfigError, match="couldn't find key k in ConfigMap shop/m"):
        variables({"env": [entry]}, lambda p, n: {"data": {}})


def test_services_give_host_port_and_link_variables() -> None:
    found = service_variables([service("my-db", name="sql")])
    assert found == {
        "MY_DB_SERVICE_HOST": "10.0.0.9",
        "MY_DB_SERVICE_PORT": "80",
        "MY_DB_SERVICE_PORT_SQL": "80",
        "MY_DB_PORT": "tcp://10.0.0.9:80",
        "MY_DB_PORT_80_TCP": "tcp://10.0.0.9:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.0.0.9",
    }


def test_headless_services_give_no_variables() -> None:
    assert service_variables([service("db", ip="None")]) == {}


def test_without_service_links_only_the_api_server_is_told() -> None:
    services = [
        service("db"),
        service("kubernetes", namespace="default"),
        service("other", namespace="elsewhere"),
    ]
    quiet = environment(pod(enableServiceLinks=False), {"name": "c"}, lambda p, n: None, services, FACTS)
    assert {key.partition("_")[0] for key in quiet} == {"KUBERNETES"}
    assert {key.partition("_")[0] for key in variables({}, services=services)} == {"KUBERNETES", "DB"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['none']", ""),
        ("metadata.labels", 'a="x\\"y"\nb="2"'),
        ("spec.serviceAccountName", "sa"),
        ("status.podIP", "10.1.0.5"),
        ("status.hostIP", "192.0.2.7"),
    ],
)
def test_field_paths(path: str, expected: str) -> None:
    assert field_value(pod(), path, FACTS) == expected


def test_unknown_field_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="unsupported fieldPath"):
        field_value(pod(), "spec.nothing", FACTS)


@pytest.mark.parametrize(
    ("resources", "asked", "divisor", "expected"),
    [
        ({"limits": {"cpu": "250m"}}, "limits.cpu", None, "1"),
        ({"limits": {"cpu": "250m"}}, "limits.cpu", "1m", "250"),
        ({"requests": {"memory": "65Mi"}}, "requests.memory", "1Mi", "65"),
        ({"requests": {"memory": "1"}}, "requests.memory", "1Mi", "1"),
        ({}, "limits.cpu", "1m", "1900"),
        ({}, "limits.memory", None, str(1 << 30)),
        ({}, "requests.cpu", None, "0"),
    ],
)
def test_resources_are_told_in_units_of_the_divisor_rounded_up(
    resources: dict[str, Any], asked: str, divisor: str | None, expected: str
) -> None:
    assert resource_value({"name": "c", "resources": resources}, asked, divisor, FACTS) == expected
